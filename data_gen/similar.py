"""Finds questions that were asked before: the same text, or nearly the same words around the same values."""

import re
from collections import defaultdict

from toolwright.errors import DataError

FILLERS = frozenset(
    ("a", "an", "the", "please", "can", "could", "would", "you", "me", "i", "of", "for", "at", "in", "on", "to", "is",
     "are", "do", "does", "kindly")
)  # fmt: skip
NEAR = 0.8
TOKEN = re.compile(r"[^\s,?!;:()\"']+")


def normalise(text: str) -> str:
    """A text for comparison: lower case, single spaces, no punctuation at the ends of words."""
    return " ".join(token.strip(".").casefold() for token in TOKEN.findall(text) if token.strip("."))


def _split(text: str) -> tuple[tuple[str, ...], frozenset[str]]:
    """The values (anything with a digit, a capital letter or a mark inside) in their order, and the other words."""
    tokens = [token.strip(".") for token in TOKEN.findall(text)]
    values = [
        t.casefold() for n, t in enumerate(tokens) if t and (re.search(r"[\d_/.+*=@-]", t) or (n and t != t.lower()))
    ]
    words = {token.casefold() for token in tokens if token} - set(values) - FILLERS
    return tuple(values), frozenset(words)


class Seen:
    """The questions so far."""

    def __init__(self) -> None:
        self._texts: set[str] = set()
        self._words: dict[tuple[str, ...], list[frozenset[str]]] = defaultdict(list)

    def why_not(self, text: str) -> str | None:
        """``duplicate`` or ``near-duplicate`` of an earlier question; none for a new one."""
        if normalise(text) in self._texts:
            return "duplicate"
        values, words = _split(text)
        near = any(len(words & other) >= NEAR * len(words | other) for other in self._words[values])
        return "near-duplicate" if near else None

    def add(self, text: str) -> None:
        """Remember a question.

        Raises:
            DataError: it has no words.
        """
        if not normalise(text):
            raise DataError(f"a question without words: {text!r}")
        self._texts.add(normalise(text))
        values, words = _split(text)
        self._words[values].append(words)
