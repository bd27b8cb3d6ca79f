"""The Gemma 4 form: ``<|tool_call>call:name{key:<|"|>text<|"|>,n:1}<tool_call|>``, thinking in a ``thought`` channel.

Written by the chat templates of Gemma 4 and DiffusionGemma, which sort the keys and put the calls before the text; vLLM
reads it as ``gemma4``. Strings stand between ``<|"|>`` as they are, without escapes; keys have no quotes; the rest is
as in JSON, but that older templates write ``None``.
"""

import re
from collections.abc import Sequence
from typing import Any

from toolwright.dialect.block import BlockError, write_json
from toolwright.dialect.literal import Reader, Syntax
from toolwright.dialect.marked import Marked, Quote
from toolwright.dialect.untyped import strict
from toolwright.errors import DataError
from toolwright.records import ToolCall, ToolSpec

OPEN, CLOSE = "<|tool_call>", "<tool_call|>"
THINK, THINK_END = "<|channel>thought", "<channel|>"
QUOTE = '<|"|>'

_SYNTAX = Syntax(
    string=re.compile(r'<\|"\|>.*?<\|"\|>', re.DOTALL),
    unquote=lambda text: text[len(QUOTE) : -len(QUOTE)],
    bare_key=re.compile(r"[^\s:,{}\[\]<>][^:,{}\[\]<>\n]*"),
)
_NAME = re.compile(r"[^\s{}<>]+(?=\s*\{)")


def read_body(body: str, tools: Sequence[ToolSpec] = ()) -> list[tuple[str, dict[str, Any]]]:
    """Read what stands between the marks of a block: one call, as its name and arguments.

    Raises:
        BlockError: with the kind of the problem and what is wrong.
    """
    reader = Reader(body, _SYNTAX)
    if not reader.skip("call:"):
        raise BlockError("not_object", "a call is written call:name{…}")
    name = reader.match(_NAME, "the name of the tool and {")
    reader.mark("{")
    arguments = reader.pairs(reader.key, ":", "}")
    reader.end()
    return [(name, strict(arguments))]


def render_calls(calls: Sequence[ToolCall]) -> str:
    """Write one block for each call, with nothing between.

    Raises:
        DataError: arguments that JSON cannot hold, or a string with the marks of strings in it.
    """
    return "".join(map(_write_call, calls))


def _write_call(call: ToolCall) -> str:
    write_json(call, call.arguments)  # refuses what JSON cannot hold
    pairs = ",".join(f"{key}:{_literal(call, value)}" for key, value in call.arguments.items())
    return f"{OPEN}call:{call.name}{{{pairs}}}{CLOSE}"


def _literal(call: ToolCall, value: object) -> str:
    if isinstance(value, str):
        if QUOTE in value:
            raise DataError(f"arguments of call {call.name!r}: a string holds {QUOTE}, which nothing can escape")
        return f"{QUOTE}{value}{QUOTE}"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_literal(call, item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(_literal(call, item) for item in value) + "]"
    return write_json(call, value)


def recognises(template: str) -> bool:
    """Whether a chat template asks the model for calls in this form."""
    return OPEN in template and CLOSE in template


FORM = Marked(
    open=OPEN,
    close=CLOSE,
    read_body=read_body,
    render_calls=render_calls,
    quotes=(Quote(QUOTE, QUOTE),),
    margin="",
    think=THINK,
    think_end=THINK_END,
)
