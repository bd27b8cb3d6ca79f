"""The ATEM form of Muse Glimmer: messages to ``self``, to ``user``, or to a tool, the latter with tagged calls inside.

``<atem:invoke name="f">`` holds an ``<atem:parameter name="key">`` for each argument, whose text is untyped
(``untyped`` says how types are found again). The chat template drops text beside calls; vLLM reads the form as
``muse_glimmer``. ``channels`` says how a text is read.
"""

import re
from collections.abc import Sequence
from typing import Any

from toolwright.dialect.block import BlockError
from toolwright.dialect.channels import MESSAGE, START, Header, Protocol, Scanner
from toolwright.dialect.parsed import ProblemKind
from toolwright.dialect.untyped import read_arguments, write_value
from toolwright.records import Message, ToolCall, ToolSpec
from toolwright.words import shorten

END = "<|eom|>"
OPEN, CLOSE = "<atem:function_calls>", "</atem:function_calls>"

_HEADER = re.compile(r"(?:<\|start\|>assistant)?\s*(?:to=([^\s<]+))?")
_BLOCK = re.compile(rf"\s*{OPEN}(.*){CLOSE}\s*", re.DOTALL)
_INVOKE = re.compile(r'\s*<atem:invoke name="([^"]*)">')
_PARAMETER = re.compile(r'\s*<atem:parameter name="([^"]*)">(.*?)</atem:parameter>', re.DOTALL)
_INVOKE_END = re.compile(r"\s*</atem:invoke>\s*")


def _read_header(text: str) -> Header | None:
    found = _HEADER.fullmatch(text)
    if not found:
        return None
    kinds = {"self": Header("reasoning"), "user": Header("content"), None: Header("content")}
    return kinds.get(found[1]) or Header("call", found[1])


def _read_call(header: Header, body: str, tools: Sequence[ToolSpec]) -> list[tuple[str, dict[str, Any]]]:
    block = _BLOCK.fullmatch(body)
    if not block:
        raise BlockError("not_object", f"a message to {header.name!r} holds one {OPEN} block and nothing else")
    calls, at, text = [], 0, block[1]
    while invoke := _INVOKE.match(text, at):
        pairs, at = [], invoke.end()
        while parameter := _PARAMETER.match(text, at):
            if "<atem:parameter " in parameter[2]:
                raise BlockError("bad_arguments", f"the parameter {parameter[1]!r} has no end before the next one")
            pairs.append((parameter[1], parameter[2]))
            at = parameter.end()
        end = _INVOKE_END.match(text, at)
        if not end or not invoke[1]:
            kind: ProblemKind = "bad_arguments" if invoke[1] else "no_name"
            raise BlockError(kind, f"expected a named call's parameters and end, found {shorten(text[at:][:40])}")
        at = end.end()
        calls.append((invoke[1], read_arguments(invoke[1], pairs, tools)))
    if not calls or text[at:].strip():
        raise BlockError("not_object", f'expected <atem:invoke name="…">, found {shorten(text[at:].strip()[:40])}')
    return calls


PROTOCOL = Protocol(
    starts=(START, "to="),
    ends=(END, "<|eot|>"),
    value_open="<atem:parameter ",
    value_part="(</atem:parameter>)",
    read_header=_read_header,
    read_call=_read_call,
)


def scanner(tools: Sequence[ToolSpec] = ()) -> Scanner:
    """A scanner for this form; ``tools`` decide the types of arguments."""
    return Scanner(PROTOCOL, tools)


def wrap(body: str) -> str:
    """Put the marks of a call around raw text."""
    return f"{START}assistant to=tool{MESSAGE}{body}{END}"


def render_calls(calls: Sequence[ToolCall]) -> str:
    """Write one message for each call, as they stand after ``<|start|>assistant``; the last end mark is left out.

    Raises:
        DataError: arguments that JSON cannot hold.
    """
    return f"{END}{START}assistant".join(map(_write_call, calls))


def _write_call(call: ToolCall) -> str:
    parameters = [
        f'<atem:parameter name="{key}">{write_value(call, value)}</atem:parameter>\n'
        for key, value in call.arguments.items()
    ]
    invoke = f'<atem:invoke name="{call.name}">\n{"".join(parameters)}</atem:invoke>'
    return f" to={call.name}{MESSAGE}{OPEN}\n{invoke}\n{CLOSE}"


def render_assistant(message: Message) -> str:
    """Write an assistant message: reasoning, content, calls; the caller makes sure that it reads back the same."""
    parts = [f" to=self{MESSAGE}{message.reasoning_content}"] if message.reasoning_content else []
    if (message.content or "").strip() or not message.tool_calls:
        parts.append(f" to=user{MESSAGE}{message.content or ''}")
    return f"{END}{START}assistant".join(filter(None, [*parts, render_calls(message.tool_calls)]))


def recognises(template: str) -> bool:
    """Whether a chat template asks the model for calls in this form."""
    return OPEN in template and "<atem:invoke" in template
