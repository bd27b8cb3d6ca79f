"""Simulated to-do lists: tasks with priorities, due days, subtasks, and repetition."""

import datetime
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le
from pydantic import StringConstraints

from mcpserver.context import Context
from mcpserver.tools.services._kinds import TODAY, Id, Limit, Line, Offset
from mcpserver.tools.services._records import (
    Record,
    check,
    days_from,
    find,
    holds,
    keep_room,
    new_id,
    one_of,
    only,
    page,
    refuse_if,
)
from mcpserver.tools.services._todo import Steps, TaskFields, TaskFilter, make_task, make_todos, next_due

RUNS_IN = "server"
MAX_TASKS, MAX_LISTS, MAX_STEPS = 250, 20, 20
_SERVICE = "todo"
_RANK = {"high": 0, "medium": 1, "low": 2}


def list_todo_lists(context: Context) -> dict[str, Any]:
    """List the to-do lists with numbers of open tasks.

    Example:
        {}
    """
    state = context.read(_SERVICE, make_todos)
    rows = []
    for name in state["lists"]:
        inside = [task for task in state["tasks"].values() if task["list"] == name]
        n_late = sum(_when(task) == "overdue" for task in inside if not task["done"])
        rows.append({"list": name, "open": sum(not task["done"] for task in inside), "overdue": n_late})
    return {"lists": rows}


def create_todo_list(
    context: Context, name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9 -]{1,29}$")]
) -> dict[str, Any]:
    """Create a to-do list.

    Args:
        name: lower-case name

    Example:
        {"name": "holiday"}
    """
    state = context.change(_SERVICE, make_todos)
    refuse_if(name in state["lists"], f"name: there is a list {name!r} already")
    keep_room(state["lists"], MAX_LISTS, "lists")
    state["lists"] = sorted([*state["lists"], name])
    return {"lists": state["lists"]}


def search_tasks(
    context: Context,
    where: TaskFilter,
    sort: Literal["due", "priority", "title"] = "due",
    limit: Limit = 20,
    offset: Offset = 0,
) -> dict[str, Any]:
    """Search tasks by text, list, priority or due day.

    Args:
        where: conditions that must all hold
        sort: order of the list
        limit: most tasks to list
        offset: tasks to leave out first

    Example:
        {"where": {"done": false, "due": "overdue"}, "sort": "priority"}
        {"where": {"list": "work", "priority": ["high"]}}
    """
    state = context.read(_SERVICE, make_todos)
    name = one_of(where["list"], state["lists"], "list") if "list" in where else None
    hits = [task for task in state["tasks"].values() if name in (None, task["list"]) and _fits(task, where)]
    hits.sort(key=lambda task: (task["due"] or "9999", _RANK[task["priority"]]))
    if sort != "due":
        hits.sort(key=lambda task: _RANK[task["priority"]] if sort == "priority" else task["title"])
    return page([_summary(task) for task in hits], limit, offset, "tasks")


def get_task(context: Context, task: Id) -> dict[str, Any]:
    """Get a task with notes and subtasks.

    Args:
        task: id of the task

    Example:
        {"task": "J-101"}
    """
    return _find(context.read(_SERVICE, make_todos), task)


def add_task(
    context: Context, to_list: Line, title: Line, details: TaskFields | None = None, subtasks: Steps | None = None
) -> dict[str, Any]:
    """Add a task to a to-do list.

    Args:
        to_list: name of the list
        title: what to do
        details: due day, priority, notes, repetition
        subtasks: titles of the steps

    Example:
        {"to_list": "work", "title": "Write the monthly report", "details": {"due": "2025-03-31", "priority": "high", "repeat": {"unit": "month", "count": 1}}}
        {"to_list": "home", "title": "Paint the door", "subtasks": ["Buy paint", "Sand the wood"]}
    """  # noqa: E501
    state = context.change(_SERVICE, make_todos)
    keep_room(state["tasks"], MAX_TASKS, "tasks")
    task = make_task(new_id(state, "J"), one_of(to_list, state["lists"], "to_list"), title)
    _set(task, {**(details or {}), "title": title})
    task["subtasks"] = [{"title": step, "done": False} for step in subtasks or ()]
    state["tasks"][task["id"]] = task
    return task


def update_task(context: Context, task: Id, changes: TaskFields, to_list: Line | None = None) -> dict[str, Any]:
    """Change a task, or move it to another list.

    Args:
        task: id of the task
        changes: new values
        to_list: name of another list

    Example:
        {"task": "J-101", "changes": {"due": "2025-04-03", "title": "Check all nominations"}}
        {"task": "J-101", "changes": {}, "to_list": "home"}
    """
    check(bool(changes) or to_list is not None, "changes: say what to change")
    state = context.change(_SERVICE, make_todos)
    found = _find(state, task)
    refuse_if(bool(found["done"]), f"task: {task} is done; open it again with complete_task")
    _set(found, dict(changes))
    if to_list is not None:
        found["list"] = one_of(to_list, state["lists"], "to_list")
    return found


def complete_task(context: Context, task: Id, done: bool = True, with_subtasks: bool = False) -> dict[str, Any]:
    """Mark a task as done, or open it again.

    Args:
        task: id of the task
        done: false to open again
        with_subtasks: also mark open subtasks

    Example:
        {"task": "J-102"}
        {"task": "J-101", "with_subtasks": true}
    """
    state = context.change(_SERVICE, make_todos)
    found = _find(state, task)
    refuse_if(bool(found["done"]) == done, f"task: {task} is {'done' if done else 'open'} already")
    n_open = sum(not step["done"] for step in found["subtasks"])
    refuse_if(done and n_open > 0 and not with_subtasks, f"with_subtasks: {n_open} subtasks of {task} are open")
    for step in found["subtasks"]:
        step["done"] = step["done"] or done
    found["done"] = TODAY if done else None
    if not (done and found["repeat"]):
        return {"task": _summary(found)}
    keep_room(state["tasks"], MAX_TASKS, "tasks")
    again = {**found, "id": new_id(state, "J"), "done": None, "due": next_due(found["due"] or TODAY, found["repeat"])}
    again["subtasks"] = [{**step, "done": False} for step in found["subtasks"]]
    found["repeat"] = None  # the next one carries it on
    state["tasks"][again["id"]] = again
    return {"task": _summary(found), "next_task": _summary(again)}


def change_subtask(
    context: Context,
    task: Id,
    subtask: Annotated[int, Ge(1), Le(MAX_STEPS)] | Line,
    action: Literal["add", "done", "open", "remove"],
) -> dict[str, Any]:
    """Add, mark or remove a subtask.

    Args:
        task: id of the task
        subtask: its number from 1, or title
        action: what to do with it

    Example:
        {"task": "J-101", "subtask": 1, "action": "done"}
        {"task": "J-101", "subtask": "Call the pipeline operator", "action": "add"}
    """
    found = _find(context.change(_SERVICE, make_todos), task)
    steps: list[Record] = found["subtasks"]
    refuse_if(bool(found["done"]), f"task: {task} is done; open it again with complete_task")
    titles = [step["title"] for step in steps]
    if action == "add":
        check(isinstance(subtask, str), "subtask: give the title of the new subtask")
        refuse_if(subtask in titles, f"subtask: {task} has this subtask already")
        keep_room(steps, MAX_STEPS, f"subtasks of {task}")
        steps.append({"title": subtask, "done": False})
        return only(found, "id", "subtasks")
    refuse_if(not steps, f"task: {task} has no subtasks")
    if isinstance(subtask, str):
        index = titles.index(one_of(subtask, titles, "subtask"))
    else:
        check(subtask <= len(steps), f"subtask: {task} has {len(steps)} subtasks, there is no {subtask}")
        index = subtask - 1
    if action == "remove":
        del steps[index]
    else:
        steps[index]["done"] = action == "done"
    return only(found, "id", "subtasks")


def delete_task(context: Context, task: Id) -> dict[str, Any]:
    """Delete a task.

    Args:
        task: id of the task

    Example:
        {"task": "J-101"}
    """
    state = context.change(_SERVICE, make_todos)
    found = _find(state, task)
    del state["tasks"][task]
    return {"deleted": _summary(found)}


def _find(state: Mapping[str, Any], task: str) -> Record:
    found: Record = find(state["tasks"], task, "task", "search_tasks")
    return found


def _set(task: Record, fields: Mapping[str, Any]) -> None:
    task.update({name: dict(value) if name == "repeat" else value for name, value in fields.items()})


def _summary(task: Mapping[str, Any]) -> Record:
    shown = only(task, "id", "list", "title", "priority", "due", "done", "repeat")
    return shown | {"open_subtasks": sum(not step["done"] for step in task["subtasks"])}


def _when(task: Mapping[str, Any]) -> str:
    if task["due"] is None:
        return "no_date"
    weekday = datetime.date.fromisoformat(TODAY).weekday()
    limits = (("overdue", days_from(TODAY, -1)), ("today", TODAY), ("this_week", days_from(TODAY, 6 - weekday)))
    return next((name for name, last in limits if task["due"] <= last), "later")


def _fits(task: Mapping[str, Any], where: TaskFilter) -> bool:
    return (
        holds(where.get("text"), task["title"], task["notes"])
        and task["priority"] in where.get("priority", [task["priority"]])
        and where.get("due", _when(task)) == _when(task)
        and where.get("done", bool(task["done"])) == bool(task["done"])
    )
