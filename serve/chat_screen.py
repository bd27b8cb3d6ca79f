"""What the chat shows: text as it is written, a card for each call, one line for each mishap.

On a terminal all of it goes to standard output, in colours. Without one, standard output gets the answers alone, and
standard error the rest, in plain text. Whatever models and tools write is shown without control characters: a tool's
result must not move the cursor.
"""

import json
import re
import sys
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.highlighter import JSONHighlighter
from rich.panel import Panel
from rich.rule import Rule
from rich.status import Status
from rich.text import Text

from toolwright.dialect import ContentDelta, Problem
from toolwright.records import ToolCall, ToolResult
from toolwright.words import cut

MOST_CHARACTERS = 1000
MOST_LINES = 14
ONE_LINE = 76
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_PICTURE = re.compile(r"data:([^;,]*)[^,]*,(.*)", re.DOTALL)


class Screen:
    """Two consoles, for the conversation and for what is said about it, and the state of the line.

    Args:
        live: a person sits there.
    """

    def __init__(self, live: bool) -> None:
        self.live = live
        if live:
            self.out = self.notes = Console(highlight=False, soft_wrap=True)
        else:
            self.out = Console(force_terminal=False, no_color=True, highlight=False, soft_wrap=True)
            self.notes = Console(
                stderr=True, force_terminal=False, no_color=True, highlight=False, soft_wrap=True, width=100
            )
        self._status: Status | None = None
        self._open = ""  # the kind of text that the cursor stands in
        self.shown = ""  # the content of this turn that was shown as it came

    def busy(self, words: str) -> None:
        """Show that something is under way."""
        self.end_text()
        if not self.live:
            return
        if self._status is None:
            self._status = self.out.status("")
            self._status.start()
        self._status.update(Text(visible(words), style="dim"))

    def idle(self) -> None:
        """End what ``busy`` began."""
        if self._status is not None:
            self._status.stop()
            self._status = None

    def text(self, delta: ContentDelta) -> None:
        """Show a piece of a reply; reasoning in grey."""
        kind = "reasoning" if delta.reasoning else "content"
        words = visible(delta.text)
        if kind != self._open:
            words = words.lstrip()
            if not words:
                return
            self.idle()
            self.end_text()
        self._open = kind
        self.shown += "" if delta.reasoning else words
        self.out.print(Text(words, style="dim italic" if delta.reasoning else ""), end="")

    def end_text(self) -> None:
        """Begin a new line, if the cursor is in the middle of one."""
        if self._open:
            self.out.print()
        self._open = ""

    def words(self, content: str) -> None:
        """Show what a turn said, unless it was shown as it came."""
        self.idle()
        self.end_text()
        if content.strip() and not self.shown.strip():
            (self.notes if not self.live else self.out).print(Text(visible(content.strip())))
        self.shown = ""

    def answer(self, content: str) -> None:
        """Print an answer by itself."""
        self.out.print(Text(visible(content)))

    def card(self, call: ToolCall, result: ToolResult, seconds: float | None) -> None:
        """Show one call and what came of it."""
        parts: list[RenderableType] = [
            _arguments(call.arguments),
            Rule(style="dim"),
            Text(shorten_text(result.content)),
        ]
        parts += [Text(f"picture: {name}", style="dim") for name in map(name_picture, result.pictures)]
        if result.synthetic:
            parts.append(Text("made up by a stand-in for the API", style="yellow"))
        took = "did not run" if seconds is None else f"{seconds:.2f} s"
        self._panel(call.name, parts, f"{result.error} · {took}" if result.error else took, result.ok)

    def malformed(self, problems: Sequence[Problem]) -> None:
        """Show what looked like calls and could not be read."""
        for problem in problems:
            if problem.kind == "unparsed":
                self.note(problem.detail)
                continue
            parts: list[RenderableType] = [
                Text(shorten_text(problem.text)),
                Rule(style="dim"),
                Text(shorten_text(problem.detail)),
            ]
            self._panel("malformed call", parts, problem.kind, good=False)

    def _panel(self, title: str, parts: Sequence[RenderableType], subtitle: str, good: bool) -> None:
        self.idle()
        self.end_text()
        colour = "green" if good else "red"
        panel = Panel(
            Group(*parts),
            title=Text(cut(visible(title), 80), style=f"bold {colour}"),
            title_align="left",
            subtitle=Text(subtitle, style="dim" if good else "red"),
            subtitle_align="right",
            border_style=colour,
            width=min(self.notes.width, 100),
        )
        self.notes.print(panel, soft_wrap=False)

    def note(self, words: str, style: str = "dim") -> None:
        """Say something about the conversation."""
        self.idle()
        self.end_text()
        self.notes.print(Text(visible(words), style=style))

    def error(self, words: object) -> None:
        """Say what went wrong, in one line."""
        self.note(f"error: {' '.join(str(words).split())}", "bold red")


def visible(text: str) -> str:
    """A text without control characters, marks that turn the direction of writing, and halves of characters."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n")).encode("utf-8", "replace").decode()


def shorten_text(text: str) -> str:
    """A text for a card: cut in length and in lines, without control characters."""
    lines = visible(text.strip()).split("\n")
    shown = cut("\n".join(lines if len(lines) <= MOST_LINES else lines[: MOST_LINES - 1]), MOST_CHARACTERS)
    more = len(lines) - 1 - shown.count("\n")
    return f"{shown}\n… {more} more lines" if more else shown


def name_picture(url: str) -> str:
    """Type and size of a picture that is a data URL."""
    match = _PICTURE.match(url)
    if match is None:
        return cut(visible(url), 80)
    return f"{visible(match[1]) or 'unknown type'}, {len(match[2]) * 3 / 4 / 1024:.1f} KiB"


def _arguments(arguments: object) -> Text:
    line = json.dumps(arguments, ensure_ascii=False)
    text = Text(line if len(line) <= ONE_LINE else shorten_text(json.dumps(arguments, ensure_ascii=False, indent=2)))
    text.plain = visible(text.plain)
    JSONHighlighter().highlight(text)
    return text


def is_terminal() -> bool:
    """Whether a person reads and writes here."""
    return sys.stdin.isatty() and sys.stdout.isatty()
