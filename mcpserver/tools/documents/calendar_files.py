"""Calendars kept as files (.ics): list events, add, change and delete them, find free times."""

import datetime
import hashlib
from typing import Annotated, Any, Literal, NotRequired

from annotated_types import Ge, Le, Len
from typing_extensions import TypedDict

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.toolbox.formats import encode, parsing, readable
from mcpserver.tools.documents._blocks import FilePath, Words
from mcpserver.tools.documents._calendar import (
    chosen_event,
    described,
    empty_calendar,
    events_of,
    open_calendar,
    read_clock,
    read_moment,
    read_when,
    save_calendar,
    span_of,
    to_utc,
)
from toolwright.words import cut

Moment = Annotated[str, Len(10, 30)]
Title = Annotated[str, Len(1, 200)]
Minutes = Annotated[int, Ge(1), Le(10_080)]
Clock = Annotated[str, Len(5, 5)]


class Repeat(TypedDict):
    """How an event comes again."""

    every: Literal["day", "week", "month", "year"]
    count: NotRequired[Annotated[int, Ge(1), Le(500)]]
    until: NotRequired[Moment]


class Event(TypedDict):
    """An event; a start without time makes it last whole days."""

    title: Title
    start: Moment
    end: NotRequired[Moment]
    minutes: NotRequired[Minutes]
    location: NotRequired[Title]
    description: NotRequired[Words]
    repeat: NotRequired[Repeat]


class Changes(TypedDict):
    """What becomes different of an event."""

    title: NotRequired[Title]
    start: NotRequired[Moment]
    minutes: NotRequired[Minutes]
    location: NotRequired[Title]
    description: NotRequired[Words]


def ics_events(
    context: Context,
    path: FilePath,
    start: Moment | None = None,
    end: Moment | None = None,
    search: Annotated[str, Len(1, 100)] | None = None,
    limit: Annotated[int, Ge(1), Le(100)] = 30,
) -> dict[str, Any]:
    """List the events of a calendar file in the order of time, UTC; repetitions are told, not written out.

    Args:
        path: .ics file
        start: only events that end after this day or time
        end: only events that begin before this day or time
        search: only events with these words
        limit: most events to give

    Example:
        {"path": "calendar/team.ics"}
        {"path": "calendar/team.ics", "start": "2025-03-10", "end": "2025-03-20", "search": "meeting"}
    """
    low = read_moment(start, "start") if start is not None else None
    high = read_moment(end, "end") if end is not None else None
    given = []
    with parsing("path", path, "calendar"):
        for component in events_of(open_calendar(context, path)):
            first, last = span_of(component)
            words = f"{component.get('SUMMARY', '')} {component.get('LOCATION', '')} {component.get('DESCRIPTION', '')}"
            within = (low is None or last > low) and (high is None or first < high)
            if within and (search is None or search.casefold() in words.casefold()):
                given.append((first, described(component)))
    given.sort(key=lambda item: (item[0], str(item[1]["title"])))
    return {"events": [event for _, event in given[:limit]], "total": len(given)}


def ics_add_event(context: Context, path: FilePath, event: Event) -> dict[str, Any]:
    """Add an event to a calendar file; the file is made if there is none. Times without zone are UTC.

    Args:
        path: .ics file
        event: title, start, and end or minutes

    Example:
        {"path": "calendar/team.ics", "event": {"title": "Stock count", "start": "2025-03-24T09:00", "minutes": 90}}
        {"path": "calendar/new.ics", "event": {"title": "Training", "start": "2025-04-01", "location": "Leeds",
         "repeat": {"every": "week", "count": 4}}}
    """
    import icalendar

    if "end" in event and "minutes" in event:
        raise ToolError("bad_arguments", "event: give end or minutes, not both")
    start = read_when(event["start"], "event.start")
    if not isinstance(start, datetime.datetime) and "minutes" in event:
        raise ToolError("bad_arguments", "event.minutes: needs a start with a time, such as 2025-03-24T09:00")
    end = _end(start, event)
    calendar = open_calendar(context, path) if context.files.new_file(path).exists() else empty_calendar()
    component = icalendar.Event()
    identity = hashlib.sha256(
        repr((sorted(event.items()), len(events_of(calendar)))).encode("utf-8", "replace")
    ).hexdigest()
    with parsing("event", path, "calendar with such an event"):
        component.add("UID", f"{identity[:16]}@toolwright.example")
        component.add("DTSTAMP", context.now.replace(tzinfo=datetime.UTC))
        component.add("DTSTART", start)
        component.add("DTEND", end)
        for name, key in (("SUMMARY", "title"), ("LOCATION", "location"), ("DESCRIPTION", "description")):
            if key in event:
                component.add(name, _pure(str(event.get(key)), f"event.{key}"))
        if "repeat" in event:
            component.add("RRULE", _rule(event["repeat"], start))
        calendar.add_component(component)
    save_calendar(context, calendar, path)
    return {"path": path, "uid": str(component["UID"]), "events": len(events_of(calendar))}


def ics_change_event(
    context: Context, path: FilePath, event: Annotated[str, Len(1, 200)], change: Changes | Literal["delete"]
) -> dict[str, Any]:
    """Change or delete an event of a calendar file.

    Args:
        path: .ics file
        event: its uid or its title
        change: what becomes different, or delete

    Example:
        {"path": "calendar/team.ics", "event": "Budget talk", "change": {"start": "2025-03-18T10:00"}}
        {"path": "calendar/team.ics", "event": "Budget talk", "change": "delete"}
    """
    calendar = open_calendar(context, path)
    component = chosen_event(events_of(calendar), event, path)
    if change == "delete":
        with parsing("path", path, "calendar"):
            calendar.subcomponents = [found for found in calendar.subcomponents if found is not component]
    elif not change:
        raise ToolError("bad_arguments", "change: give title, start, minutes, location or description, or delete")
    else:
        with parsing("path", path, "calendar"):
            _change(component, change)
    save_calendar(context, calendar, path)
    return {"path": path, "uid": cut(readable(str(component.get("UID", ""))), 200), "events": len(events_of(calendar))}


def ics_free_times(
    context: Context,
    paths: Annotated[list[FilePath], Len(1, 10)],
    day: Moment,
    minutes: Annotated[int, Ge(5), Le(720)] = 60,
    earliest: Clock = "08:00",
    latest: Clock = "18:00",
) -> dict[str, Any]:
    """Find the times of a day at which no event of several calendar files lies; UTC, repetitions do not count.

    Args:
        paths: .ics files
        day: such as 2025-03-17
        minutes: shortest time that is wanted
        earliest: such as 08:00
        latest: such as 18:00

    Example:
        {"paths": ["calendar/team.ics"], "day": "2025-03-17", "minutes": 30}
    """
    date = read_moment(day, "day").date()
    begin, close = (read_clock(date, text, name) for text, name in ((earliest, "earliest"), (latest, "latest")))
    busy = []
    for number, path in enumerate(paths):
        with parsing(f"paths[{number}]", path, "calendar"):
            busy += [span_of(component) for component in events_of(open_calendar(context, path, f"paths[{number}]"))]
    free, at = [], begin
    for first, last in [*sorted(span for span in busy if span[1] > begin and span[0] < close), (close, close)]:
        length = int((min(first, close) - at).total_seconds() // 60)
        if length >= minutes:
            free.append({"start": f"{at:%H:%M}", "end": f"{min(first, close):%H:%M}", "minutes": length})
        at = max(at, last)
    return {"day": date.isoformat(), "free": free}


def _end(start: datetime.date, event: Event) -> datetime.date:
    whole = not isinstance(start, datetime.datetime)
    if "end" not in event:
        return start + (datetime.timedelta(days=1) if whole else datetime.timedelta(minutes=event.get("minutes", 60)))
    end = read_when(event["end"], "event.end")
    if whole == isinstance(end, datetime.datetime):
        raise ToolError("bad_arguments", "event.end: start and end must both have a time, or none")
    if end <= start:
        raise ToolError("bad_arguments", f"event.end: {event['end']} is not after the start {event['start']}")
    return end


def _rule(repeat: Repeat, start: datetime.date) -> dict[str, Any]:
    if "count" in repeat and "until" in repeat:
        raise ToolError("bad_arguments", "event.repeat: give count or until, not both")
    names = {"day": "daily", "week": "weekly", "month": "monthly", "year": "yearly"}
    rule: dict[str, Any] = {"freq": names[repeat["every"]]}
    if "count" in repeat:
        rule["count"] = repeat["count"]
    if "until" in repeat:
        rule["until"] = read_moment(repeat["until"], "event.repeat.until")
        if rule["until"] < to_utc(start):
            raise ToolError("bad_arguments", "event.repeat.until: is before the start")
    return rule


def _change(component: Any, change: Changes) -> None:
    first, last = span_of(component)
    if "start" in change or "minutes" in change:
        old = component.decoded("DTSTART")
        start = read_when(change["start"], "change.start") if "start" in change else old
        timed = isinstance(start, datetime.datetime)
        if "minutes" in change and not timed:
            raise ToolError("bad_arguments", "change.minutes: the event lasts whole days")
        length = datetime.timedelta(minutes=change["minutes"]) if "minutes" in change else last - first
        if timed != isinstance(old, datetime.datetime):
            length = datetime.timedelta(hours=1) if timed else datetime.timedelta(days=1)
        for name, value in (("DTSTART", start), ("DTEND", start + length)):
            component.pop(name, None)
            component.add(name, value)
        component.pop("DURATION", None)
    for name, key in (("SUMMARY", "title"), ("LOCATION", "location"), ("DESCRIPTION", "description")):
        if key in change:
            component.pop(name, None)
            component.add(name, _pure(str(change.get(key)), f"change.{key}"))


def _pure(text: str, parameter: str) -> str:
    encode(text, parameter)
    return readable(text)
