"""Dates in words: read from what people write, and written in a pattern. Reads and writes nothing."""

import datetime
import re
from typing import Literal

from mcpserver.tool_error import ToolError
from mcpserver.tools.dates._moments import FIRST_YEAR, LAST_YEAR, WEEKDAYS, add_months, checked_day
from toolwright.words import shorten

MONTHS = (
    *("january", "february", "march", "april", "may", "june", "july"),
    *("august", "september", "october", "november", "december"),
)
_GERMAN_MONTHS = {
    **{"januar": 1, "februar": 2, "maerz": 3, "märz": 3, "mai": 5, "juni": 6, "juli": 7},
    **{"oktober": 10, "dezember": 12},
}
_CLOCK = re.compile(r"\b(\d{1,2}):(\d\d)(?::(\d\d))?(?:\s?([ap])\.?m\b\.?)?|\b(\d{1,2})\s?([ap])\.?m\b\.?")
_ISO = re.compile(r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})\b")
_WEEK = re.compile(r"(\d{4})-?W(\d\d)(?:-?([1-7]))?", re.IGNORECASE)
_NUMERIC = re.compile(r"\b(\d{1,2})([-/.])(\d{1,2})\2(\d{4}|\d\d)\b")
_COMPACT = re.compile(r"\b(\d{4})(\d\d)(\d\d)\b")
_IN_WORDS = re.compile(r"\b(\d{1,2})(?:st|nd|rd|th|\.)?[\s-]*(?:of )?([a-zäöü]{3,9})\.?,?[\s-]*(\d{4}|\d\d)?\b")
_MONTH_FIRST = re.compile(r"\b([a-z]{3,9})\.?\s+(\d{1,2})(?:st|nd|rd|th)?(?:,?\s+(\d{4}))?\b")
_AGO = re.compile(r"\b(?:in )?(\d{1,4}|an?) (day|week|month|year)s?( ago)?\b")
_NAMED = re.compile(r"\b(next|last|this|on)?\s*(monday|tuesday|wednesday|thursday|friday|saturday|sunday)\b")
_RELATIVE = {"today": 0, "tomorrow": 1, "yesterday": -1, "heute": 0, "morgen": 1, "gestern": -1}
Order = Literal["day_first", "month_first"]


def read_moment(text: str, today: datetime.date, order: Order) -> tuple[datetime.date, datetime.time | None, str]:
    """The day, the time if there is one, and how it was understood.

    Raises:
        ToolError: ``bad_arguments``.
    """
    plain = " ".join(text.lower().split())
    rest, clock = _take_clock(re.sub(r"^(\d{4}-\d\d-\d\d)t(?=\d)", r"\1 ", plain))
    try:
        found = _read_day(rest, today, order)
    except (ValueError, OverflowError):
        raise ToolError("bad_arguments", f"text: {shorten(text, 60)} names a day that does not exist") from None
    if found is None:
        raise ToolError("bad_arguments", f"text: {shorten(text, 60)} is no date that is understood; try 2025-03-17")
    day, way = found
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise ToolError("bad_arguments", f"text: years lie between {FIRST_YEAR} and {LAST_YEAR}")
    return day, clock, way


def _take_clock(text: str) -> tuple[str, datetime.time | None]:
    match = _CLOCK.search(text)
    if match is None:
        return text, None
    hour, minute = int(match[1] or match[5]), int(match[2] or 0)
    half = match[4] or match[6]
    if half and 1 <= hour <= 12:
        hour = hour % 12 + (12 if half == "p" else 0)
    try:
        clock = datetime.time(hour, minute, int(match[3] or 0))
    except ValueError:
        raise ToolError("bad_arguments", f"text: {match[0].strip()!r} is no time of the day") from None
    return text[: match.start()] + text[match.end() :], clock


def _read_day(text: str, today: datetime.date, order: Order) -> tuple[datetime.date, str] | None:
    if match := _ISO.search(text):
        return datetime.date(int(match[1]), int(match[2]), int(match[3])), "year-month-day"
    if match := _WEEK.search(text):
        return datetime.date.fromisocalendar(int(match[1]), int(match[2]), int(match[3] or 1)), "ISO week"
    if match := _NUMERIC.search(text):
        first, second = int(match[1]), int(match[3])
        # dots mean day first; a number above 12 is the day, whatever is asked for
        swapped = match[2] != "." and first <= 12 and (second > 12 or order == "month_first")
        day, month = (second, first) if swapped else (first, second)
        return datetime.date(_year(match[4]), month, day), "month/day/year" if swapped else "day/month/year"
    if match := _COMPACT.search(text):
        return datetime.date(int(match[1]), int(match[2]), int(match[3])), "year-month-day"
    return _read_words(text, today)


def _read_words(text: str, today: datetime.date) -> tuple[datetime.date, str] | None:
    for match in _IN_WORDS.finditer(text):
        if month := _month(match[2]):
            return datetime.date(_year(match[3]) if match[3] else today.year, month, int(match[1])), "day month year"
    for match in _MONTH_FIRST.finditer(text):
        if month := _month(match[1]):
            return datetime.date(int(match[3]) if match[3] else today.year, month, int(match[2])), "month day year"
    for word, days in _RELATIVE.items():
        if re.search(rf"\b{word}\b", text):
            return today + datetime.timedelta(days=days), "relative to today"
    if (ago := _AGO.search(text)) and (ago[3] or ago[0].startswith("in ")):
        number = (1 if ago[1].startswith("a") else int(ago[1])) * (-1 if ago[3] else 1)
        if ago[2] in ("month", "year"):
            return add_months(today, number * (12 if ago[2] == "year" else 1), "text"), "relative to today"
        moved = today + datetime.timedelta(days=number * (7 if ago[2] == "week" else 1))
        return checked_day(moved, "text"), "relative to today"
    if named := _NAMED.search(text):
        ahead = (WEEKDAYS.index(named[2]) - today.weekday()) % 7
        ahead = ahead - 7 if named[1] == "last" else ahead or (0 if named[1] == "this" else 7)
        return today + datetime.timedelta(days=ahead), "relative to today"
    return None


def _month(word: str) -> int:
    """1 to 12, or 0 for no month; three letters are enough."""
    if word in _GERMAN_MONTHS:
        return _GERMAN_MONTHS[word]
    word = "sep" if word == "sept" else word
    return next((number for number, name in enumerate(MONTHS, 1) if name.startswith(word) and len(word) >= 3), 0)


def _year(digits: str) -> int:
    """Two digits mean 1970 to 2069."""
    year = int(digits)
    return year if len(digits) == 4 else year + (1900 if year >= 70 else 2000)


def write_pattern(moment: datetime.datetime, pattern: str) -> str:
    """A moment in a pattern such as ``dddd, D MMMM YYYY HH:mm``; text in square brackets stays as it is."""
    hour = moment.hour % 12 or 12
    parts = {
        **{"YYYY": f"{moment.year:04}", "YY": f"{moment.year % 100:02}", "MMMM": MONTHS[moment.month - 1].title()},
        **{"MMM": MONTHS[moment.month - 1][:3].title(), "MM": f"{moment.month:02}", "M": str(moment.month)},
        **{"DDDD": f"{moment.timetuple().tm_yday:03}", "DD": f"{moment.day:02}", "Do": ordinal(moment.day)},
        **{"D": str(moment.day), "dddd": WEEKDAYS[moment.weekday()].title()},
        **{"ddd": WEEKDAYS[moment.weekday()][:3].title(), "HH": f"{moment.hour:02}", "H": str(moment.hour)},
        **{"hh": f"{hour:02}", "h": str(hour), "mm": f"{moment.minute:02}", "ss": f"{moment.second:02}"},
        **{"A": "PM" if moment.hour >= 12 else "AM", "WW": f"{moment.isocalendar()[1]:02}"},
        "Q": str((moment.month + 2) // 3),
    }
    tokens = r"\[([^\]]*)\]|YYYY|YY|MMMM|MMM|MM|M|DDDD|DD|Do|D|dddd|ddd|HH|H|hh|h|mm|ss|A|WW|Q"
    return re.sub(tokens, lambda match: match[1] if match[1] is not None else parts[match[0]], pattern)


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th …"""
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
