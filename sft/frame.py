"""What a chat template puts around assistant turns, learned by probing it: how turns end, and how they may be found.

Reads and writes no files.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from weakref import WeakKeyDictionary

from jinja2 import TemplateError

from sft.marks import MarkedTemplate, Row, ToolRow, words_that_templates_test
from toolwright.dialect import dialect_for, render_prompt
from toolwright.dialect.template import REFUSALS, Style, for_template, refusal, style_of
from toolwright.errors import DataError, ModelError
from toolwright.records import Message, ToolCall, ToolSpec

Kind = Literal["text", "call"]
_KEPT_TOOLS = 256


class EncodeError(DataError):
    """A conversation cannot be trained on exactly; names conversation and message."""


class TooLongError(EncodeError):
    """No trained turn of a row ends within ``max_tokens``."""


@dataclass(frozen=True)
class Ending:
    """How a turn ends: ``terminator`` stops generation, ``tail`` is what the template writes after it at the very end.

    ``borrowed``: the template writes no terminator of its own; the model stops with the first token of what comes
    next (GLM), which the text of a last turn lacks.
    """

    terminator: str
    tail: str = ""
    borrowed: bool = False


@dataclass
class Frame:
    """A chat template and what was learned of it.

    Attributes:
        source: how errors name the tokenizer.
        dialect: how the model writes calls; ``plain`` where the template has no form for them.
        endings: how turns with and without calls end.
        markers: matches any special token.
        added: matches any added token, special or not.
        tested: matches the words that the template looks for in messages.
        marked: the template as it tells where messages begin; none where it gives another text than the tokenizer.
        leads: role of the message before -> what the generation prompt puts at the start of an assistant message.
        known: forms of messages for which ``sft.turns`` found its quick way to give what the exact way gives.
    """

    tokenizer: Any
    template_kwargs: Mapping[str, Any]
    source: str
    style: Style
    dialect: str
    endings: Mapping[Kind, Ending]
    markers: re.Pattern[str]
    added: re.Pattern[str]
    tested: re.Pattern[str]
    marked: MarkedTemplate | None = None
    leads: dict[str, str] = field(default_factory=dict)
    known: set[object] = field(default_factory=set)

    def render(self, messages: Sequence[Message], tools: Sequence[ToolSpec], *, prompt: bool) -> str:
        """The text of ``messages`` by the tokenizer's own rendering; with ``prompt``, up to the model's next turn.

        Raises:
            ModelError: the template refuses them.
        """
        return render_prompt(
            self.tokenizer, messages, tools, add_generation_prompt=prompt, **dict(self.template_kwargs)
        )

    def render_quickly(self, messages: Sequence[Message], tools: Sequence[ToolSpec], *, prompt: bool) -> str:
        """The same text by the compiled template with marks, where there is one.

        Raises:
            ModelError: the template refuses the messages.
        """
        if self.marked is None:
            return self.render(messages, tools, prompt=prompt)
        try:
            return self.marked.render(self._rows(messages), offered(tools).rows, prompt=prompt)
        except REFUSALS as error:
            raise refusal(self.tokenizer, messages, error) from None

    def starts(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> tuple[str, dict[int, int]]:
        """The text of ``messages`` and where each begins, as ``MarkedTemplate.starts``.

        Raises:
            ModelError: the template refuses the messages, or there is none with marks.
        """
        if self.marked is None:
            raise ModelError(f"{self.source}: messages cannot be found in the text of this chat template")
        try:
            return self.marked.starts(self._rows(messages), offered(tools).rows)
        except REFUSALS as error:
            raise refusal(self.tokenizer, messages, error) from None

    def _rows(self, messages: Sequence[Message]) -> list[Row]:
        return [for_template(message, self.style) for message in messages]


@dataclass
class Offered:
    """Tools on offer, as templates take them (``rows``), and the patterns that were found to match none of them."""

    tools: Sequence[ToolSpec]
    rows: Sequence[ToolRow]
    free_of: set[re.Pattern[str]] = field(default_factory=set)


_OFFERED: dict[int, Offered] = {}  # by id; the tools are kept, so the id stays theirs


def offered(tools: Sequence[ToolSpec]) -> Offered:
    """What is needed of ``tools``, made once for the same object: conversations often share their tools."""
    known = _OFFERED.get(id(tools))
    if known is None:
        if len(_OFFERED) >= _KEPT_TOOLS:
            _OFFERED.clear()
        known = _OFFERED[id(tools)] = Offered(tools, [ToolRow(tool.to_openai()) for tool in tools])
    return known


_USER = Message(role="user", content="Which weather?")
_SUNNY = Message(role="assistant", content="Sunny.")
_CALL = Message(
    role="assistant", tool_calls=(ToolCall(name="probe_weather", arguments={"city": "Oslo"}, id="probe0001"),)
)
_RESULT = Message(role="tool", content="18", tool_call_id="probe0001", name="probe_weather")
_TOOL = ToolSpec(name="probe_weather", description="Probe.")
_FRAMES: WeakKeyDictionary[Any, dict[str, Frame]] = WeakKeyDictionary()


def learn_frame(tokenizer: Any, template_kwargs: Mapping[str, Any] | None = None) -> Frame:
    """Probe the tokenizer's chat template; what was learned is kept as long as the tokenizer lives.

    Raises:
        ModelError: no chat template, one that cannot be used, or turns that nothing ends.
    """
    frames = _FRAMES.setdefault(tokenizer, {})
    key = json.dumps([str(tokenizer.chat_template), dict(template_kwargs or {}), len(tokenizer)], default=str)
    if key not in frames:
        frames[key] = _learn(tokenizer, dict(template_kwargs or {}))
    return frames[key]


def _learn(tokenizer: Any, template_kwargs: Mapping[str, Any]) -> Frame:
    source = str(getattr(tokenizer, "name_or_path", "") or "tokenizer")
    template = tokenizer.chat_template
    if not template:
        raise ModelError(f"{source}: the tokenizer has no chat template; save one with it as chat_template.jinja")
    frame = Frame(
        tokenizer,
        template_kwargs,
        source,
        style_of(tokenizer),
        _dialect(source, template),
        endings={},
        markers=_any_of(special_tokens(tokenizer)),
        added=_any_of({str(token) for token in tokenizer.added_tokens_decoder.values()}),
        tested=_any_of(words_that_templates_test(template) if isinstance(template, str) else ()),
    )
    text = _ending(frame, _SUNNY, _USER)
    if text is None:
        raise ModelError(
            f"{source}: the chat template ends an assistant turn with no special token; the model would not learn to "
            "stop. Use another template"
        )
    frame.endings = {"text": text, "call": _ending(frame, _CALL, _RESULT) or text}
    _mark(frame)
    return frame


def _any_of(words: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, sorted(words, key=len, reverse=True))) or "(?!)")


def special_tokens(tokenizer: Any) -> set[str]:
    """The texts of the tokenizer's special tokens."""
    added = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    return added | set(tokenizer.all_special_tokens)


def _dialect(source: str, template: Any) -> str:
    try:
        return dialect_for(source, str(template))
    except ModelError:
        return "plain"


def _ending(frame: Frame, turn: Message, following: Message) -> Ending | None:
    """How ``turn`` ends; none where the template does not render it, or nothing ends it."""
    alone = _completion(frame, (_USER, turn), 1)
    onward = _completion(frame, (_USER, turn, following), 1)
    if not alone or (turn.content or "Oslo") not in alone:
        return None
    # The special tokens at the end, with only blanks between: of "<|end|>\n<|endoftext|>" (Phi-3) the one is a
    # terminator and the other what the template writes once at the very end.
    ends: list[re.Match[str]] = []
    for match in reversed(list(frame.markers.finditer(alone))):
        if alone[match.end() : ends[0].start() if ends else None].strip():
            break
        ends.insert(0, match)
    if ends:
        kept = [match for match in ends if onward and onward.startswith(alone[: match.end()])]
        last = (kept or ends)[-1]
        return Ending(last[0], alone[last.end() :])
    if onward and onward.startswith(alone.rstrip()):
        after = frame.markers.match(onward, len(alone.rstrip()))
        return Ending(after[0], borrowed=True) if after else None
    return None


def _completion(frame: Frame, messages: Sequence[Message], turn: int) -> str | None:
    """What the render of ``messages`` has after the prompt that is served for ``messages[turn]``.

    Templates whose generation prompt goes on beyond what they render (``<think>``) give the text after the common part.
    """
    try:
        prompt = frame.render(messages[:turn], [_TOOL], prompt=True)
        text = frame.render(messages, [_TOOL], prompt=False)
    except ModelError:
        return None
    return text[common_length(prompt, text) :]


def common_length(one: Sequence[Any], other: Sequence[Any]) -> int:
    """How many characters or tokens two texts or rows begin with in common."""
    return next((at for at, (a, b) in enumerate(zip(one, other)) if a != b), min(len(one), len(other)))


def _mark(frame: Frame) -> None:
    """Give ``frame`` the template with marks, if it gives the tokenizer's own text for every probe."""
    if not isinstance(frame.tokenizer.chat_template, str):
        return
    try:
        variables = {**frame.tokenizer.special_tokens_map, **frame.template_kwargs}
        marked = MarkedTemplate(frame.tokenizer.chat_template, variables)
    except TemplateError:
        return
    frame.marked = marked
    system = Message(role="system", content="Be brief.")
    for messages in ((_USER, _SUNNY), (system, _USER, _CALL, _RESULT, _SUNNY, _USER, _SUNNY)):
        for tools in ([], [_TOOL]):
            if not _marked_agrees(frame, messages, tools):
                frame.marked = None
                return


def _marked_agrees(frame: Frame, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> bool:
    try:
        text = frame.render(messages, tools, prompt=False)
    except ModelError:
        return True  # what the template refuses says nothing
    try:
        return frame.render_quickly(messages, tools, prompt=False) == text == frame.starts(messages, tools)[0]
    except ModelError:
        return False
