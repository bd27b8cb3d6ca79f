"""The simulated customer desk (CRM): first leads and activities drawn from a seed, the stages of the pipeline."""

from collections.abc import Mapping
from random import Random
from typing import Annotated, Any, Literal, NotRequired

from annotated_types import Ge, Le, Len
from typing_extensions import TypedDict

from mcpserver.tools.services._kinds import NOW, TODAY, Day, Line, Moment, Text
from mcpserver.tools.services._people import COLLEAGUES
from mcpserver.tools.services._places import CITIES
from mcpserver.tools.services._records import Record, days_from, later

Stage = Literal["new", "contacted", "qualified", "proposal", "won", "lost"]
Source = Literal["website", "fair", "referral", "cold_call"]
Size = Literal["small", "medium", "large"]
NEXT: Mapping[str, tuple[Stage, ...]] = {
    "new": ("contacted", "lost"),
    "contacted": ("qualified", "lost"),
    "qualified": ("proposal", "lost"),
    "proposal": ("won", "lost", "qualified"),
    "won": (),
    "lost": ("contacted",),
}
PROBABILITY = {"new": 0.05, "contacted": 0.15, "qualified": 0.35, "proposal": 0.6, "won": 1.0, "lost": 0.0}
OWNERS = tuple(person for person in COLLEAGUES if person.name in ("Nora Lindqvist", "Claire Fontaine", "Tomasz Wilk"))
FIRST_NUMBER, N_LEADS = 501, 24
_FIRMS = ("Alder Glass", "Bluewater Dairy", "Cobalt Steel", "Dune Ceramics", "Everline Paper", "Foxglove Foods")
_MORE = ("Granite Cement", "Holm Greenhouses", "Iris Textiles", "Juniper Brewing", "Kite Chemicals", "Larch Timber")
_PEOPLE = ("Anna Kraus", "Ben Osei", "Carla Nunes", "David Roth", "Eva Lund", "Farid Haddad", "Gina Moss", "Hugo Lind")

Value = Annotated[float, Ge(0), Le(50_000_000)]


class Company(TypedDict):
    """The firm behind a lead."""

    name: Line
    city: NotRequired[Line]
    size: NotRequired[Size]


class Call(TypedDict):
    """A telephone call."""

    kind: Literal["call"]
    minutes: Annotated[int, Ge(1), Le(300)]
    reached: bool
    summary: Text


class Meeting(TypedDict):
    """A meeting, past or planned."""

    kind: Literal["meeting"]
    at: Moment
    place: NotRequired[Line]
    summary: Text


class Note(TypedDict):
    """A note to oneself."""

    kind: Literal["note"]
    summary: Text


Activity = Call | Meeting | Note


class ValueRange(TypedDict, total=False):
    """EUR a year, both included."""

    min: Value
    max: Value


class LeadFilter(TypedDict, total=False):
    """Conditions that must all hold."""

    text: Line
    stages: Annotated[list[Stage], Len(1, 6)]
    owner: Line
    source: Source
    value: ValueRange
    silent_days: Annotated[int, Ge(1), Le(365)]


class LeadChanges(TypedDict, total=False):
    """What to change; the rest stays."""

    contact: Line
    value: Value
    owner: Line
    next_step: Line
    next_step_day: Day


def make_leads(rng: Random) -> dict[str, Any]:
    """Leads L-501 (new), L-502 (proposal), L-503 (lost), then any."""
    leads: dict[str, Any] = {}
    for index in range(N_LEADS):
        number = f"L-{FIRST_NUMBER + index}"
        firm = {"name": rng.choice(_FIRMS + _MORE), "city": rng.choice(tuple(CITIES)), "size": "medium"}
        lead = make_lead(number, firm, rng.choice(_PEOPLE), float(rng.randint(5, 400) * 1000), rng.choice(OWNERS).email)
        lead["stage"] = ("new", "proposal", "lost")[index] if index < 3 else rng.choice(tuple(NEXT))
        lead["source"] = rng.choice(("website", "fair", "referral", "cold_call"))
        lead["created"] = days_from(TODAY, -rng.randint(5, 120))
        lead["lost_because"] = "price" if lead["stage"] == "lost" else None
        if lead["stage"] != "new":
            call = {"kind": "call", "minutes": rng.randint(3, 40), "reached": True, "summary": "First talk."}
            lead["activities"] = [call | {"time": later(NOW, -rng.randint(60, 60 * 24 * 30)), "by": lead["owner"]}]
        leads[number] = lead
    return {"leads": leads, "next": {"L": FIRST_NUMBER + N_LEADS}}


def make_lead(number: str, company: Mapping[str, Any], contact: str, value: float, owner: str) -> Record:
    """A new lead."""
    return {
        **{"id": number, "company": dict(company), "contact": contact, "value": value, "owner": owner},
        **{"stage": "new", "source": "website", "created": TODAY, "lost_because": None, "next_step": None},
        **{"next_step_day": None, "activities": []},
    }


def last_contact(lead: Mapping[str, Any]) -> str:
    """The day of the last activity, or of the creation."""
    return max([str(lead["created"]), *(str(activity["time"])[:10] for activity in lead["activities"])])
