"""A simulated address book: search, add, update, merge and delete contacts."""

from collections.abc import Mapping
from typing import Any

from mcpserver.context import Context
from mcpserver.tools.services._contacts import (
    ContactFields,
    ContactFilter,
    empty_contact,
    join_phones,
    make_contacts,
    tidy,
)
from mcpserver.tools.services._kinds import Id, Limit, Line, Offset
from mcpserver.tools.services._records import Record, check, find, holds, keep_room, new_id, only, page, refuse_if

RUNS_IN = "server"
MAX_CONTACTS, MAX_LIST = 250, 10
_SERVICE = "contacts"


def search_contacts(context: Context, where: ContactFilter, limit: Limit = 10, offset: Offset = 0) -> dict[str, Any]:
    """Search contacts by text, company, city or group.

    Args:
        where: conditions that must all hold
        limit: most contacts to list
        offset: contacts to leave out first

    Example:
        {"where": {"company": "Tidewell Gas", "city": "Rotterdam"}}
        {"where": {"text": "brinkmann", "has": "phone"}}
        {"where": {}, "limit": 50}
    """
    contacts = context.read(_SERVICE, make_contacts)["contacts"].values()
    hits = [only(contact, "id", "name", "company", "emails", "phones") for contact in contacts if _fits(contact, where)]
    return page(sorted(hits, key=lambda row: (row["name"], row["id"])), limit, offset, "contacts")


def get_contact(context: Context, contact: Id) -> dict[str, Any]:
    """Get all that is known of a contact.

    Args:
        contact: id of the contact

    Example:
        {"contact": "K-101"}
    """
    return _find(context.read(_SERVICE, make_contacts), contact)


def add_contact(context: Context, name: Line, details: ContactFields | None = None) -> dict[str, Any]:
    """Add a contact.

    Args:
        name: full name
        details: what else is known

    Example:
        {"name": "Ana Reis", "details": {"company": "Porto Grid",
         "phones": [{"kind": "work", "number": "+351 22 555 0199"}]}}
        {"name": "Bert Koning"}
    """
    fields = tidy(details or {})
    state = context.change(_SERVICE, make_contacts)
    keep_room(state["contacts"], MAX_CONTACTS, "contacts")
    _refuse_known_email(state, fields.get("emails", []), None)
    contact = empty_contact(new_id(state, "K"), name) | fields | {"name": name}
    state["contacts"][contact["id"]] = contact
    doubles = [c["id"] for c in state["contacts"].values() if c["name"].lower() == name.lower() and c is not contact]
    return {**contact, "same_name": doubles[:10]}


def update_contact(context: Context, contact: Id, changes: ContactFields) -> dict[str, Any]:
    """Change fields of a contact; lists are replaced.

    Args:
        contact: id of the contact
        changes: new values

    Example:
        {"contact": "K-101", "changes": {"role": "Senior trader", "groups": ["friends", "press", "golf"]}}
    """
    check(bool(changes), "changes: say what to change")
    state = context.change(_SERVICE, make_contacts)
    found, fields = _find(state, contact), tidy(changes)
    _refuse_known_email(state, fields.get("emails", []), contact)
    found.update(fields)
    return found


def merge_contacts(context: Context, keep: Id, other: Id) -> dict[str, Any]:
    """Merge two contacts of one person; the first wins.

    Args:
        keep: id of the contact that stays
        other: id of the contact that goes

    Example:
        {"keep": "K-101", "other": "K-122"}
    """
    check(keep != other, "other: must be another contact than keep")
    state = context.change(_SERVICE, make_contacts)
    found, gone = _find(state, keep), _find(state, other, "other")
    merged = {name: found[name] or gone[name] for name in found}
    merged["emails"] = sorted({*found["emails"], *gone["emails"]})[:MAX_LIST]
    merged["phones"] = join_phones(found["phones"], gone["phones"])[:MAX_LIST]
    merged["groups"] = sorted({*found["groups"], *gone["groups"]})[:MAX_LIST]
    state["contacts"][keep] = merged
    del state["contacts"][other]
    return merged


def delete_contact(context: Context, contact: Id) -> dict[str, Any]:
    """Delete a contact.

    Args:
        contact: id of the contact

    Example:
        {"contact": "K-122"}
    """
    state = context.change(_SERVICE, make_contacts)
    found = _find(state, contact)
    del state["contacts"][contact]
    return {"deleted": only(found, "id", "name")}


def _find(state: Mapping[str, Any], contact: str, parameter: str = "contact") -> Record:
    found: Record = find(state["contacts"], contact, parameter, "search_contacts")
    return found


def _refuse_known_email(state: Mapping[str, Any], emails: list[str], own: str | None) -> None:
    for contact in state["contacts"].values():
        shared = sorted(set(contact["emails"]) & set(emails)) if contact["id"] != own else []
        refuse_if(bool(shared), f"emails: {shared[:1]} belongs to {contact['id']} already; update or merge that one")


def _fits(contact: Mapping[str, Any], where: ContactFilter) -> bool:
    numbers = [phone["number"] for phone in contact["phones"]]
    fields = (contact["name"], contact["company"], contact["role"], contact["note"], *contact["emails"], *numbers)
    known = {"email": contact["emails"], "phone": numbers, "address": contact["address"]}
    city = (contact["address"] or {}).get("city", "")
    return (
        holds(where.get("text"), *fields)
        and holds(where.get("company"), contact["company"])
        and holds(where.get("city"), city)
        and ("group" not in where or where["group"] in contact["groups"])
        and ("has" not in where or bool(known[where["has"]]))
    )
