"""The one place that turns messages into model text, and model text back into messages.

``parse`` and ``StreamParser`` read what a model wrote; ``render_assistant`` writes it; ``render_prompt`` renders a
conversation with the tokenizer's own chat template. Reading never fails and never drops text: what looks like a call
and cannot be read stays in the content and is named in ``problems``. Adding a dialect is one entry in ``DIALECTS``:
most are an instance of ``marked.Marked``.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from toolwright.dialect import atem, cohere, deepseek, gemma, glm, harmony, hermes, lfm, llama3, mistral, plain, xml
from toolwright.dialect.marked import Marked
from toolwright.dialect.parsed import CallDelta, ContentDelta, Delta, Parsed, Problem, ProblemKind
from toolwright.dialect.pieces import Event
from toolwright.dialect.template import ChatTemplate, check_template, render_prompt
from toolwright.errors import DataError, ModelError
from toolwright.records import Message, ToolCall, ToolSpec
from toolwright.words import shorten

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
    "begin_call",
    "check_template",
    "dialect_for",
    "opened_reasoning",
    "parse",
    "render_assistant",
    "render_calls",
    "render_prompt",
    "vllm_parser",
]


class Scanner(Protocol):
    """Reads one text that arrives in pieces; gives the same events, joined, however it is cut."""

    problems: list[Problem]

    def feed(self, text: str) -> list[Event]:
        """Take text in; give what is certain."""
        ...

    def close(self, text: str = "") -> list[Event]:
        """End the text, with its last piece; give what was held back."""
        ...


class Form(Protocol):
    """How a dialect is read and written: a ``marked.Marked``, or a module with these functions."""

    def scanner(self, tools: Sequence[ToolSpec] = ()) -> Scanner:
        """A scanner for one text; ``tools`` are those that were offered."""
        ...

    def wrap(self, body: str) -> str:
        """Put the marks of a call around raw text."""
        ...

    def render_calls(self, calls: Sequence[ToolCall]) -> str:
        """Write calls; DataError for what the form cannot hold."""
        ...

    def render_assistant(self, message: Message) -> str:
        """Write a message; the caller makes sure that it reads back the same."""
        ...


_TAIL = 256  # characters of a prompt in which the mark that begins reasoning is looked for


@dataclass(frozen=True)
class Dialect:
    """One way of writing calls in text.

    ``recognises`` tells from a chat template whether the model was made for it, ``families`` names model families for
    the case that no template is at hand, ``vllm_parser`` is the value of vLLM's ``--tool-call-parser`` ("" if it has
    none), ``think`` is the mark that begins reasoning.
    """

    form: Form
    vllm_parser: str
    families: tuple[str, ...]
    recognises: Callable[[str], bool]
    think: str = "<think>"


DIALECTS: dict[str, Dialect] = {
    "xml": Dialect(
        xml.FORM,
        "qwen3_coder",
        ("qwen3-coder", "qwen3.5", "qwen3_5", "qwen3.6", "qwen3_6", "qwen3.8", "qwen3_8", "nemotron-3", "nemotron_3"),
        xml.recognises,
    ),
    "glm": Dialect(glm.FORM, "glm45", ("glm4_moe", "glm-4.5", "glm-4.6", "glm-4.7"), glm.recognises),
    "gemma": Dialect(
        gemma.FORM, "gemma4", ("gemma4", "gemma-4", "diffusion_gemma", "diffusiongemma"), gemma.recognises, gemma.THINK
    ),
    "lfm": Dialect(lfm.FORM, "lfm2", ("lfm2",), lfm.recognises),
    "harmony": Dialect(harmony, "openai", ("gpt_oss", "gpt-oss"), harmony.recognises, think=""),
    "atem": Dialect(atem, "muse_glimmer", ("muse_glimmer", "muse-glimmer"), atem.recognises, think=""),
    "hermes": Dialect(hermes.FORM, "hermes", ("hermes", "qwen2", "qwen3", "qwq"), hermes.recognises),
    "llama3": Dialect(
        llama3.FORM,
        "llama3_json",
        ("llama-3.1", "llama-3.2", "llama-3.3", "llama3.1", "llama3.2", "llama3.3", "llama3_1", "llama3_2", "llama3_3"),
        llama3.recognises,
    ),
    "mistral": Dialect(mistral.ARRAY, "mistral", ("mistral-7b", "mixtral"), mistral.recognises_array, mistral.THINK),
    "mistral_named": Dialect(
        mistral.NAMED,
        "mistral",
        ("mistral-small-3", "mistral-small-2506", "magistral", "devstral", "ministral-3", "mistral3"),
        mistral.recognises_named,
        mistral.THINK,
    ),
    "deepseek_v31": Dialect(deepseek.PLAIN, "deepseek_v31", ("deepseek-v3.1",), deepseek.recognises_plain),
    "deepseek": Dialect(
        deepseek.FENCED, "deepseek_v3", ("deepseek-v3", "deepseek_v3", "deepseek-r1"), deepseek.recognises_fenced
    ),
    "cohere": Dialect(
        cohere.FORM,
        "cohere_command3",
        ("command-r7b", "command-a", "cohere2"),
        cohere.recognises,
        cohere.THINK,
    ),
}
"""The dialects that have calls. The first that recognises a chat template has it: the order matters."""

PLAIN = "plain"
"""The dialect of templates without calls: content and reasoning only. It is never chosen, only asked for by name."""


def parse(text: str, dialect: str = "hermes", tools: Sequence[ToolSpec] = (), *, calls: bool = True) -> Parsed:
    """Read what a model wrote; never fails on any text.

    ``tools`` are those that were offered: dialects that write values without types read them by the tools' schemas.
    Without ``calls`` the marks of calls are text (but in forms with channels, where a header makes the call).
    Where the prompt has begun the reasoning, put ``opened_reasoning`` before the text.

    Raises:
        ModelError: no such dialect.
    """
    scanner = _form(dialect, calls).scanner(tools)
    events = scanner.close(text)
    return Parsed(
        content="".join(event[1] for event in events if event[0] == "content") or None,
        reasoning="".join(event[1] for event in events if event[0] == "reasoning") or None,
        calls=tuple(event[1] for event in events if event[0] == "call"),
        problems=tuple(scanner.problems),
    )


def opened_reasoning(prompt: str, dialect: str = "hermes") -> str:
    """The mark that begins reasoning if ``prompt`` ends in it, else ""; the model's text goes on from there.

    Raises:
        ModelError: no such dialect.
    """
    think = "<think>" if dialect == PLAIN else _dialect(dialect).think
    return think if think and prompt[-_TAIL:].rstrip().endswith(think) else ""


class StreamParser:
    """Reads a model's text while it is being written.

    Text is passed on as soon as it cannot be the beginning of a mark, a call when its block is complete, a block that
    is no call as content. Joined, the deltas are what ``parse`` gives for the whole text, however it was cut.
    """

    def __init__(self, dialect: str = "hermes", tools: Sequence[ToolSpec] = (), *, calls: bool = True) -> None:
        self._scanner = _form(dialect, calls).scanner(tools)
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

    def _deltas(self, events: list[Event]) -> list[Delta]:
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
    return _form(dialect).render_calls(calls)


def begin_call(dialect: str = "hermes", name: str | None = None) -> str:
    """The beginning of the first call in a text, up to where the tool's name stands, or with ``name`` to its end.

    Raises:
        ModelError: no such dialect, or one without calls.
    """
    form = _dialect(dialect).form
    head, _, tail = form.render_calls([ToolCall(name=_NAME)]).partition(_NAME)
    return head if name is None else form.render_calls([ToolCall(name=name)]).removesuffix(tail.replace(_NAME, name))


def render_assistant(message: Message, dialect: str = "hermes", tools: Sequence[ToolSpec] = ()) -> str:
    """Write an assistant message as the model writes it, so that ``parse`` with the same ``tools`` gives it back.

    Call ids are not written (``parse`` numbers the calls), and blank content beside calls is the same as none.

    Raises:
        ModelError: no such dialect.
        DataError: the message cannot be written so that it reads back the same, as when its content holds a call.
    """
    text = _form(dialect).render_assistant(message)
    parsed = parse(text, dialect, tools)
    if _essence(parsed.content, parsed.reasoning, parsed.calls) != _essence(
        message.content, message.reasoning_content, message.tool_calls
    ):
        raise DataError(
            f"assistant message: its text would read back as another message, because of the marks of {dialect!r} "
            f"calls or reasoning inside it, or of strings that look like other values; take them out: {shorten(text)}"
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
        elif any(family in name and ("coder" in family or "coder" not in name) for family in entry.families):
            return dialect
    reason = (
        "has no chat template" if chat_template is None else "has a chat template that asks for calls in no such form"
    )
    raise ModelError(
        f"{model_type_or_name}: cannot tell how this model writes tool calls, it {reason}; supported: "
        f"{', '.join(DIALECTS)}. Use a model or a chat template of one of these"
    )


def vllm_parser(dialect: str) -> str:
    """The value of vLLM's ``--tool-call-parser`` for a dialect.

    Raises:
        ModelError: no such dialect, or none that vLLM reads.
    """
    name = _dialect(dialect).vllm_parser
    if not name:
        raise ModelError(
            f"dialect {dialect!r}: vLLM has no tool-call parser for it; use serve.engine=transformers, or name one "
            "of your own: -- --tool-call-parser NAME"
        )
    return name


def _form(name: str, calls: bool = True) -> Form:
    form = plain.FORM if name == PLAIN else _dialect(name).form
    return form if calls or not isinstance(form, Marked) else form.without_calls


def _dialect(name: str) -> Dialect:
    if name not in DIALECTS:
        raise ModelError(f"dialect {name!r} is unknown; supported: {', '.join(DIALECTS)}")
    return DIALECTS[name]


_NAME = "quibbit_name"
