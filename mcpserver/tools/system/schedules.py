"""Schedules: jobs in the file crontab, and when they run by the environment's clock. Nothing is ever run."""

import datetime
from itertools import islice
from typing import Annotated, Any

from annotated_types import Ge, Le, Len
from typing_extensions import TypedDict

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.toolbox.cron import parse_schedule, runs_after
from mcpserver.toolbox.patches import split_lines
from mcpserver.toolbox.results import clip, page
from toolwright.words import shorten

CRONTAB = "crontab"
MAX_JOBS = 100

Expression = Annotated[str, Len(1, 100)]


class Job(TypedDict):
    """A schedule such as 30 2 * * 1-5 or @daily, and what it runs."""

    schedule: Expression
    command: Annotated[str, Len(1, 300)]


def next_runs(
    context: Context, schedule: Expression, count: Annotated[int, Ge(1), Le(50)] = 5, after: str | None = None
) -> dict[str, Any]:
    """Tell when a schedule falls due next.

    Args:
        schedule: minute hour day month weekday, such as 30 2 * * 1-5, or @daily
        count: how many moments
        after: moment to begin at, such as 2025-03-17 09:00; left out, now

    Example:
        {"schedule": "0 8 * * mon-fri", "count": 3}
        {"schedule": "*/15 9-17 1 * *", "after": "2025-12-31 12:00"}
    """
    moment = context.now if after is None else _moment(after)
    runs = list(islice(runs_after(parse_schedule(schedule), moment), count))
    return {"runs": [_shown(run) for run in runs], **({} if runs else {"note": "it never falls due"})}


def _moment(text: str) -> datetime.datetime:
    try:
        return datetime.datetime.fromisoformat(text).replace(tzinfo=None)
    except ValueError:
        raise ToolError("bad_arguments", f"after: {shorten(text, 40)} is no moment such as 2025-03-17 09:00") from None


def _shown(run: datetime.datetime) -> str:
    return f"{run:%a} {run.date().isoformat()} {run:%H:%M}"


def list_scheduled_jobs(context: Context, path: str = CRONTAB) -> dict[str, Any]:
    """List the jobs of the crontab file and when each runs next.

    Args:
        path: crontab file

    Example:
        {}
    """
    rows = []
    for number, line, job in _jobs(context, path):
        row: dict[str, Any] = {"line": number}
        if job is None:
            row |= {"text": clip(line), "problem": "no job"}
        else:
            try:
                run = next(runs_after(parse_schedule(job["schedule"]), context.now), None)
                row |= {**job, "next_run": _shown(run) if run else "never"}
            except ToolError as error:
                row |= {"text": clip(line), "problem": clip(error.message)}
        rows.append(row)
    return page("jobs", rows)


def _lines(context: Context, path: str) -> list[str]:
    return split_lines(context.files.read_text(path)) if context.files.resolve(path).exists() or path != CRONTAB else []


def _jobs(context: Context, path: str) -> list[tuple[int, str, Job | None]]:
    """The lines that are neither empty nor comments nor assignments, with number and job."""
    found: list[tuple[int, str, Job | None]] = []
    for number, line in enumerate(_lines(context, path), 1):
        words = line.split()
        if words and not words[0].startswith("#") and "=" not in words[0]:
            found.append((number, line, _job(line)))
    if len(found) > MAX_JOBS:
        raise ToolError("limit", f"path: {path!r} has more than {MAX_JOBS} jobs")
    return found


def _job(line: str) -> Job | None:
    fields = 1 if line.lstrip().startswith("@") else 5
    words = line.split(maxsplit=fields)
    return {"schedule": " ".join(words[:fields]), "command": clip(words[fields])} if len(words) > fields else None


def change_scheduled_jobs(
    context: Context,
    add: Annotated[list[Job], Len(1, 20)] | None = None,
    remove: Annotated[list[Annotated[int, Ge(1)]], Len(1, 50)] | None = None,
) -> dict[str, Any]:
    """Add jobs to the crontab file and remove others, all or none; the file only notes them, nothing is run.

    Args:
        add: jobs to add at the end
        remove: numbers of lines with jobs, as list_scheduled_jobs tells them

    Example:
        {"add": [{"schedule": "30 6 * * 1-5", "command": "python code/stats.py"}]}
    """
    jobs = {number for number, _, _ in _jobs(context, CRONTAB)}
    gone, new = set(remove or ()), [_line(job, f"add[{place}]") for place, job in enumerate(add or ())]
    if wrong := sorted(gone - jobs):
        there = ", ".join(map(str, sorted(jobs))) or "none"
        raise ToolError("tool_error", f"remove: there is no job in line {wrong[0]}; lines with jobs: {there}")
    left = len(jobs) - len(gone) + len(new)
    if left > MAX_JOBS:
        raise ToolError("limit", f"add: the crontab holds at most {MAX_JOBS} jobs")
    kept = [line for number, line in enumerate(_lines(context, CRONTAB), 1) if number not in gone]
    if gone or new:
        context.files.write(CRONTAB, "".join(f"{line}\n" for line in [*kept, *new]).encode())
    return {"added": new, "removed": len(gone), "jobs": left}


def _line(job: Job, parameter: str) -> str:
    """A job as a line of the file.

    Raises:
        ToolError: the schedule or the command is none.
    """
    parse_schedule(job["schedule"], f"{parameter}.schedule")
    line = f"{' '.join(job['schedule'].split())} {job['command'].strip()}"
    if len(line.splitlines()) != 1 or _job(line) is None:
        raise ToolError(
            "bad_arguments", f"{parameter}.command: {shorten(job['command'], 40)} is no command on one line"
        )
    return line


def preview_schedule(
    context: Context,
    jobs: Annotated[list[Job], Len(1, 20)] | None = None,
    hours: Annotated[int, Ge(1), Le(744)] = 24,
    limit: Annotated[int, Ge(1), Le(200)] = 50,
) -> dict[str, Any]:
    """Show what runs in the next hours, in order.

    Args:
        jobs: jobs to look at; left out, those of the crontab file
        hours: how far to look from now
        limit: how many runs to show

    Example:
        {"jobs": [{"schedule": "0 */6 * * *", "command": "backup"}, {"schedule": "@daily", "command": "report"}]}
    """
    chosen = jobs if jobs is not None else [job for _, _, job in _jobs(context, CRONTAB) if job]
    end = context.now + datetime.timedelta(hours=hours)
    runs = []
    for place, job in enumerate(chosen):
        for run in runs_after(parse_schedule(job["schedule"], f"jobs[{place}].schedule"), context.now):
            if run > end:
                break
            runs.append((run, place))
    rows = [{"run": _shown(run), "command": chosen[place]["command"]} for run, place in sorted(runs)]
    return {"until": _shown(end), **page("runs", rows, limit=limit)}
