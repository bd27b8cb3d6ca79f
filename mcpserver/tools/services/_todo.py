"""The simulated to-do lists: first tasks drawn from a seed, and when a repeated task is due next."""

import calendar
import datetime
from random import Random
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, Len
from typing_extensions import TypedDict

from mcpserver.tools.services._kinds import TODAY, Day, Line, Text
from mcpserver.tools.services._records import Record, days_from

Priority = Literal["low", "medium", "high"]
FIRST_NUMBER, N_TASKS = 101, 20
_TASKS: tuple[tuple[str, str], ...] = (
    ("work", "Check the nominations of week {m}"),
    ("work", "Answer the auditors' question {m}"),
    ("work", "Prepare slides for the risk committee"),
    ("work", "Review contract draft {m}"),
    ("work", "Order {m} new headsets"),
    ("home", "Water the plants"),
    ("home", "Renew the passport"),
    ("home", "Repair the bicycle"),
    ("home", "Book the dentist"),
    ("shopping", "Buy {m} bottles of milk"),
    ("shopping", "Buy a present for {m} guests"),
    ("shopping", "Coffee beans"),
)
_STEPS = ("Collect the numbers", "Ask a colleague", "Write it down", "Send it", "Book a room")

Steps = Annotated[list[Line], Len(1, 15)]


class Every(TypedDict):
    """How often a task comes again."""

    unit: Literal["day", "week", "month"]
    count: Annotated[int, Ge(1), Le(12)]


class TaskFields(TypedDict, total=False):
    """What to set; the rest stays."""

    title: Line
    due: Day
    priority: Priority
    notes: Text
    repeat: Every


class TaskFilter(TypedDict, total=False):
    """Conditions that must all hold."""

    text: Line
    list: Line
    priority: Annotated[list[Priority], Len(1, 3)]
    due: Literal["overdue", "today", "this_week", "later", "no_date"]
    done: bool


def make_todos(rng: Random) -> dict[str, Any]:
    """Tasks J-101 (open, two subtasks), J-102 (weekly), then any, in the lists work, home and shopping."""
    tasks: dict[str, Any] = {}
    for index in range(N_TASKS):
        name, title = _TASKS[index] if index < 2 else rng.choice(_TASKS)
        task = make_task(f"J-{FIRST_NUMBER + index}", name, title.format(m=rng.randint(2, 9)))
        task["priority"] = rng.choice(("low", "medium", "medium", "high"))
        task["due"] = days_from(TODAY, rng.randint(-3, 15)) if index < 2 or rng.random() < 0.7 else None
        if index == 0 or rng.random() < 0.2:
            task["subtasks"] = [{"title": step, "done": False} for step in rng.sample(_STEPS, 2)]
        elif index > 1 and rng.random() < 0.3:
            task["done"] = days_from(TODAY, -rng.randint(0, 5))
        tasks[task["id"]] = task
    tasks["J-102"]["repeat"] = {"unit": "week", "count": 1}
    return {"lists": ["home", "shopping", "work"], "tasks": tasks, "next": {"J": FIRST_NUMBER + N_TASKS}}


def make_task(number: str, list_name: str, title: str) -> Record:
    """An open task; ``done`` is the day when it was done."""
    return {
        **{"id": number, "list": list_name, "title": title, "priority": "medium", "due": None, "done": None},
        **{"notes": "", "repeat": None, "subtasks": []},
    }


def next_due(due: str, repeat: dict[str, Any]) -> str:
    """The day when a repeated task is due again, after today."""
    first = datetime.date.fromisoformat(due)
    for times in range(1, 5000):
        steps = times * repeat["count"]
        if repeat["unit"] == "month":
            year, month = divmod(first.year * 12 + first.month - 1 + steps, 12)
            day = min(first.day, calendar.monthrange(year, month + 1)[1])
            following = datetime.date(year, month + 1, day).isoformat()
        else:
            following = days_from(due, steps * (7 if repeat["unit"] == "week" else 1))
        if following > TODAY:
            break
    return following
