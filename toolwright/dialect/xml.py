"""The qwen3-coder form: a block of ``<function=name>`` with one ``<parameter=key>`` for each argument.

Written by the chat templates of Qwen3-Coder, Qwen3.5 and later, and Nemotron 3; vLLM reads it as ``qwen3_coder``.
Values are untyped text (``untyped`` says how types are found again) that stands between one line break on either side.
A value reaches to the first ``</parameter>``; one that holds ``<parameter=`` is refused, because then it cannot be told
from a value that was never closed.
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
VALUE, VALUE_END = "<parameter=", "</parameter>"

_HEAD = re.compile(r"\s*<function=([^<>\n]*)>")
_PARAMETER = re.compile(r"\s*<parameter=([^<>\n]*)>(.*?)</parameter>", re.DOTALL)
_TAIL = re.compile(r"\s*</function>\s*")


def read_body(body: str, tools: Sequence[ToolSpec] = ()) -> list[tuple[str, dict[str, Any]]]:
    """Read what stands between the marks of a block: one call, as its name and arguments.

    Raises:
        BlockError: with the kind of the problem and what is wrong.
    """
    head = _HEAD.match(body)
    if not head:
        raise BlockError("not_object", f"a call begins with <function=name>, not {shorten(body.strip()[:40])}")
    if not head[1]:
        raise BlockError("no_name", "the call has no name: <function=>")
    pairs, at = [], head.end()
    while parameter := _PARAMETER.match(body, at):
        if VALUE in parameter[2]:
            raise BlockError("bad_arguments", f"{VALUE}{parameter[1]}> has no {VALUE_END} before the next {VALUE}")
        pairs.append((parameter[1], parameter[2].removeprefix("\n").removesuffix("\n")))
        at = parameter.end()
    if not _TAIL.fullmatch(body, at):
        raise BlockError("bad_arguments", f"expected <parameter=key> or </function>, found {shorten(body[at:][:40])}")
    return [(head[1], read_arguments(head[1], pairs, tools))]


def render_calls(calls: Sequence[ToolCall]) -> str:
    """Write one block for each call, separated by line breaks.

    Raises:
        DataError: arguments that JSON cannot hold.
    """
    return "\n".join(map(_write_call, calls))


def _write_call(call: ToolCall) -> str:
    parameters = [
        f"<parameter={key}>\n{write_value(call, value)}\n</parameter>\n" for key, value in call.arguments.items()
    ]
    return f"{OPEN}\n<function={call.name}>\n{''.join(parameters)}</function>\n{CLOSE}"


def recognises(template: str) -> bool:
    """Whether a chat template asks the model for calls in this form."""
    return OPEN in template and "<function=" in template and VALUE in template


FORM = Marked(open=OPEN, close=CLOSE, read_body=read_body, render_calls=render_calls, quotes=(Quote(VALUE, VALUE_END),))
