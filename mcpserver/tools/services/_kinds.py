"""Kinds of parameters that the simulated services share, with their bounds; and what today is."""

import datetime
from typing import Annotated

from annotated_types import Ge, Le, Len
from pydantic import AfterValidator, StringConstraints, WithJsonSchema

from mcpserver.context import FIRST_MOMENT

FIRST_DAY, LAST_DAY = "2020-01-01", "2030-12-31"
TODAY = FIRST_MOMENT.date().isoformat()
NOW = f"{FIRST_MOMENT:%Y-%m-%d %H:%M}"


def _printable(text: str) -> str:
    if not text.strip():
        raise ValueError("must hold more than spaces")
    if bad := next((c for c in text if ord(c) < 32 and c not in "\n\t"), None):
        raise ValueError(f"must not hold the control character {bad!r}")
    return text.strip()


def _one_line(text: str) -> str:
    if "\n" in text or "\t" in text:
        raise ValueError("must be one line")
    return _printable(text)


def _known_day(text: str) -> str:
    try:
        day = datetime.date.fromisoformat(text).isoformat()
    except ValueError:
        raise ValueError("must be a day such as 2025-03-17") from None
    if not FIRST_DAY <= day <= LAST_DAY:
        raise ValueError(f"must lie between {FIRST_DAY} and {LAST_DAY}")
    return day


def _known_moment(text: str) -> str:
    try:
        moment = datetime.datetime.strptime(text.replace("T", " "), "%Y-%m-%d %H:%M")
    except ValueError:
        raise ValueError("must be a moment such as 2025-03-17 14:30") from None
    return f"{_known_day(moment.date().isoformat())} {moment:%H:%M}"


Id = Annotated[str, Len(1, 40)]
Line = Annotated[str, Len(1, 120), AfterValidator(_one_line)]
Text = Annotated[str, Len(1, 2000), AfterValidator(_printable)]
Limit = Annotated[int, Ge(1), Le(50)]
Offset = Annotated[int, Ge(0), Le(100_000)]
Money = Annotated[float, Ge(0.01), Le(1_000_000), AfterValidator(lambda amount: round(amount, 2))]
Day = Annotated[str, AfterValidator(_known_day), WithJsonSchema({"type": "string", "format": "date"})]
Moment = Annotated[
    str, AfterValidator(_known_moment), WithJsonSchema({"type": "string", "pattern": r"^\d{4}-\d\d-\d\d[ T]\d\d:\d\d$"})
]
Clock = Annotated[str, StringConstraints(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
