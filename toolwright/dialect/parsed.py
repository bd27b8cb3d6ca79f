"""What reading a model's text gives: content, reasoning, calls, and a named problem for each that is no call."""

from dataclasses import dataclass
from typing import Literal

from toolwright.records import ToolCall

ProblemKind = Literal["not_json", "not_object", "no_name", "bad_arguments", "unclosed", "stray_close", "unparsed"]


@dataclass(frozen=True)
class Problem:
    """Text that looks like a call and is not one.

    ``text`` is the text verbatim, ``detail`` says in a few words, fit for a model to read, what is wrong with it.
    ``unparsed`` is the one kind that is no fault of the model: a well-formed call that an endpoint left in the text.
    """

    kind: ProblemKind
    text: str
    detail: str


@dataclass(frozen=True)
class Parsed:
    """A model's text, read. Text that could not be read as a call is in ``content`` and named in ``problems``."""

    content: str | None
    reasoning: str | None
    calls: tuple[ToolCall, ...]
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Whether everything that looked like a call is one."""
        return not self.problems


@dataclass(frozen=True)
class ContentDelta:
    """A piece of text; ``reasoning`` marks the text inside ``<think>``, which is no part of the content."""

    text: str
    reasoning: bool = False


@dataclass(frozen=True)
class CallDelta:
    """A complete call; ``index`` counts the calls of the message, ``arguments`` is a JSON object as text."""

    index: int
    id: str
    name: str
    arguments: str


Delta = ContentDelta | CallDelta
"""What a stream gives, in the order of the text."""
