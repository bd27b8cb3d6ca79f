"""The forms of Mistral: ``[TOOL_CALLS]`` and a JSON array of calls, or ``[TOOL_CALLS]name[ARGS]{…}`` for each call.

The newer form came with version 11 of their tokenizers, which wrote ``[CALL_ID]…`` after the name, or no ``[ARGS]``.
All are read; nothing but the next ``[TOOL_CALLS]`` or the end of the turn ends a block. The ids of calls are read over.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from toolwright.dialect.block import BlockError, load_json, read_block, read_object, write_json
from toolwright.dialect.hermes import call_json
from toolwright.dialect.marked import Marked
from toolwright.records import ToolCall, ToolSpec
from toolwright.words import shorten

OPEN, ARGUMENTS = "[TOOL_CALLS]", "[ARGS]"
_ARRAY = re.compile(r"\s*(?:\{|\[\s*(?:[\]{]|$))")
_NAMED = re.compile(r"\s*([^\s\[\]{}]*)\s*(?:\[CALL_ID\]\w*)?(?:\[ARGS\])?(.*)", re.DOTALL)


def read_body(body: str, tools: Sequence[ToolSpec] = ()) -> list[tuple[str, dict[str, Any]]]:
    """Read what follows the mark: an array of calls, or one call that begins with its name.

    Raises:
        BlockError: with the kind of the problem and what is wrong.
    """
    if _ARRAY.match(body):
        return read_block(body)
    named = _NAMED.fullmatch(body)
    if not named or not named[1]:
        raise BlockError("no_name", f"the call has no name: {shorten(body, 60)}")
    return [(named[1], read_object(load_json(named[2])))]


def render_array(calls: Sequence[ToolCall]) -> str:
    """Write calls as one array.

    Raises:
        DataError: arguments that JSON cannot hold.
    """
    return f"{OPEN}[{', '.join(map(call_json, calls))}]"


def render_named(calls: Sequence[ToolCall]) -> str:
    """Write each call after a mark of its own, with its name before the arguments.

    Raises:
        DataError: arguments that JSON cannot hold.
    """
    return "".join(f"{OPEN}{call.name}{ARGUMENTS}{write_json(call, call.arguments)}" for call in calls)


def recognises_array(template: str) -> bool:
    """Whether a chat template writes calls as an array."""
    return OPEN in template and ARGUMENTS not in template


def recognises_named(template: str) -> bool:
    """Whether a chat template writes calls with their names before the arguments."""
    return OPEN in template and ARGUMENTS in template


THINK = "[THINK]"
ARRAY = Marked(
    read_body=read_body,
    render_calls=render_array,
    open=OPEN,
    margin="",
    think=THINK,
    think_end="[/THINK]",
    think_margin="",
)
NAMED = replace(ARRAY, render_calls=render_named)
