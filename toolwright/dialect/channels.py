"""Reads turns made of messages with a header each: ``<|start|>assistant`` header ``<|message|>`` text, end mark.

The header tells whether a message is reasoning, content or a call (``Protocol``). How a text is read:

* The prompt has written the first ``<|start|>assistant``; a server may have cut off the last end mark.
* Only what begins where a message may begin is a header. Text outside of messages is content.
* A message ends at its first end mark; in a call, at the first one outside a string or value. A call that cannot be
  read stays in the content with its marks, and is named as a problem. Nothing in a message is read as another message.
* Messages of one kind are joined with a line break; blank text between messages is dropped.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from toolwright.dialect.block import BlockError
from toolwright.dialect.parsed import Problem, ProblemKind
from toolwright.dialect.pieces import Event, held_length
from toolwright.records import ToolCall, ToolSpec
from toolwright.words import shorten

START, MESSAGE = "<|start|>", "<|message|>"
_MAX_HEADER = 400  # characters; what is longer is text
_HELD = 32  # characters, as long as every mark inside a call


@dataclass(frozen=True)
class Header:
    """What a header says of its message; ``name`` is the recipient of a call."""

    kind: Literal["content", "reasoning", "call"]
    name: str = ""


@dataclass(frozen=True)
class Protocol:
    """The marks and headers of one family.

    ``starts`` are the texts that a header may begin with, ``ends`` the marks that end a message. ``value_open`` and
    ``value_part`` tell where end marks are text: the former opens a value in a call's text; the latter matches what may
    come next inside one, with its group 1 where that closes it. ``read_header`` gives None for a header that says
    nothing known, ``read_call`` the name and arguments of calls from header, text and tools, or raises BlockError.
    """

    starts: tuple[str, ...]
    ends: tuple[str, ...]
    value_open: str
    value_part: str
    read_header: Callable[[str], Header | None]
    read_call: Callable[[Header, str, Sequence[ToolSpec]], list[tuple[str, dict[str, Any]]]]


class _Pieces:
    """Joins the messages of one kind."""

    def __init__(self, kind: Literal["content", "reasoning"]) -> None:
        self._kind = kind
        self._written = False
        self._break = ""

    def begin(self) -> None:
        """Another message of the kind begins."""
        self._break = "\n" if self._written else ""

    def text(self, text: str) -> list[Event]:
        """Give text as events."""
        if not text:
            return []
        text, self._break, self._written = self._break + text, "", True
        return [("content", text) if self._kind == "content" else ("reasoning", text)]


class Scanner:
    """Reads a text that arrives in pieces; gives the same events, joined, however it is cut."""

    def __init__(self, protocol: Protocol, tools: Sequence[ToolSpec] = ()) -> None:
        self.problems: list[Problem] = []
        self.n_calls = 0
        self._protocol = protocol
        self._tools = tools
        self._marks = tuple(mark for mark in (START, *protocol.starts, MESSAGE, *protocol.ends) if mark[0] == "<")
        self._any_mark = re.compile("|".join(map(re.escape, self._marks)))
        self._any_end = re.compile("|".join(map(re.escape, protocol.ends)))
        self._end_or_value = re.compile(f"{self._any_end.pattern}|{protocol.value_open}")
        self._value_part = re.compile(protocol.value_part, re.DOTALL)
        self._content, self._reasoning = _Pieces("content"), _Pieces("reasoning")
        self._events: list[Event] = []
        self._buffer = ""
        self._closed = False
        self._state: Callable[[], bool] = self._at_header  # reads on; False when it needs more text
        self._header: Header | None = None
        self._raw: list[str] = []  # the open message as far as it was taken
        self._at = 0  # inside a call: the next character to look at
        self._in_value = False
        self._after_message = False

    def feed(self, text: str) -> list[Event]:
        """Take text in; give what is certain."""
        self._buffer += text
        while self._state():
            pass
        events, self._events = self._events, []
        return events

    def close(self, text: str = "") -> list[Event]:
        """End the text, with its last piece; give what was held back."""
        self._closed = True
        return self.feed(text)

    def _take(self, length: int) -> str:
        text, self._buffer = self._buffer[:length], self._buffer[length:]
        return text

    def _at_header(self) -> bool:
        begin = self._buffer.lstrip()
        starts = self._protocol.starts
        if begin.startswith(starts):
            found = re.search(r"<\|message\|>|\n", begin[:_MAX_HEADER])
            if found and found[0] == MESSAGE:
                self._open(len(self._buffer) - len(begin) + found.start())
                return True
            if not found and len(begin) < _MAX_HEADER and not self._closed:
                return False
        elif not self._closed and any(start.startswith(begin) for start in starts):
            return False
        elif not begin and self._after_message:
            self._buffer = ""
        if self._after_message:
            self._content.begin()
            self._after_message = False
        if mark := next((start for start in starts if start in self._marks and begin.startswith(start)), ""):
            self._events += self._content.text(self._take(len(self._buffer) - len(begin) + len(mark)))
            self._report("unclosed", mark, f"{mark} without {MESSAGE} after it")
        self._state = self._in_text
        return True

    def _open(self, end: int) -> None:
        header = self._take(end)
        self._raw = [header + self._take(len(MESSAGE))]
        self._header = self._protocol.read_header(header.strip())
        self._at, self._in_value, self._after_message = 0, False, True
        if self._header is not None and self._header.kind != "call":
            self._pieces().begin()
            self._state = self._in_message
        else:
            self._state = self._in_call

    def _pieces(self) -> _Pieces:
        reasoning = self._header is not None and self._header.kind == "reasoning"
        return self._reasoning if reasoning else self._content

    def _in_text(self) -> bool:
        found = self._any_mark.search(self._buffer)
        if not found:
            self._events += self._content.text(self._take_safe(self._marks))
            return False
        self._events += self._content.text(self._take(found.start()))
        if found[0] in self._protocol.starts:
            self._state = self._at_header
        else:
            self._events += self._content.text(self._take(len(found[0])))
            self._report("stray_close", found[0], f"{found[0]} outside of a message")
        return True

    def _in_message(self) -> bool:
        found = self._any_end.search(self._buffer)
        text = self._take(found.start()) if found else self._take_safe(self._protocol.ends)
        self._raw.append(text)
        self._events += self._pieces().text(text)
        if not found and not self._closed:
            return False
        self._take(len(found[0]) if found else 0)
        body = "".join(self._raw[1:])
        if mark := self._any_mark.search(body):
            self._report("unclosed", body, f"{mark[0]} inside a message")
        elif not found and self._pieces() is self._reasoning:
            self._report("unclosed", self._raw[0] + body, f"reasoning without {self._protocol.ends[0]}")
        self._state = self._at_header
        return bool(found)

    def _in_call(self) -> bool:
        found = self._find_end()
        if not found and not self._closed:
            return False
        body = self._take(found.start() if found else len(self._buffer))
        end = self._take(len(found[0]) if found else 0)
        self._state = self._at_header
        try:
            if self._header is None:
                raise BlockError("no_name", f"the header {shorten(self._raw[0])} names no channel or tool")
            calls = self._protocol.read_call(self._header, body, self._tools)
        except BlockError as error:
            raw = self._raw[0] + body + end
            self._content.begin()
            self._events += self._content.text(raw)
            self._report(error.kind if found else "unclosed", raw, error.detail)
            return bool(found)
        for name, arguments in calls:
            self._events.append(("call", ToolCall(name=name, arguments=arguments, id=f"call_{self.n_calls}")))
            self.n_calls += 1
        return bool(found)

    def _find_end(self) -> re.Match[str] | None:
        """The first end mark outside a value; ``_at`` moves past what was looked at."""
        outside = self._end_or_value if self._header else self._any_end
        while found := (self._value_part if self._in_value else outside).search(self._buffer, self._at):
            if not self._in_value and found[0] in self._protocol.ends:
                return found
            self._at = found.end()
            self._in_value = not self._in_value or found[1] is None
        self._at = max(self._at, len(self._buffer) - _HELD)
        return None

    def _take_safe(self, marks: Sequence[str]) -> str:
        """Take what cannot be the beginning of a mark; at the end of the text take all."""
        return self._take(len(self._buffer) - (0 if self._closed else held_length(self._buffer, marks)))

    def _report(self, kind: ProblemKind, text: str, detail: str) -> None:
        self.problems.append(Problem(kind, text, detail))
