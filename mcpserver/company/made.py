"""What a generator of the company world gives: content with a one-line summary, by path; and its random numbers."""

import csv
import datetime
import hashlib
import io
import json
import random
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

COMPANY_SEED = 2025
COMPANY = "Alderwick Flow"
DOMAIN = "alderwick.example"
MOMENT = datetime.datetime(2025, 3, 14, 16, 0)
"""The date and time written into every file that carries one: the Friday before the environments' clock."""


class Made(NamedTuple):
    """The content of a generated file and what it is about, in one line."""

    content: bytes
    summary: str


Files = dict[str, Made]


def generator(name: str) -> random.Random:
    """The random numbers for one file: editing one generator leaves the bytes of all other files as they are."""
    text = json.dumps([COMPANY_SEED, "company", name])
    return random.Random(hashlib.sha256(text.encode()).digest())


def made_text(content: str, summary: str) -> Made:
    """A UTF-8 text file; lines end with a newline."""
    return Made((content.strip("\n") + "\n").encode(), summary)


def made_json(value: Any, summary: str) -> Made:
    """An indented JSON file."""
    return made_text(json.dumps(value, indent=2, ensure_ascii=False), summary)


def made_jsonl(rows: Iterable[dict[str, Any]], summary: str) -> Made:
    """A file with one JSON object a line."""
    return made_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), summary)


def made_table(columns: str, rows: Iterable[Sequence[Any]], summary: str, *, delimiter: str = ",") -> Made:
    """A CSV or TSV file; ``columns`` are the names with commas between them."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    writer.writerow(columns.split(","))
    writer.writerows(rows)
    return made_text(out.getvalue(), summary)


def days(start: str, count: int, *, weekends: bool = True) -> list[str]:
    """``count`` ISO dates from ``start`` on, with or without Saturdays and Sundays."""
    first = datetime.date.fromisoformat(start)
    found = (first + datetime.timedelta(days=offset) for offset in range(2 * count + 7))
    return [day.isoformat() for day in found if weekends or day.weekday() < 5][:count]


def later(day: str, count: int) -> str:
    """The ISO date ``count`` days after ``day``."""
    return (datetime.date.fromisoformat(day) + datetime.timedelta(days=count)).isoformat()


def money(value: float) -> float:
    """An amount with two decimals."""
    return round(value + 1e-9, 2)
