"""The harmony form of gpt-oss: messages in channels, calls in JSON to ``functions.name`` on the commentary channel.

Analysis is reasoning, final and commentary without a recipient are content. The chat template writes one call in a
turn and puts text beside it into the analysis channel; vLLM reads the form as ``openai``. ``channels`` says how a text
is read. Calls to built-in tools (``python``, ``browser``) are none that we can express: they stay in the content.
"""

import re
from collections.abc import Sequence
from typing import Any

from toolwright.dialect.block import BlockError, load_json, write_json
from toolwright.dialect.channels import MESSAGE, START, Header, Protocol, Scanner
from toolwright.records import Message, ToolCall, ToolSpec
from toolwright.words import shorten

CHANNEL = "<|channel|>"
END, CALL = "<|end|>", "<|call|>"

_PREFIX = "functions."
_HEADER = re.compile(
    r"(?:<\|start\|>assistant)?\s*(?:to=([^\s<]+)\s*)?<\|channel\|>(\w+)(?:\s+to=([^\s<]+))?\s*(?:<\|constrain\|>)?(\w*)"
)


def _read_header(text: str) -> Header | None:
    found = _HEADER.fullmatch(text)
    if not found or (found[1] and found[3]):
        return None
    recipient, channel = found[1] or found[3], found[2]
    if recipient is None and not found[4]:
        kinds: dict[str, Header] = {"analysis": Header("reasoning"), "final": Header("content")}
        return kinds.get(channel, Header("content") if channel == "commentary" else None)
    if recipient is None or not recipient.startswith(_PREFIX) or channel not in ("commentary", "analysis"):
        return None
    return Header("call", recipient.removeprefix(_PREFIX)) if recipient != _PREFIX else None


def _read_call(header: Header, body: str, tools: Sequence[ToolSpec]) -> list[tuple[str, dict[str, Any]]]:
    arguments = load_json(body)
    if not isinstance(arguments, dict):
        raise BlockError("bad_arguments", f"the arguments are not a JSON object: {shorten(arguments, 60)}")
    return [(header.name, arguments)]


PROTOCOL = Protocol(
    starts=(START, CHANNEL, "to="),
    ends=(END, CALL, "<|return|>"),
    value_open='"',
    value_part=r'\\.|(")',
    read_header=_read_header,
    read_call=_read_call,
)


def scanner(tools: Sequence[ToolSpec] = ()) -> Scanner:
    """A scanner for this form; the text is typed, so ``tools`` say nothing."""
    return Scanner(PROTOCOL)


def wrap(body: str) -> str:
    """Put the marks of a call around raw text."""
    return f"{START}assistant{CHANNEL}commentary json{MESSAGE}{body}{CALL}"


def render_calls(calls: Sequence[ToolCall]) -> str:
    """Write one message for each call, as they stand after ``<|start|>assistant``; the last end mark is left out.

    Raises:
        DataError: arguments that JSON cannot hold.
    """
    return f"{CALL}{START}assistant".join(
        f" to={_PREFIX}{call.name}{CHANNEL}commentary json{MESSAGE}{write_json(call, call.arguments)}" for call in calls
    )


def render_assistant(message: Message) -> str:
    """Write an assistant message: reasoning, content, calls; the caller makes sure that it reads back the same."""
    parts = [f"{CHANNEL}analysis{MESSAGE}{message.reasoning_content}"] if message.reasoning_content else []
    if (message.content or "").strip() or not message.tool_calls:
        parts.append(f"{CHANNEL}{'commentary' if message.tool_calls else 'final'}{MESSAGE}{message.content or ''}")
    return f"{END}{START}assistant".join(filter(None, [*parts, render_calls(message.tool_calls)]))


def recognises(template: str) -> bool:
    """Whether a chat template asks the model for calls in this form."""
    return f"{CHANNEL}commentary" in template and "functions" in template
