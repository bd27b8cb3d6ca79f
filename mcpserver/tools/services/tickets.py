"""A simulated ticket desk: tickets with a workflow, comments, links and a report on the promised times."""

from collections.abc import Mapping
from typing import Any, Literal

from mcpserver.context import Context
from mcpserver.tools.services._kinds import NOW, Id, Limit, Line, Offset, Text
from mcpserver.tools.services._people import ME, find_person
from mcpserver.tools.services._records import (
    Record,
    check,
    find,
    holds,
    keep_room,
    new_id,
    newest_first,
    only,
    page,
    refuse_if,
)
from mcpserver.tools.services._tickets import (
    AGENTS,
    SLA_HOURS,
    WORKFLOW,
    Priority,
    Status,
    Team,
    TicketChanges,
    TicketFilter,
    hours_taken,
    is_late,
    make_ticket,
    make_tickets,
)

RUNS_IN = "server"
MAX_TICKETS, MAX_COMMENTS, MAX_LINKS = 250, 50, 20
_SERVICE = "tickets"
_RANK = {"urgent": 0, "high": 1, "normal": 2, "low": 3}


def create_ticket(
    context: Context, title: Line, text: Text, team: Team = "service desk", priority: Priority = "normal"
) -> dict[str, Any]:
    """Create a ticket.

    Args:
        title: one line
        text: what is wrong or wanted
        team: team that works on it
        priority: how urgent it is

    Example:
        {"title": "Screen is black", "text": "The left screen of desk 12 stays black.", "priority": "high"}
    """
    state = context.change(_SERVICE, make_tickets)
    keep_room(state["tickets"], MAX_TICKETS, "tickets")
    ticket = make_ticket(new_id(state, "T"), title, text, team, ME.email) | {"priority": priority}
    state["tickets"][ticket["id"]] = ticket
    return {**_summary(ticket), "hours_promised": SLA_HOURS[priority]}


def get_ticket(context: Context, ticket: Id, comments_from: Offset = 0) -> dict[str, Any]:
    """Get a ticket with comments and links.

    Args:
        ticket: id of the ticket
        comments_from: comments to leave out first

    Example:
        {"ticket": "T-1002"}
    """
    found = _find(context.read(_SERVICE, make_tickets), ticket)
    comments = page(found["comments"], 20, comments_from, "comments")
    return {**found, "allowed_next": list(WORKFLOW[found["status"]]), **comments}


def search_tickets(
    context: Context,
    where: TicketFilter,
    sort: Literal["newest", "oldest", "priority"] = "newest",
    limit: Limit = 10,
    offset: Offset = 0,
) -> dict[str, Any]:
    """Search tickets by text, status, priority, team, assignee or day.

    Args:
        where: conditions that must all hold
        sort: order of the list
        limit: most tickets to list
        offset: tickets to leave out first

    Example:
        {"where": {"status": ["open", "waiting"], "priority": ["high", "urgent"]}, "sort": "priority"}
        {"where": {"team": "metering", "created": {"since": "2025-03-10"}}}
        {"where": {"assignee": "Lukas Brandt"}, "limit": 5}
    """
    assignee = find_person(where["assignee"], "assignee").email if "assignee" in where else None
    tickets = newest_first(context.read(_SERVICE, make_tickets)["tickets"].values(), "created")
    hits = [ticket for ticket in tickets if _fits(ticket, where) and assignee in (None, ticket["assignee"])]
    if sort == "oldest":
        hits.reverse()
    elif sort == "priority":
        hits.sort(key=lambda ticket: _RANK[ticket["priority"]])
    return page([_summary(ticket) for ticket in hits], limit, offset, "tickets")


def update_ticket(context: Context, ticket: Id, changes: TicketChanges) -> dict[str, Any]:
    """Change title, priority or team of a ticket.

    Args:
        ticket: id of the ticket
        changes: new values

    Example:
        {"ticket": "T-1001", "changes": {"title": "Station 12 is silent", "team": "network"}}
    """
    check(bool(changes), "changes: say what to change")
    found = _open(context.change(_SERVICE, make_tickets), ticket)
    found.update(changes)
    return _summary(found)


def assign_ticket(context: Context, ticket: Id, assignee: Line) -> dict[str, Any]:
    """Assign a ticket to an agent of the desk.

    Args:
        ticket: id of the ticket
        assignee: name or address

    Example:
        {"ticket": "T-1001", "assignee": "Rafael Ortiz"}
    """
    found = _open(context.change(_SERVICE, make_tickets), ticket)
    found["assignee"] = find_person(assignee, "assignee", AGENTS).email
    return _summary(found)


def comment_on_ticket(
    context: Context, ticket: Id, text: Text, visibility: Literal["public", "internal"] = "public"
) -> dict[str, Any]:
    """Add a comment to a ticket.

    Args:
        ticket: id of the ticket
        text: the comment
        visibility: internal hides it from reporters

    Example:
        {"ticket": "T-1002", "text": "It happened again at eight o'clock."}
    """
    found = _find(context.change(_SERVICE, make_tickets), ticket)
    keep_room(found["comments"], MAX_COMMENTS, f"comments on {ticket}")
    comment = {"by": ME.email, "time": NOW, "text": text}
    found["comments"].append(comment | ({"visibility": visibility} if visibility == "internal" else {}))
    return {"ticket": ticket, "comments": len(found["comments"])}


def change_ticket_status(
    context: Context, ticket: Id, status: Status, resolution: Line | None = None
) -> dict[str, Any]:
    """Move a ticket along its workflow.

    Args:
        ticket: id of the ticket
        status: new status
        resolution: what solved it; for resolved

    Example:
        {"ticket": "T-1002", "status": "resolved", "resolution": "Renewed the certificate."}
        {"ticket": "T-1002", "status": "waiting"}
    """
    found = _find(context.change(_SERVICE, make_tickets), ticket)
    old, allowed = found["status"], WORKFLOW[found["status"]]
    refuse_if(status not in allowed, f"status: from {old} a ticket goes to {' or '.join(allowed)}, not to {status}")
    check(status != "resolved" or resolution is not None, "resolution: say what solved it")
    check(status == "resolved" or resolution is None, "resolution: only goes with the status resolved")
    refuse_if(status == "in_progress" and found["assignee"] is None, f"status: {ticket} is nobody's; assign it first")
    if status in ("open", "in_progress", "resolved"):
        found |= {"resolved": NOW if status == "resolved" else None, "resolution": resolution}
    found["status"] = status
    return {**_summary(found), "allowed_next": list(WORKFLOW[status])}


def link_tickets(
    context: Context, ticket: Id, other: Id, relation: Literal["blocks", "duplicates", "relates_to"]
) -> dict[str, Any]:
    """Link two tickets.

    Args:
        ticket: id of the first ticket
        other: id of the second ticket
        relation: what the first does

    Example:
        {"ticket": "T-1001", "other": "T-1002", "relation": "blocks"}
    """
    check(ticket != other, "other: a ticket cannot be linked with itself")
    state = context.change(_SERVICE, make_tickets)
    inverse = {"blocks": "blocked_by", "duplicates": "duplicated_by", "relates_to": "relates_to"}[relation]
    for one, name, two in ((ticket, relation, other), (other, inverse, ticket)):
        links = _find(state, one)["links"]
        refuse_if(any(link["ticket"] == two for link in links), f"other: {one} and {two} are linked already")
        keep_room(links, MAX_LINKS, f"links of {one}")
        links.append({"relation": name, "ticket": two})
        links.sort(key=lambda link: (link["relation"], link["ticket"]))
    return {"links": _find(state, ticket)["links"]}


def report_ticket_sla(context: Context, group_by: Literal["priority", "team", "assignee"]) -> dict[str, Any]:
    """Report how many tickets kept the promised time.

    Args:
        group_by: what a row stands for

    Example:
        {"group_by": "priority"}
    """
    groups: dict[str, list[Record]] = {}
    for ticket in context.read(_SERVICE, make_tickets)["tickets"].values():
        groups.setdefault(ticket[group_by] or "nobody", []).append(ticket)
    rows = [_sla_row(name, tickets) for name, tickets in sorted(groups.items())]
    return {"hours_promised": dict(SLA_HOURS), "rows": rows}


def _sla_row(name: str, tickets: list[Record]) -> Record:
    done = [ticket for ticket in tickets if ticket["resolved"]]
    late = sorted(ticket["id"] for ticket in tickets if not ticket["resolved"] and is_late(ticket))
    kept = sum(not is_late(ticket) for ticket in done)
    return {
        **{"group": name, "tickets": len(tickets), "resolved": len(done), "resolved_in_time": kept},
        **{"share_in_time": round(kept / len(done), 3) if done else None, "unresolved_late": late[:20]},
        "mean_hours": round(sum(map(hours_taken, done)) / len(done), 1) if done else None,
    }


def _find(state: Mapping[str, Any], ticket: str) -> Record:
    found: Record = find(state["tickets"], ticket, "ticket", "search_tickets")
    return found


def _open(state: Mapping[str, Any], ticket: str) -> Record:
    found = _find(state, ticket)
    refuse_if(found["status"] == "closed", f"ticket: {ticket} is closed; open it again first")
    return found


def _summary(ticket: Mapping[str, Any]) -> Record:
    return only(ticket, "id", "title", "status", "priority", "team", "assignee", "created")


def _fits(ticket: Mapping[str, Any], where: TicketFilter) -> bool:
    day, created = ticket["created"][:10], where.get("created", {})
    return (
        holds(where.get("text"), ticket["title"], ticket["text"])
        and ticket["status"] in where.get("status", [ticket["status"]])
        and ticket["priority"] in where.get("priority", [ticket["priority"]])
        and where.get("team", ticket["team"]) == ticket["team"]
        and created.get("since", day) <= day <= created.get("until", day)
    )
