"""The hermes (nous) form: ``<think>`` text, then content, then one ``<tool_call>`` block of JSON for each call.

Reads and writes text only. How a text is read:

* A block opens with ``<tool_call>`` and ends at the first ``</tool_call>`` outside a JSON string.
* A block that holds no call stays in the content as it is, up to its end mark, and is named as a problem. Nothing in
  it is read as another call: quotes of a document inside broken arguments must not become calls.
* Of the content, one line break beside a good block belongs to the block, and blank text between blocks is dropped.
  Pieces of content that blocks separate are joined with a line break.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from toolwright.dialect.block import BlockError, load_json, read_block
from toolwright.dialect.parsed import Problem, ProblemKind
from toolwright.errors import DataError
from toolwright.records import Message, ToolCall, shorten

OPEN, CLOSE = "<tool_call>", "</tool_call>"
THINK, THINK_END = "<think>", "</think>"

Event = tuple[Literal["content", "reasoning"], str] | tuple[Literal["call"], ToolCall]

_MARK = re.compile("</?tool_call>")
_OUTSIDE_STRING = re.compile('["<]')
_INSIDE_STRING = re.compile(r'["\\\x00-\x1f]')


class _Content:
    """Joins the pieces of content, and decides which blank text belongs to a block.

    Text is passed on at once but for one trailing line break, and for blank text at the start of a piece.
    """

    def __init__(self) -> None:
        self.held = ""
        self.piece_started = False
        self.after_block = False
        self.any_written = False

    def text(self, text: str) -> str:
        """Take text in; give the text that is content for certain."""
        self.held += text
        if not self.piece_started:
            if not self.held.strip():
                return ""
            self.piece_started = True
            if self.after_block:
                self.held = self.held.removeprefix("\n")
            if self.any_written:
                self.held = "\n" + self.held
        self.any_written = True
        text, self.held = (self.held[:-1], "\n") if self.held.endswith("\n") else (self.held, "")
        return text

    def block(self) -> None:
        """A good block begins here: what is held is its margin."""
        self.held = ""
        self.piece_started = False
        self.after_block = True

    def close(self) -> str:
        """Give what is still held at the end of the text."""
        return self.held if self.piece_started or not self.after_block else ""


class Scanner:
    """Reads a text that arrives in pieces; gives the same events, joined, however it is cut."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.n_calls = 0
        self._buffer = ""
        self._closed = False
        self._state: Callable[[], Iterator[Event | None]] = self._start
        self._content = _Content()
        self._raw: list[str] = []  # what a broken block or an open <think> has passed on so far
        self._at = 0  # inside a block: the next character to look at
        self._in_string = False

    def feed(self, text: str) -> list[Event]:
        """Take text in; give what is certain."""
        self._buffer += text
        return self._run()

    def close(self) -> list[Event]:
        """End the text; give what was held back."""
        self._closed = True
        events = self._run()
        rest = self._content.close()
        return [*events, ("content", rest)] if rest else events

    def _run(self) -> list[Event]:
        # A state gives events, and None when it has handed over to another state; it ends when it needs more text.
        events: list[Event] = []
        moved = True
        while moved:
            moved = False
            for event in self._state():
                if event is None:
                    moved = True
                elif event[1]:
                    events.append(event)
        return events

    def _take(self, length: int) -> str:
        text, self._buffer = self._buffer[:length], self._buffer[length:]
        return text

    def _take_safe(self, *marks: str) -> str:
        """Take what cannot be the beginning of a mark; at the end of the text take all."""
        return self._take(len(self._buffer) - (0 if self._closed else held_length(self._buffer, marks)))

    def _text(self, text: str) -> Event:
        return ("content", self._content.text(text))

    def _start(self) -> Iterator[Event | None]:
        begin = self._buffer.lstrip()
        if not self._closed and THINK.startswith(begin):
            if begin == THINK:
                self._enter_think()
                yield None
            return
        if begin.startswith(THINK):
            self._enter_think()
        else:
            self._state = self._in_text
        yield None

    def _enter_think(self) -> None:
        self._take(self._buffer.index(THINK) + len(THINK))
        self._raw = [THINK]
        self._state = self._think_margin

    def _think_margin(self) -> Iterator[Event | None]:
        if not self._buffer and not self._closed:
            return
        if self._buffer.startswith("\n"):
            self._raw.append(self._take(1))
        self._state = self._in_think
        yield None

    def _in_think(self) -> Iterator[Event | None]:
        end = self._buffer.find(THINK_END)
        if end >= 0:
            yield ("reasoning", self._take(end).removesuffix("\n"))
            self._take(len(THINK_END))
            self._state = self._after_think
            yield None
            return
        text = self._take_safe("\n" + THINK_END, THINK_END)
        self._raw.append(text)
        yield ("reasoning", text)
        if self._closed:
            self._report("unclosed", "".join(self._raw), f"{THINK} without {THINK_END}")
            self._state = self._end

    def _after_think(self) -> Iterator[Event | None]:
        if not self._closed and len(self._buffer) < 2 and not self._buffer.strip("\n"):
            return
        breaks = len(self._buffer[:2]) - len(self._buffer[:2].lstrip("\n"))
        self._take(breaks)
        self._state = self._in_text
        yield None

    def _in_text(self) -> Iterator[Event | None]:
        while mark := _MARK.search(self._buffer):
            yield self._text(self._take(mark.start()))
            if mark[0] == OPEN:
                self._at, self._in_string, self._state = len(OPEN), False, self._in_block
                yield None
                return
            yield self._text(self._take(len(CLOSE)))
            self._report("stray_close", CLOSE, f"{CLOSE} without {OPEN} before it")
        yield self._text(self._take_safe(OPEN, CLOSE))

    def _in_block(self) -> Iterator[Event | None]:
        found = self._find_end()
        if found == "wait":
            if self._closed:
                text = self._take(len(self._buffer))
                if CLOSE in text:
                    self._report("not_json", text, "not JSON: a string is not closed")
                else:
                    self._report("unclosed", text, f"{OPEN} without {CLOSE}")
                self._state = self._end
                yield self._text(text)
            return
        body = self._buffer[len(OPEN) : self._at]
        if found == "close":
            yield from self._end_block(body)
        elif found == "open" and _is_blank_or_json(body):
            yield self._text(self._take(self._at))
            self._report("unclosed", (OPEN + body).removesuffix("\n"), f"{OPEN} without {CLOSE} before the next {OPEN}")
            self._state = self._in_text
        else:
            self._raw = [self._take(self._at)]
            yield self._text(self._raw[0])
            self._state = self._in_broken
        yield None

    def _find_end(self) -> Literal["wait", "close", "open", "broken"]:
        """Move ``_at`` to the first ``<`` outside a string, or to the first character that no JSON string has."""
        while found := (_INSIDE_STRING if self._in_string else _OUTSIDE_STRING).search(self._buffer, self._at):
            self._at = found.start()
            if found[0] == '"':
                self._in_string = not self._in_string
                self._at += 1
            elif found[0] == "\\":
                if self._at + 1 == len(self._buffer):
                    return "wait"
                self._at += 2
            elif found[0] != "<":
                return "broken"
            else:
                rest = self._buffer[self._at : self._at + len(CLOSE)]
                if rest == CLOSE:
                    return "close"
                if rest.startswith(OPEN):
                    return "open"
                waiting = not self._closed and (CLOSE.startswith(rest) or OPEN.startswith(rest))
                return "wait" if waiting else "broken"
        self._at = len(self._buffer)
        return "wait"

    def _end_block(self, body: str) -> Iterator[Event]:
        raw = self._take(self._at + len(CLOSE))
        self._state = self._in_text
        try:
            calls = read_block(body)
        except BlockError as error:
            self._report(error.kind, raw, error.detail)
            yield self._text(raw)
            return
        self._content.block()
        for name, arguments in calls:
            yield ("call", ToolCall(name=name, arguments=arguments, id=f"call_{self.n_calls}"))
            self.n_calls += 1

    def _in_broken(self) -> Iterator[Event | None]:
        end = self._buffer.find(CLOSE)
        text = self._take(end + len(CLOSE)) if end >= 0 else self._take_safe(CLOSE)
        self._raw.append(text)
        yield self._text(text)
        if end >= 0:
            raw = "".join(self._raw)
            self._report("not_json", raw, _why_broken(raw))
            self._state = self._in_text
            yield None
        elif self._closed:
            self._report("unclosed", "".join(self._raw), f"{OPEN} without {CLOSE}")
            self._state = self._end

    def _end(self) -> Iterator[Event | None]:
        yield from ()

    def _report(self, kind: ProblemKind, text: str, detail: str) -> None:
        self.problems.append(Problem(kind, text, detail))


def held_length(text: str, marks: Sequence[str]) -> int:
    """The length of the longest end of ``text`` that a mark begins with; no whole mark may be in the text."""
    longest = min(len(text), max(map(len, marks)) - 1)
    for length in range(longest, 0, -1):
        tail = text[-length:]
        if any(mark.startswith(tail) for mark in marks):
            return length
    return 0


def _is_blank_or_json(body: str) -> bool:
    try:
        load_json(body.strip() or "0")
    except BlockError:
        return False
    return True


def _why_broken(raw: str) -> str:
    try:
        load_json(raw.removeprefix(OPEN).removesuffix(CLOSE))
    except BlockError as error:
        return error.detail
    return "not JSON"


def wrap(body: str) -> str:
    """Put the marks of a block around its body."""
    return f"{OPEN}\n{body}\n{CLOSE}"


def render_calls(calls: Sequence[ToolCall]) -> str:
    """Write one block for each call, separated by line breaks.

    Raises:
        DataError: arguments that JSON cannot hold.
    """
    return "\n".join(wrap(_call_json(call)) for call in calls)


def _call_json(call: ToolCall) -> str:
    try:
        return json.dumps({"name": call.name, "arguments": call.arguments}, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(f"arguments of call {call.name!r} are not JSON ({error}): {shorten(call.arguments)}") from None


def render_assistant(message: Message) -> str:
    """Write an assistant message: reasoning, content, calls; the caller makes sure that it reads back the same."""
    reasoning = f"{THINK}\n{message.reasoning_content}\n{THINK_END}\n\n" if message.reasoning_content else ""
    parts = [part for part in (message.content, render_calls(message.tool_calls)) if part]
    return reasoning + "\n".join(parts)


def recognises(template: str) -> bool:
    """Whether a chat template asks the model for calls in this form (and not for XML inside the same marks)."""
    asks_for_json = re.search(r"""['"]?\\?"arguments\\?['"]""", template) is not None
    return OPEN in template and asks_for_json and "<function=" not in template
