"""The LFM2 form: ``<|tool_call_start|>[name(key='text', other=[1, 2])]<|tool_call_end|>``, all calls in one list.

Written by the chat templates of LFM2 and LFM2.5; vLLM reads it as ``lfm2``. Values are Python literals of the kinds
that JSON has, or JSON: templates write ``None`` beside ``{"a": null}``. They are read by hand, because Python's own
parser refuses names that tools have (``get-weather``, ``from=``). A block may hold JSON, as LFM2 writes on request.
Some LFM2.5 templates do not escape quotes in strings; what they write cannot always be read back.
"""

import re
from collections.abc import Sequence
from typing import Any

from toolwright.dialect.block import BlockError, read_block, write_json
from toolwright.dialect.literal import Reader, Syntax
from toolwright.dialect.marked import Marked, Quote
from toolwright.dialect.untyped import strict
from toolwright.records import ToolCall, ToolSpec
from toolwright.words import shorten

OPEN, CLOSE = "<|tool_call_start|>", "<|tool_call_end|>"

_STRING = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{1,3})|(.))", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "a": "\a", "v": "\v", "\n": ""}
_NAME = re.compile(r"[^\s()\[\]{}=,:'\"]+")
_JSON = re.compile(r"\s*(?:\[\s*)?\{")


def _unquote(text: str) -> str:
    return _ESCAPE.sub(_unescape, text[1:-1])


def _unescape(escape: re.Match[str]) -> str:
    code = escape[1] or escape[2] or escape[3]
    if code or escape[4]:
        number = int(code, 16) if code else int(escape[4], 8)
        if number > 0x10FFFF:
            raise BlockError("not_json", f"the escape {escape[0]} is no character")
        return chr(number)
    if escape[5] in "xuUN":
        raise BlockError("not_json", f"the escape {shorten(escape[0])} is not complete or not supported")
    # As in Python, a backslash before any other character is a backslash.
    return _ESCAPED.get(escape[5], escape[5] if escape[5] in "\\'\"" else escape[0])


_SYNTAX = Syntax(_STRING, _unquote)


def read_body(body: str, tools: Sequence[ToolSpec] = ()) -> list[tuple[str, dict[str, Any]]]:
    """Read what stands between the marks of a block: a list of calls, as names and arguments.

    Raises:
        BlockError: with the kind of the problem and what is wrong.
    """
    if _JSON.match(body):
        return read_block(body)
    reader = Reader(body, _SYNTAX)
    calls: list[tuple[str, dict[str, Any]]] = []
    reader.mark("[")
    while not calls or not reader.skip("]"):
        if calls:
            reader.mark(",")
        name = reader.match(_NAME, "the name of a tool")
        reader.mark("(")
        calls.append((name, strict(reader.pairs(lambda: reader.match(_NAME, "the name of a parameter"), "=", ")"))))
    reader.end()
    return calls


def render_calls(calls: Sequence[ToolCall]) -> str:
    """Write calls as one list, with the marks of its block.

    Raises:
        DataError: arguments that JSON cannot hold.
    """
    return f"{OPEN}[{', '.join(map(_write_call, calls))}]{CLOSE}"


def _write_call(call: ToolCall) -> str:
    pairs = ", ".join(f"{key}={_literal(call, value)}" for key, value in call.arguments.items())
    return f"{call.name}({pairs})"


def _literal(call: ToolCall, value: object) -> str:
    if isinstance(value, str):
        for plain, escaped in (("\\", "\\\\"), ("'", "\\'"), ("\n", "\\n"), ("\r", "\\r")):
            value = value.replace(plain, escaped)
        return f"'{value}'"
    return str(value) if value is None or isinstance(value, bool) else write_json(call, value)


def recognises(template: str) -> bool:
    """Whether a chat template belongs to a model that writes calls in this form, be it that it drops earlier calls."""
    return OPEN in template or "<|tool_list_start|>" in template


FORM = Marked(
    open=OPEN,
    close=CLOSE,
    read_body=read_body,
    render_calls=render_calls,
    quotes=(Quote("'", "'", escapes=True), Quote('"', '"', escapes=True)),
    margin="",
    think_margin="",
)
