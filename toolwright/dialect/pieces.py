"""What scanners share: the events that they give, content in pieces, and text that may be the beginning of a mark."""

from collections.abc import Sequence
from typing import Literal

from toolwright.records import ToolCall

Event = tuple[Literal["content", "reasoning"], str] | tuple[Literal["call"], ToolCall]
"""What a scanner gives, in the order of the text."""


class Content:
    """Joins the pieces of content, and decides which blank text belongs to a block of calls.

    Text is passed on at once but for one trailing ``margin``, and for blank text at the start of a piece.

    Attributes:
        margin: the one character that a block takes away from the content on either side, or "".
    """

    def __init__(self, margin: str) -> None:
        self.margin = margin
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
                self.held = self.held.removeprefix(self.margin)
            if self.any_written:
                self.held = "\n" + self.held
        self.any_written = True
        text, self.held = self.held, ""
        if self.margin and text.endswith(self.margin):
            text, self.held = text[:-1], self.margin
        return text

    def block(self) -> None:
        """A good block begins here: what is held is its margin."""
        self.held = ""
        self.piece_started = False
        self.after_block = True

    def close(self) -> str:
        """Give what is still held at the end of the text."""
        return self.held if self.piece_started or not self.after_block else ""


def held_length(text: str, marks: Sequence[str]) -> int:
    """The length of the longest end of ``text`` that a mark begins with; no whole mark may be in the text."""
    longest = min(len(text), max(map(len, marks), default=1) - 1)
    for length in range(longest, 0, -1):
        tail = text[-length:]
        if any(mark.startswith(tail) for mark in marks):
            return length
    return 0
