"""A simulated bank: accounts, transfers, standing orders, foreign exchange and statements."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import StringConstraints

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.tools.services._bank import (
    DAILY_LIMIT,
    FX_FEE,
    PER_EURO,
    Currency,
    Payee,
    PaymentFilter,
    Receiver,
    book,
    make_bank,
    rate,
)
from mcpserver.tools.services._kinds import TODAY, Day, Id, Limit, Line, Money, Offset
from mcpserver.tools.services._records import (
    Record,
    check,
    find,
    holds,
    keep_room,
    new_id,
    newest_first,
    page,
    refuse_if,
    summed,
)

RUNS_IN = "server"
MAX_PAYMENTS, MAX_STANDING_ORDERS = 400, 50
_SERVICE = "bank"


def list_bank_accounts(context: Context) -> dict[str, Any]:
    """List the bank accounts with their balances.

    Example:
        {}
    """
    state = context.read(_SERVICE, make_bank)
    left = round(DAILY_LIMIT - state["sent_today"], 2)
    return {"accounts": list(state["accounts"].values()), "transfer_limit_left_today_eur": left}


def search_transactions(
    context: Context, account: Id, where: PaymentFilter, limit: Limit = 20, offset: Offset = 0
) -> dict[str, Any]:
    """Search the transactions of an account, newest first.

    Args:
        account: id of the account
        where: conditions that must all hold
        limit: most transactions to list
        offset: transactions to leave out first

    Example:
        {"account": "A-1", "where": {"category": ["groceries"], "since": "2025-03-01"}}
        {"account": "A-1", "where": {"direction": "out", "amount": {"min": 100}}, "limit": 5}
    """
    state = context.read(_SERVICE, make_bank)
    _account(state, "account", account)
    mine = newest_first((payment for payment in state["payments"].values() if payment["account"] == account), "day")
    hits = [payment for payment in mine if _fits(payment, where)]
    return {"sum": round(sum(payment["amount"] for payment in hits), 2), **page(hits, limit, offset, "transactions")}


def transfer_money(
    context: Context, account: Id, to: Receiver, amount: Money, reference: Line = "Transfer"
) -> dict[str, Any]:
    """Transfer money to a payee or an own account.

    Args:
        account: id of the paying account
        to: payee, or id of an own account
        amount: in the currency of the account
        reference: words for the receiver

    Example:
        {"account": "A-1", "to": "A-2", "amount": 250}
        {"account": "A-1", "to": {"name": "Aldgate Freight", "iban": "GB29NWBK60161331926819"}, "amount": 99.5, "reference": "Invoice 1001"}
    """  # noqa: E501
    state = context.change(_SERVICE, make_bank)
    keep_room(state["payments"], MAX_PAYMENTS - 1, "transactions")
    payer = _account(state, "account", account)
    name = _receiver(state, payer, to)
    _check_funds(payer, amount)
    if isinstance(to, str):
        book(state, to, amount, payer["name"], reference, "transfer", TODAY)
    else:
        _spend_limit(state, amount / PER_EURO[payer["currency"]])
    payment = book(state, account, -amount, name, reference, "transfer", TODAY)
    return {**payment, "balance": payer["balance"]}


def create_standing_order(
    context: Context,
    account: Id,
    to: Receiver,
    amount: Money,
    every: Literal["week", "month", "quarter"],
    first_day: Day,
    reference: Line = "Standing order",
) -> dict[str, Any]:
    """Create a standing order.

    Args:
        account: id of the paying account
        to: payee, or id of an own account
        amount: in the currency of the account
        every: how often
        first_day: first payment, YYYY-MM-DD
        reference: words for the receiver

    Example:
        {"account": "A-1", "to": "A-2", "amount": 200, "every": "month", "first_day": "2025-04-01"}
    """
    check(first_day > TODAY, f"first_day: must be after today, {TODAY}")
    state = context.change(_SERVICE, make_bank)
    keep_room(state["standing_orders"], MAX_STANDING_ORDERS, "standing orders")
    _receiver(state, _account(state, "account", account), to)
    number = new_id(state, "S")
    target = to if isinstance(to, str) else dict(to)
    order = {"id": number, "account": account, "to": target, "amount": amount, "every": every}
    state["standing_orders"][number] = order | {"next_day": first_day, "reference": reference}
    return dict(state["standing_orders"][number])


def list_standing_orders(context: Context) -> dict[str, Any]:
    """List the standing orders.

    Example:
        {}
    """
    orders = context.read(_SERVICE, make_bank)["standing_orders"].values()
    return page(list(orders), MAX_STANDING_ORDERS, 0, "standing_orders")


def cancel_standing_order(context: Context, standing_order: Id) -> dict[str, Any]:
    """Cancel a standing order.

    Args:
        standing_order: id of the standing order

    Example:
        {"standing_order": "S-1"}
    """
    orders = context.change(_SERVICE, make_bank)["standing_orders"]
    find(orders, standing_order, "standing_order", "list_standing_orders")
    return {"cancelled": orders.pop(standing_order)}


def get_exchange_rates(context: Context, base: Currency, day: Day = TODAY) -> dict[str, Any]:
    """Get the exchange rates of a currency.

    Args:
        base: currency that one unit is of
        day: YYYY-MM-DD, not after today

    Example:
        {"base": "EUR"}
        {"base": "USD", "day": "2025-03-03"}
    """
    check(day <= TODAY, f"day: there are no rates after today, {TODAY}")
    return {"base": base, "day": day, "rates": {name: rate(context, base, name, day) for name in PER_EURO}}


def exchange_money(context: Context, account: Id, to_account: Id, amount: Money) -> dict[str, Any]:
    """Exchange money into an own account of another currency.

    Args:
        account: id of the paying account
        to_account: id of the receiving account
        amount: in the currency of the payer

    Example:
        {"account": "A-1", "to_account": "A-3", "amount": 500}
    """
    state = context.change(_SERVICE, make_bank)
    keep_room(state["payments"], MAX_PAYMENTS - 1, "transactions")
    payer, receiver = _account(state, "account", account), _account(state, "to_account", to_account)
    same = payer["currency"] == receiver["currency"]
    refuse_if(same, f"to_account: both accounts are in {payer['currency']}; use transfer_money")
    _check_funds(payer, amount)
    price = rate(context, payer["currency"], receiver["currency"], TODAY)
    received = round(amount * (1 - FX_FEE) * price, 2)
    refuse_if(received <= 0, "amount: too small to exchange")
    book(state, account, -amount, receiver["name"], "Exchange", "transfer", TODAY)
    book(state, to_account, received, payer["name"], "Exchange", "transfer", TODAY)
    fee = round(amount * FX_FEE, 2)
    return {"paid": amount, "fee": fee, "rate": price, "received": received, "currency": receiver["currency"]}


def get_bank_statement(
    context: Context, account: Id, month: Annotated[str, StringConstraints(pattern=r"^\d{4}-(0[1-9]|1[0-2])$")]
) -> dict[str, Any]:
    """Get the statement of an account for a month.

    Args:
        account: id of the account
        month: YYYY-MM, not after this month

    Example:
        {"account": "A-1", "month": "2025-02"}
    """
    check(month <= TODAY[:7], f"month: there is no statement after {TODAY[:7]}")
    state = context.read(_SERVICE, make_bank)
    found = _account(state, "account", account)
    payments = [payment for payment in state["payments"].values() if payment["account"] == account]
    since_end = sum(payment["amount"] for payment in payments if payment["day"][:7] > month)
    inside = [payment for payment in payments if payment["day"][:7] == month]
    closing = found["balance"] - since_end
    return {
        **{"account": account, "currency": found["currency"], "month": month},
        "opening_balance": round(closing - sum(payment["amount"] for payment in inside), 2),
        **{"closing_balance": round(closing, 2), "transactions": len(inside)},
        "received": round(sum(payment["amount"] for payment in inside if payment["amount"] > 0), 2),
        "spent": round(-sum(payment["amount"] for payment in inside if payment["amount"] < 0), 2),
        "by_category": summed(inside, lambda payment: payment["category"], lambda payment: payment["amount"]),
    }


def _account(state: Mapping[str, Any], parameter: str, account: str) -> Record:
    found: Record = find(state["accounts"], account, parameter, "list_bank_accounts")
    return found


def _receiver(state: Mapping[str, Any], payer: Record, to: Payee | str) -> str:
    if not isinstance(to, str):
        return to["name"]
    own = _account(state, "to", to)
    check(to != payer["id"], "to: payer and receiver are the same account")
    other = own["currency"] != payer["currency"]
    refuse_if(other, f"to: {to} is in {own['currency']}, {payer['id']} in {payer['currency']}; use exchange_money")
    return str(own["name"])


def _check_funds(payer: Record, amount: float) -> None:
    short = amount > payer["balance"]
    refuse_if(short, f"amount: insufficient funds; {payer['id']} holds {payer['balance']:.2f} {payer['currency']}")


def _spend_limit(state: Record, amount_eur: float) -> None:
    left = DAILY_LIMIT - state["sent_today"]
    if amount_eur > left:
        raise ToolError("limit", f"amount: the daily limit leaves {left:.2f} of {DAILY_LIMIT:.2f} EUR")
    state["sent_today"] = round(state["sent_today"] + amount_eur, 2)


def _fits(payment: Mapping[str, Any], where: PaymentFilter) -> bool:
    amount, direction = where.get("amount", {}), "in" if payment["amount"] > 0 else "out"
    return (
        holds(where.get("text"), payment["other"], payment["reference"])
        and where.get("direction", direction) == direction
        and payment["category"] in where.get("category", [payment["category"]])
        and amount.get("min", 0) <= abs(payment["amount"]) <= amount.get("max", 1e12)
        and where.get("since", payment["day"]) <= payment["day"] <= where.get("until", payment["day"])
    )
