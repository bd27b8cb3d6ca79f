"""Regular expressions from strangers: which of them are safe to run on a model's text, and texts that they match.

Python's matcher goes back: a repeat inside a repeat can take for ever, and two of them in a row take the square of the
text's length. Only patterns with neither are kept; long texts are refused before a pattern sees them.
"""

import random
import re
import warnings
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import re._constants as sre  # type: ignore[import-not-found]  # isort: skip
import re._parser as sre_parse  # type: ignore[import-not-found]  # isort: skip

MAX_PATTERN = 500
MAX_MATCHED = 4000
_MANY = 200
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_PRINTABLE = [*_LETTERS, *_LETTERS.upper(), *"0123456789", *" -_.,:;!?@#/()[]'\"+*&%=$<>|~^`{}\\"]


@lru_cache(maxsize=1024)
def is_safe(pattern: str) -> bool:
    """Whether a pattern can be read, and takes at most about the square of the text's length."""
    if len(pattern) > MAX_PATTERN:
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            tree = sre_parse.parse(pattern)
            re.compile(pattern)
    except (re.error, OverflowError, RecursionError, Warning):
        return False
    count = _long_repeats(tree, inside=False)
    return count is not None and count <= (2 if pattern.startswith(("^", r"\A")) else 1)


def _long_repeats(tree: Iterable[Any], inside: bool) -> int | None:
    """How many long repeats there are; None when a repeat stands inside a long one, or what goes back otherwise."""
    total = 0
    for kind, value in tree:
        if kind in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
            low, high, inner = value
            if inside and high != low:
                return None
            long = high == sre.MAXREPEAT or high > _MANY
            below = _long_repeats(inner, inside or high > 1)
            if below is None or (high > 1 and below):
                return None
            total += below + int(long)
        elif kind in (sre.GROUPREF, sre.GROUPREF_EXISTS):
            return None
        elif kind is sre.BRANCH:
            counts = [_long_repeats(branch, inside) for branch in value[1]]
            if inside or None in counts:
                return None
            total += max(count for count in counts if count is not None)
        elif (inner := _inner(kind, value)) is not None:
            below = _long_repeats(inner, inside)
            if below is None:
                return None
            total += below
    return total


def _inner(kind: Any, value: Any) -> Any:
    if kind is sre.SUBPATTERN:
        return value[-1]
    if kind in (sre.ASSERT, sre.ASSERT_NOT):
        return value[1]
    return value if kind is sre.ATOMIC_GROUP else None


def matching_text(pattern: str, rng: random.Random, low: int = 0, high: int | None = None) -> str | None:
    """A text that a pattern matches, with at least ``low`` characters and at most ``high``; None if none is found."""
    try:
        tree = sre_parse.parse(pattern)
        compiled = re.compile(pattern)
    except (re.error, OverflowError, RecursionError):
        return None
    for attempt in range(24):
        more = (0, 1, 3, max(low, 2))[attempt % 4]
        text = _write(tree, rng, more)
        if len(text) < low and not pattern.endswith(("$", r"\Z")):
            text += "".join(rng.choices(_LETTERS, k=low - len(text)))
        if low <= len(text) and (high is None or len(text) <= high) and compiled.search(text):
            return text
    return None


def _write(tree: Iterable[Any], rng: random.Random, more: int) -> str:
    return "".join(_part(kind, value, rng, more) for kind, value in tree)


def _part(kind: Any, value: Any, rng: random.Random, more: int) -> str:
    if kind is sre.LITERAL:
        return chr(value)
    if kind in (sre.IN, sre.NOT_LITERAL, sre.ANY, sre.CATEGORY):
        return rng.choice(_choices(kind, value) or ["a"])
    if kind in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
        low, high, inner = value
        count = min(low + (rng.randint(0, more) if low else more), int(high), low + 200)
        return "".join(_write(inner, rng, more) for _ in range(count))
    if kind is sre.BRANCH:
        return _write(rng.choice(value[1]), rng, more)
    inner = _inner(kind, value) if kind in (sre.SUBPATTERN, sre.ATOMIC_GROUP) else None
    return "" if inner is None else _write(inner, rng, more)


def _choices(kind: Any, value: Any) -> list[str]:
    """The printable characters that one place of a pattern takes."""
    if kind is sre.ANY:
        return [*_LETTERS]
    if kind is sre.NOT_LITERAL:
        return [char for char in _PRINTABLE if ord(char) != value]
    items = value if kind is sre.IN else [(kind, value)]
    negated = bool(items) and items[0][0] is sre.NEGATE
    listed = [char for char in _PRINTABLE if any(_takes(item, char) for item in items)]
    if negated:
        return [char for char in _PRINTABLE if char not in listed]
    return listed or [
        chr(value if kind is sre.LITERAL else value[0]) for kind, value in items if kind is not sre.CATEGORY
    ]


def _takes(item: tuple[Any, Any], char: str) -> bool:
    kind, value = item
    if kind is sre.LITERAL:
        return bool(ord(char) == value)
    if kind is sre.RANGE:
        return bool(value[0] <= ord(char) <= value[1])
    category: re.Pattern[str] | None = _CATEGORIES.get(value) if kind is sre.CATEGORY else None
    return category is not None and category.fullmatch(char) is not None


_CATEGORIES = {
    sre.CATEGORY_DIGIT: re.compile(r"\d"),
    sre.CATEGORY_NOT_DIGIT: re.compile(r"\D"),
    sre.CATEGORY_SPACE: re.compile(r"\s"),
    sre.CATEGORY_NOT_SPACE: re.compile(r"\S"),
    sre.CATEGORY_WORD: re.compile(r"\w"),
    sre.CATEGORY_NOT_WORD: re.compile(r"\W"),
}
