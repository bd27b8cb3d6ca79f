"""Calendar files opened and written, and the times in them."""

import datetime
from typing import Any

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.toolbox.formats import parsing, readable
from toolwright.words import cut, nearest, shorten


def open_calendar(context: Context, path: str, parameter: str = "path") -> Any:
    """A calendar file, parsed.

    Raises:
        ToolError: no such file, or no calendar.
    """
    import icalendar

    content = context.files.read_bytes(path, parameter, limit=1024 * 1024)
    with parsing(parameter, path, "calendar (.ics)"):
        calendar = icalendar.Calendar.from_ical(content)
        if calendar.name != "VCALENDAR":
            raise ToolError("tool_error", f"{parameter}: {path!r} is no calendar (.ics)")
        return calendar


def empty_calendar() -> Any:
    """A calendar without events."""
    import icalendar

    calendar = icalendar.Calendar()
    calendar.add("VERSION", "2.0")
    calendar.add("PRODID", "-//toolwright//EN")
    return calendar


def events_of(calendar: Any) -> list[Any]:
    """The events of a calendar."""
    return [component for component in calendar.subcomponents if component.name == "VEVENT"]


def chosen_event(components: list[Any], event: str, path: str) -> Any:
    """The one event with a uid or a title.

    Raises:
        ToolError: none or several fit.
    """
    titles = [cut(readable(str(component.get("SUMMARY", ""))), 200) for component in components]
    fitting = [c for c, title in zip(components, titles) if str(c.get("UID", "")) == event or title == event]
    if len(fitting) != 1:
        hint = "; use the uid" if fitting else nearest(event, titles)
        raise ToolError("tool_error", f"event: {len(fitting)} events of {path!r} are called {shorten(event, 60)}{hint}")
    return fitting[0]


def span_of(component: Any) -> tuple[datetime.datetime, datetime.datetime]:
    """First and last moment of an event, in UTC."""
    start = component.decoded("DTSTART")
    if "DTEND" in component:
        end = component.decoded("DTEND")
    elif "DURATION" in component:
        end = start + component.decoded("DURATION")
    else:
        end = start if isinstance(start, datetime.datetime) else start + datetime.timedelta(days=1)
    return to_utc(start), to_utc(end)


def to_utc(value: datetime.date) -> datetime.datetime:
    """A day or moment as a moment in UTC."""
    if not isinstance(value, datetime.datetime):
        value = datetime.datetime(value.year, value.month, value.day)
    return value.astimezone(datetime.UTC) if value.tzinfo else value.replace(tzinfo=datetime.UTC)


def described(component: Any) -> dict[str, Any]:
    """An event as a result tells it."""
    first, last = span_of(component)
    whole = not isinstance(component.decoded("DTSTART"), datetime.datetime)
    entry: dict[str, Any] = {"uid": cut(readable(str(component.get("UID", ""))), 100)}
    entry["title"] = cut(readable(str(component.get("SUMMARY", ""))), 150)
    entry["start"] = first.date().isoformat() if whole else f"{first:%Y-%m-%dT%H:%M}"
    entry["end"] = last.date().isoformat() if whole else f"{last:%Y-%m-%dT%H:%M}"
    for name in ("LOCATION", "DESCRIPTION"):
        if name in component:
            entry[name.lower()] = cut(readable(str(component[name])), 200)
    if "RRULE" in component:
        entry["repeats"] = cut(readable(component["RRULE"].to_ical().decode()), 100)
    return entry


def read_when(text: str, parameter: str) -> datetime.date:
    """A day, or a moment in UTC, from a text.

    Raises:
        ToolError: ``bad_arguments``.
    """
    try:
        if len(text.strip()) == 10:
            value: datetime.date = datetime.date.fromisoformat(text.strip())
        else:
            value = to_utc(datetime.datetime.fromisoformat(text.strip()))
    except (ValueError, OverflowError):
        hint = "such as 2025-03-24 or 2025-03-24T09:00"
        raise ToolError("bad_arguments", f"{parameter}: {shorten(text, 30)} is no day or time {hint}") from None
    if not 1900 <= value.year <= 2200:
        raise ToolError("bad_arguments", f"{parameter}: the year {value.year} must lie between 1900 and 2200")
    return value


def read_moment(text: str, parameter: str) -> datetime.datetime:
    """A moment in UTC from a text.

    Raises:
        ToolError: ``bad_arguments``.
    """
    return to_utc(read_when(text, parameter))


def read_clock(date: datetime.date, text: str, parameter: str) -> datetime.datetime:
    """A moment of a day from a text such as 08:30.

    Raises:
        ToolError: ``bad_arguments``.
    """
    try:
        return datetime.datetime.combine(date, datetime.time.fromisoformat(text)).replace(tzinfo=datetime.UTC)
    except ValueError:
        raise ToolError("bad_arguments", f"{parameter}: {shorten(text, 10)} is no time such as 08:30") from None


def save_calendar(context: Context, calendar: Any, path: str) -> None:
    """Write a calendar file in the order it has.

    Raises:
        ToolError: a name that does not end in .ics, or what cannot be written.
    """
    if not path.lower().endswith(".ics"):
        raise ToolError("bad_arguments", f"path: {shorten(path, 60)} must end in .ics")
    with parsing("path", path, "calendar that can be written"):
        content: bytes = calendar.to_ical(sorted=False)
    context.files.write(path, content)
