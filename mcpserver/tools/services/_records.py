"""What the simulated services share: finding records, pages of lists, ids, and complaints about what is wrong.

Independent parallel calls leave the same state in any order: labels, members, links and sums are kept sorted. The
exceptions are what is numbered or told in the order of the calls: new ids, and comments, activities and subtasks.
"""

import datetime
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from mcpserver.tool_error import ToolError
from toolwright.words import nearest, show

Record = dict[str, Any]
T = TypeVar("T")
MAX_PAGE_BYTES = 9000


def find(records: Mapping[str, T], key: str, what: str, see: str) -> T:
    """The record with an id.

    Raises:
        ToolError: there is none; names near ids, and the tool ``see`` that lists them.
    """
    if key not in records:
        hint = nearest(key, list(records)) or f"; see {see}"
        raise ToolError("bad_arguments", f"{what}: there is no {what} {show(key)}{hint}")
    return records[key]


def one_of(name: str, options: Iterable[str], what: str) -> str:
    """The option that a name means, upper and lower case alike.

    Raises:
        ToolError: none; names the nearest.
    """
    by_lower = {option.lower(): option for option in options}
    if name.lower() not in by_lower:
        known = list(by_lower.values())
        raise ToolError("bad_arguments", f"{what}: unknown {what} {show(name)}{nearest(name, known)}")
    return by_lower[name.lower()]


def page(records: Sequence[Mapping[str, Any]], limit: int, offset: int, name: str = "items") -> dict[str, Any]:
    """A part of a list, with the total, and the offset of the next part where there is one."""
    shown: list[Mapping[str, Any]] = []
    size = 0
    for record in records[offset : offset + limit]:
        size += len(json.dumps(record, ensure_ascii=False).encode())
        if shown and size > MAX_PAGE_BYTES:
            break
        shown.append(record)
    result: dict[str, Any] = {"total": len(records), name: shown}
    if offset + len(shown) < len(records):
        result["next_offset"] = offset + len(shown)
    return result


def newest_first(records: Iterable[Record], key: str = "time") -> list[Record]:
    """Records by falling time; of two made at the same time, the later one first."""
    return sorted(reversed(list(records)), key=lambda record: str(record[key]), reverse=True)


def new_id(state: Record, prefix: str) -> str:
    """The next sequential id of a kind; ``state["next"]`` holds the numbers."""
    number: int = state["next"][prefix]
    state["next"][prefix] = number + 1
    return f"{prefix}-{number}"


def keep_room(records: Mapping[str, object] | Sequence[object], most: int, what: str) -> None:
    """Refuse one record more than a service keeps.

    Raises:
        ToolError: ``limit``.
    """
    if len(records) >= most:
        raise ToolError("limit", f"there are {most} {what} already; no more can be kept")


def only(record: Mapping[str, Any], *names: str) -> Record:
    """Some fields of a record."""
    return {name: record[name] for name in names if name in record}


def refuse_if(wrong: bool, message: str) -> None:
    """Refuse what a rule of the service forbids.

    Raises:
        ToolError: ``tool_error`` with the message.
    """
    if wrong:
        raise ToolError("tool_error", message)


def check(right: bool, message: str) -> None:
    """Demand something of the arguments.

    Raises:
        ToolError: ``bad_arguments`` with the message.
    """
    if not right:
        raise ToolError("bad_arguments", message)


def holds(text: str | None, *fields: str) -> bool:
    """Whether every word of a query is somewhere in the fields; no query is always found."""
    whole = " ".join(fields).lower()
    return all(word in whole for word in (text or "").lower().split())


def days_from(start: str, n_days: int) -> str:
    """The day some days after (or before) another."""
    return (datetime.date.fromisoformat(start) + datetime.timedelta(days=n_days)).isoformat()


def later(moment: str, minutes: int) -> str:
    """The moment some minutes after another."""
    then = datetime.datetime.fromisoformat(moment) + datetime.timedelta(minutes=minutes)
    return f"{then:%Y-%m-%d %H:%M}"


def summed(records: Iterable[T], key: Callable[[T], str], value: Callable[[T], float]) -> dict[str, float]:
    """Sums of a value by a key, rounded to cents, sorted by key."""
    sums: dict[str, float] = {}
    for record in records:
        sums[key(record)] = sums.get(key(record), 0.0) + value(record)
    return {name: round(total, 2) for name, total in sorted(sums.items())}
