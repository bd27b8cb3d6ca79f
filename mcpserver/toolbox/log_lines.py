"""Lines of log files: when, how bad, what. Reads and writes nothing.

Understands a time at the beginning (ISO 8601) with a level word behind it, and the common log format of web servers,
whose status gives the level. A line without a time belongs to the entry before it.
"""

import datetime
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Level = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
LEVELS: tuple[Level, ...] = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

_ISO = re.compile(r"\[?(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d(?::\d\d)?)(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?\]?\s*")
_LEVEL = re.compile(r"\[?(TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|ERR|CRITICAL|FATAL)\b\]?:?\s*", re.IGNORECASE)
_COMMON = re.compile(
    r"(\S{1,200}) \S{1,100} \S{1,100} \[(\d\d)/([A-Z][a-z]{2})/(\d{4}):(\d\d:\d\d:\d\d) [+-]\d{4}\] "
    r'"([^"]{0,4000})" (\d{3}) (\d+|-)'
)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_SAME: dict[str, Level] = {
    **{"TRACE": "DEBUG", "DEBUG": "DEBUG", "INFO": "INFO", "NOTICE": "INFO", "WARN": "WARNING", "WARNING": "WARNING"},
    **{"ERROR": "ERROR", "ERR": "ERROR", "CRITICAL": "CRITICAL", "FATAL": "CRITICAL"},
}


@dataclass
class Entry:
    """One entry: its first line's number, and its text with the lines that follow it.

    Attributes:
        source: the first word of the message, or the caller's address in a web log.
        status: of a web log.
    """

    line: int
    time: datetime.datetime | None
    level: Level | None
    source: str
    text: str
    status: str = ""


def read_log(text: str) -> Iterator[Entry]:
    """The entries of a log, in order."""
    entry: Entry | None = None
    for number, line in enumerate(text.split("\n"), 1):
        found = _read_line(number, line.rstrip("\r"))
        if found.time is None and entry is not None:
            if line.strip():
                entry.text += "\n" + line
            continue
        if entry is not None:
            yield entry
        entry = found if line.strip() else None
    if entry is not None:
        yield entry


def _read_line(number: int, line: str) -> Entry:
    if match := _COMMON.match(line):
        host, day, month, year, clock, _, status, _ = match.groups()
        level: Level = "ERROR" if status >= "500" else "WARNING" if status >= "400" else "INFO"
        place = _MONTHS.index(month) + 1 if month in _MONTHS else 0
        return Entry(number, _moment(f"{year}-{place:02}-{day}", clock), level, host, line, status)
    match = _ISO.match(line)
    time = _moment(match[1], match[2]) if match else None
    rest = line[match.end() :] if match else line
    named = _LEVEL.match(rest)
    rest = rest[named.end() :] if named else rest
    source = re.split(r"[\s:]", rest, maxsplit=1)[0][:60]
    return Entry(number, time, _SAME[named[1].upper()] if named else None, source, line)


def _moment(day: str, clock: str) -> datetime.datetime | None:
    try:
        return datetime.datetime.fromisoformat(f"{day} {clock}")
    except ValueError:
        return None
