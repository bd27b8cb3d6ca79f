"""The simulated calendar: first events drawn from a seed, occurrences of repeated events, and who is busy when."""

import calendar
import datetime
from collections.abc import Iterator, Mapping
from random import Random
from typing import Annotated, Any, Literal, NotRequired

from annotated_types import Ge, Le, Len
from typing_extensions import TypedDict

from mcpserver.tools.services._kinds import TODAY, Clock, Line, Moment
from mcpserver.tools.services._people import COLLEAGUES, ME
from mcpserver.tools.services._records import Record, days_from, later

N_EVENTS, FIRST_NUMBER = 26, 201
_TITLES = (
    *("Market review", "Budget round", "Interview", "Risk committee", "Contract talk", "Data quality", "Safety walk"),
    *("Lunch with the team", "Nomination check", "Supplier call", "Quarter planning", "Incident follow-up"),
)
_ROOMS = ("Room Maas", "Room Elbe", "Room Thames", "online")

Minutes = Annotated[int, Ge(5), Le(600)]
People = Annotated[list[Annotated[str, Len(1, 120)]], Len(1, 12)]


class Repeat(TypedDict):
    """How often an event comes again."""

    every: Literal["day", "week", "month"]
    times: Annotated[int, Ge(2), Le(60)]


class EventChanges(TypedDict, total=False):
    """What to change; the rest stays."""

    title: Line
    start: Moment
    minutes: Minutes
    place: Line


class Hours(TypedDict):
    """Hours of the day to look at."""

    start: NotRequired[Clock]
    end: NotRequired[Clock]


def make_calendar(rng: Random) -> dict[str, Any]:
    """Events E-201 …: E-201 a weekly meeting of the owner, E-202 an open invitation to the owner, then others."""
    events: dict[str, Any] = {}
    for number in range(FIRST_NUMBER, FIRST_NUMBER + N_EVENTS):
        day = _working_day(rng.randint(0, 11))
        start = f"{day} {rng.randint(8, 16):02}:{rng.choice(('00', '30'))}"
        organizer = rng.choice(COLLEAGUES)
        guests = {person.email: rng.choice(("accepted", "accepted", "open")) for person in rng.sample(COLLEAGUES, 3)}
        event = make_event(f"E-{number}", rng.choice(_TITLES), start, rng.choice((30, 45, 60, 90)), organizer.email)
        events[event["id"]] = event | {"place": rng.choice(_ROOMS), "attendees": guests | event["attendees"]}
    weekly, invitation = events["E-201"], events["E-202"]
    weekly |= {"title": "Weekly operations meeting", "start": f"{TODAY} 10:00", "minutes": 60, "organizer": ME.email}
    weekly |= {"repeat": {"every": "week", "times": 12}, "attendees": weekly["attendees"] | {ME.email: "accepted"}}
    host = rng.choice(COLLEAGUES[1:]).email
    invitation |= {"organizer": host, "attendees": {host: "accepted", ME.email: "open"}}
    return {"events": events, "next": {"E": FIRST_NUMBER + N_EVENTS}}


def make_event(number: str, title: str, start: str, minutes: int, organizer: str) -> Record:
    """An event with its organiser as the only attendee."""
    return {
        **{"id": number, "title": title, "start": start, "minutes": minutes, "organizer": organizer, "place": ""},
        **{"attendees": {organizer: "accepted"}, "repeat": None, "skipped": []},
    }


def _working_day(index: int) -> str:
    return days_from(TODAY, index // 5 * 7 + index % 5)


def occurrences(event: Mapping[str, Any], first: str, last: str) -> Iterator[str]:
    """The starts of an event between two days, both included."""
    repeat = event["repeat"]
    if repeat is None:
        if first <= event["start"][:10] <= last:
            yield event["start"]
        return
    start = datetime.datetime.fromisoformat(event["start"])
    for index in range(repeat["times"]):
        if repeat["every"] == "month":
            year, month = divmod(start.year * 12 + start.month - 1 + index, 12)
            length = calendar.monthrange(year, month + 1)[1]
            moment = start.replace(year=year, month=month + 1, day=min(start.day, length))
        else:
            moment = start + datetime.timedelta(days=index * (7 if repeat["every"] == "week" else 1))
        day = moment.date().isoformat()
        if first <= day <= last and day not in event["skipped"]:
            yield f"{moment:%Y-%m-%d %H:%M}"


def busy(state: Mapping[str, Any], email: str, first: str, last: str) -> list[tuple[str, str, str]]:
    """Start, end and event id of what somebody has not declined, sorted."""
    times = []
    for event in state["events"].values():
        if event["attendees"].get(email, "declined") != "declined":
            starts = occurrences(event, days_from(first, -1), last)
            times += [(start, later(start, event["minutes"]), event["id"]) for start in starts]
    return sorted(times)
