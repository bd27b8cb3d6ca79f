"""Values as short JSON, and the limits on what is read, for the descriptions of folders."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from toolwright.words import cut

MAX_READ_BYTES = 8 * 1024 * 1024
MAX_UNPACKED_BYTES = 64 * 1024 * 1024
MAX_LISTED = 60
MAX_ROWS_READ = 20_000
FIRST_ROWS = 3
MAX_VALUES = 8
FIRST_LINES = 5
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2})?(\.\d+)?(Z|[+-]\d{2}:?\d{2})?")
_INTEGER = re.compile(r"[+-]?\d{1,18}")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")


class UnreadableError(Exception):
    """A file that is listed without details; the text says why."""


def plain(value: Any) -> Any:
    """A value as JSON: scalars as they are, long texts cut, everything else as text."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, dict):
        return cut(str({str(key): plain(part) for key, part in list(value.items())[:8]}), 160)
    if isinstance(value, list | tuple):
        return cut(str([plain(part) for part in value[:8]]), 160)
    text = value.isoformat() if hasattr(value, "isoformat") else str(value)
    return cut(text.encode(errors="replace").decode(), 160)


def type_of(values: Iterable[Any]) -> str:
    """The type of a column: ``integer number date datetime boolean text list object empty mixed``."""
    kinds = {_type_of_one(value) for value in values if value not in (None, "")}
    if not kinds:
        return "empty"
    if kinds == {"integer", "number"}:
        return "number"
    return kinds.pop() if len(kinds) == 1 else "text" if kinds <= _WRITTEN else "mixed"


_WRITTEN = {"integer", "number", "date", "datetime", "text"}
_TYPES = {bool: "boolean", int: "integer", float: "number", list: "list", dict: "object"}


def _type_of_one(value: Any) -> str:
    if type(value) in _TYPES:
        return _TYPES[type(value)]
    text = value.isoformat() if hasattr(value, "isoformat") else str(value)
    for kind, pattern in (("integer", _INTEGER), ("number", _NUMBER), ("date", _DATE), ("datetime", _TIME)):
        if pattern.fullmatch(text):
            return kind
    return "text"


def table(names: Sequence[Any], rows: Sequence[Sequence[Any]], *, count: int | None = None) -> dict[str, Any]:
    """Columns with types, the number of rows, and the first rows as objects."""
    shown = [str(plain(name)) for name in names[:MAX_LISTED]]
    cells = [[row[n] if n < len(row) else None for row in rows] for n in range(len(shown))]
    return {
        "rows": len(rows) if count is None else count,
        "columns": [
            {"name": name, "type": type_of(column), **few_values(column)} for name, column in zip(shown, cells)
        ],
        "first_rows": [dict(zip(shown, map(plain, row))) for row in rows[:FIRST_ROWS]],
    }


def few_values(column: Iterable[Any]) -> dict[str, Any]:
    """The different texts of a column, if they are few and come back: the groups that one may filter by."""
    counts = Counter(value for value in column if isinstance(value, str) and value)
    grouped = 1 < len(counts) <= MAX_VALUES and counts.total() >= 3 * len(counts)
    written = [value for value in counts if _type_of_one(value) == "text"]
    return {"values": sorted(map(str, map(plain, counts)))} if grouped and len(written) == len(counts) else {}


def first_lines(text: str) -> dict[str, Any]:
    """How many lines and words a text has, and the first lines that are not empty."""
    lines = text.splitlines()
    shown = [cut(line.rstrip(), 160) for line in lines if line.strip()]
    return {"lines": len(lines), "words": len(text.split()), "first_lines": shown[:FIRST_LINES]}


def decode(content: bytes) -> str:
    """The text of a file: UTF-8 with or without a byte order mark, or UTF-16 with one.

    Raises:
        UnreadableError: it is neither.
    """
    encoding = "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise UnreadableError(f"no UTF-8 text ({error.reason} at byte {error.start})") from None
