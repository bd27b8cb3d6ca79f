"""The scanner of dialects with marks: reads a text in pieces, in the way that ``marked`` describes."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from toolwright.dialect.block import BlockError
from toolwright.dialect.parsed import Problem, ProblemKind
from toolwright.dialect.pieces import Content, Event, held_length
from toolwright.records import ToolCall, ToolSpec

if TYPE_CHECKING:
    from toolwright.dialect.marked import Marked


class Scanner:
    """Reads a text that arrives in pieces; gives the same events, joined, however it is cut."""

    def __init__(self, form: "Marked", tools: Sequence[ToolSpec] = ()) -> None:
        self.problems: list[Problem] = []
        self.n_calls = 0
        self._form = form
        self._tools = tools
        self._buffer = ""
        self._closed = False
        self._state: Callable[[], Iterator[Event | None]] = self._start
        self._content = Content(form.margin)
        self._raw: list[str] = []  # what a broken block or open reasoning has passed on so far
        self._at = 0  # inside a block: the next character to look at
        self._quote = ""  # inside a block: the beginning of the quote that is open

    def feed(self, text: str) -> list[Event]:
        """Take text in; give what is certain."""
        self._buffer += text
        return self._run()

    def close(self, text: str = "") -> list[Event]:
        """End the text, with its last piece; give what was held back."""
        self._buffer += text
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
        held = 0 if self._closed else held_length(self._buffer, list(filter(None, marks)))
        return self._take(len(self._buffer) - held)

    def _text(self, text: str) -> Event:
        return ("content", self._content.text(text))

    def _start(self) -> Iterator[Event | None]:
        think, begin = self._form.think, self._buffer.lstrip()
        if begin.startswith(think):
            self._take(self._buffer.index(think) + len(think))
            self._raw = [think]
            self._state = self._think_margin
        elif not self._closed and think.startswith(begin):
            return
        else:
            self._state = self._begin
        yield None

    def _think_margin(self) -> Iterator[Event | None]:
        if not self._buffer and not self._closed:
            return
        if self._buffer[:1] == self._form.think_margin:
            self._raw.append(self._take(1))
        self._state = self._in_think
        yield None

    def _in_think(self) -> Iterator[Event | None]:
        margin, mark = self._form.think_margin, self._form.think_end
        end = self._buffer.find(mark)
        if end >= 0:
            yield ("reasoning", self._take(end).removesuffix(margin))
            self._take(len(mark))
            self._state = self._after_think
            yield None
            return
        text = self._take_safe(margin + mark, mark)
        self._raw.append(text)
        yield ("reasoning", text)
        if self._closed:
            self._report("unclosed", "".join(self._raw), f"{self._form.think} without {mark}")
            self._state = self._end

    def _after_think(self) -> Iterator[Event | None]:
        margin = self._form.think_margin
        if margin and not self._closed and len(self._buffer) < 2 and not self._buffer.strip(margin):
            return
        begin = self._buffer[:2]
        self._take(len(begin) - len(begin.lstrip(margin)) if margin else 0)
        self._state = self._begin
        yield None

    def _begin(self) -> Iterator[Event | None]:
        begin = self._buffer.lstrip()
        if self._form.bare and not begin and not self._closed:
            return
        bare = bool(self._form.bare) and begin.startswith(self._form.bare)
        self._state = self._in_bare if bare else self._in_text
        yield None

    def _in_bare(self) -> Iterator[Event | None]:
        if self._closed:
            self._state = self._end
            yield from self._read(self._buffer, self._take(len(self._buffer)), bare=True)

    def _in_text(self) -> Iterator[Event | None]:
        form = self._form
        while mark := form.text_marks.search(self._buffer):
            yield self._text(self._take(mark.start()))
            if mark[0] == form.open:
                self._at, self._quote, self._state = len(form.open), "", self._in_block
                yield None
                return
            text = self._take(len(mark[0]))
            if mark[0] == form.close:
                yield self._text(text)
                self._report("stray_close", text, f"{form.close} without {form.open} before it")
        yield self._text(self._take_safe(form.open, form.close, *form.around))

    def _in_block(self) -> Iterator[Event | None]:
        form, found = self._form, self._find_end()
        if found == "wait" and not self._closed:
            return
        body = self._buffer[len(form.open) : self._at]
        self._state = self._in_text
        if found == "close" or (not form.close and found in ("open", "wait")):
            yield from self._read(body, self._take(self._at + (len(form.close) if found == "close" else 0)))
        elif found == "wait":
            yield from self._cut_off()
        elif found == "open" and self._is_blank_or_call(body):
            yield self._text(self._take(self._at))
            text = (form.open + body).removesuffix("\n")
            self._report("unclosed", text, f"{form.open} without {form.close} before the next {form.open}")
        else:
            self._raw = [self._take(self._at)]
            yield self._text(self._raw[0])
            self._state = self._in_broken
        yield None

    def _find_end(self) -> Literal["wait", "close", "open", "broken"]:
        """Move ``_at`` to the first mark outside quotes, or to the first character that a quote may not hold."""
        form = self._form
        while True:
            if not self._quote and (unmarked := form.unmarked.match(self._buffer, self._at)):
                self._at = unmarked.end()  # in one go, as nearly all of a body is
            quote, pattern = form.inside[self._quote] if self._quote else (None, form.outside)
            found = pattern.search(self._buffer, self._at)
            if not found:
                marks = (quote.end,) if quote else form.body_marks
                held = 0 if self._closed else held_length(self._buffer[self._at :], marks)
                self._at = len(self._buffer) - held
                return "wait"
            self._at = found.start()
            if quote is None and found[0] in (form.open, form.close):
                return "close" if found[0] == form.close else "open"
            if quote is None or found[0] == quote.end:
                self._quote = found[0] if quote is None else ""
                self._at = found.end()
            elif found[0] != "\\":
                return "broken"
            elif self._at + 1 == len(self._buffer) and not self._closed:
                return "wait"
            else:
                self._at += 2

    def _read(self, body: str, raw: str, bare: bool = False) -> Iterator[Event]:
        try:
            calls = self._form.read_body(body, self._tools)
            if not calls and not bare:
                raise BlockError("not_object", "no call")
        except BlockError as error:
            self._report(error.kind, raw, error.detail)
            calls = []
        if not calls:
            yield self._text(raw)
            return
        self._content.block()
        for name, arguments in calls:
            yield ("call", ToolCall(name=name, arguments=arguments, id=f"call_{self.n_calls}"))
            self.n_calls += 1

    def _cut_off(self) -> Iterator[Event]:
        text = self._take(len(self._buffer))
        if self._form.close in text:
            self._report("not_json", text, "a string or value is not closed")
        else:
            self._report("unclosed", text, f"{self._form.open} without {self._form.close}")
        yield self._text(text)

    def _in_broken(self) -> Iterator[Event | None]:
        mark = self._form.close
        end = self._buffer.find(mark) if mark else -1
        text = self._take(end + len(mark)) if end >= 0 else self._take_safe(mark)
        self._raw.append(text)
        yield self._text(text)
        if end >= 0:
            self._report_broken("".join(self._raw))
            self._state = self._in_text
            yield None
        elif self._closed:
            raw = "".join(self._raw)
            if mark:
                self._report("unclosed", raw, f"{self._form.open} without {mark}")
            else:
                self._report_broken(raw)
            self._state = self._end

    def _report_broken(self, raw: str) -> None:
        body = raw.removeprefix(self._form.open).removesuffix(self._form.close)
        try:
            self._form.read_body(body, self._tools)
        except BlockError as error:
            self._report(error.kind, raw, error.detail)
        else:
            self._report("not_json", raw, f"{self._form.open} inside a call")

    def _is_blank_or_call(self, body: str) -> bool:
        try:
            return not body.strip() or bool(self._form.read_body(body, self._tools))
        except BlockError:
            return False

    def _end(self) -> Iterator[Event | None]:
        yield from ()

    def _report(self, kind: ProblemKind, text: str, detail: str) -> None:
        self.problems.append(Problem(kind, text, detail))
