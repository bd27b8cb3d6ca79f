"""The GLM form: a block with the tool's name and an ``<arg_key>`` and ``<arg_value>`` for each argument.

Written by the chat templates of GLM-4.5 and later (GLM-4.7 without the line breaks); vLLM reads it as ``glm45``. Values
are untyped text (``untyped`` says how types are found again). A value reaches to the first ``</arg_value>``; one that
holds ``<arg_value>`` is refused, because then it cannot be told from a value that was never closed.
"""

import re
from collections.abc import Sequence
from typing import Any

from toolwright.dialect.block import BlockError
from toolwright.dialect.marked import Marked, Quote
from toolwright.dialect.untyped import read_arguments, write_value
from toolwright.records import ToolCall, ToolSpec
from toolwright.words import shorten

OPEN, CLOSE = "<tool_call>", "</tool_call>"
VALUE, VALUE_END = "<arg_value>", "</arg_value>"

_NAME = re.compile(r"\s*([^\s<](?:[^\n<]*[^\s<])?)?\s*")
_ARGUMENT = re.compile(r"<arg_key>([^<]*)</arg_key>\s*<arg_value>(.*?)</arg_value>\s*", re.DOTALL)


def read_body(body: str, tools: Sequence[ToolSpec] = ()) -> list[tuple[str, dict[str, Any]]]:
    """Read what stands between the marks of a block: one call, as its name and arguments.

    Raises:
        BlockError: with the kind of the problem and what is wrong.
    """
    head = _NAME.match(body)
    name, at = (head[1], head.end()) if head else (None, 0)
    if not name:
        raise BlockError("no_name", f"a call begins with the name of the tool, not {shorten(body.strip()[:40])}")
    pairs = []
    while argument := _ARGUMENT.match(body, at):
        if VALUE in argument[2]:
            raise BlockError(
                "bad_arguments", f"the value of {argument[1]!r} has no {VALUE_END} before the next {VALUE}"
            )
        pairs.append((argument[1], argument[2]))
        at = argument.end()
    if at < len(body):
        raise BlockError("bad_arguments", f"expected <arg_key> and <arg_value>, found {shorten(body[at:][:40])}")
    return [(name, read_arguments(name, pairs, tools))]


def render_calls(calls: Sequence[ToolCall]) -> str:
    """Write one block for each call, separated by line breaks.

    Raises:
        DataError: arguments that JSON cannot hold.
    """
    return "\n".join(map(_write_call, calls))


def _write_call(call: ToolCall) -> str:
    pairs = [
        f"<arg_key>{key}</arg_key>\n<arg_value>{write_value(call, value)}</arg_value>\n"
        for key, value in call.arguments.items()
    ]
    return f"{OPEN}{call.name}\n{''.join(pairs)}{CLOSE}"


def recognises(template: str) -> bool:
    """Whether a chat template asks the model for calls in this form."""
    return OPEN in template and "<arg_key>" in template


FORM = Marked(open=OPEN, close=CLOSE, read_body=read_body, render_calls=render_calls, quotes=(Quote(VALUE, VALUE_END),))
