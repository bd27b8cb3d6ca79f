"""Prompts: the tokenizer's own chat template over our records, and the check that a template keeps what we give it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from jinja2 import TemplateError

from toolwright.errors import ModelError
from toolwright.records import Message, ToolCall, ToolSpec

REFUSALS = (TemplateError, ValueError, TypeError, KeyError, AttributeError)
"""What a template raises for messages that it does not take."""


class ChatTemplate(Protocol):
    """The part of a tokenizer that is needed here."""

    chat_template: Any

    def apply_chat_template(self, conversation: Any, *args: Any, **kwargs: Any) -> Any:
        """Render a conversation, as ``transformers`` does."""
        ...


@dataclass(frozen=True)
class Style:
    """What chat templates disagree on: the form in which they take arguments and content."""

    arguments: Literal["mapping", "json"] = "mapping"
    content: Literal["text", "parts"] = "text"


def render_prompt(
    tokenizer: ChatTemplate,
    messages: Sequence[Message],
    tools: Sequence[ToolSpec],
    *,
    add_generation_prompt: bool = True,
    **template_kwargs: Any,
) -> str:
    """Render a conversation with the tokenizer's own chat template.

    Arguments and content go in as the template wants them (``style_of``), absent content as "", tools in OpenAI form
    with name, description and parameters only. Other keywords, such as ``enable_thinking``, reach the template.

    Raises:
        ModelError: the template refuses; says why.
    """
    try:
        return _render(tokenizer, style_of(tokenizer), messages, tools, add_generation_prompt, template_kwargs)
    except REFUSALS as error:
        raise refusal(tokenizer, messages, error) from error


def refusal(tokenizer: ChatTemplate, messages: Sequence[Message], error: Exception) -> ModelError:
    """The error for a template that refuses ``messages``."""
    name = getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__
    roles = " ".join(message.role for message in messages)
    return ModelError(f"{name}: the chat template refuses the messages ({roles}): {_one_line(error)}")


def _render(
    tokenizer: ChatTemplate,
    style: Style,
    messages: Sequence[Message],
    tools: Sequence[ToolSpec],
    add_generation_prompt: bool,
    template_kwargs: Mapping[str, Any],
) -> str:
    text = tokenizer.apply_chat_template(
        [for_template(message, style) for message in messages],
        tools=[tool.to_openai() for tool in tools] or None,
        tokenize=False,
        add_generation_prompt=add_generation_prompt,
        **template_kwargs,
    )
    return str(text)


def for_template(message: Message, style: Style) -> dict[str, Any]:
    """A message as a template takes it."""
    row: dict[str, Any] = {"role": message.role, "content": message.content or ""}
    if message.reasoning_content is not None:
        row["reasoning_content"] = row["thinking"] = message.reasoning_content
    if message.tool_calls:
        row["tool_calls"] = [_call_for_template(call, style) for call in message.tool_calls]
    if message.tool_call_id is not None:
        row["tool_call_id"] = message.tool_call_id
    if message.name is not None:
        row["name"] = message.name
    if style.content == "parts":
        row["content"] = [{"type": "text", "text": row["content"]}]
    return row


def _call_for_template(call: ToolCall, style: Style) -> dict[str, Any]:
    arguments = call.arguments if style.arguments == "mapping" else json.dumps(call.arguments, ensure_ascii=False)
    row: dict[str, Any] = {"type": "function", "function": {"name": call.name, "arguments": arguments}}
    return {"id": call.id, **row} if call.id else row


def style_of(tokenizer: ChatTemplate) -> Style:
    """The form in which the tokenizer's chat template takes arguments and content, learned by probing it.

    Mappings are tried before JSON strings; the first that keeps the words of a call wins.
    """
    key = str(tokenizer.chat_template)
    if key not in _STYLES:
        _STYLES[key] = _learn_style(tokenizer)
    return _STYLES[key]


def _learn_style(tokenizer: ChatTemplate) -> Style:
    def text(style: Style, *messages: Message) -> str:
        try:
            return _render(tokenizer, style, messages, [_PROBE_TOOL], False, {})
        except REFUSALS:
            return ""

    user, called = _ONE_CALL[:2]
    content: Literal["text", "parts"] = "parts" if "plover" in text(Style(content="parts"), user) else "text"
    if "plover" in text(Style(), user):
        content = "text"
    forms: tuple[Literal["mapping", "json"], ...] = ("mapping", "json")
    for style in (Style(form, content) for form in forms):
        shown = text(style, user, called)
        if "vexmoor" in shown and "{'quibbit'" not in shown:  # the latter is Python's repr of a mapping, not a call
            return style
    return Style(content=content)


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


_PROBE_TOOL = ToolSpec(
    name="zorblax_probe",
    description="Quindle the frobnication.",
    parameters={"type": "object", "properties": {"quibbit": {"type": "string", "description": "Wumpling."}}},
)
_PROBE = (
    Message(role="user", content="Snargle the plover."),
    Message(
        role="assistant",
        tool_calls=(
            ToolCall(name="zorblax_probe", arguments={"quibbit": "vexmoor"}, id="probe0001"),
            ToolCall(name="zorblax_probe", arguments={"quibbit": "drimble"}, id="probe0002"),
        ),
    ),
    Message(role="tool", content="plundrig", tool_call_id="probe0001", name="zorblax_probe"),
    Message(role="tool", content="gostwick", tool_call_id="probe0002", name="zorblax_probe"),
    Message(role="assistant", content="Thrimbled."),
)
_ONE_CALL = (
    _PROBE[0],
    _PROBE[1].model_copy(update={"tool_calls": _PROBE[1].tool_calls[:1]}),
    _PROBE[2],
    _PROBE[4],
)
_STYLES: dict[str, Style] = {}  # by chat template
_NEXT = "use an instruct model whose template supports tools, or save one with the tokenizer as chat_template.jinja"


def check_template(tokenizer: ChatTemplate, source: str) -> None:
    """Refuse a tokenizer whose chat template is missing, or loses tools, calls or results.

    A template that refuses several calls in one turn passes: where such a turn is rendered, it says so itself.

    ``source`` names the tokenizer in the message: a path or a hub id.

    Raises:
        ModelError: one line that says what is lost and what to do.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise ModelError(f"{source}: the tokenizer has no chat template; {_NEXT}")
    calls: tuple[str, ...] = ("vexmoor", "drimble")
    results: tuple[str, ...] = ("plundrig", "gostwick")
    try:
        text = render_prompt(tokenizer, _PROBE, [_PROBE_TOOL], add_generation_prompt=False)
    except ModelError as error:
        calls, results = calls[:1], results[:1]
        try:
            text = render_prompt(tokenizer, _ONE_CALL, [_PROBE_TOOL], add_generation_prompt=False)
        except ModelError:
            raise ModelError(f"{source}: {error}; {_NEXT}") from error
    # The tool's name is in the calls as well: only its description and parameters prove that tools are shown.
    for what, words in (
        ("the tools", ("frobnication", "Wumpling")),
        ("the assistant's tool_calls", calls),
        ("the tool results", results),
    ):
        lost = [word for word in words if word not in text]
        if lost:
            raise ModelError(f"{source}: the chat template drops {what} (lost: {', '.join(lost)}); {_NEXT}")
