"""Schedules as in crontab files: read, checked, and the moments at which they fall due. Reads and writes nothing.

Source: POSIX crontab, with names of months and days, steps, and @daily and its like of Vixie cron. As there, a job
runs when either the day of the month or the day of the week fits, if both are restricted.
"""

import datetime
from collections.abc import Iterator
from dataclasses import dataclass

from mcpserver.tool_error import ToolError
from toolwright.words import nearest, shorten

MAX_DAYS = 366 * 9
"""Behind two leap days, since 29 February may be missing for eight years."""
_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 7))
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_NAMES = {
    "month": {name: number for number, name in enumerate(_MONTHS, 1)},
    "weekday": {name: number for number, name in enumerate(_DAYS)},
}
SHORTHANDS = {
    **{"@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@weekly": "0 0 * * 0"},
    **{"@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *"},
}


@dataclass(frozen=True)
class Schedule:
    """The values that fit each field; ``any_day`` and ``any_weekday`` say whether the field is a star."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool
    any_weekday: bool

    def fits(self, day: datetime.date) -> bool:
        """Whether the job runs on a day."""
        if day.month not in self.months:
            return False
        on_day, on_weekday = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        if self.any_day or self.any_weekday:
            return on_day and on_weekday
        return on_day or on_weekday


def parse_schedule(text: str, parameter: str = "schedule") -> Schedule:
    """Read the five fields of a schedule, or a word such as @daily.

    Raises:
        ToolError: ``bad_arguments``, naming the field.
    """
    words = text.split()
    if len(words) == 1 and words[0].startswith("@"):
        if words[0] not in SHORTHANDS:
            near = nearest(words[0], list(SHORTHANDS))
            raise ToolError("bad_arguments", f"{parameter}: {shorten(words[0], 30)} is no schedule{near}")
        words = SHORTHANDS[words[0]].split()
    if len(words) != 5:
        example = "minute hour day month weekday, such as 30 2 * * 1-5"
        raise ToolError("bad_arguments", f"{parameter}: {shorten(text, 60)} has not five fields: {example}")
    minutes, hours, days, months, weekdays = (
        _values(word, *field, parameter) for word, field in zip(words, _FIELDS, strict=True)
    )
    sundays = frozenset(day % 7 for day in weekdays)
    stars = words[2].startswith("*"), words[4].startswith("*")
    return Schedule(tuple(sorted(minutes)), tuple(sorted(hours)), days, months, sundays, *stars)


def _values(word: str, field: str, low: int, high: int, parameter: str) -> frozenset[int]:
    found: set[int] = set()
    for item in word.lower().split(","):
        span, slash, step_text = item.partition("/")
        first, dash, last = span.partition("-")
        if span == "*":
            start, end = low, high
        else:
            start = _number(first, field, low, high, parameter, word)
            end = _number(last, field, low, high, parameter, word) if dash else high if slash else start
        step = int(step_text) if step_text.isascii() and step_text.isdigit() and len(step_text) < 5 else 0
        if (slash and step == 0) or start > end:
            raise ToolError("bad_arguments", f"{parameter}: {field} {shorten(word, 40)} has an empty range or step")
        found.update(range(start, end + 1, step or 1))
    return frozenset(found)


def _number(text: str, field: str, low: int, high: int, parameter: str, word: str) -> int:
    number = _NAMES.get(field, {}).get(text)
    if number is None and text.isascii() and text.isdigit() and len(text) < 5:
        number = int(text)
    if number is None or not low <= number <= high:
        raise ToolError("bad_arguments", f"{parameter}: {field} {shorten(word, 40)} is not within {low} to {high}")
    return number


def runs_after(schedule: Schedule, moment: datetime.datetime) -> Iterator[datetime.datetime]:
    """The moments after a moment at which a job runs, in order; the search ends after some nine years."""
    for number in range(MAX_DAYS):
        try:
            day = moment.date() + datetime.timedelta(days=number)
        except OverflowError:
            return
        if schedule.fits(day):
            for hour in schedule.hours:
                for minute in schedule.minutes:
                    run = datetime.datetime.combine(day, datetime.time(hour, minute))
                    if run > moment:
                        yield run
