"""Reads nested literals in a syntax that is almost JSON: other quotes, other escapes, or keys without quotes."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from toolwright.dialect.block import MAX_DEPTH, BlockError, load_json
from toolwright.words import shorten

_SPACE = re.compile(r"\s*")
_NUMBER = re.compile(r"-?[0-9][0-9.eE+-]*")
_WORD = re.compile(r"\w+")
_WORDS: dict[str, Any] = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None}


@dataclass(frozen=True)
class Syntax:
    """What is special about a syntax: how strings look, what a string's text means, and bare keys if it has them."""

    string: re.Pattern[str]
    unquote: Callable[[str], str]
    bare_key: re.Pattern[str] | None = None


class Reader:
    """Walks through one text; every method reads what it is named after, and raises BlockError where it is not there.

    Numbers, ``true``, ``false`` and ``null`` are as in JSON; Python's ``True``, ``False`` and ``None`` are read too.
    """

    def __init__(self, text: str, syntax: Syntax) -> None:
        self._text = text
        self._syntax = syntax
        self._at = 0

    def end(self) -> None:
        """Nothing but blank text is left."""
        if self._peek():
            raise self._fault("the end")

    def mark(self, mark: str) -> None:
        """Exactly ``mark``, after blank text."""
        if not self.skip(mark):
            raise self._fault(repr(mark))

    def skip(self, mark: str) -> bool:
        """Whether ``mark`` is next; if so it is read."""
        self._peek()
        found = self._text.startswith(mark, self._at)
        self._at += len(mark) if found else 0
        return found

    def match(self, pattern: re.Pattern[str], what: str) -> str:
        """Text that ``pattern`` matches, after blank text."""
        self._peek()
        found = pattern.match(self._text, self._at)
        if not found:
            raise self._fault(what)
        self._at = found.end()
        return found[0]

    def pairs(self, key: Callable[[], str], between: str, close: str, depth: int = 0) -> dict[str, Any]:
        """``key between value`` pairs with commas up to ``close``, which is read as well."""
        pairs: dict[str, Any] = {}
        while not self.skip(close):
            if pairs:
                self.mark(",")
            name = key()
            if name in pairs:
                raise BlockError("bad_arguments", f"the parameter {shorten(name, 60)} is written twice")
            self.mark(between)
            pairs[name] = self.value(depth + 1)
        return pairs

    def key(self) -> str:
        """The key of a mapping: a string, or bare text where the syntax has that."""
        self._peek()
        bare = self._syntax.bare_key
        if bare is None or self._syntax.string.match(self._text, self._at):
            return self._string()
        return self.match(bare, "a key")

    def value(self, depth: int = 0) -> Any:
        """A string, number, word, list or mapping."""
        if depth > MAX_DEPTH:
            raise BlockError("not_json", f"nested deeper than {MAX_DEPTH} levels")
        self._peek()
        if self._syntax.string.match(self._text, self._at):
            return self._string()
        if self.skip("{"):
            return self.pairs(self.key, ":", "}", depth)
        if self.skip("["):
            return self._items(depth)
        if _NUMBER.match(self._text, self._at):
            return load_json(self.match(_NUMBER, "a number"))
        at, word = self._at, self.match(_WORD, "a value")
        if word not in _WORDS:
            self._at = at
            raise self._fault("a value")
        return _WORDS[word]

    def _items(self, depth: int) -> list[Any]:
        items: list[Any] = []
        while not self.skip("]"):
            if items:
                self.mark(",")
            items.append(self.value(depth + 1))
        return items

    def _string(self) -> str:
        return self._syntax.unquote(self.match(self._syntax.string, "a string"))

    def _peek(self) -> str:
        found = _SPACE.match(self._text, self._at)
        self._at = found.end() if found else self._at
        return self._text[self._at : self._at + 1]

    def _fault(self, wanted: str) -> BlockError:
        there = shorten(self._text[self._at : self._at + 20]) if self._at < len(self._text) else "the end"
        return BlockError("not_json", f"expected {wanted} at character {self._at}, found {there}")
