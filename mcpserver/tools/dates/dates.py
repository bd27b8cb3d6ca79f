"""Days: moved, compared, described, found by rules, working days and public holidays. Reads and writes nothing."""

import calendar
import datetime
from typing import Annotated, Any, Literal, NotRequired

from annotated_types import Ge, Le, Len
from typing_extensions import TypedDict

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.toolbox.figures import check
from mcpserver.tools.dates._moments import (
    WEEKDAYS,
    Country,
    Day,
    Days,
    Weekday,
    Year,
    add_months,
    checked_day,
    easter,
    holidays,
    months_between,
    weekday_of_month,
)

RUNS_IN = "server"
Offset = Annotated[int, Ge(-100_000), Le(100_000)]
MonthOffset = Annotated[int, Ge(-3600), Le(3600)]
YearOffset = Annotated[int, Ge(-300), Le(300)]
Every = Annotated[int, Ge(1), Le(100)]


class Shift(TypedDict, total=False):
    """Parts of a duration; years and months are added first."""

    years: YearOffset
    months: MonthOffset
    weeks: Offset
    days: Offset


class Calendar(TypedDict, total=False):
    """Which days are free: holidays of a country, further days, and the days of the weekend."""

    country: Country
    holidays: Days
    weekend: Annotated[list[Weekday], Len(0, 6)]


class Daily(TypedDict):
    """Every so many days."""

    every: Literal["day"]
    interval: NotRequired[Every]


class Weekly(TypedDict):
    """On weekdays, every so many weeks."""

    every: Literal["week"]
    weekdays: Annotated[list[Weekday], Len(1, 7)]
    interval: NotRequired[Every]


class MonthlyByDay(TypedDict):
    """On a day of the month, every so many months; -1 is the last day. Months without that day are left out."""

    every: Literal["month"]
    day: Annotated[int, Ge(-31), Le(31)]
    interval: NotRequired[Every]


class MonthlyByWeekday(TypedDict):
    """On the first to fifth (or last: -1) weekday of the month."""

    every: Literal["month_weekday"]
    weekday: Weekday
    number: Literal["first", "second", "third", "fourth", "fifth", "last"]
    interval: NotRequired[Every]


class Yearly(TypedDict):
    """On a day of the year; 29 February comes in leap years only."""

    every: Literal["year"]
    month: Annotated[int, Ge(1), Le(12)]
    day: Annotated[int, Ge(1), Le(31)]
    interval: NotRequired[Every]


class AfterEaster(TypedDict):
    """So many days after (or before) Easter Sunday."""

    every: Literal["easter"]
    days: Annotated[int, Ge(-100), Le(200)]


Rule = Daily | Weekly | MonthlyByDay | MonthlyByWeekday | Yearly | AfterEaster
_NUMBERS = {"first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "last": -1}


def shift_date(day: Day, by: Shift) -> dict[str, Any]:
    """Add a duration to a day, or subtract it.

    Args:
        day: YYYY-MM-DD
        by: years, months, weeks, days; negative to go back

    Example:
        {"day": "2025-01-31", "by": {"months": 1}}
        {"day": "2025-03-17", "by": {"years": -1, "days": 10}}
    """
    start = _day(day)
    months = by.get("years", 0) * 12 + by.get("months", 0)
    moved = add_months(start, months, "by") if months else start
    try:
        moved += datetime.timedelta(days=by.get("weeks", 0) * 7 + by.get("days", 0))
    except OverflowError:
        raise ToolError("limit", "by: leads out of the calendar") from None
    checked_day(moved, "by")
    clipped = months != 0 and add_months(start, months, "by").day != start.day
    return {"day": moved.isoformat(), "weekday": WEEKDAYS[moved.weekday()], "month_end_used": clipped}


def date_difference(
    start: Day, end: Day, unit: Literal["days", "weeks", "months", "years", "calendar"] = "calendar"
) -> dict[str, Any]:
    """Tell how long it is from one day to another.

    Args:
        start: YYYY-MM-DD
        end: YYYY-MM-DD
        unit: whole units, or calendar for years, months and days

    Example:
        {"start": "2024-02-29", "end": "2025-03-17"}
        {"start": "2025-01-01", "end": "2025-03-17", "unit": "weeks"}
    """
    first, last = sorted((_day(start), _day(end)))
    sign = -1 if _day(end) < _day(start) else 1
    days, months = (last - first).days, months_between(first, last)
    result: dict[str, Any] = {"total_days": sign * days}
    if unit == "calendar":
        rest = (last - add_months(first, months, "end")).days
        return result | {"years": months // 12, "months": months % 12, "days": rest, "backwards": sign < 0}
    whole = {"days": days, "weeks": days // 7, "months": months, "years": months // 12}[unit]
    return result | {unit: sign * whole}


def describe_day(day: Day, country: Country | None = None) -> dict[str, Any]:
    """Tell weekday, ISO week, quarter, day of the year and holiday of a day.

    Args:
        day: YYYY-MM-DD
        country: country whose public holidays are looked up

    Example:
        {"day": "2025-03-17"}
        {"day": "2025-04-18", "country": "DE"}
    """
    found = _day(day)
    year, week, _ = found.isocalendar()
    leap = calendar.isleap(found.year)
    result: dict[str, Any] = {"weekday": WEEKDAYS[found.weekday()], "iso_week": f"{year}-W{week:02}"}
    result |= {"quarter": (found.month + 2) // 3, "day_of_year": found.timetuple().tm_yday, "leap_year": leap}
    result["days_left_in_year"] = (366 if leap else 365) - found.timetuple().tm_yday
    result["days_in_month"] = calendar.monthrange(found.year, found.month)[1]
    if country:
        names = [name for when, name in holidays(country, found.year) if when == found]
        result |= {"holiday": names[0] if names else "", "working_day": found.weekday() < 5 and not names}
    return result


def add_business_days(
    day: Day, count: Annotated[int, Ge(-5000), Le(5000)], free: Calendar | None = None
) -> dict[str, Any]:
    """Find the working day some working days after (or before) a day.

    Args:
        day: YYYY-MM-DD
        count: working days to go; 0 gives the day itself or the next working day
        free: holidays and weekend, else Saturday and Sunday

    Example:
        {"day": "2025-04-16", "count": 3, "free": {"country": "DE"}}
        {"day": "2025-03-17", "count": -5}
    """
    start, rules = _day(day), _FreeDays(free)
    step = datetime.timedelta(days=-1 if count < 0 else 1)
    found, left = start, abs(count)
    while left or not rules.works(found):
        found = checked_day(found + step, "count")
        left -= left > 0 and rules.works(found)
    skipped = [f"{when} {name}" for when, name in sorted(rules.met) if min(start, found) <= when <= max(start, found)]
    return {"day": found.isoformat(), "weekday": WEEKDAYS[found.weekday()], "holidays_skipped": skipped[:50]}


def count_business_days(start: Day, end: Day, free: Calendar | None = None) -> dict[str, Any]:
    """Count the working days of a period, both ends included.

    Args:
        start: first day, YYYY-MM-DD
        end: last day, at most 50 years later
        free: holidays and weekend, else Saturday and Sunday

    Example:
        {"start": "2025-04-01", "end": "2025-04-30", "free": {"country": "NL", "holidays": ["2025-04-22"]}}
    """
    first, last = _day(start), _day(end)
    check(first <= last, f"end: {last} lies before start {first}")
    check((last - first).days <= 18_300, "end: at most 50 years after start")
    rules = _FreeDays(free)
    days = [first + datetime.timedelta(days=n) for n in range((last - first).days + 1)]
    working = sum(map(rules.works, days))
    weekend = sum(day.weekday() in rules.weekend for day in days)
    return {
        "working_days": working,
        "weekend_days": weekend,
        "holidays": len(days) - working - weekend,
        "days": len(days),
    }


class _FreeDays:
    """Weekend and holidays of a calendar; ``met`` are holidays on other days than the weekend that were asked for."""

    def __init__(self, free: Calendar | None) -> None:
        given = free or {}
        self.weekend = {WEEKDAYS.index(name) for name in given.get("weekend", ["saturday", "sunday"])}
        self.country = given.get("country")
        self.own = {_day(day): "holiday" for day in given.get("holidays", [])}
        self.years: dict[int, dict[datetime.date, str]] = {}
        self.met: set[tuple[datetime.date, str]] = set()

    def works(self, day: datetime.date) -> bool:
        if day.weekday() in self.weekend:
            return False
        if day.year not in self.years:
            self.years[day.year] = dict(holidays(self.country, day.year)) if self.country else {}
        name = self.own.get(day) or self.years[day.year].get(day)
        if name:
            self.met.add((day, name))
        return not name


def list_public_holidays(country: Country, year: Year) -> dict[str, Any]:
    """List the nationwide public holidays of a country in a year, by the rules of today.

    Args:
        country: two letters; GB means England and Wales
        year: year

    Example:
        {"country": "DE", "year": 2025}
        {"country": "US", "year": 2026}
    """
    found = holidays(country, year)
    rows = [{"day": day.isoformat(), "name": name, "weekday": WEEKDAYS[day.weekday()]} for day, name in found]
    return {"holidays": rows, "total": len(rows), "easter_sunday": easter(year).isoformat()}


def next_occurrences(
    rule: Rule,
    start: Day,
    count: Annotated[int, Ge(1), Le(100)] = 5,
    until: Day | None = None,
    skip: Days | None = None,
) -> dict[str, Any]:
    """List the next days on which something recurs.

    Args:
        rule: how it recurs
        start: first day that counts; intervals are counted from its day, week, month or year
        count: days to list
        until: last day that counts
        skip: days that are left out

    Example:
        {"rule": {"every": "week", "weekdays": ["tuesday", "friday"], "interval": 2}, "start": "2025-03-17"}
        {"rule": {"every": "month_weekday", "weekday": "thursday", "number": "last"}, "start": "2025-03-01", "count": 3}
        {"rule": {"every": "month", "day": -1}, "start": "2025-01-15", "until": "2025-06-30"}
    """
    first, last = _day(start), (_day(until) if until else datetime.date(2200, 12, 31))
    check(rule["every"] != "month" or rule["day"] != 0, "rule.day: days are 1 to 31, or -1 to -31 from the end")
    left_out = {_day(day) for day in skip or []}
    found: list[datetime.date] = []
    for day in _recurring(rule, first):
        if day > last or len(found) >= count:
            break
        if day >= first and day not in left_out:
            found.append(day)
    rows = [{"day": day.isoformat(), "weekday": WEEKDAYS[day.weekday()]} for day in found]
    return {"occurrences": rows, "complete": len(found) < count}


def _recurring(rule: Rule, first: datetime.date) -> Any:
    """Days in order, to the end of the year 2200 at most."""
    if rule["every"] == "day" or rule["every"] == "week":
        yield from _by_day(rule, first)
    elif rule["every"] == "month" or rule["every"] == "month_weekday":
        for month in range(0, (2201 - first.year) * 12 - first.month + 1, rule.get("interval", 1)):
            year, index = divmod(first.year * 12 + first.month - 1 + month, 12)
            day = _in_month(rule, year, index + 1)
            if day:
                yield day
    elif rule["every"] == "easter":
        for year in range(first.year - 1, 2201):
            yield easter(year) + datetime.timedelta(days=rule["days"])
    else:
        for year in range(first.year, 2201, rule.get("interval", 1)):
            if rule["day"] <= calendar.monthrange(year, rule["month"])[1]:
                yield datetime.date(year, rule["month"], rule["day"])


def _by_day(rule: Daily | Weekly, first: datetime.date) -> Any:
    step, end = rule.get("interval", 1), datetime.date(2200, 12, 31).toordinal()
    if rule["every"] == "day":
        yield from map(datetime.date.fromordinal, range(first.toordinal(), end, step))
        return
    numbers = sorted({WEEKDAYS.index(name) for name in rule["weekdays"]})
    for monday in range(first.toordinal() - first.weekday(), end - 7, 7 * step):
        yield from (datetime.date.fromordinal(monday + number) for number in numbers)


def _in_month(rule: MonthlyByDay | MonthlyByWeekday, year: int, month: int) -> datetime.date | None:
    if rule["every"] == "month_weekday":
        return weekday_of_month(year, month, WEEKDAYS.index(rule["weekday"]), _NUMBERS[rule["number"]])
    length = calendar.monthrange(year, month)[1]
    day = rule["day"] if rule["day"] > 0 else length + 1 + rule["day"]
    return datetime.date(year, month, day) if 1 <= day <= length else None


def compute_age(context: Context, born: Day, on: Day | None = None) -> dict[str, Any]:
    """Compute an age in years, months and days, and the next birthday.

    Args:
        born: day of birth, YYYY-MM-DD
        on: day at which the age is wanted, else today

    Example:
        {"born": "1988-02-29"}
        {"born": "1990-05-21", "on": "2030-01-01"}
    """
    birth, today = _day(born), _day(on) if on else context.now.date()
    check(birth <= today, f"born: {birth} lies after {today}")
    months = months_between(birth, today)
    rest = (today - add_months(birth, months, "on")).days
    following = add_months(birth, (months // 12 + 1) * 12, "on")
    if add_months(birth, months // 12 * 12, "on") == today:
        following = today
    result = {"years": months // 12, "months": months % 12, "days": rest, "total_days": (today - birth).days}
    return result | {"next_birthday": following.isoformat(), "days_to_birthday": (following - today).days}


def show_month(
    year: Year,
    month: Annotated[int, Ge(1), Le(12)],
    country: Country | None = None,
    first: Literal["monday", "sunday"] = "monday",
) -> dict[str, Any]:
    """Show the calendar of a month as text, with ISO weeks and holidays.

    Args:
        year: year
        month: 1 to 12
        country: country whose public holidays are listed
        first: first day of a week

    Example:
        {"year": 2025, "month": 4, "country": "FR"}
    """
    layout = calendar.TextCalendar(0 if first == "monday" else 6)
    weeks = layout.monthdatescalendar(year, month)
    names = [WEEKDAYS[(layout.firstweekday + n) % 7][:2].title() for n in range(7)]
    rows = ["    " + " ".join(names)]
    for week in weeks:
        number = next(day for day in week if day.weekday() == 3).isocalendar()[1]
        rows.append(
            f"W{number:02} " + " ".join(f"{day.day:2}" if day.month == month else "  " for day in week).rstrip()
        )
    found = holidays(country, year) if country else []
    listed = [{"day": day.isoformat(), "name": name} for day, name in found if day.month == month]
    return {"title": f"{calendar.month_name[month]} {year}", "text": "\n".join(rows), "holidays": listed}


def _day(value: Any) -> datetime.date:
    """The parameters' validators have made a date of the text."""
    found: datetime.date = value
    return found
