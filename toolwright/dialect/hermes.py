"""The hermes (nous) form: ``<think>`` text, then content, then one ``<tool_call>`` block of JSON for each call.

Written by the chat templates of Qwen 2.5 and 3; a model may also write a JSON array of calls in one block.
"""

import json
import re
from collections.abc import Sequence

from toolwright.dialect.block import read_block, write_json
from toolwright.dialect.marked import Marked
from toolwright.records import ToolCall

OPEN, CLOSE = "<tool_call>", "</tool_call>"


def render_calls(calls: Sequence[ToolCall]) -> str:
    """Write one block for each call, separated by line breaks.

    Raises:
        DataError: arguments that JSON cannot hold.
    """
    return "\n".join(FORM.wrap(call_json(call)) for call in calls)


def call_json(call: ToolCall, key: str = "arguments") -> str:
    """A call as a JSON object with its name and, under ``key``, its arguments.

    Raises:
        DataError: arguments that JSON cannot hold.
    """
    return f'{{"name": {json.dumps(call.name, ensure_ascii=False)}, "{key}": {write_json(call, call.arguments)}}}'


def recognises(template: str) -> bool:
    """Whether a chat template asks the model for calls in this form (and not for XML inside the same marks)."""
    asks_for_json = re.search(r"""['"]?\\?"arguments\\?['"]""", template) is not None
    return OPEN in template and asks_for_json and "<function=" not in template


FORM = Marked(open=OPEN, close=CLOSE, read_body=lambda body, _tools: read_block(body), render_calls=render_calls)
