"""The forms of DeepSeek: calls in a group, each with its type, name and fenced JSON (V3, R1) or name and JSON (V3.1).

``<｜tool▁calls▁begin｜>`` opens the group; a call in it is ``<｜tool▁call▁begin｜>`` ``function<｜tool▁sep｜>name`` and
arguments between Markdown fences, or ``name<｜tool▁sep｜>`` and arguments; ``<｜tool▁call▁end｜>`` ends it. Either is
read by both.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from toolwright.dialect.block import BlockError, json_end, load_json, read_object, write_json
from toolwright.dialect.marked import Marked
from toolwright.records import ToolCall, ToolSpec
from toolwright.words import shorten

OPEN, CLOSE = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
CALL, SEPARATOR, CALL_END = "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"
_FENCED = re.compile(rf"\s*{CALL}function{SEPARATOR}([^<\n]*)\n```json\n")
_PLAIN = re.compile(rf"\s*{CALL}([^<\n]*){SEPARATOR}")
_FENCE_END = re.compile(rf"\s*```\s*{CALL_END}")
_PLAIN_END = re.compile(rf"\s*{CALL_END}")


def read_body(body: str, tools: Sequence[ToolSpec] = ()) -> list[tuple[str, dict[str, Any]]]:
    """Read the calls of a group.

    Raises:
        BlockError: with the kind of the problem and what is wrong.
    """
    calls, at = [], 0
    while body[at:].strip():
        fenced = _FENCED.match(body, at)
        head = fenced or _PLAIN.match(body, at)
        if not head:
            raise BlockError("not_object", f"expected {CALL}, a name and {SEPARATOR}: {shorten(body[at:], 60)}")
        if not head[1].strip():
            raise BlockError("no_name", f"the call has no name: {shorten(body[at:], 60)}")
        end = json_end(body, head.end())
        tail = (_FENCE_END if fenced else _PLAIN_END).match(body, end)
        # Text after the arguments is a part of them, and spoils them.
        value = load_json(body[head.end() : end if tail else None])
        if not tail:
            raise BlockError("unclosed", f"{CALL} without {CALL_END}")
        calls.append((head[1], read_object(value)))
        at = tail.end()
    if not calls:
        raise BlockError("not_object", "an empty group of calls")
    return calls


def render_fenced(calls: Sequence[ToolCall]) -> str:
    """Write a group of calls as V3 and R1 do.

    Raises:
        DataError: arguments that JSON cannot hold.
    """
    written = [
        f"{CALL}function{SEPARATOR}{call.name}\n```json\n{write_json(call, call.arguments)}\n```{CALL_END}"
        for call in calls
    ]
    return "\n".join(written).join((OPEN, CLOSE)) if calls else ""


def render_plain(calls: Sequence[ToolCall]) -> str:
    """Write a group of calls as V3.1 does.

    Raises:
        DataError: arguments that JSON cannot hold.
    """
    written = [f"{CALL}{call.name}{SEPARATOR}{write_json(call, call.arguments)}{CALL_END}" for call in calls]
    return "".join(written).join((OPEN, CLOSE)) if calls else ""


def recognises_fenced(template: str) -> bool:
    """Whether a chat template writes calls as V3 and R1 do."""
    return OPEN in template and "```json" in template


def recognises_plain(template: str) -> bool:
    """Whether a chat template writes calls as V3.1 does."""
    return OPEN in template and "```json" not in template


FENCED = Marked(read_body=read_body, render_calls=render_fenced, open=OPEN, close=CLOSE, margin="")
PLAIN = replace(FENCED, render_calls=render_plain, think_margin="")
