"""The JSON form of Llama 3.1, 3.2 and 3.3: the whole turn is one ``{"name": …, "parameters": {…}}``.

The mark ``<|python_tag|>`` may stand before it, and must where content does. Their chat templates write one call and
no content beside it; what a model separates by ``;`` is read as several. A turn that is JSON but no call, as an answer
in JSON, is content.
"""

import re
from collections.abc import Sequence
from typing import Any

from toolwright.dialect.block import BlockError, Keys, json_end, load_json, read_call
from toolwright.dialect.hermes import call_json
from toolwright.dialect.marked import Marked
from toolwright.records import ToolCall, ToolSpec

_KEYS = Keys(arguments=("parameters", "arguments"))
_LIKE_A_CALL = re.compile(r'\s*\{\s*(?:"type"\s*:\s*"function"\s*,\s*)?"name"\s*:')
_BETWEEN = re.compile(r"\s*;\s*")


def read_body(body: str, tools: Sequence[ToolSpec] = ()) -> list[tuple[str, dict[str, Any]]]:
    """Read a turn: its calls, none for what is not meant as one.

    Raises:
        BlockError: with the kind of the problem and what is wrong.
    """
    try:
        values = [load_json(text) for text in _split(body)]
    except BlockError:
        if _LIKE_A_CALL.match(body):
            raise
        return []
    if not any(isinstance(value, dict) and "name" in value and {*_KEYS.arguments} & {*value} for value in values):
        return []
    return [read_call(value, _KEYS) for value in values]


def _split(body: str) -> list[str]:
    """The JSON values that semicolons separate; what follows a value otherwise is a part of it, and spoils it."""
    parts: list[str] = []
    at = 0
    while True:
        end = json_end(body, len(body) - len(body[at:].lstrip()))
        between = _BETWEEN.match(body, end)
        if not between:
            return [*parts, body[at:]]
        parts.append(body[at:end])
        at = between.end()


def render_calls(calls: Sequence[ToolCall]) -> str:
    """Write calls, separated by semicolons.

    Raises:
        DataError: arguments that JSON cannot hold.
    """
    return "; ".join(call_json(call, "parameters") for call in calls)


def recognises(template: str) -> bool:
    """Whether a chat template asks the model for calls in this form."""
    return "<|start_header_id|>" in template and re.search(r'\{"name": .*"parameters": ', template) is not None


FORM = Marked(read_body=read_body, render_calls=render_calls, open="<|python_tag|>", bare="{", margin="")
