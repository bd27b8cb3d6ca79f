"""The cards of the simulated bank: block, unblock, limits."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from annotated_types import Len

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.tools.services._bank import DAILY_LIMIT, CardLimits, make_bank
from mcpserver.tools.services._kinds import Id
from mcpserver.tools.services._records import Record, check, find, only, refuse_if

RUNS_IN = "server"
_SERVICE = "bank"


def list_bank_cards(context: Context) -> dict[str, Any]:
    """List the bank cards with status and limits.

    Example:
        {}
    """
    return {"cards": list(context.read(_SERVICE, make_bank)["cards"].values())}


def block_card(context: Context, card: Id, reason: Literal["lost", "stolen", "travel", "suspicious"]) -> dict[str, Any]:
    """Block a bank card.

    Args:
        card: id of the card
        reason: why; lost and stolen are final

    Example:
        {"card": "C-1", "reason": "suspicious"}
    """
    found = _card(context.change(_SERVICE, make_bank), card)
    final = found["status"] == "blocked" and found["block_reason"] in ("lost", "stolen")
    refuse_if(final, f"card: {card} is blocked for good already")
    found |= {"status": "blocked", "block_reason": reason}
    return only(found, "id", "status", "block_reason")


def unblock_card(context: Context, card: Id, last_digits: Annotated[str, Len(4, 4)] | None = None) -> dict[str, Any]:
    """Unblock a bank card that was not lost or stolen.

    Args:
        card: id of the card
        last_digits: last four digits, as a check

    Example:
        {"card": "C-3"}
    """
    found = _card(context.change(_SERVICE, make_bank), card)
    refuse_if(found["status"] == "active", f"card: {card} is not blocked")
    if found["block_reason"] in ("lost", "stolen"):
        raise ToolError("denied", f"card: {card} was reported {found['block_reason']} and stays blocked")
    check(last_digits in (None, found["last_digits"]), f"last_digits: {card} has other last digits")
    found |= {"status": "active", "block_reason": None}
    return only(found, "id", "status")


def set_card_limits(context: Context, card: Id, limits: CardLimits) -> dict[str, Any]:
    """Set what a bank card may pay.

    Args:
        card: id of the card
        limits: new limits in EUR

    Example:
        {"card": "C-1", "limits": {"per_day": 1500, "per_payment": 500}}
    """
    check(bool(limits), "limits: say per_day or per_payment")
    found = _card(context.change(_SERVICE, make_bank), card)
    found.update(limits)
    check(found["per_day"] <= DAILY_LIMIT, f"limits: per_day is at most {DAILY_LIMIT:g} EUR")
    check(found["per_payment"] <= found["per_day"], f"limits: per_payment is at most per_day, {found['per_day']:g}")
    return only(found, "id", "per_day", "per_payment")


def _card(state: Mapping[str, Any], card: str) -> Record:
    found: Record = find(state["cards"], card, "card", "list_bank_cards")
    return found
