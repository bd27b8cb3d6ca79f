"""E-mail addresses, links, dates, numbers and the like, found in a text. Reads and writes nothing.

The expressions are ours, of a length that is linear in the text but for their short bounded repeats.
"""

import datetime
import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["email", "url", "date", "time", "number", "money", "percentage", "phone", "ip", "hashtag", "mention"]

_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July", "August"),
    *("September", "October", "November", "December"),
)
_MONTH = "(?P<month>" + "|".join(f"{name}|{name[:3]}" for name in _MONTHS) + r")\.?"
_AMOUNT = r"\d{1,3}(?:,\d{3}){1,5}(?:\.\d{1,6})?|\d{1,18}(?:\.\d{1,9})?"
_PATTERNS: dict[Kind, re.Pattern[str]] = {
    "email": re.compile(r"(?<![\w.+%-])[\w.+%-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w-])"),
    "url": re.compile(r"\bhttps?://[^\s<>\"'`{}|\\^]{1,2000}"),
    "date": re.compile(
        rf"\b(?:(?P<iso>\d{{4}}-\d\d-\d\d)|(?P<day>\d{{1,2}})(?:st|nd|rd|th)? {_MONTH},? (?P<year>\d{{4}}))\b"
        rf"|\b{_MONTH.replace('month', 'month2')} (?P<day2>\d{{1,2}})(?:st|nd|rd|th)?, (?P<year2>\d{{4}})\b"
    ),
    "time": re.compile(r"(?<![\d:])(?:[01]?\d|2[0-3]):[0-5]\d(?::[0-5]\d)?(?![\d:])"),
    "number": re.compile(rf"(?<![\w.,-])-?(?:{_AMOUNT})(?![\w]|[.,-]\d)"),
    "money": re.compile(
        rf"(?<![\w.])(?:(?P<before>EUR|USD|GBP|CHF|[€$£])\s?(?P<a>{_AMOUNT})(?!\d)|(?P<b>{_AMOUNT})\s?(?P<after>EUR\b|USD\b|GBP\b|CHF\b|[€$£]))"
    ),
    "percentage": re.compile(rf"(?<![\w.])-?(?:{_AMOUNT})\s?(?:%|percent\b)"),
    "phone": re.compile(r"(?<![\w+])\+\d{1,3}(?:[ ()./-]{1,2}\d{1,5}){2,6}(?!\d)|(?<![\w+])\+\d{8,15}(?!\d)"),
    "ip": re.compile(r"(?<![\w.:])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)"),
    "hashtag": re.compile(r"(?<![\w#&/])#[^\W\d]\w{0,99}"),
    "mention": re.compile(r"(?<![\w@.])@[A-Za-z_]\w{0,49}"),
}
_CURRENCIES = {"€": "EUR", "$": "USD", "£": "GBP"}


@dataclass(frozen=True)
class Entity:
    """Something found in a text, from a character to another."""

    kind: Kind
    text: str
    start: int
    value: Any

    @property
    def end(self) -> int:
        return self.start + len(self.text)


def find_entities(text: str, kind: Kind) -> Iterator[Entity]:
    """All entities of a kind, in order; dates that do not exist and addresses out of range are left out."""
    for match in _PATTERNS[kind].finditer(text):
        found = match[0]
        if kind == "url":
            found = _without_end(found)
        try:
            value = _value(kind, found, match)
        except ValueError:
            continue
        yield Entity(kind, found, match.start(), value)


def _without_end(link: str) -> str:
    """A link in running text ends before the full stop of the sentence, and before a bracket opened outside it."""
    while link[-1:] in ".,;:!?" or (link.endswith(")") and link.count("(") < link.count(")")):
        link = link[:-1]
    return link


def _value(kind: Kind, found: str, match: re.Match[str]) -> Any:
    match kind:
        case "date":
            return _date(match).isoformat()
        case "number":
            return _number(found)
        case "percentage":
            return _number(re.sub(r"\s?(?:%|percent)$", "", found))
        case "money":
            currency = match["before"] or match["after"]
            return {"amount": _number(match["a"] or match["b"]), "currency": _CURRENCIES.get(currency, currency)}
        case "ip":
            return str(ipaddress.IPv4Address(found))
        case "phone":
            return "+" + re.sub(r"\D", "", found)
        case "email":
            return found.lower()
    return found


def _number(text: str) -> float:
    plain = text.replace(",", "")
    return float(plain) if "." in plain else int(plain)


def _date(match: re.Match[str]) -> datetime.date:
    if match["iso"]:
        return datetime.date.fromisoformat(match["iso"])
    month = match["month"] or match["month2"]
    number = next(index for index, name in enumerate(_MONTHS, 1) if name.startswith(month))
    return datetime.date(int(match["year"] or match["year2"]), number, int(match["day"] or match["day2"]))
