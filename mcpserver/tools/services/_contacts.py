"""The simulated address book: the people of the services, some of them twice, drawn from a seed."""

from random import Random
from typing import Annotated, Any, Literal, NotRequired

from annotated_types import Len
from pydantic import StringConstraints
from typing_extensions import TypedDict

from mcpserver.tools.services._kinds import Line, Text
from mcpserver.tools.services._people import PEOPLE
from mcpserver.tools.services._records import Record

FIRST_NUMBER = 101
_GROUPS = ("customers", "suppliers", "friends", "press")
_STREETS = ("Quay Street", "Elm Road", "Market Square", "Station Road", "Park Lane")

Email = Annotated[str, StringConstraints(pattern=r"^[^@\s]{1,60}@[^@\s]+\.[^@\s]{2,20}$", max_length=100)]
Group = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{1,29}$")]


class Phone(TypedDict):
    """A telephone number."""

    kind: Literal["mobile", "work", "home"]
    number: Annotated[str, StringConstraints(pattern=r"^\+?[0-9][0-9 ()/-]{3,24}$")]


class Home(TypedDict):
    """A postal address."""

    street: Line
    city: Line
    postcode: NotRequired[Annotated[str, Len(3, 10)]]
    country: NotRequired[Line]


class ContactFields(TypedDict, total=False):
    """What is known; what is left out stays."""

    name: Line
    company: Line
    role: Line
    emails: Annotated[list[Email], Len(0, 5)]
    phones: Annotated[list[Phone], Len(0, 5)]
    address: Home
    groups: Annotated[list[Group], Len(0, 8)]
    note: Text


class ContactFilter(TypedDict, total=False):
    """Conditions that must all hold."""

    text: Line
    company: Line
    city: Line
    group: Group
    has: Literal["email", "phone", "address"]


def make_contacts(rng: Random) -> dict[str, Any]:
    """Contacts K-101 … of all people but the owner; the last two are poorer doubles of others."""
    contacts: dict[str, Any] = {}
    for index, person in enumerate(PEOPLE[1:]):
        contact = empty_contact(f"K-{FIRST_NUMBER + index}", person.name)
        contact |= {"company": person.company, "role": person.role, "emails": [person.email]}
        contact["phones"] = [{"kind": "work", "number": person.phone}]
        contact["groups"] = sorted(rng.sample(_GROUPS, rng.randint(0, 2)))
        if rng.random() < 0.5:
            street = f"{rng.choice(_STREETS)} {rng.randint(1, 90)}"
            contact["address"] = {"street": street, "city": person.city}
        contacts[contact["id"]] = contact
    for person in rng.sample(PEOPLE[1:], 2):
        contact = empty_contact(f"K-{FIRST_NUMBER + len(contacts)}", person.name)
        contact["phones"] = [{"kind": "mobile", "number": f"+31 6 555 {rng.randint(10000, 99999)}"}]
        contacts[contact["id"]] = contact
    return {"contacts": contacts, "next": {"K": FIRST_NUMBER + len(contacts)}}


def empty_contact(number: str, name: str) -> Record:
    """A contact of whom only the name is known."""
    return {
        **{"id": number, "name": name, "company": "", "role": "", "emails": [], "phones": [], "address": None},
        **{"groups": [], "note": ""},
    }


def tidy(fields: ContactFields) -> Record:
    """Fields as they are kept: lists without doubles, sorted, so that their order leaves no trace."""
    kept: Record = dict(fields)
    for name in ("emails", "groups"):
        if name in kept:
            kept[name] = sorted({text.lower() for text in kept[name]})
    if "phones" in kept:
        kept["phones"] = join_phones(kept["phones"], [])
    return kept


def join_phones(some: list[Record], more: list[Record]) -> list[Record]:
    """Telephone numbers of two lists, each once."""
    by_number = {phone["number"]: phone for phone in [*more, *some]}
    return [dict(by_number[number]) for number in sorted(by_number)]
