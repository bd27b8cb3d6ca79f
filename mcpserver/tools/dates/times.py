"""Moments: time zones, reading and writing dates, timestamps, durations, intervals. Reads and writes nothing."""

import datetime
import re
import zoneinfo
from collections.abc import Iterable
from typing import Annotated, Any, Literal, cast

from annotated_types import Ge, Le, Len
from typing_extensions import TypedDict

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.toolbox.figures import Name, check
from mcpserver.toolbox.results import page
from mcpserver.tools.dates._moments import WEEKDAYS, Day, LocalMoment, Moment, Weekday, Zone
from mcpserver.tools.dates._reading import MONTHS, Order, ordinal, read_moment, write_pattern
from toolwright.words import shorten

RUNS_IN = "server"
Style = Literal["iso", "us", "european", "german", "long", "with_weekday", "rfc2822", "iso_week", "day_of_year"]
Parts = Literal["seconds", "minutes", "hours", "days", "weeks", "iso", "clock", "words"]
Seconds = Annotated[float, Ge(-1e10), Le(1e10)]
Clock = Annotated[str, Len(5, 5)]


class Interval(TypedDict):
    """From start to end, end not included."""

    start: LocalMoment
    end: LocalMoment


class Pattern(TypedDict):
    """A pattern of YYYY YY MMMM MMM MM M DD Do D dddd ddd HH H hh h mm ss A WW Q; text in [brackets] stays."""

    pattern: Annotated[str, Len(1, 100)]


class Duration(TypedDict, total=False):
    """Parts that are added up."""

    weeks: Annotated[float, Ge(-10_000), Le(10_000)]
    days: Annotated[float, Ge(-100_000), Le(100_000)]
    hours: Annotated[float, Ge(-1_000_000), Le(1_000_000)]
    minutes: Annotated[float, Ge(-10_000_000), Le(10_000_000)]
    seconds: Seconds


class Hours(TypedDict):
    """Working hours of a day, such as 09:00 to 17:00."""

    start: Clock
    end: Clock


class Person(TypedDict):
    """Where somebody is, and when they can meet by their own clock."""

    name: Name
    zone: Zone
    hours: Hours


def convert_time_zone(
    moment: LocalMoment, from_zone: Zone, to_zones: Annotated[list[Zone], Len(1, 20)]
) -> dict[str, Any]:
    """Tell what time it is elsewhere.

    Args:
        moment: local time such as 2025-03-17T14:30
        from_zone: its time zone, such as Europe/Berlin
        to_zones: wanted time zones

    Example:
        {"moment": "2025-03-17T14:30", "from_zone": "Europe/Berlin", "to_zones": ["America/New_York", "Asia/Tokyo"]}
    """
    source = _zone(from_zone)
    local = _moment(moment).replace(tzinfo=source)
    there = local.astimezone(datetime.UTC)
    if there.astimezone(source).replace(tzinfo=None) != _moment(moment):
        raise ToolError(
            "bad_arguments", f"moment: {moment} does not exist in {source.key}, clocks are put forward then"
        )
    ambiguous = local.replace(fold=1).utcoffset() != local.utcoffset()
    rows = [_in_zone(there, _zone(zone), _moment(moment).date()) for zone in to_zones]
    result: dict[str, Any] = {"times": rows, "utc": f"{there:%Y-%m-%dT%H:%M:%SZ}"}
    return result | ({"note": "this time comes twice that day; the first is meant"} if ambiguous else {})


def _in_zone(moment: datetime.datetime, zone: zoneinfo.ZoneInfo, day: datetime.date) -> dict[str, Any]:
    there = moment.astimezone(zone)
    seconds = int((there.utcoffset() or datetime.timedelta()).total_seconds())
    offset = f"{'-' if seconds < 0 else '+'}{abs(seconds) // 3600:02}:{abs(seconds) % 3600 // 60:02}"
    row: dict[str, Any] = {"zone": zone.key, "time": there.strftime("%Y-%m-%dT%H:%M:%S"), "offset": offset}
    return row | {"summer_time": bool(there.dst()), "day_shift": (there.date() - day).days}


def find_meeting_hours(
    day: Day, people: Annotated[list[Person], Len(2, 12)], minutes: Annotated[int, Ge(15), Le(480)] = 60
) -> dict[str, Any]:
    """Find the hours of a day (in UTC) at which people in several time zones can meet.

    Args:
        day: day in UTC, YYYY-MM-DD
        people: time zone and hours of each
        minutes: length of the meeting

    Example:
        {"day": "2025-03-17", "people": [{"name": "Ana", "zone": "Europe/Lisbon", "hours": {"start": "09:00",
         "end": "18:00"}}, {"name": "Bob", "zone": "America/New_York", "hours": {"start": "08:00", "end": "17:00"}}]}
    """
    midnight = datetime.datetime.combine(_day(day), datetime.time(), datetime.UTC)
    hours = [
        (_clock(p["hours"]["start"], i, "start"), _clock(p["hours"]["end"], i, "end")) for i, p in enumerate(people)
    ]
    fits: list[datetime.datetime] = []
    for quarter in range(0, 96):
        start = midnight + datetime.timedelta(minutes=15 * quarter)
        if all(_can(start, minutes, _zone(p["zone"]), *span) for p, span in zip(people, hours)):
            fits.append(start)
    windows: list[list[datetime.datetime]] = []
    for start in fits:
        if windows and start - windows[-1][1] == datetime.timedelta(minutes=15):
            windows[-1][1] = start
        else:
            windows.append([start, start])
    return {"windows": [_window(window, minutes, people) for window in windows], "day": _day(day).isoformat()}


def _can(start: datetime.datetime, minutes: int, zone: zoneinfo.ZoneInfo, low: int, high: int) -> bool:
    own = start.astimezone(zone)
    first = own.hour * 60 + own.minute
    if low < high:
        return low <= first and first + minutes <= high
    return (first >= low and first + minutes <= high + 1440) or first + minutes <= high  # hours over midnight


def _window(window: list[datetime.datetime], minutes: int, people: list[Person]) -> dict[str, Any]:
    end = window[1] + datetime.timedelta(minutes=minutes)
    local = {p["name"]: window[0].astimezone(_zone(p["zone"])).strftime("%a %H:%M") for p in people}
    return {
        "earliest_start": f"{window[0]:%H:%M}",
        "latest_start": f"{window[1]:%H:%M}",
        "end": f"{end:%H:%M}",
        "first_start_local": local,
    }


def parse_date(context: Context, text: Annotated[str, Len(1, 100)], order: Order = "day_first") -> dict[str, Any]:
    """Read a date as people write it, such as 17.3.2025, March 17th or next friday.

    Args:
        text: the date, with or without time
        order: what 3/4/2025 means

    Example:
        {"text": "Monday, 17th of March 2025, 2:30 pm"}
        {"text": "03/04/2025", "order": "month_first"}
        {"text": "in 2 weeks"}
    """
    day, clock, way = read_moment(text, context.now.date(), order)
    result: dict[str, Any] = {"day": day.isoformat(), "weekday": WEEKDAYS[day.weekday()], "understood_as": way}
    return result | ({"time": clock.isoformat()} if clock else {})


def format_date(moment: Moment, style: Style | Pattern = "long") -> dict[str, Any]:
    """Write a date or a moment in a given style or pattern.

    Args:
        moment: YYYY-MM-DD, with time if wanted
        style: name of a style, or a pattern

    Example:
        {"moment": "2025-03-17", "style": "with_weekday"}
        {"moment": "2025-03-17T14:05", "style": {"pattern": "ddd Do MMM YYYY, h:mm A"}}
        {"moment": "2025-03-17T14:05", "style": "german"}
    """
    given = _moment(moment)
    if isinstance(style, dict):
        return {"text": write_pattern(given, style["pattern"])}
    year, week, weekday = given.isocalendar()
    month, name = MONTHS[given.month - 1].title(), WEEKDAYS[given.weekday()].title()
    seconds = int((given.utcoffset() or datetime.timedelta()).total_seconds())
    offset = f"{'-' if seconds < 0 else '+'}{abs(seconds) // 3600:02}{abs(seconds) % 3600 // 60:02}"
    styles = {
        "iso": given.isoformat() if given.time() != datetime.time() else f"{given:%Y-%m-%d}",
        "us": f"{given:%m/%d/%Y}",
        "european": f"{given:%d/%m/%Y}",
        "german": f"{given:%d.%m.%Y}",
        "long": f"{given.day} {month} {given.year}",
        "with_weekday": f"{name}, {month} {ordinal(given.day)}, {given.year}",
        "rfc2822": f"{name[:3]}, {given.day:02} {month[:3]} {given.year} {given:%H:%M:%S} {offset}",
        "iso_week": f"{year}-W{week:02}-{weekday}",
        "day_of_year": f"{given.year}-{given.timetuple().tm_yday:03}",
    }
    return {"text": styles[style]}


def convert_timestamp(
    value: Annotated[float, Ge(-5e12), Le(8e12)] | Moment,
    unit: Literal["seconds", "milliseconds"] = "seconds",
    zone: Zone | None = None,
) -> dict[str, Any]:
    """Convert a Unix timestamp to a moment, or a moment to a Unix timestamp.

    Args:
        value: timestamp, or a moment such as 2025-03-17T09:00
        unit: unit of the timestamp
        zone: time zone of the moment, else UTC

    Example:
        {"value": 1742202000}
        {"value": "2025-03-17T09:00", "zone": "Europe/Berlin"}
    """
    place = _zone(zone) if zone else datetime.UTC
    factor = 1000 if unit == "milliseconds" else 1
    if isinstance(value, int | float):
        seconds = value / factor
        check(-2_208_988_800 <= seconds < 7_289_654_400, "value: must lie between the years 1900 and 2200")
        start = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
        found = (start + datetime.timedelta(seconds=seconds)).astimezone(place)
        return {"moment": found.isoformat(), "weekday": WEEKDAYS[found.weekday()]}
    given = _moment(value)
    found = given if given.tzinfo else given.replace(tzinfo=place)
    stamp = (found - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)).total_seconds() * factor
    return {"timestamp": int(stamp) if stamp.is_integer() else stamp, "utc": found.astimezone(datetime.UTC).isoformat()}


def convert_duration(duration: Duration | Annotated[str, Len(1, 60)] | Seconds, to: Parts) -> dict[str, Any]:
    """Convert a duration: parts, seconds, ISO 8601 (PT1H30M) or clock (1:30:00) to another form.

    Args:
        duration: parts, a text such as PT1H30M or 1:30:00, or seconds
        to: unit, or form of the text

    Example:
        {"duration": "PT1H30M", "to": "minutes"}
        {"duration": {"days": 2, "hours": 5.5}, "to": "iso"}
        {"duration": 93784, "to": "words"}
    """
    seconds = round(_seconds(duration), 6)
    check(abs(seconds) <= 1e10, "duration: at most 1e10 seconds")
    sizes = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86_400, "weeks": 604_800}
    if to in sizes:
        value = float(f"{seconds / sizes[to]:.12g}")
        return {"result": int(value) if value.is_integer() else value, "unit": to}
    sign, rest = ("-" if seconds < 0 else ""), abs(seconds)
    days, hours, minutes = int(rest // 86_400), int(rest % 86_400 // 3600), int(rest % 3600 // 60)
    left = f"{round(rest % 60, 6):.6f}".rstrip("0").rstrip(".")
    if to == "clock":
        return {"result": f"{sign}{days * 24 + hours}:{minutes:02}:{'0' if float(left) < 10 else ''}{left}"}
    parts = [(str(days), "day"), (str(hours), "hour"), (str(minutes), "minute"), (left, "second")]
    if to == "iso":
        clock = "".join(f"{n}{name[0].upper()}" for n, name in parts[1:] if float(n))
        text = (f"{days}D" if days else "") + (f"T{clock}" if clock else "")
        return {"result": f"{sign}P{text or 'T0S'}"}
    words = [f"{n} {name}{'' if n == '1' else 's'}" for n, name in parts if float(n)] or ["0 seconds"]
    return {"result": sign.replace("-", "minus ") + " ".join(words)}


_ISO_DURATION = re.compile(
    r"([+-])?P(?:(\d{1,6}(?:\.\d{1,6})?)W)?(?:(\d{1,6}(?:\.\d{1,6})?)D)?"
    r"(?:T(?:(\d{1,7}(?:\.\d{1,6})?)H)?(?:(\d{1,8}(?:\.\d{1,6})?)M)?(?:(\d{1,10}(?:\.\d{1,6})?)S)?)?"
)
_CLOCK_DURATION = re.compile(r"([+-])?(\d{1,7}):([0-5]\d)(?::([0-5]\d(?:\.\d{1,6})?))?")


def _seconds(duration: Duration | str | float) -> float:
    sizes = {"weeks": 604_800, "days": 86_400, "hours": 3600, "minutes": 60, "seconds": 1}
    if isinstance(duration, int | float):
        return float(duration)
    if isinstance(duration, dict):
        return sum(value * sizes[name] for name, value in cast(dict[str, float], duration).items())
    text = duration.strip().upper()
    if (match := _ISO_DURATION.fullmatch(text)) and any(match.groups()[1:]):
        total = sum(float(part or 0) * size for part, size in zip(match.groups()[1:], sizes.values()))
    elif match := _CLOCK_DURATION.fullmatch(text):
        total = int(match[2]) * 3600 + int(match[3]) * 60 + float(match[4] or 0)
    else:
        wanted = "such as PT1H30M or 1:30:00 (years and months have no fixed length)"
        raise ToolError("bad_arguments", f"duration: {shorten(duration, 40)} is no duration {wanted}")
    return -total if match[1] == "-" else total


def combine_intervals(
    first: Annotated[list[Interval], Len(1, 200)],
    operation: Literal["merge", "intersection", "difference"],
    second: Annotated[list[Interval], Len(1, 200)] | None = None,
    limit: Annotated[int, Ge(1), Le(100)] = 100,
) -> dict[str, Any]:
    """Merge periods of time that overlap, or find what two lists of them share or do not.

    Args:
        first: periods with start and end, end not included
        operation: merge the first (and second) list, what both cover, or what only the first covers
        second: other periods
        limit: most periods to list

    Example:
        {"first": [{"start": "2025-03-17T09:00", "end": "2025-03-17T11:00"}, {"start": "2025-03-17T10:30",
         "end": "2025-03-17T12:00"}], "operation": "merge"}
        {"first": [{"start": "2025-03-17", "end": "2025-03-24"}], "operation": "intersection",
         "second": [{"start": "2025-03-20", "end": "2025-03-30"}]}
    """
    check(second is not None or operation == "merge", f"second: {operation} needs other periods")
    one, two = _merged(first, "first"), _merged(second or [], "second")
    if operation == "merge":
        found = _joined([*one, *two])
    elif operation == "intersection":
        pairs = ((max(a, c), min(b, d)) for a, b in one for c, d in two)
        found = sorted((a, b) for a, b in pairs if a < b)
    else:
        found = [span for a, b in one for span in _gaps(two, a, b)]
    return page("periods", [_shown(*span) for span in found], 0, limit) | {"minutes": _minutes(found)}


def find_free_gaps(
    busy: Annotated[list[Interval], Len(0, 200)],
    first_day: Day,
    last_day: Day,
    hours: Hours,
    minutes: Annotated[int, Ge(5), Le(1440)] = 30,
    weekdays: Annotated[list[Weekday], Len(1, 7)] | None = None,
) -> dict[str, Any]:
    """Find the free periods between appointments within daily hours.

    Args:
        busy: appointments with start and end
        first_day: YYYY-MM-DD
        last_day: at most 60 days later
        hours: hours of each day that count
        minutes: shortest free period
        weekdays: days that count, else Monday to Friday

    Example:
        {"busy": [{"start": "2025-03-17T10:00", "end": "2025-03-17T11:30"}], "first_day": "2025-03-17",
         "last_day": "2025-03-17", "hours": {"start": "09:00", "end": "17:00"}}
    """
    start, end = _day(first_day), _day(last_day)
    check(start <= end, f"last_day: {end} lies before first_day {start}")
    check((end - start).days <= 60, "last_day: at most 60 days after first_day")
    low, high = _clock(hours["start"], None, "start"), _clock(hours["end"], None, "end")
    check(low < high, "hours.end: must be after start")
    taken = _merged(busy, "busy")
    wanted = {WEEKDAYS.index(name) for name in weekdays or WEEKDAYS[:5]}
    found = []
    for number in range((end - start).days + 1):
        day = datetime.datetime.combine(start + datetime.timedelta(days=number), datetime.time())
        if day.weekday() in wanted:
            opened, closed = day + datetime.timedelta(minutes=low), day + datetime.timedelta(minutes=high)
            found += [(a, b) for a, b in _gaps(taken, opened, closed) if (b - a).total_seconds() >= 60 * minutes]
    return page("free", [_shown(*span) for span in found], 0, 100) | {"minutes": _minutes(found)}


Span = tuple[datetime.datetime, datetime.datetime]


def _merged(intervals: Iterable[Interval], parameter: str) -> list[Span]:
    spans = []
    for number, interval in enumerate(intervals):
        start, end = _moment(interval["start"]), _moment(interval["end"])
        check(start < end, f"{parameter}[{number}].end: must be after start {start:%Y-%m-%d %H:%M}")
        spans.append((start, end))
    return _joined(spans)


def _joined(spans: list[Span]) -> list[Span]:
    found: list[Span] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def _gaps(taken: list[Span], start: datetime.datetime, end: datetime.datetime) -> list[Span]:
    """What a sorted list of periods leaves free between two moments."""
    found = []
    for a, b in taken:
        if a < end and b > start:
            if a > start:
                found.append((start, a))
            start = max(start, b)
    return [*found, (start, end)] if start < end else found


def _shown(start: datetime.datetime, end: datetime.datetime) -> dict[str, Any]:
    minutes = (end - start).total_seconds() / 60
    return {"start": f"{start:%Y-%m-%dT%H:%M}", "end": f"{end:%Y-%m-%dT%H:%M}", "minutes": round(minutes, 2)}


def _minutes(spans: list[Span]) -> float:
    return round(sum((end - start).total_seconds() for start, end in spans) / 60, 2)


def _clock(text: str, number: int | None, name: str) -> int:
    """Minutes after midnight; 24:00 is the end of the day."""
    match = re.fullmatch(r"([01]\d|2[0-4]):([0-5]\d)", text, re.ASCII)
    place = f"hours.{name}" if number is None else f"people[{number}].hours.{name}"
    minutes = int(match[1]) * 60 + int(match[2]) if match else 9999
    check(minutes <= 1440, f"{place}: {shorten(text, 20)} is no time such as 09:30")
    return minutes


def _moment(value: Any) -> datetime.datetime:
    """The parameters' validators have made a moment of the text."""
    found: datetime.datetime = value
    return found


def _day(value: Any) -> datetime.date:
    found: datetime.date = value
    return found


def _zone(value: Any) -> zoneinfo.ZoneInfo:
    found: zoneinfo.ZoneInfo = value
    return found
