"""Conversations as text, exactly as `models/tiny/chat_template.jinja` writes them, in segments with a training flag.

The template itself is slow and does not say which part the assistant wrote; a test holds both to the same text.
"""

import json
from typing import Any

from models.pretrain.corpus import Conversation, Message

CALL_HINT = "To use a tool, answer with its call as JSON in <tool_call></tool_call>."

Segment = tuple[str, bool]
"""A piece of text, and whether the assistant wrote it (its end-of-turn token included)."""


def dump(value: Any) -> str:
    """Return compact one-line JSON as the chat template's `tojson` writes it."""
    return json.dumps(value, ensure_ascii=False)


def render_call(call: Message) -> str:
    """Return one call in hermes format."""
    function = call["function"]
    return (
        f'<tool_call>\n{{"name": {dump(function["name"])}, "arguments": {dump(function["arguments"])}}}\n</tool_call>'
    )


def _render_system(text: str, tools: list[dict[str, Any]]) -> str:
    lines = [dump({key: tool["function"][key] for key in ("name", "description", "parameters")}) for tool in tools]
    hint = "\n".join([CALL_HINT, "<tools>", *lines, "</tools>"]) if tools else ""
    return "<|im_start|>system\n" + "\n\n".join(part for part in (text, hint) if part) + "<|im_end|>\n"


def render(conversation: Conversation) -> list[Segment]:
    """Return the conversation as segments; their texts joined are what the chat template renders."""
    messages = conversation.messages
    system = messages[0]["content"] if messages[0]["role"] == "system" else ""
    text = _render_system(system, conversation.tools) if system or conversation.tools else ""
    segments: list[Segment] = []
    for index, message in enumerate(messages):
        role, before = message["role"], messages[index - 1]["role"] if index else ""
        if role == "user":
            text += f"<|im_start|>user\n{message['content']}<|im_end|>\n"
        elif role == "tool":
            text += "" if before == "tool" else "<|im_start|>user"
            text += f"\n<tool_response>\n{message['content']}\n</tool_response>"
            last = index + 1 == len(messages) or messages[index + 1]["role"] != "tool"
            text += "<|im_end|>\n" if last else ""
        elif role == "assistant":
            calls = [render_call(call) for call in message.get("tool_calls") or []]
            written = "\n".join(part for part in (message["content"], *calls) if part)
            segments += [(text + "<|im_start|>assistant\n", False), (written + "<|im_end|>", True)]
            text = "\n"
    return [*segments, (text, False)]
