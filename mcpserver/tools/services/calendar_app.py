"""A simulated calendar shared with the colleagues: events, invitations, repeated events and free slots."""

import datetime
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from annotated_types import Len

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.tools.services._calendar import (
    EventChanges,
    Hours,
    Minutes,
    People,
    Repeat,
    busy,
    make_calendar,
    make_event,
    occurrences,
)
from mcpserver.tools.services._kinds import NOW, Day, Id, Limit, Line, Moment, Offset
from mcpserver.tools.services._people import COLLEAGUES, ME, PEOPLE, find_person
from mcpserver.tools.services._records import (
    Record,
    check,
    days_from,
    find,
    holds,
    keep_room,
    later,
    new_id,
    only,
    page,
    refuse_if,
)

RUNS_IN = "server"
MAX_EVENTS, MAX_ATTENDEES, MAX_WINDOW_DAYS, SLOT_MIN = 200, 20, 62, 30
_SERVICE = "calendar"


def list_calendar_events(
    context: Context,
    first_day: Day,
    last_day: Day,
    person: Line | None = None,
    text: Line | None = None,
    limit: Limit = 20,
    offset: Offset = 0,
) -> dict[str, Any]:
    """List calendar events of a period, repeated ones too.

    Args:
        first_day: first day, YYYY-MM-DD
        last_day: last day, YYYY-MM-DD
        person: whose calendar, default your own
        text: words of the title
        limit: most events to list
        offset: events to leave out first

    Example:
        {"first_day": "2025-03-17", "last_day": "2025-03-21"}
        {"first_day": "2025-03-17", "last_day": "2025-04-30", "text": "weekly"}
    """
    _check_window(first_day, last_day)
    email = find_person(person, "person", COLLEAGUES).email if person else ME.email
    rows = []
    for event in context.read(_SERVICE, make_calendar)["events"].values():
        if email in event["attendees"] and holds(text, event["title"]):
            row = only(event, "id", "title", "minutes", "place", "organizer") | {"answer": event["attendees"][email]}
            rows += [{**row, "start": start} for start in occurrences(event, first_day, last_day)]
    return page(sorted(rows, key=lambda row: (row["start"], row["id"])), limit, offset, "events")


def get_calendar_event(context: Context, event: Id) -> dict[str, Any]:
    """Get one calendar event with attendees and their answers.

    Args:
        event: id of the event

    Example:
        {"event": "E-201"}
    """
    return _find(context.read(_SERVICE, make_calendar), event)


def find_free_slots(
    context: Context, attendees: People, minutes: Minutes, first_day: Day, last_day: Day, hours: Hours | None = None
) -> dict[str, Any]:
    """Find times when all attendees are free, Monday to Friday.

    Args:
        attendees: names or addresses of colleagues
        minutes: length of the meeting
        first_day: first day, YYYY-MM-DD
        last_day: last day, YYYY-MM-DD
        hours: default 09:00 to 17:00

    Example:
        {"attendees": ["Amara Okafor", "Lukas Brandt"], "minutes": 60, "first_day": "2025-03-18", "last_day": "2025-03-20"}
        {"attendees": ["Tomasz Wilk"], "minutes": 30, "first_day": "2025-03-17", "last_day": "2025-03-17", "hours": {"start": "13:00"}}
    """  # noqa: E501
    _check_window(first_day, last_day)
    opening, closing = (hours or {}).get("start", "09:00"), (hours or {}).get("end", "17:00")
    check(opening < closing, f"hours: the end {closing} must be after the start {opening}")
    emails = {ME.email, *(find_person(who, "attendees", COLLEAGUES).email for who in attendees)}
    state = context.read(_SERVICE, make_calendar)
    taken = sorted({time[:2] for email in emails for time in busy(state, email, first_day, last_day)})
    slots: list[Record] = []
    day = max(first_day, NOW[:10])
    while day <= last_day and len(slots) < 12:
        slots += [] if _is_weekend(day) else _free(day, opening, closing, minutes, taken)
        day = days_from(day, 1)
    return {"attendees": sorted(emails), "slots": slots[:12]}


def create_calendar_event(
    context: Context,
    title: Line,
    start: Moment,
    minutes: Minutes,
    attendees: People | None = None,
    place: Line = "online",
    repeat: Repeat | None = None,
) -> dict[str, Any]:
    """Create a calendar event and invite people.

    Args:
        title: what it is about
        start: start, YYYY-MM-DD HH:MM
        minutes: length
        attendees: names or addresses
        place: room or online
        repeat: for a repeated event

    Example:
        {"title": "Storage strategy", "start": "2025-03-19 14:00", "minutes": 60, "attendees": ["Ingrid Solheim"]}
        {"title": "Standup", "start": "2025-03-18 08:45", "minutes": 15, "repeat": {"every": "day", "times": 10}}
    """
    check(start >= NOW, f"start: {start} is past; now is {NOW}")
    state = context.change(_SERVICE, make_calendar)
    keep_room(state["events"], MAX_EVENTS, "events")
    event = make_event(new_id(state, "E"), title, start, minutes, ME.email) | {"place": place}
    event["repeat"] = dict(repeat) if repeat else None
    event["attendees"] |= {find_person(who, "attendees", PEOPLE).email: "open" for who in attendees or ()}
    event["attendees"][ME.email] = "accepted"
    state["events"][event["id"]] = event
    return {**only(event, "id", "title", "start", "attendees"), "conflicts": _conflicts(state, event)}


def update_calendar_event(context: Context, event: Id, changes: EventChanges) -> dict[str, Any]:
    """Change title, start, length or place of your event.

    Args:
        event: id of the event
        changes: new values

    Example:
        {"event": "E-201", "changes": {"start": "2025-03-17 11:00", "place": "Room Elbe"}}
    """
    check(bool(changes), "changes: say what to change")
    check(changes.get("start", NOW) >= NOW, f"changes: the start {changes.get('start')} is past; now is {NOW}")
    state = context.change(_SERVICE, make_calendar)
    found = _own(state, event)
    if changes.get("start", found["start"]) != found["start"]:  # who had said yes to another time has to say it again
        found["attendees"] = {email: "open" for email in found["attendees"]} | {ME.email: "accepted"}
        found["skipped"] = []
    found.update(changes)
    return {**found, "conflicts": _conflicts(state, found)}


def change_event_attendees(
    context: Context,
    event: Id,
    add: Annotated[list[Line], Len(0, 12)] | None = None,
    remove: Annotated[list[Line], Len(0, 12)] | None = None,
) -> dict[str, Any]:
    """Invite people to your event, or take them off.

    Args:
        event: id of the event
        add: names or addresses to invite
        remove: names or addresses to remove

    Example:
        {"event": "E-201", "add": ["Greta Brinkmann"]}
    """
    check(bool(add or remove), "add: say whom to add or to remove")
    state = context.change(_SERVICE, make_calendar)
    found = _own(state, event)
    for who in remove or ():
        email = find_person(who, "remove").email
        check(email in found["attendees"], f"remove: {email} is not invited to {event}")
        refuse_if(email == ME.email, "remove: the organiser cannot be removed; cancel the event instead")
        del found["attendees"][email]
    for who in add or ():
        found["attendees"].setdefault(find_person(who, "add").email, "open")
    keep_room(found["attendees"], MAX_ATTENDEES + 1, "attendees")
    return only(found, "id", "attendees")


def cancel_calendar_event(context: Context, event: Id, occurrence: Day | Literal["all"] = "all") -> dict[str, Any]:
    """Cancel your event, or one day of a repeated event.

    Args:
        event: id of the event
        occurrence: a day of the event, or all

    Example:
        {"event": "E-201", "occurrence": "2025-03-24"}
        {"event": "E-201"}
    """
    state = context.change(_SERVICE, make_calendar)
    found = _own(state, event)
    if occurrence == "all":
        del state["events"][event]
        return {"cancelled": event, "told": sorted(found["attendees"])}
    days = [start[:10] for start in occurrences(found, "2020-01-01", "2040-12-31")]
    check(occurrence in days, f"occurrence: {event} is not on {occurrence}; its next days are {', '.join(days[:3])}")
    refuse_if(len(days) == 1, f"occurrence: {occurrence} is the only day of {event}; cancel all of it")
    found["skipped"] = sorted([*found["skipped"], occurrence])
    return {"cancelled": event, "occurrence": occurrence, "told": sorted(found["attendees"])}


def answer_invitation(
    context: Context, event: Id, answer: Literal["accepted", "tentative", "declined"], note: Line | None = None
) -> dict[str, Any]:
    """Answer an invitation to an event.

    Args:
        event: id of the event
        answer: your answer
        note: words to the organiser

    Example:
        {"event": "E-202", "answer": "accepted"}
        {"event": "E-202", "answer": "declined", "note": "I am travelling that day."}
    """
    state = context.change(_SERVICE, make_calendar)
    found = _find(state, event)
    refuse_if(ME.email not in found["attendees"], f"event: you are not invited to {event}")
    refuse_if(found["organizer"] == ME.email, f"event: {event} is your own; change or cancel it instead")
    found["attendees"][ME.email] = answer
    if note:
        found["note"] = note
    return {**only(found, "id", "title", "start"), "answer": answer, "conflicts": _conflicts(state, found)}


def _find(state: Mapping[str, Any], event: str) -> Record:
    found: Record = find(state["events"], event, "event", "list_calendar_events")
    return found


def _own(state: Mapping[str, Any], event: str) -> Record:
    found = _find(state, event)
    if found["organizer"] != ME.email:
        raise ToolError("denied", f"event: {event} belongs to {found['organizer']}; only the organiser changes it")
    return found


def _check_window(first: str, last: str) -> None:
    check(first <= last, f"last_day: {last} lies before first_day {first}")
    check(last <= days_from(first, MAX_WINDOW_DAYS), f"last_day: at most {MAX_WINDOW_DAYS} days after first_day")


def _is_weekend(day: str) -> bool:
    return datetime.date.fromisoformat(day).weekday() >= 5


def _free(day: str, opening: str, closing: str, minutes: int, taken: list[tuple[str, str]]) -> list[Record]:
    start, found = f"{day} {opening}", []
    while later(start, minutes) <= f"{day} {closing}":
        end = later(start, minutes)
        if start >= NOW and all(busy_end <= start or busy_start >= end for busy_start, busy_end in taken):
            found.append({"start": start, "end": end})
        start = later(start, SLOT_MIN)
    return found


def _conflicts(state: Mapping[str, Any], event: Record) -> list[str]:
    """Ids of own events that overlap an event's first time."""
    start, end = event["start"], later(event["start"], event["minutes"])
    others = busy(state, ME.email, start[:10], end[:10])
    return sorted({number for begin, stop, number in others if number != event["id"] and begin < end and start < stop})
