"""Log files: filtered, counted, searched for silence, rotated."""

import datetime
import gzip
from collections import Counter
from itertools import pairwise
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, Len
from typing_extensions import TypedDict

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.toolbox.file_sets import write_all
from mcpserver.toolbox.log_lines import LEVELS, Entry, Level, read_log
from mcpserver.toolbox.results import clip, page
from toolwright.words import shorten

Moment = Annotated[str, Len(10, 30)]


class LogFilter(TypedDict, total=False):
    """Conditions, all of which must hold; since and until are moments such as 2025-03-14 or 2025-03-14 08:30."""

    levels: Annotated[list[Level], Len(1, 5)]
    since: Moment
    until: Moment
    contains: Annotated[str, Len(1, 200)]
    without: Annotated[str, Len(1, 200)]
    source: Annotated[str, Len(1, 60)]


def filter_log(
    context: Context,
    path: str,
    where: LogFilter,
    newest_first: bool = False,
    limit: Annotated[int, Ge(1), Le(200)] = 50,
    offset: Annotated[int, Ge(0)] = 0,
) -> dict[str, Any]:
    """List the entries of a log by level, time, source or text.

    Args:
        path: log file; lines that begin with a time, or a web server's access log
        where: conditions
        newest_first: whether the last entries come first
        limit: how many entries to list
        offset: how many entries to leave out first

    Example:
        {"path": "logs/server.log", "where": {"levels": ["ERROR"], "since": "2025-03-14 08:00"}, "limit": 5}
        {"path": "logs/access.log", "where": {"contains": "GET"}, "newest_first": true}
    """
    found = _entries(context, path, where)
    rows = [{"line": entry.line, "text": clip(entry.text)} for entry in (found[::-1] if newest_first else found)]
    return page("entries", rows, offset, limit)


def _entries(context: Context, path: str, where: LogFilter) -> list[Entry]:
    since, until = _moment(where, "since"), _moment(where, "until")
    return [entry for entry in read_log(context.files.read_text(path)) if _fits(entry, where, since, until)]


def _moment(where: LogFilter, name: Literal["since", "until"]) -> datetime.datetime | None:
    if name not in where:
        return None
    try:
        moment = datetime.datetime.fromisoformat(where[name]).replace(tzinfo=None)
    except ValueError:
        text = f"where.{name}: {shorten(where[name], 40)} is no moment such as 2025-03-14 or 2025-03-14 08:30"
        raise ToolError("bad_arguments", text) from None
    if name == "until" and len(where[name]) == 10:  # a day counts to its end
        return datetime.datetime.combine(moment.date(), datetime.time.max)
    return moment


def _fits(entry: Entry, where: LogFilter, since: datetime.datetime | None, until: datetime.datetime | None) -> bool:
    if "levels" in where and entry.level not in where["levels"]:
        return False
    if (since or until) and entry.time is None:
        return False
    if entry.time is not None and not (since or entry.time) <= entry.time <= (until or entry.time):
        return False
    if "source" in where and entry.source != where["source"]:
        return False
    return where.get("contains", "") in entry.text and not ("without" in where and where["without"] in entry.text)


def count_log(
    context: Context,
    path: str,
    by: Literal["level", "hour", "day", "source", "status", "weekday"],
    where: LogFilter | None = None,
) -> dict[str, Any]:
    """Count the entries of a log by level, time, source or status.

    Args:
        path: log file
        by: what to count by; source is the first word of the message, or the caller of a web server
        where: conditions for entries that count

    Example:
        {"path": "logs/server.log", "by": "level"}
        {"path": "logs/server.log", "by": "hour", "where": {"levels": ["ERROR", "WARNING"]}}
    """
    entries = _entries(context, path, where or {})
    counts = Counter(_group(entry, by) for entry in entries)
    by_size = by in ("source", "status")
    order = sorted(counts, key=lambda group: (-counts[group], group) if by_size else (_place(group, by), group))
    return {
        "entries": len(entries),
        **page("groups", [{by: group, "count": counts[group]} for group in order], limit=200),
    }


_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def _group(entry: Entry, by: str) -> str:
    if by in ("level", "source", "status"):
        return {"level": entry.level, "source": entry.source, "status": entry.status}[by] or "none"
    if entry.time is None:
        return "none"
    if by == "weekday":
        return _DAYS[entry.time.weekday()]
    return entry.time.isoformat(" ", "minutes")[:13] + ":00" if by == "hour" else entry.time.date().isoformat()


def _place(group: str, by: str) -> int:
    names = LEVELS if by == "level" else _DAYS
    return names.index(group) if group in names else len(names)


def find_log_gaps(
    context: Context, path: str, minutes: Annotated[float, Ge(0.1), Le(100_000.0)] = 60.0
) -> dict[str, Any]:
    """Find the times in which a log is silent.

    Args:
        path: log file
        minutes: how long a silence must last

    Example:
        {"path": "logs/server.log", "minutes": 30}
    """
    times = [entry.time for entry in read_log(context.files.read_text(path)) if entry.time]
    if not times:
        raise ToolError("tool_error", f"path: no line of {path!r} begins with a time")
    rows = []
    for before, after in pairwise(times):
        silence = (after - before).total_seconds() / 60
        if silence >= minutes:
            rows.append({"from": before.isoformat(" "), "to": after.isoformat(" "), "minutes": round(silence, 1)})
    backwards = sum(after < before for before, after in pairwise(times))
    span = {"first": min(times).isoformat(" "), "last": max(times).isoformat(" "), "out_of_order": backwards}
    return {**span, **page("gaps", rows)}


def rotate_log(
    context: Context, path: str, keep: Annotated[int, Ge(1), Le(20)] = 5, compress: bool = False
) -> dict[str, Any]:
    """Rotate a log: it becomes .1, the old .1 becomes .2 and so on, and a new one begins empty.

    Args:
        path: log file
        keep: how many old logs stay
        compress: whether the log that is put away is compressed with gzip

    Example:
        {"path": "logs/server.log", "keep": 3}
        {"path": "logs/jobs.log", "compress": true}
    """
    files = context.files
    content = files.read_bytes(path)
    old = {name: int(name[len(path) + 1 :].removesuffix(".gz")) for name in files.names() if _is_old(name, path)}
    ended = gzip.compress(content, mtime=0) if compress else content
    moved = {
        f"{path}.{number + 1}{'.gz' * name.endswith('.gz')}": name for name, number in old.items() if number < keep
    }
    contents = {new: files.read_bytes(name) for new, name in moved.items()}
    contents |= {f"{path}.1{'.gz' * compress}": ended, path: b""}
    write_all(files, contents)
    gone = [name for name in old if name not in contents]
    for name in gone:
        files.existing_file(name).unlink(missing_ok=True)
    kept = sorted((name for name in contents if name != path), key=lambda name: (len(name.removesuffix(".gz")), name))
    dropped = [name for name, number in old.items() if number >= keep]
    return {"log": path, "old_logs": kept, "dropped": len(dropped), "bytes_put_away": len(content)}


def _is_old(name: str, path: str) -> bool:
    number = name[len(path) + 1 :].removesuffix(".gz")
    return (
        name.startswith(f"{path}.") and number.isascii() and number.isdigit() and len(number) < 4 and number[0] != "0"
    )
