"""How values are said in a request, and whether a request says a value."""

import datetime
import json
import re
from collections.abc import Iterator
from random import Random
from typing import Any

ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
MONTHS = ("January", "February", "March", "April", "May", "June",
          "July", "August", "September", "October", "November", "December")  # fmt: skip
WRITTEN_DATES = 0.2


def say(value: Any, rng: Random) -> str:
    """A value as a person says it; numbers stay digits, names stay exact, some dates are written out."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return written_date(value) if ISO_DATE.fullmatch(value) and rng.random() < WRITTEN_DATES else value
    if isinstance(value, list) and all(isinstance(item, str | int | float) for item in value):
        items = [say(item, rng) for item in value]
        return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else "nothing"
    if isinstance(value, dict) and value and all(isinstance(item, str | int | float) for item in value.values()):
        return " and ".join(f"{name} {quoted(say(item, rng))}" for name, item in value.items())
    return json.dumps(value, ensure_ascii=False)


def quoted(text: str) -> str:
    """A text in quotes where it has several words and is no date."""
    return f'"{text}"' if " " in text and not _is_written_date(text) else text


def _is_written_date(text: str) -> bool:
    return re.fullmatch(rf"\d\d? ({'|'.join(MONTHS)}) \d{{4}}", text) is not None


def written_date(iso: str) -> str:
    """``2025-03-04`` as ``4 March 2025``; a day that does not exist stays as it is."""
    try:
        day = datetime.date.fromisoformat(iso)
    except ValueError:
        return iso
    return f"{day.day} {MONTHS[day.month - 1]} {day.year}"


def mentions(text: str, value: Any) -> bool:
    """Whether ``text`` tells ``value``: digits, exact names, written dates; all parts of lists and objects.

    ``true``, ``false`` and null need no mention: the wording around them tells them.
    """
    return all(_mentions_leaf(text, leaf) for leaf in leaves(value))


def leaves(value: Any) -> Iterator[str | int | float]:
    """The strings and numbers inside a value, keys of objects included."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield name
            yield from leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item)
    elif isinstance(value, str) or (isinstance(value, int | float) and not isinstance(value, bool)):
        yield value


def _mentions_leaf(text: str, leaf: str | int | float) -> bool:
    if isinstance(leaf, str):
        options = [leaf] + ([written_date(leaf)] if ISO_DATE.fullmatch(leaf) else [])
        return any(_stands_in(text.casefold(), option.casefold()) for option in options)
    return any(_stands_in(text, form) for form in _number_forms(leaf))


def _number_forms(number: int | float) -> set[str]:
    whole = isinstance(number, float) and number.is_integer()
    return {str(number), *([str(int(number))] if whole else [])}


def _stands_in(text: str, part: str) -> bool:
    """Whether ``part`` stands in ``text`` on its own, not inside a longer word or number."""
    before = r"(?<![\w.])" if part[:1].isalnum() else ""
    after = r"(?!\w|\.\d)" if part[-1:].isalnum() else ""
    return re.search(before + re.escape(part) + after, text) is not None
