"""Results short enough for a model: lists by page, texts by part. Reads and writes nothing.

Nothing but the standard library, since it is used by sandboxed workers.
"""

import json
from collections.abc import Sequence
from typing import Any

from mcpserver.tool_error import ToolError

MAX_RESULT_BYTES = 12_000
MAX_LINE = 300


def json_bytes(value: object) -> int:
    """How many bytes a JSON value takes in a result."""
    return len(json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace"))


def page(name: str, items: Sequence[Any], offset: int = 0, limit: int = 100) -> dict[str, Any]:
    """Some of many items: as many as were asked for and fit.

    Returns:
        ``{name: items, "total": number of all}``, and ``next_offset`` when there are more.

    Raises:
        ToolError: ``limit`` when the first item alone is too large.
    """
    taken: list[Any] = []
    room = MAX_RESULT_BYTES
    for item in items[offset : offset + limit]:
        room -= json_bytes(item) + 2
        if room < 0:
            break
        taken.append(item)
    if not taken and items[offset : offset + limit]:
        raise ToolError("limit", f"{name}: entry {offset} alone is longer than {MAX_RESULT_BYTES} bytes")
    after = offset + len(taken)
    more = {"next_offset": after} if after < len(items) else {}
    return {name: taken, "total": len(items), **more}


def part(text: str, offset: int = 0) -> dict[str, Any]:
    """A part of a long text, from a character on.

    Returns:
        ``{"text": part}``, and ``total_characters`` and ``next_offset`` when there is more.
    """
    taken = text[offset : offset + MAX_RESULT_BYTES]
    while json_bytes(taken) > MAX_RESULT_BYTES:
        taken = taken[: len(taken) * 3 // 4]
    after = offset + len(taken)
    return {"text": taken, **({"total_characters": len(text), "next_offset": after} if after < len(text) else {})}


def whole(text: str, cure: str = "give a shorter text") -> str:
    """A text that must be given whole.

    Raises:
        ToolError: ``limit`` when it is too long for a result.
    """
    if json_bytes(text) > MAX_RESULT_BYTES:
        raise ToolError("limit", f"the result has {len(text)} characters and is too long to be shown; {cure}")
    return text


def clip(line: str) -> str:
    """A line cut to ``MAX_LINE`` characters, with an ellipsis as the last."""
    return line if len(line) <= MAX_LINE else line[: MAX_LINE - 1] + "…"
