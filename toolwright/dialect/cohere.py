"""The form of Cohere's Command R7B and Command A: calls as a JSON array in ``<|START_ACTION|>``, text in a response.

The marks of a response around the content are no part of it; the prompt may have written the first one. Reasoning
stands between ``<|START_THINKING|>`` and its end.
"""

import json
from collections.abc import Sequence
from typing import Any

from toolwright.dialect.block import Keys, read_block, write_json
from toolwright.dialect.marked import Marked
from toolwright.records import ToolCall, ToolSpec

OPEN, CLOSE = "<|START_ACTION|>", "<|END_ACTION|>"
THINK, THINK_END = "<|START_THINKING|>", "<|END_THINKING|>"
RESPONSE, RESPONSE_END = "<|START_RESPONSE|>", "<|END_RESPONSE|>"
_KEYS = Keys(name="tool_name", arguments=("parameters",), others=("tool_call_id",))


def read_body(body: str, tools: Sequence[ToolSpec] = ()) -> list[tuple[str, dict[str, Any]]]:
    """Read one call or an array of calls.

    Raises:
        BlockError: with the kind of the problem and what is wrong.
    """
    return read_block(body, _KEYS)


def render_calls(calls: Sequence[ToolCall]) -> str:
    """Write calls as an array, numbered.

    Raises:
        DataError: arguments that JSON cannot hold.
    """
    written = [
        f'    {{"tool_call_id": "{index}", "tool_name": {json.dumps(call.name, ensure_ascii=False)}, '
        f'"parameters": {write_json(call, call.arguments)}}}'
        for index, call in enumerate(calls)
    ]
    return f"{OPEN}[\n" + ",\n".join(written) + f"\n]{CLOSE}"


def recognises(template: str) -> bool:
    """Whether a chat template writes turns in this form; not all of those that do can write calls."""
    return OPEN in template or RESPONSE in template


FORM = Marked(
    read_body=read_body,
    render_calls=render_calls,
    open=OPEN,
    close=CLOSE,
    margin="",
    think=THINK,
    think_end=THINK_END,
    think_margin="",
    around=(RESPONSE, RESPONSE_END),
)
