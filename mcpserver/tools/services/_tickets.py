"""The simulated ticket desk: first tickets drawn from a seed, its workflow, and its promises of service (SLA)."""

import datetime
from collections.abc import Mapping
from random import Random
from typing import Any, Literal

from typing_extensions import TypedDict

from mcpserver.tools.services._kinds import NOW, Day, Line
from mcpserver.tools.services._people import COLLEAGUES, PARTNERS
from mcpserver.tools.services._records import Record, later

Status = Literal["open", "in_progress", "waiting", "resolved", "closed"]
Priority = Literal["low", "normal", "high", "urgent"]
Team = Literal["service desk", "network", "applications", "metering"]
WORKFLOW: Mapping[str, tuple[Status, ...]] = {
    "open": ("in_progress", "closed"),
    "in_progress": ("waiting", "resolved", "open"),
    "waiting": ("in_progress", "closed"),
    "resolved": ("closed", "in_progress"),
    "closed": ("open",),
}
SLA_HOURS: Mapping[str, int] = {"low": 120, "normal": 48, "high": 16, "urgent": 4}
AGENTS = tuple(person for person in COLLEAGUES if person.role in ("IT support", "Data engineer", "Operations engineer"))
N_TICKETS, FIRST_NUMBER = 30, 1001
_TOPICS: tuple[tuple[str, str, Team], ...] = (
    ("Cannot log in to the trading screen", "The screen says that the password has expired.", "service desk"),
    ("Meter {n} sends no values", "The last value came {m} hours ago.", "metering"),
    ("Report {n} is empty", "All columns of the daily report are empty since this morning.", "applications"),
    ("VPN drops every {m} minutes", "From home the connection is lost again and again.", "network"),
    ("New laptop for a colleague", "Somebody starts on Monday and needs a laptop and {m} accesses.", "service desk"),
    ("Wrong price in system {n}", "The price of yesterday is shown {m} times too high.", "applications"),
    ("Printer on floor {m} is jammed", "Paper tray {m} does not open.", "service desk"),
    ("Nomination file {n} refused", "The pipeline operator answers with error {m}.", "applications"),
    ("Firewall rule for station {n}", "Please open port 44{n} for the new station.", "network"),
    ("Meter {n} reports a negative flow", "The flow is -{m} m3/h in the night.", "metering"),
)


class Period(TypedDict, total=False):
    """Days, both included."""

    since: Day
    until: Day


class TicketFilter(TypedDict, total=False):
    """Conditions that must all hold."""

    text: Line
    status: list[Status]
    priority: list[Priority]
    team: Team
    assignee: Line
    created: Period


class TicketChanges(TypedDict, total=False):
    """What to change; the rest stays."""

    title: Line
    priority: Priority
    team: Team


def make_tickets(rng: Random) -> dict[str, Any]:
    """Tickets T-1001 … in all statuses; T-1001 is open and nobody's, T-1002 is in progress."""
    tickets: dict[str, Any] = {}
    age_min = 60 * 24 * 12
    for index in range(N_TICKETS):
        age_min = max(30, age_min - rng.randint(100, 1000))
        title, text, team = rng.choice(_TOPICS)
        numbers = {"n": rng.randint(10, 99), "m": rng.randint(2, 9)}
        reporter = rng.choice(COLLEAGUES + PARTNERS).email
        number = f"T-{FIRST_NUMBER + index}"
        ticket = make_ticket(number, title.format(**numbers), text.format(**numbers), team, reporter)
        ticket["priority"] = rng.choice(("low", "normal", "normal", "high", "urgent"))
        ticket["created"] = later(NOW, -age_min)
        status = "open" if index == 0 else "in_progress" if index == 1 else rng.choice(tuple(WORKFLOW))
        _age(ticket, status, rng, age_min)
        tickets[number] = ticket
    return {"tickets": tickets, "next": {"T": FIRST_NUMBER + N_TICKETS}}


def make_ticket(number: str, title: str, text: str, team: str, reporter: str) -> Record:
    """A new open ticket."""
    return {
        **{"id": number, "title": title, "text": text, "team": team, "reporter": reporter, "priority": "normal"},
        **{"status": "open", "assignee": None, "created": NOW, "resolved": None, "resolution": None},
        **{"comments": [], "links": []},
    }


def _age(ticket: Record, status: str, rng: Random, age_min: int) -> None:
    ticket["status"] = status
    if status != "open":
        ticket["assignee"] = rng.choice(AGENTS).email
        ticket["comments"] = [{"by": ticket["assignee"], "time": later(NOW, -age_min // 2), "text": "I look into it."}]
    if status in ("resolved", "closed"):
        ticket["resolved"] = later(ticket["created"], rng.randint(20, max(21, age_min - 10)))
        ticket["resolution"] = rng.choice(("Restarted the service.", "Replaced the part.", "Renewed the access."))


def hours_taken(ticket: Mapping[str, Any]) -> float:
    """Hours from creation to resolution, or until now."""
    end = datetime.datetime.fromisoformat(ticket["resolved"] or NOW)
    return (end - datetime.datetime.fromisoformat(ticket["created"])).total_seconds() / 3600


def is_late(ticket: Mapping[str, Any]) -> bool:
    """Whether the promise of the ticket's priority is broken."""
    return hours_taken(ticket) > SLA_HOURS[ticket["priority"]]
