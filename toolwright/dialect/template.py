"""Prompts: the tokenizer's own chat template over our records, and the check that a template keeps what we give it."""

from collections.abc import Sequence
from typing import Any, Protocol

from jinja2 import TemplateError

from toolwright.errors import ModelError
from toolwright.records import Message, ToolCall, ToolSpec


class ChatTemplate(Protocol):
    """The part of a tokenizer that is needed here."""

    chat_template: Any

    def apply_chat_template(self, conversation: Any, *args: Any, **kwargs: Any) -> Any:
        """Render a conversation, as ``transformers`` does."""
        ...


def render_prompt(
    tokenizer: ChatTemplate,
    messages: Sequence[Message],
    tools: Sequence[ToolSpec],
    *,
    add_generation_prompt: bool = True,
    **template_kwargs: Any,
) -> str:
    """Render a conversation with the tokenizer's own chat template.

    Arguments go in as mappings (strings would be quoted twice), absent content as "", tools in OpenAI form with name,
    description and parameters only. Other keywords, such as ``enable_thinking``, reach the template as they are.

    Raises:
        ModelError: the template refuses; says why.
    """
    try:
        text = tokenizer.apply_chat_template(
            [_for_template(message) for message in messages],
            tools=[tool.to_openai() for tool in tools] or None,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            **template_kwargs,
        )
    except (TemplateError, ValueError, TypeError, KeyError, AttributeError) as error:
        name = getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__
        roles = " ".join(message.role for message in messages)
        raise ModelError(f"{name}: the chat template refuses the messages ({roles}): {_one_line(error)}") from error
    return str(text)


def _for_template(message: Message) -> dict[str, Any]:
    row = message.to_openai()
    row["content"] = message.content or ""
    if message.tool_calls:
        row["tool_calls"] = [_call_for_template(call) for call in message.tool_calls]
    return row


def _call_for_template(call: ToolCall) -> dict[str, Any]:
    row: dict[str, Any] = {"type": "function", "function": {"name": call.name, "arguments": call.arguments}}
    return {"id": call.id, **row} if call.id else row


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
_NEXT = "use an instruct model whose template supports tools, or save one with the tokenizer as chat_template.jinja"


def check_template(tokenizer: ChatTemplate, source: str) -> None:
    """Refuse a tokenizer whose chat template is missing, or loses tools, calls or results.

    ``source`` names the tokenizer in the message: a path or a hub id.

    Raises:
        ModelError: one line that says what is lost and what to do.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise ModelError(f"{source}: the tokenizer has no chat template; {_NEXT}")
    try:
        text = render_prompt(tokenizer, _PROBE, [_PROBE_TOOL], add_generation_prompt=False)
    except ModelError as error:
        raise ModelError(f"{source}: {error}; {_NEXT}") from error
    # The tool's name is in the calls as well: only its description and parameters prove that tools are shown.
    for what, words in (
        ("the tools", ("frobnication", "Wumpling")),
        ("the assistant's tool_calls", ("vexmoor", "drimble")),
        ("the tool results", ("plundrig", "gostwick")),
    ):
        lost = [word for word in words if word not in text]
        if lost:
            raise ModelError(f"{source}: the chat template drops {what} (lost: {', '.join(lost)}); {_NEXT}")
