"""A simulated customer desk (CRM): leads, the stages of a pipeline, activities, and a forecast."""

from collections.abc import Mapping
from typing import Any, Literal

from mcpserver.context import Context
from mcpserver.tools.services._crm import (
    NEXT,
    OWNERS,
    PROBABILITY,
    Activity,
    Company,
    LeadChanges,
    LeadFilter,
    Source,
    Stage,
    Value,
    last_contact,
    make_lead,
    make_leads,
)
from mcpserver.tools.services._kinds import NOW, TODAY, Id, Limit, Line, Offset
from mcpserver.tools.services._people import ME, find_person
from mcpserver.tools.services._records import (
    Record,
    check,
    days_from,
    find,
    holds,
    keep_room,
    new_id,
    only,
    page,
    refuse_if,
)

RUNS_IN = "server"
MAX_LEADS, MAX_ACTIVITIES = 250, 50
_SERVICE = "crm"


def search_leads(
    context: Context,
    where: LeadFilter,
    sort: Literal["value", "created", "last_contact"] = "value",
    limit: Limit = 10,
    offset: Offset = 0,
) -> dict[str, Any]:
    """Search leads by text, stage, owner, source or value.

    Args:
        where: conditions that must all hold
        sort: order of the list
        limit: most leads to list
        offset: leads to leave out first

    Example:
        {"where": {"stages": ["qualified", "proposal"], "value": {"min": 50000}}}
        {"where": {"owner": "Claire Fontaine", "silent_days": 14}, "sort": "last_contact"}
    """
    owner = find_person(where["owner"], "owner", OWNERS).email if "owner" in where else None
    leads = context.read(_SERVICE, make_leads)["leads"].values()
    rows = [_summary(lead) for lead in leads if owner in (None, lead["owner"]) and _fits(lead, where)]
    rows.sort(key=lambda row: row[sort], reverse=sort == "value")
    return page(rows, limit, offset, "leads")


def get_lead(context: Context, lead: Id, activities_from: Offset = 0) -> dict[str, Any]:
    """Get a lead with its activities, newest first.

    Args:
        lead: id of the lead
        activities_from: activities to leave out first

    Example:
        {"lead": "L-502"}
    """
    found = _find(context.read(_SERVICE, make_leads), lead)
    activities = page(found["activities"][::-1], 20, activities_from, "activities")
    return {**found, "next_stages": list(NEXT[found["stage"]]), **activities}


def create_lead(
    context: Context, company: Company, contact: Line, value: Value = 0, source: Source = "website"
) -> dict[str, Any]:
    """Create a lead.

    Args:
        company: name, city and size
        contact: whom to talk to
        value: EUR a year
        source: where it comes from

    Example:
        {"company": {"name": "Nimbus Glass", "city": "Vienna", "size": "medium"}, "contact": "Ida Berg", "value": 120000, "source": "fair"}
    """  # noqa: E501
    state = context.change(_SERVICE, make_leads)
    keep_room(state["leads"], MAX_LEADS, "leads")
    known = [
        lead["id"]
        for lead in state["leads"].values()
        if lead["company"]["name"].lower() == company["name"].lower() and lead["contact"].lower() == contact.lower()
    ]
    refuse_if(bool(known), f"company: {known[:1]} is a lead of this firm and contact already; update it instead")
    lead = make_lead(new_id(state, "L"), company, contact, round(value, 2), ME.email) | {"source": source}
    state["leads"][lead["id"]] = lead
    return _summary(lead)


def update_lead(context: Context, lead: Id, changes: LeadChanges) -> dict[str, Any]:
    """Change contact, value, owner or next step of a lead.

    Args:
        lead: id of the lead
        changes: new values

    Example:
        {"lead": "L-502", "changes": {"value": 95500, "next_step": "Send the contract", "next_step_day": "2025-03-24"}}
        {"lead": "L-501", "changes": {"contact": "Ida Berg"}}
    """
    check(bool(changes), "changes: say what to change")
    check(changes.get("next_step_day", TODAY) >= TODAY, f"changes: next_step_day lies before today, {TODAY}")
    found = _find(context.change(_SERVICE, make_leads), lead)
    refuse_if(found["stage"] in ("won", "lost"), f"lead: {lead} is {found['stage']}; only open leads change")
    found.update(changes)
    if "owner" in changes:
        found["owner"] = find_person(changes["owner"], "owner", OWNERS).email
    return _summary(found)


def move_lead_stage(
    context: Context,
    lead: Id,
    stage: Stage,
    lost_because: Literal["price", "timing", "competitor", "no_need"] | None = None,
) -> dict[str, Any]:
    """Move a lead to another stage of the pipeline.

    Args:
        lead: id of the lead
        stage: new stage
        lost_because: why; for lost

    Example:
        {"lead": "L-501", "stage": "contacted"}
        {"lead": "L-502", "stage": "lost", "lost_because": "competitor"}
    """
    check((stage == "lost") == (lost_because is not None), "lost_because: goes with the stage lost, and only with it")
    found = _find(context.change(_SERVICE, make_leads), lead)
    allowed = NEXT[found["stage"]]
    way = f"goes to {' or '.join(allowed)}" if allowed else "stays there"
    refuse_if(stage not in allowed, f"stage: from {found['stage']} a lead {way}, not to {stage}")
    refuse_if(stage == "won" and found["value"] <= 0, "stage: a won lead needs a value; set it with update_lead")
    found |= {"stage": stage, "lost_because": lost_because}
    return {**_summary(found), "next_stages": list(NEXT[stage])}


def log_activity(context: Context, lead: Id, activity: Activity) -> dict[str, Any]:
    """Log a call, meeting or note on a lead.

    Args:
        lead: id of the lead
        activity: what happened

    Example:
        {"lead": "L-501", "activity": {"kind": "call", "minutes": 12, "reached": true, "summary": "Wants an offer."}}
        {"lead": "L-502", "activity": {"kind": "meeting", "at": "2025-03-20 14:00", "summary": "The offer, page by "}}
        {"lead": "L-502", "activity": {"kind": "note", "summary": "Prefers e-mail."}}
    """
    found = _find(context.change(_SERVICE, make_leads), lead)
    keep_room(found["activities"], MAX_ACTIVITIES, f"activities of {lead}")
    found["activities"].append({**activity, "time": NOW, "by": ME.email})
    return {"lead": lead, "activities": len(found["activities"]), "last_contact": last_contact(found)}


def report_pipeline(context: Context, group_by: Literal["stage", "owner", "source"]) -> dict[str, Any]:
    """Report number, value and expected value of leads.

    Args:
        group_by: what a row stands for

    Example:
        {"group_by": "stage"}
    """
    groups: dict[str, list[Record]] = {}
    for lead in context.read(_SERVICE, make_leads)["leads"].values():
        groups.setdefault(lead[group_by], []).append(lead)
    rows = []
    for name in sorted(groups, key=list(NEXT).index if group_by == "stage" else str):
        value = sum(lead["value"] for lead in groups[name])
        expected = sum(lead["value"] * PROBABILITY[lead["stage"]] for lead in groups[name])
        row = {group_by: name, "leads": len(groups[name]), "value": round(value, 2)}
        rows.append(row | {"expected_value": round(expected, 2)})
    return {"rows": rows, "currency": "EUR"}


def _find(state: Mapping[str, Any], lead: str) -> Record:
    found: Record = find(state["leads"], lead, "lead", "search_leads")
    return found


def _summary(lead: Mapping[str, Any]) -> Record:
    shown = only(lead, "id", "contact", "stage", "value", "owner", "source", "created", "next_step", "next_step_day")
    return {**shown, "company": lead["company"]["name"], "last_contact": last_contact(lead)}


def _fits(lead: Mapping[str, Any], where: LeadFilter) -> bool:
    value, firm = where.get("value", {}), lead["company"]
    is_silent = "silent_days" not in where or last_contact(lead) <= days_from(TODAY, -where["silent_days"])
    return (
        holds(where.get("text"), firm["name"], firm.get("city", ""), lead["contact"], lead["next_step"] or "")
        and lead["stage"] in where.get("stages", [lead["stage"]])
        and where.get("source", lead["source"]) == lead["source"]
        and value.get("min", 0) <= lead["value"] <= value.get("max", 1e12)
        and is_silent
    )
