"""The words of conversations: turns read back as a server reads them, reasoning, and special tokens among words."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sft.frame import EncodeError, Frame, offered
from toolwright.dialect import opened_reasoning, parse
from toolwright.records import Conversation, Message, ToolCall, ToolSpec
from toolwright.words import shorten

_MAY_BE_MORE = re.compile(r"[<\[{]")  # every dialect's calls and reasoning begin with one of these
_encode_json = json.JSONEncoder(ensure_ascii=False).encode
_NO_THOUGHT = "<think>\n\n</think>\n\n"
_THINK = re.compile(r"\s*<think>(.*?)</think>(.*)", re.DOTALL)


def split_thinking(message: Message) -> tuple[str, str]:
    """Reasoning and content of a message; reasoning may also stand inside the content, between ``<think>`` marks."""
    content, reasoning = message.content or "", message.reasoning_content or ""
    if not reasoning and (match := _THINK.match(content)):
        reasoning, content = match[1], match[2]
    return reasoning.strip(), content.strip()


def require_same_message(
    prompt: str,
    text: str,
    message: Message,
    tools: Sequence[ToolSpec],
    frame: Frame,
    where: str,
    *,
    reasoning: bool = True,
) -> None:
    """The turn ``text`` after ``prompt`` must give the message's own calls, content and, if asked, reasoning.

    Raises:
        EncodeError: it does not; names what the chat template lost.
    """
    thought, content = split_thinking(message)
    if not message.tool_calls and not thought:
        said = text.removeprefix(_NO_THOUGHT).strip()
        if said == content and not _MAY_BE_MORE.search(said):
            return
    parsed = parse(opened_reasoning(prompt, frame.dialect) + text, frame.dialect, tools)
    if parsed.problems:
        raise EncodeError(f"{where}: reads back with a problem ({parsed.problems[0].detail}): {shorten(text)}")
    wrote, meant = parsed.calls, message.tool_calls
    same_calls = _written(wrote) == _written(meant) or _as_json(wrote) == _as_json(meant)
    got_thought = (parsed.reasoning or "").strip()
    for what, got, want in (
        *([] if same_calls else [("tool_calls", _as_json(wrote), _as_json(meant))]),
        ("content", (parsed.content or "").strip(), content),
        ("reasoning_content", got_thought, thought if reasoning else got_thought),
    ):
        if got != want:
            raise EncodeError(
                f"{where}.{what}: the chat template does not keep it: {shorten(want)} reads back as {shorten(got)}; "
                "change the message or use a template that can express it"
            )


def _written(calls: Sequence[ToolCall]) -> list[str]:
    return [f"{call.name} {call.arguments!r}" for call in calls]


def _as_json(calls: Sequence[ToolCall]) -> list[str]:
    # Not the values themselves, because True == 1 == 1.0 in Python; the order of arguments says nothing.
    return [f"{call.name} {json.dumps(call.arguments, ensure_ascii=False, sort_keys=True)}" for call in calls]


def drop_thinking(conversation: Conversation) -> Conversation:
    """The conversation without the reasoning of its assistants."""

    def drop(message: Message) -> Message:
        thought, content = split_thinking(message)
        if message.role != "assistant" or not thought:
            return message
        return message.model_copy(update={"reasoning_content": None, "content": content or None})

    return conversation.model_copy(update={"messages": tuple(map(drop, conversation.messages))})


def require_no_markers(conversation: Conversation, frame: Frame, where: str) -> None:
    """Refuse special tokens in the words of messages, calls, results and tools.

    A tokenizer would read them as the structure of the conversation: a user could write an assistant's turn.

    Raises:
        EncodeError: one is there; names message and field.
    """
    texts = [(index, *words) for index, message in enumerate(conversation.messages) for words in _texts(message)]
    if frame.markers.search("\n".join([text for _, _, text in texts])):  # no special token has a line break in it
        for index, field, text in texts:
            if match := frame.markers.search(text):
                around = text[max(0, match.start() - 20) : match.end() + 20]
                raise EncodeError(
                    f"{where}: messages[{index}].{field}: contains the special token {match[0]!r} as text "
                    f"({around!r}); drop the conversation, or break such tokens up with sft.markers=escape"
                )
    tools = offered(conversation.tools)
    if frame.markers not in tools.free_of:
        for tool, row in zip(conversation.tools, tools.rows):
            if match := frame.markers.search(row.json):
                raise EncodeError(f"{where}: tool {tool.name!r}: contains the special token {match[0]!r} as text")
        tools.free_of.add(frame.markers)


def _texts(message: Message) -> list[tuple[str, str]]:
    texts = [("content", message.content), ("reasoning_content", message.reasoning_content)]
    for number, call in enumerate(message.tool_calls):
        texts.append((f"tool_calls[{number}]", call.name + _encode_json(call.arguments)))
    return [(field, text) for field, text in texts if text]


def escape_markers(conversation: Conversation, frame: Frame) -> Conversation:
    """Break special tokens in words up by a space after their first character: ``<|im_end|>`` becomes ``< |im_end|>``.

    Serving must treat the words of users and tools alike; a model that is served without it may be steered by them.
    """

    def escape(text: str) -> str:
        return frame.markers.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text)

    return Conversation.model_validate(_map_strings(conversation.model_dump(), escape))


def _map_strings(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {_map_strings(key, change): _map_strings(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_map_strings(item, change) for item in value]
    return value
