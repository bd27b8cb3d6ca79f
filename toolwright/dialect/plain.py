"""The form of chat templates that have none for calls: content, and reasoning between ``<think>`` marks."""

from collections.abc import Sequence

from toolwright.dialect.marked import Marked
from toolwright.errors import DataError
from toolwright.records import ToolCall


def render_calls(calls: Sequence[ToolCall]) -> str:
    """Nothing, for no calls.

    Raises:
        DataError: there are calls.
    """
    if calls:
        raise DataError(f"the call of {calls[0].name!r} cannot be written: the chat template has no form for calls")
    return ""


FORM = Marked(read_body=lambda _body, _tools: [], render_calls=render_calls)
