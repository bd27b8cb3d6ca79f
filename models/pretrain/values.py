"""Random argument values: each is drawn together with the way a user would say it.

A `Kind` is one sort of value (city, date, decimal, list of numbers …): its JSON schema, its value as it stands in
the call, its wording in the request, and phrases that introduce it without naming the parameter.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from models.pretrain import words

TOKENIZER = Path(__file__).resolve().parents[1] / "tiny/tokenizer.json"

Value = tuple[str, Any]
"""What the user says, and what belongs in the call."""


@dataclass(frozen=True)
class Kind:
    """One sort of argument value."""

    name: str
    schema: dict[str, Any]
    draw: Callable[[Random], Value]
    phrases: tuple[str, ...]
    """Ways to say the value without its parameter's name; `{v}` stands for it."""
    nouns: tuple[str, ...]
    """Parameter names that suit this kind; empty: any random noun."""
    descriptions: tuple[str, ...]


@cache
def letter_tokens() -> tuple[str, ...]:
    """Return the shipped tokenizer's tokens that are ASCII letters only, sorted."""
    vocabulary = json.loads(TOKENIZER.read_text(encoding="utf-8"))["model"]["vocab"]
    return tuple(sorted(token for token in vocabulary if token.isascii() and token.isalpha()))


def pseudo_word(rng: Random) -> str:
    """Return an invented word, at times capitalised: syllables, or one to three tokens of the vocabulary.

    A token that never stands in an answer has an untrained row in the output embedding, so it can never be copied;
    drawn from the whole vocabulary, every token is copied sometimes.
    """
    if rng.random() < 0.65:
        return "".join(rng.choice(letter_tokens()) for _ in range(rng.choice((1, 2, 2, 3))))
    word = "".join(rng.choice(words.SYLLABLES) for _ in range(rng.choice((1, 2, 2, 3)))) + rng.choice(words.ENDINGS)
    return word.capitalize() if rng.random() < 0.4 else word


def any_word(rng: Random) -> str:
    """Return a noun, an adjective, a word of the demo or an invented word."""
    pick = rng.random()
    if pick < 0.3:
        return rng.choice(words.NOUNS)
    if pick < 0.4:
        return rng.choice(words.ADJECTIVES)
    return rng.choice(words.DEMO_WORDS) if pick < 0.55 else pseudo_word(rng)


def _same(draw: Callable[[Random], Any]) -> Callable[[Random], Value]:
    """Return a drawer whose value is said exactly as it is written."""

    def pair(rng: Random) -> Value:
        value = draw(rng)
        return str(value), value

    return pair


def iso_date(rng: Random) -> str:
    """Return a date such as 2025-03-14."""
    return f"{rng.randint(2015, 2032)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"


def _date(rng: Random) -> Value:
    date = iso_date(rng)
    if rng.random() > 0.2:
        return date, date
    year, month, day = date.split("-")
    name = words.MONTHS[int(month) - 1]
    forms = (f"{int(day)} {name} {year}", f"{int(day)} {name} {year}", f"{name} {int(day)}, {year}")
    return rng.choice(forms), date


def _month(rng: Random) -> Value:
    year, month = rng.randint(2015, 2032), rng.randint(1, 12)
    text = f"{year}-{month:02d}"
    return (f"{words.MONTHS[month - 1]} {year}" if rng.random() < 0.25 else text), text


def integer(rng: Random) -> int:
    """Return a whole number of one to five digits."""
    top = rng.choice((9, 99, 99, 999, 9999, 99999))
    return rng.randint(1, top)


def decimal(rng: Random) -> float:
    """Return a decimal number with one to three places, at times negative."""
    places = rng.choice((1, 1, 2, 2, 3))
    whole = rng.randint(0, rng.choice((9, 99, 99, 999, 9999)))
    number: float = round(whole + rng.randint(1, 10**places - 1) / 10**places, places)
    return -number if rng.random() < 0.12 else number


def number(rng: Random) -> float | int:
    """Return a decimal or a whole number."""
    if rng.random() < 0.6:
        return decimal(rng)
    return -integer(rng) if rng.random() < 0.1 else integer(rng)


def code(rng: Random) -> str:
    """Return an identifier such as AX-4071."""
    letters = "".join(rng.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ") for _ in range(rng.randint(1, 3)))
    digits = "".join(rng.choice("0123456789") for _ in range(rng.randint(2, 5)))
    return letters + rng.choice(("-", "-", "", "_")) + digits


def path(rng: Random) -> str:
    """Return a file path such as notes/march.txt."""
    depth = rng.choice((0, 1, 1, 2))
    parts = [any_word(rng).lower() for _ in range(depth + 1)]
    if rng.random() < 0.3:
        parts[-1] += rng.choice(("_", "-")) + rng.choice((any_word(rng).lower(), str(rng.randint(1, 2030))))
    return "/".join(parts) + "." + rng.choice(words.EXTENSIONS)


def phrase(rng: Random) -> str:
    """Return two to six random words."""
    return " ".join(any_word(rng) for _ in range(rng.randint(2, 6)))


def expression(rng: Random) -> str:
    """Return an arithmetic expression such as (12.5 + 3) * 4."""
    a, b, c = (rng.choice((integer, number))(rng) for _ in range(3))
    first, second = rng.choice("+-*/"), rng.choice("+-*/")
    forms = (f"{a} {first} {b}", f"{a} {first} {b} {second} {c}", f"({a} {first} {b}) {second} {c}", f"{a}{first}{b}")
    return rng.choice(forms)


def _quoted(draw: Callable[[Random], str]) -> Callable[[Random], Value]:
    def pair(rng: Random) -> Value:
        value = draw(rng)
        quote = rng.choice(("'", "'", '"'))
        return f"{quote}{value}{quote}", value

    return pair


def _name(rng: Random) -> str:
    first = rng.choice(words.PEOPLE) if rng.random() < 0.7 else pseudo_word(rng).capitalize()
    return first if rng.random() < 0.6 else f"{first} {pseudo_word(rng).capitalize()}"


def _said_list(rng: Random, items: list[str]) -> str:
    if len(items) > 1 and rng.random() < 0.6:
        return ", ".join(items[:-1]) + " and " + items[-1]
    return f"[{', '.join(items)}]" if rng.random() < 0.2 else ", ".join(items)


def _numbers(rng: Random) -> Value:
    draw = rng.choice((integer, decimal, number))
    values = [draw(rng) for _ in range(rng.randint(2, 6))]
    return _said_list(rng, [str(value) for value in values]), values


def _strings(rng: Random) -> Value:
    draw = rng.choice((any_word, any_word, code, lambda r: r.choice(words.CITIES), lambda r: r.choice(words.HUBS)))
    values = [draw(rng) for _ in range(rng.randint(2, 4))]
    return _said_list(rng, values), values


def _record(rng: Random) -> Value:
    keys = rng.sample(words.NOUNS + words.DEMO_WORDS, rng.randint(1, 3))
    draws = (integer, number, any_word, code)
    record = {key: rng.choice(draws)(rng) for key in keys}
    form = rng.choice(("{k} {v}", "{k} {v}", "{k} = {v}", "{k}: {v}"))
    return ", ".join(form.format(k=key, v=value) for key, value in record.items()), record


def _place(rng: Random) -> str:
    return rng.choice(words.CITIES) if rng.random() < 0.7 else pseudo_word(rng).capitalize()


def _company(rng: Random) -> str:
    return rng.choice(words.COMPANIES) if rng.random() < 0.6 else pseudo_word(rng).capitalize()


def _text(pick: Callable[[Random], str]) -> Callable[[Random], Value]:
    return _same(pick)


_S: dict[str, Any] = {"type": "string"}
_N: dict[str, Any] = {"type": "number"}
_I: dict[str, Any] = {"type": "integer"}

KINDS: tuple[Kind, ...] = (
    Kind("city", _S, _text(_place), ("in {v}", "for {v}", "at {v}"), ("city", "place", "town", "site"),
         ("City name", "Name of the place", "Where")),
    Kind("hub", _S, _text(lambda r: r.choice(words.HUBS)), ("at {v}", "for {v}", "on {v}"), ("market", "zone", "point"),
         ("Market code", "Code of the zone", "Trading point")),
    Kind("person", _S, _text(_name), ("for {v}", "by {v}", "of {v}"), ("person", "owner", "user", "client"),
         ("Name of the person", "Full name", "Who")),
    Kind("company", _S, _text(_company), ("for {v}", "of {v}", "from {v}"), ("company", "vendor", "customer", "firm"),
         ("Company name", "Name of the firm")),
    Kind("code", _S, _text(code), ("for {v}", "number {v}", "{v}"), ("id", "reference", "code", "ticket"),
         ("Identifier", "Reference code", "Id of the record")),
    Kind("path", _S, _text(path), ("in {v}", "from {v}", "the file {v}", "at {v}"), ("path", "file", "document"),
         ("Path of the file", "File path", "File name")),
    Kind("date", _S, _date, ("on {v}", "for {v}", "as of {v}"), ("date", "day", "start", "deadline"),
         ("Date as YYYY-MM-DD", "Day, YYYY-MM-DD", "Date (YYYY-MM-DD)")),
    Kind("month", _S, _month, ("in {v}", "for {v}"), ("month", "period"), ("Month as YYYY-MM", "Month (YYYY-MM)")),
    Kind("weekday", _S, _text(lambda r: r.choice(words.WEEKDAYS)), ("on {v}", "every {v}"), ("weekday",),
         ("Day of the week",)),
    Kind("word", _S, _text(any_word), ("for {v}", "called {v}", "named {v}"), (), ("Name of the {n}", "The {n}")),
    Kind("word", _S, _quoted(any_word), ("for {v}", "called {v}", "{v}"), (), ("Name of the {n}", "The {n}")),
    Kind("phrase", _S, _quoted(phrase), ("{v}", "saying {v}", "with the text {v}"),
         ("text", "message", "note", "title"), ("Text of the {n}", "What to write")),
    Kind("formula", _S, _same(expression), ("{v}", "of {v}", "for {v}"), ("formula", "expression"),
         ("Arithmetic expression",)),
    Kind("unit", _S, _text(lambda r: r.choice(words.UNITS)), ("in {v}", "to {v}"), ("unit", "currency"),
         ("Unit", "Unit of the result")),
    Kind("integer", _I, _same(integer), ("{v}", "of {v}", "by {v}"), (), ("Number of the {n}", "How many")),
    Kind("integer", _I, _same(integer), ("{v}", "up to {v}"), ("limit", "count", "days", "size"),
         ("Maximum {n}", "How many")),
    Kind("number", _N, _same(number), ("{v}", "of {v}", "by {v}"), (), ("The {n}", "Value of the {n}")),
    Kind("number", _N, _same(number), ("{v}", "of {v}", "at {v}"), ("amount", "price", "rate", "value"),
         ("Amount", "The {n} in EUR", "The {n}")),
    Kind("numbers", {"type": "array", "items": {"type": "number"}}, _numbers, ("of {v}", "for {v}", "{v}"),
         ("values", "numbers", "samples", "readings"), ("List of numbers", "The {n}")),
    Kind("record", {"type": "object"}, _record, ("with {v}", "for {v}"), ("fields", "values", "record"),
         ("Names and values", "The {n}")),
    Kind("strings", {"type": "array", "items": {"type": "string"}}, _strings, ("for {v}", "{v}", "with {v}"),
         ("names", "items", "columns", "tags"), ("List of {n}", "The {n}")),
)  # fmt: skip
