"""The one place that turns messages into model text, and model text back into messages.

``parse`` and ``StreamParser`` read what a model wrote; ``render_assistant`` writes it; ``render_prompt`` renders a
conversation with the tokenizer's own chat template. Reading never fails and never drops text: what looks like a call
and cannot be read stays in the content and is named in ``problems``. Adding a dialect is one entry in ``DIALECTS``.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from toolwright.dialect import hermes
from toolwright.dialect.parsed import CallDelta, ContentDelta, Delta, Parsed, Problem, ProblemKind
from toolwright.dialect.template import ChatTemplate, check_template, render_prompt
from toolwright.errors import DataError, ModelError
from toolwright.records import Message, ToolCall, shorten

__all__ = [
    "DIALECTS",
    "CallDelta",
    "ChatTemplate",
    "ContentDelta",
    "Delta",
    "Dialect",
    "Parsed",
    "Problem",
    "ProblemKind",
    "StreamParser",
    "check_template",
    "dialect_for",
    "parse",
    "render_assistant",
    "render_calls",
    "render_prompt",
    "vllm_parser",
]


@dataclass(frozen=True)
class Dialect:
    """One way of writing calls in text.

    ``recognises`` tells from a chat template whether the model was made for it, ``families`` names model families for
    the case that no template is at hand, ``vllm_parser`` is the value of vLLM's ``--tool-call-parser``, ``wrap`` puts
    the marks of a call around raw text.
    """

    vllm_parser: str
    families: tuple[str, ...]
    recognises: Callable[[str], bool]
    scanner: Callable[[], hermes.Scanner]
    wrap: Callable[[str], str]
    render_calls: Callable[[Sequence[ToolCall]], str]
    render_assistant: Callable[[Message], str]


DIALECTS: dict[str, Dialect] = {
    "hermes": Dialect(
        vllm_parser="hermes",
        families=("hermes", "qwen2", "qwen3", "qwq"),
        recognises=hermes.recognises,
        scanner=hermes.Scanner,
        wrap=hermes.wrap,
        render_calls=hermes.render_calls,
        render_assistant=hermes.render_assistant,
    ),
}


def parse(text: str, dialect: str = "hermes") -> Parsed:
    """Read what a model wrote; never fails on any text.

    Raises:
        ModelError: no such dialect.
    """
    scanner = _dialect(dialect).scanner()
    events = [*scanner.feed(text), *scanner.close()]
    return Parsed(
        content="".join(event[1] for event in events if event[0] == "content") or None,
        reasoning="".join(event[1] for event in events if event[0] == "reasoning") or None,
        calls=tuple(event[1] for event in events if event[0] == "call"),
        problems=tuple(scanner.problems),
    )


class StreamParser:
    """Reads a model's text while it is being written.

    Text is passed on as soon as it cannot be the beginning of a mark, a call when its block is complete, a block that
    is no call as content. Joined, the deltas are what ``parse`` gives for the whole text, however it was cut.
    """

    def __init__(self, dialect: str = "hermes") -> None:
        self._scanner = _dialect(dialect).scanner()
        self._index = 0

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The problems so far; after ``close`` the same as ``Parsed.problems``."""
        return tuple(self._scanner.problems)

    def feed(self, delta: str) -> list[Delta]:
        """Take the next piece of text in; give what is certain."""
        return self._deltas(self._scanner.feed(delta))

    def close(self) -> list[Delta]:
        """End the text; give what was held back."""
        return self._deltas(self._scanner.close())

    def _deltas(self, events: list[hermes.Event]) -> list[Delta]:
        deltas: list[Delta] = []
        for event in events:
            if event[0] == "call":
                call = event[1]
                arguments = json.dumps(call.arguments, ensure_ascii=False)
                deltas.append(CallDelta(self._index, call.id, call.name, arguments))
                self._index += 1
            else:
                deltas.append(ContentDelta(event[1], reasoning=event[0] == "reasoning"))
        return deltas


def render_calls(calls: Sequence[ToolCall], dialect: str = "hermes") -> str:
    """Write calls as the model writes them.

    Raises:
        ModelError: no such dialect.
        DataError: arguments that JSON cannot hold.
    """
    return _dialect(dialect).render_calls(calls)


def render_assistant(message: Message, dialect: str = "hermes") -> str:
    """Write an assistant message as the model writes it, so that ``parse`` gives it back.

    Call ids are not written (``parse`` numbers the calls), and blank content beside calls is the same as none.

    Raises:
        ModelError: no such dialect.
        DataError: the message cannot be written so that it reads back the same, as when its content holds a call.
    """
    text = _dialect(dialect).render_assistant(message)
    parsed = parse(text, dialect)
    if _essence(parsed.content, parsed.reasoning, parsed.calls) != _essence(
        message.content, message.reasoning_content, message.tool_calls
    ):
        raise DataError(
            f"assistant message: its text would read back as another message, because of the marks of {dialect!r} "
            f"calls or reasoning inside it; take them out: {shorten(text)}"
        )
    return text


def _essence(content: str | None, reasoning: str | None, calls: Sequence[ToolCall]) -> tuple[object, ...]:
    if calls and not (content or "").strip():
        content = None
    written = [(call.name, json.dumps(call.arguments, ensure_ascii=False)) for call in calls]
    return content or None, reasoning or None, written


def dialect_for(model_type_or_name: str, chat_template: str | None) -> str:
    """Name the dialect that a model was made for: by its chat template, without one by its family.

    Raises:
        ModelError: none of ours; names those that there are.
    """
    name = model_type_or_name.lower()
    for dialect, entry in DIALECTS.items():
        if chat_template is not None:
            if entry.recognises(chat_template):
                return dialect
        elif any(family in name for family in entry.families) and "coder" not in name:
            return dialect
    reason = (
        "has no chat template" if chat_template is None else "has a chat template that asks for calls in no such form"
    )
    raise ModelError(
        f"{model_type_or_name}: cannot tell how this model writes tool calls, it {reason}; supported: "
        f"{', '.join(sorted(DIALECTS))}. Use a model or a chat template of one of these"
    )


def vllm_parser(dialect: str) -> str:
    """The value of vLLM's ``--tool-call-parser`` for a dialect.

    Raises:
        ModelError: no such dialect.
    """
    return _dialect(dialect).vllm_parser


def _dialect(name: str) -> Dialect:
    if name not in DIALECTS:
        raise ModelError(f"dialect {name!r} is unknown; supported: {', '.join(sorted(DIALECTS))}")
    return DIALECTS[name]
