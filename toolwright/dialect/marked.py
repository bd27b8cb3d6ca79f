"""Dialects that put calls between marks, as data: ``Marked``. Reads and writes text only.

How a text is read (``scan`` does it):

* Reasoning stands between the think marks at the very beginning.
* A block of one or several calls begins with ``open`` and ends at the first ``close`` outside a ``Quote``; without
  ``close``, at the next ``open`` or at the end of the text. ``read_body`` says what is between.
* A block that holds no call stays in the content as it is, up to its end mark, and is named as a problem. Nothing in
  it is read as another call: quotes of a document inside broken arguments must not become calls.
* Of the content, one ``margin`` beside a good block belongs to the block, and blank text between blocks is dropped.
  Pieces of content that blocks separate are joined with a line break.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

from toolwright.dialect.scan import Scanner
from toolwright.records import Message, ToolCall, ToolSpec

BodyReader = Callable[[str, Sequence[ToolSpec]], list[tuple[str, dict[str, Any]]]]
"""From the body of a block and the tools offered (where values have no types of their own) to names and arguments.

Raises BlockError, with a kind of problem, for what is no call. Nothing else may be raised on any text.
"""


@dataclass(frozen=True)
class Quote:
    """Text inside a body in which no mark counts, from ``begin`` to the next ``end``.

    ``escapes``: a backslash takes the next character along. ``lines``: control characters may stand in it; where they
    may not, one shows that the body is broken.
    """

    begin: str
    end: str
    escapes: bool = False
    lines: bool = True


JSON_STRING = Quote('"', '"', escapes=True, lines=False)


@dataclass(frozen=True)
class Marked:
    """One way of writing calls between marks. No mark may be the beginning of another one.

    Attributes:
        read_body: reads what stands in a block.
        render_calls: writes calls with their marks; DataError for what the form cannot hold.
        open: begins a block; "" where there are no calls.
        close: ends a block; "" where the next ``open`` or the end of the text does.
        quotes: where in a body marks are text.
        bare: a turn that begins with this one character is a body without marks; no calls in it make it content.
        margin: what the model writes between content and a block, and inside ``wrap``: a line break or "".
        think: begins reasoning.
        think_end: ends it.
        think_margin: what the model writes inside either think mark, and up to twice after: a line break or "".
        around: marks around the content that are no part of it.
    """

    read_body: BodyReader
    render_calls: Callable[[Sequence[ToolCall]], str]
    open: str = ""
    close: str = ""
    quotes: tuple[Quote, ...] = (JSON_STRING,)
    bare: str = ""
    margin: str = "\n"
    think: str = "<think>"
    think_end: str = "</think>"
    think_margin: str = "\n"
    around: tuple[str, str] = ("", "")

    def scanner(self, tools: Sequence[ToolSpec] = ()) -> Scanner:
        """A scanner for one text; ``tools`` are those that were offered."""
        return Scanner(self, tools)

    def wrap(self, body: str) -> str:
        """Put the marks of a block around its body."""
        return self.margin.join(part for part in (self.open, body, self.close) if part)

    def render_assistant(self, message: Message) -> str:
        """Write reasoning, content, calls; the caller makes sure that it reads back the same."""
        line = self.think_margin
        thought = message.reasoning_content
        reasoning = f"{self.think}{line}{thought}{line}{self.think_end}{line}{line}" if thought else ""
        content = f"{self.around[0]}{message.content}{self.around[1]}" if message.content else ""
        calls = self.render_calls(message.tool_calls) if message.tool_calls else ""
        if self.bare and content and calls:  # a body without marks is one only at the beginning
            calls = self.wrap(calls)
        return reasoning + self.margin.join(part for part in (content, calls) if part)

    @cached_property
    def without_calls(self) -> Self:
        """The same form for a text in which no calls are looked for."""
        return replace(self, open="", close="", bare="")

    @cached_property
    def text_marks(self) -> re.Pattern[str]:
        """Matches what counts among content."""
        return _any_of([self.open, self.close, *self.around])

    @cached_property
    def body_marks(self) -> tuple[str, ...]:
        """What counts in a body."""
        return tuple(filter(None, (self.open, self.close, *(quote.begin for quote in self.quotes))))

    @cached_property
    def outside(self) -> re.Pattern[str]:
        """Matches what counts in a body, outside quotes."""
        return _any_of(self.body_marks)

    @cached_property
    def unmarked(self) -> re.Pattern[str]:
        """Matches a piece of a body that has no mark outside quotes, nor the beginning of one; it may be empty."""
        first = re.escape("".join({mark[0] for mark in self.body_marks}))
        return re.compile("|".join((f"(?:[^{first}]++", *map(_whole, self.quotes))) + ")*+", re.DOTALL)

    @cached_property
    def inside(self) -> dict[str, tuple[Quote, re.Pattern[str]]]:
        """By the beginning of a quote: the quote, and a pattern of what counts inside it."""
        return {quote.begin: (quote, _inside(quote)) for quote in self.quotes}


def _any_of(marks: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, filter(None, marks))) or "(?!)")


def _inside(quote: Quote) -> re.Pattern[str]:
    others = (r"|\\" if quote.escapes else "") + ("" if quote.lines else r"|[\x00-\x1f]")
    return re.compile(re.escape(quote.end) + others)


def _whole(quote: Quote) -> str:
    escape = r"|\\." if quote.escapes else ""
    return f"{re.escape(quote.begin)}(?:(?!{_inside(quote).pattern}).{escape})*+{re.escape(quote.end)}"
