"""Days, moments and durations: bounds, units, public holidays. Reads and writes nothing."""

import calendar
import datetime
import functools
import zoneinfo
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, Len
from pydantic import AfterValidator, WithJsonSchema

from mcpserver.tool_error import ToolError
from toolwright.words import nearest

FIRST_YEAR, LAST_YEAR = 1900, 2200
Country = Literal["AT", "BE", "CH", "DE", "ES", "FR", "GB", "IT", "NL", "NO", "PL", "SE", "US"]
Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def _known_day(text: str) -> datetime.date:
    try:
        day = datetime.date.fromisoformat(text)
    except ValueError:
        raise ValueError("must be a day such as 2025-03-17") from None
    return _in_range(day)


def _known_moment(text: str) -> datetime.datetime:
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("must be a moment such as 2025-03-17T14:30") from None
    _in_range(moment.date())
    return moment


def _local_moment(text: str) -> datetime.datetime:
    moment = _known_moment(text)
    if moment.tzinfo is not None:
        raise ValueError("must be a moment without an offset, such as 2025-03-17T14:30")
    return moment


def _known_zone(text: str) -> zoneinfo.ZoneInfo:
    try:
        return zoneinfo.ZoneInfo(text)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        known = _zone_names()
        city = text.replace(" ", "_").rpartition("/")[2].lower()
        same = [name for name in known if name.rpartition("/")[2].lower() == city]
        hint = f"; did you mean {same[0]}?" if same else nearest(text, known)
        raise ValueError(f"must be a time zone such as Europe/Berlin{hint}") from None


@functools.cache
def _zone_names() -> tuple[str, ...]:
    return tuple(sorted(name for name in zoneinfo.available_timezones() if "/" in name))


def _in_range(day: datetime.date) -> datetime.date:
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise ValueError(f"must lie between {FIRST_YEAR} and {LAST_YEAR}")
    return day


Day = Annotated[str, Len(10, 10), AfterValidator(_known_day), WithJsonSchema({"type": "string", "format": "date"})]
_ANY = WithJsonSchema({"type": "string", "maxLength": 40})
Moment = Annotated[str, Len(1, 40), AfterValidator(_known_moment), _ANY]
LocalMoment = Annotated[str, Len(1, 40), AfterValidator(_local_moment), _ANY]
Zone = Annotated[str, Len(1, 40), AfterValidator(_known_zone), _ANY]
Year = Annotated[int, Ge(FIRST_YEAR), Le(LAST_YEAR)]
Days = Annotated[list[Day], Len(0, 400)]


def checked_day(day: datetime.date, parameter: str) -> datetime.date:
    """A day that was worked out, within the years that are known.

    Raises:
        ToolError: ``limit``.
    """
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise ToolError("limit", f"{parameter}: leads out of the years {FIRST_YEAR} to {LAST_YEAR}")
    return day


def add_months(day: datetime.date, months: int, parameter: str) -> datetime.date:
    """The same day of another month, or its last day where that is shorter."""
    index = day.year * 12 + day.month - 1 + months
    year, month = divmod(index, 12)
    if not FIRST_YEAR <= year <= LAST_YEAR:
        raise ToolError("limit", f"{parameter}: leads out of the years {FIRST_YEAR} to {LAST_YEAR}")
    return day.replace(year=year, month=month + 1, day=min(day.day, calendar.monthrange(year, month + 1)[1]))


def months_between(start: datetime.date, end: datetime.date) -> int:
    """Whole months from a day to a later one."""
    months = (end.year - start.year) * 12 + end.month - start.month
    return months - (add_months(start, months, "end") > end)


def easter(year: int) -> datetime.date:
    """Easter Sunday of the Gregorian calendar.

    Source: the anonymous algorithm printed in Nature (1876), as given by Meeus, Astronomical Algorithms.
    """
    a, b, c = year % 19, year // 100, year % 100
    h = (19 * a + b - b // 4 - (b - (b + 8) // 25 + 1) // 3 + 15) % 30
    x = (32 + 2 * (b % 4) + 2 * (c // 4) - h - c % 4) % 7
    m = (a + 11 * h + 22 * x) // 451
    month, day = divmod(h + x - 7 * m + 114, 31)
    return datetime.date(year, month, day + 1)


# month and day; "easter" with days from Easter Sunday; a weekday's number in a month (-1: the last one)
Rule = tuple[str, Any, Any]
_NEW_YEAR: Rule = ("New Year's Day", 1, 1)
_LABOUR: Rule = ("Labour Day", 5, 1)
_CHRISTMAS: Rule = ("Christmas Day", 12, 25)
_SECOND: Rule = ("Second Day of Christmas", 12, 26)
_GOOD_FRIDAY: Rule = ("Good Friday", "easter", -2)
_EASTER: Rule = ("Easter Sunday", "easter", 0)
_EASTER_MONDAY: Rule = ("Easter Monday", "easter", 1)
_ASCENSION: Rule = ("Ascension Day", "easter", 39)
_WHITSUN: Rule = ("Whit Sunday", "easter", 49)
_WHIT_MONDAY: Rule = ("Whit Monday", "easter", 50)
_CORPUS: Rule = ("Corpus Christi", "easter", 60)
_EPIPHANY: Rule = ("Epiphany", 1, 6)
_ASSUMPTION: Rule = ("Assumption Day", 8, 15)
_ALL_SAINTS: Rule = ("All Saints' Day", 11, 1)
_IMMACULATE: Rule = ("Immaculate Conception", 12, 8)
# Nationwide holidays as they are in force in 2025 (Germany: those of all states; Switzerland: those of most cantons).
_RULES: dict[str, tuple[Rule, ...]] = {
    "AT": (
        *(_NEW_YEAR, _EPIPHANY, _EASTER_MONDAY, _LABOUR, _ASCENSION, _WHIT_MONDAY, _CORPUS, _ASSUMPTION),
        *(("National Day", 10, 26), _ALL_SAINTS, _IMMACULATE, _CHRISTMAS, _SECOND),
    ),
    "BE": (
        *(_NEW_YEAR, _EASTER_MONDAY, _LABOUR, _ASCENSION, _WHIT_MONDAY, ("National Day", 7, 21), _ASSUMPTION),
        *(_ALL_SAINTS, ("Armistice Day", 11, 11), _CHRISTMAS),
    ),
    "CH": (
        *(_NEW_YEAR, _GOOD_FRIDAY, _EASTER_MONDAY, _ASCENSION, _WHIT_MONDAY, ("National Day", 8, 1)),
        *(_CHRISTMAS, _SECOND),
    ),
    "DE": (
        *(_NEW_YEAR, _GOOD_FRIDAY, _EASTER_MONDAY, _LABOUR, _ASCENSION, _WHIT_MONDAY, ("German Unity Day", 10, 3)),
        *(_CHRISTMAS, _SECOND),
    ),
    "ES": (
        *(_NEW_YEAR, _EPIPHANY, _GOOD_FRIDAY, _LABOUR, _ASSUMPTION, ("National Day", 10, 12), _ALL_SAINTS),
        *(("Constitution Day", 12, 6), _IMMACULATE, _CHRISTMAS),
    ),
    "FR": (
        *(_NEW_YEAR, _EASTER_MONDAY, _LABOUR, ("Victory Day", 5, 8), _ASCENSION, _WHIT_MONDAY),
        *(("Bastille Day", 7, 14), _ASSUMPTION, _ALL_SAINTS, ("Armistice Day", 11, 11), _CHRISTMAS),
    ),
    "IT": (
        *(_NEW_YEAR, _EPIPHANY, _EASTER, _EASTER_MONDAY, ("Liberation Day", 4, 25), _LABOUR),
        *(("Republic Day", 6, 2), _ASSUMPTION, _ALL_SAINTS, _IMMACULATE, _CHRISTMAS, _SECOND),
    ),
    "NL": (_NEW_YEAR, _EASTER, _EASTER_MONDAY, _ASCENSION, _WHITSUN, _WHIT_MONDAY, _CHRISTMAS, _SECOND),
    "NO": (
        *(_NEW_YEAR, ("Maundy Thursday", "easter", -3), _GOOD_FRIDAY, _EASTER, _EASTER_MONDAY, _LABOUR),
        *(("Constitution Day", 5, 17), _ASCENSION, _WHITSUN, _WHIT_MONDAY, _CHRISTMAS, _SECOND),
    ),
    "PL": (
        *(_NEW_YEAR, _EPIPHANY, _EASTER, _EASTER_MONDAY, _LABOUR, ("Constitution Day", 5, 3), _WHITSUN, _CORPUS),
        *(_ASSUMPTION, _ALL_SAINTS, ("Independence Day", 11, 11), ("Christmas Eve", 12, 24), _CHRISTMAS, _SECOND),
    ),
    "SE": (
        *(_NEW_YEAR, _EPIPHANY, _GOOD_FRIDAY, _EASTER, _EASTER_MONDAY, _LABOUR, _ASCENSION, _WHITSUN),
        *(("National Day", 6, 6), _CHRISTMAS, _SECOND),
    ),
    "GB": (
        *(_GOOD_FRIDAY, _EASTER_MONDAY, ("Early May Bank Holiday", "weekday", (5, 0, 1))),
        *(("Spring Bank Holiday", "weekday", (5, 0, -1)), ("Summer Bank Holiday", "weekday", (8, 0, -1))),
    ),
    "US": (
        *(
            ("Birthday of Martin Luther King Jr.", "weekday", (1, 0, 3)),
            ("Washington's Birthday", "weekday", (2, 0, 3)),
        ),
        *(("Memorial Day", "weekday", (5, 0, -1)), ("Labor Day", "weekday", (9, 0, 1))),
        *(("Columbus Day", "weekday", (10, 0, 2)), ("Thanksgiving Day", "weekday", (11, 3, 4))),
    ),
}
_US_FIXED = (
    *(("New Year's Day", 1, 1), ("Juneteenth", 6, 19), ("Independence Day", 7, 4), ("Veterans Day", 11, 11)),
    ("Christmas Day", 12, 25),
)


def holidays(country: str, year: int) -> list[tuple[datetime.date, str]]:
    """The public holidays of a country in a year, as the rules of today give them, in order."""
    found = [(_day_of(rule, year), rule[0]) for rule in _RULES[country]]
    if country == "NL":  # King's Day is kept a day earlier where it falls on a Sunday
        king = datetime.date(year, 4, 27)
        found.append((king - datetime.timedelta(days=king.weekday() == 6), "King's Day"))
    if country == "SE":
        found += [(weekday_from(datetime.date(year, 6, 20), 5), "Midsummer Day")]
        found += [(weekday_from(datetime.date(year, 10, 31), 5), "All Saints' Day")]
    if country == "GB":
        found += _british(year)
    if country == "US":
        found += [(_observed(datetime.date(year, month, day)), name) for name, month, day in _US_FIXED]
        following = _observed(datetime.date(year + 1, 1, 1))
        found += [(following, "New Year's Day")] if following.year == year else []
    return sorted(item for item in found if item[0].year == year)


def weekday_from(day: datetime.date, weekday: int) -> datetime.date:
    """The first such weekday (Monday is 0) on or after a day."""
    return day + datetime.timedelta(days=(weekday - day.weekday()) % 7)


def weekday_of_month(year: int, month: int, weekday: int, number: int) -> datetime.date | None:
    """The first, second … (or, with -1, the last) such weekday of a month; nothing where there is no fifth."""
    if number < 0:
        last = datetime.date(year, month, calendar.monthrange(year, month)[1])
        return last - datetime.timedelta(days=(last.weekday() - weekday) % 7)
    day = weekday_from(datetime.date(year, month, 1), weekday) + datetime.timedelta(weeks=number - 1)
    return day if day.month == month else None


def _day_of(rule: Rule, year: int) -> datetime.date:
    _, kind, value = rule
    if kind == "easter":
        return easter(year) + datetime.timedelta(days=value)
    if kind == "weekday":
        month, weekday, number = value
        return weekday_of_month(year, month, weekday, number) or datetime.date(year, month, 1)
    return datetime.date(year, kind, value)


def _british(year: int) -> list[tuple[datetime.date, str]]:
    """England and Wales: holidays on a weekend are kept on the next free working day."""
    new_year, christmas = datetime.date(year, 1, 1), datetime.date(year, 12, 25)
    shifted = {5: 2, 6: 1}
    first = new_year + datetime.timedelta(days=shifted.get(new_year.weekday(), 0))
    days = {4: (0, 3), 5: (2, 3), 6: (2, 1)}.get(christmas.weekday(), (0, 1))
    found = [(first, "New Year's Day"), (christmas + datetime.timedelta(days=days[0]), "Christmas Day")]
    return [*found, (christmas + datetime.timedelta(days=days[1]), "Boxing Day")]


def _observed(day: datetime.date) -> datetime.date:
    """Federal holidays of the United States on Saturdays are kept on Friday, those on Sundays on Monday."""
    return day + datetime.timedelta(days={5: -1, 6: 1}.get(day.weekday(), 0))
