"""Finds, in the text of a rendered conversation, what the model itself would write: each assistant turn.

Works from the tokenizer's own chat template. Of every assistant turn three renders are compared: the prompt that a
server would be given at that moment, the conversation up to the turn, and the whole conversation. Where they disagree
the template rewrites history, and the turn would be trained after a prompt that is never served; that is an error.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolwright.dialect import dialect_for, parse, render_prompt
from toolwright.errors import DataError, ModelError
from toolwright.records import Conversation, Message, ToolCall, ToolSpec, shorten


class EncodeError(DataError):
    """A conversation cannot be trained on exactly; names conversation and message."""


@dataclass(frozen=True)
class Frame:
    """What a chat template puts around assistant turns, learned by probing it.

    ``terminators`` end a turn and so stop generation; ``markers`` matches any special token of the tokenizer.
    """

    tokenizer: Any
    dialect: str
    terminators: tuple[str, ...]
    markers: re.Pattern[str]
    template_kwargs: Mapping[str, Any]

    def render(self, messages: Sequence[Message], tools: Sequence[ToolSpec], prompt: bool) -> str:
        """The text of ``messages``; with ``prompt``, up to where the model's next turn begins."""
        return render_prompt(
            self.tokenizer, messages, tools, add_generation_prompt=prompt, **dict(self.template_kwargs)
        )


@dataclass(frozen=True)
class Turn:
    """Characters ``start:end`` of the rendered text are what the model writes as ``message``, terminator included."""

    message: int
    start: int
    end: int


_USER = Message(role="user", content="Which weather?")
_TOOL = ToolSpec(name="probe_weather", description="Probe.")
_ANSWERS = (
    Message(role="assistant", content="Sunny."),
    Message(role="assistant", tool_calls=(ToolCall(name="probe_weather", arguments={"city": "Oslo"}, id="probe0001"),)),
)


def learn_frame(tokenizer: Any, template_kwargs: Mapping[str, Any] | None = None) -> Frame:
    """Probe the tokenizer's chat template with a plain answer and with a call.

    Raises:
        ModelError: a dialect of calls that we cannot read, or turns that no special token ends.
    """
    source = getattr(tokenizer, "name_or_path", "") or "tokenizer"
    specials = sorted(_special_tokens(tokenizer), key=len, reverse=True)
    terminators = []
    for answer in _ANSWERS:
        messages = (_USER, answer)
        text = render_prompt(tokenizer, messages, [_TOOL], add_generation_prompt=False, **dict(template_kwargs or {}))
        last = next((token for token in specials if text.rstrip().endswith(token)), None)
        if last is None:
            raise ModelError(
                f"{source}: the chat template ends an assistant turn with {text[-20:]!r}, no special token; the model "
                "would not learn to stop. Use another template"
            )
        terminators.append(last)
    markers = re.compile("|".join(map(re.escape, specials)))
    dialect = dialect_for(str(source), tokenizer.chat_template)
    return Frame(tokenizer, dialect, tuple(dict.fromkeys(terminators)), markers, dict(template_kwargs or {}))


def _special_tokens(tokenizer: Any) -> set[str]:
    added = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    return added | set(tokenizer.all_special_tokens)


def name_of(conversation: Conversation) -> str:
    """How errors name a conversation."""
    return f"conversation {conversation.id!r}" if conversation.id else "conversation"


def find_turns(conversation: Conversation, frame: Frame, last_only: bool = False) -> tuple[str, list[Turn]]:
    """Render a conversation once in full, and find its assistant turns in the text, or the last of them.

    Raises:
        EncodeError: no assistant turn, a turn without anything before it or without its terminator, history that the
            template rewrites, or a turn that does not read back as the message that it was made from.
    """
    messages, tools = conversation.messages, conversation.tools
    where = name_of(conversation)
    full = _render(frame, messages, tools, False, where)
    assistant = [index for index, message in enumerate(messages) if message.role == "assistant"]
    if not assistant:
        raise EncodeError(f"{where}: no assistant message, so there is nothing to train; drop it")
    turns = []
    for index in assistant[-1:] if last_only else assistant:
        here = f"{where}: messages[{index}]"
        if index == 0:
            raise EncodeError(f"{here}: nothing comes before this assistant message; begin with system or user")
        prompt = _render(frame, messages[:index], tools, True, here)
        last = index == len(messages) - 1
        through = full if last else _render(frame, messages[: index + 1], tools, False, here)
        _require_prefix(prompt, through, here)
        end, terminator = _turn_end(through, len(prompt), frame, here)
        _require_prefix(through[:end], full, here)
        _require_same_message(through[len(prompt) : end - len(terminator)], messages[index], frame, here)
        turns.append(Turn(index, len(prompt), end))
    return full, turns


def _render(frame: Frame, messages: Sequence[Message], tools: Sequence[ToolSpec], prompt: bool, where: str) -> str:
    try:
        return frame.render(messages, tools, prompt)
    except ModelError as error:
        raise EncodeError(f"{where}: {error}") from None


def _require_prefix(beginning: str, text: str, where: str) -> None:
    if text.startswith(beginning):
        return
    at = next((i for i, (a, b) in enumerate(zip(beginning, text)) if a != b), min(len(beginning), len(text)))
    raise EncodeError(
        f"{where}: the chat template rewrites history: it served {beginning[at : at + 40]!r} where the whole "
        f"conversation has {text[at : at + 40]!r}. Train last turns only (sft.train_on=last_turn), "
        "or use a template that keeps what was written"
    )


def _turn_end(through: str, start: int, frame: Frame, where: str) -> tuple[int, str]:
    """Where the turn that begins at ``start`` ends, after its terminator, and which terminator that is."""
    body = through[start:].rstrip()
    for terminator in frame.terminators:
        if body.endswith(terminator):
            if frame.markers.search(body[: -len(terminator)]):
                raise EncodeError(f"{where}: the template puts more than this turn into it: {shorten(body)}")
            return start + len(body), terminator
    raise EncodeError(f"{where}: the turn ends with {body[-20:]!r}, not with {' or '.join(frame.terminators)}")


def _require_same_message(text: str, message: Message, frame: Frame, where: str) -> None:
    """The trained text, read as a server reads it, must give the message's own content, reasoning and calls."""
    parsed = parse(text, frame.dialect)
    if parsed.problems:
        raise EncodeError(f"{where}: reads back with a problem ({parsed.problems[0].detail}): {shorten(text)}")
    wrote = [(call.name, call.arguments) for call in parsed.calls]
    meant = [(call.name, call.arguments) for call in message.tool_calls]
    for what, got, want in (
        ("tool_calls", wrote, meant),
        ("content", (parsed.content or "").strip(), (message.content or "").strip()),
        ("reasoning_content", (parsed.reasoning or "").strip(), (message.reasoning_content or "").strip()),
    ):
        if got != want:
            raise EncodeError(
                f"{where}.{what}: the chat template does not keep it: {shorten(want)} reads back as {shorten(got)}; "
                "change the message or use a template that can express it"
            )


def require_no_markers(conversation: Conversation, frame: Frame) -> None:
    """Refuse special tokens in the words of messages, calls, results and tools.

    A tokenizer would read them as the structure of the conversation: a user could write an assistant's turn.

    Raises:
        EncodeError: one is there; names message and field.
    """
    where = name_of(conversation)
    for index, message in enumerate(conversation.messages):
        for field, text in _texts(message):
            if match := frame.markers.search(text):
                around = text[max(0, match.start() - 20) : match.end() + 20]
                raise EncodeError(
                    f"{where}: messages[{index}].{field}: contains the special token {match[0]!r} as text "
                    f"({around!r}); drop the conversation, or break such tokens up with sft.markers=escape"
                )
    for tool in conversation.tools:
        if match := frame.markers.search(json.dumps(tool.to_openai(), ensure_ascii=False)):
            raise EncodeError(f"{where}: tool {tool.name!r}: contains the special token {match[0]!r} as text")


def _texts(message: Message) -> list[tuple[str, str]]:
    texts = [("content", message.content), ("reasoning_content", message.reasoning_content)]
    for number, call in enumerate(message.tool_calls):
        texts.append((f"tool_calls[{number}]", call.name + json.dumps(call.arguments, ensure_ascii=False)))
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
