"""The simulated bank: accounts, payments and cards drawn from a seed; exchange rates; kinds of parameters."""

from collections.abc import Mapping
from random import Random
from typing import Annotated, Any, Literal

from annotated_types import Len
from pydantic import StringConstraints
from typing_extensions import TypedDict

from mcpserver.context import Context
from mcpserver.tools.services._kinds import TODAY, Day, Id, Line, Money
from mcpserver.tools.services._records import Record, days_from

Currency = Literal["EUR", "USD", "GBP", "CHF", "NOK"]
Category = Literal["income", "housing", "groceries", "transport", "leisure", "savings", "transfer", "fees"]
PER_EURO: Mapping[str, float] = {"EUR": 1.0, "USD": 1.09, "GBP": 0.842, "CHF": 0.957, "NOK": 11.52}
FX_FEE, DAILY_LIMIT, FIRST_PAYMENT, N_DAYS = 0.005, 10_000.0, 10_001, 75
_SHOPS: tuple[tuple[str, Category, float, float], ...] = (
    ("Market hall", "groceries", 12, 95),
    ("Greenline supermarket", "groceries", 8, 120),
    ("City transport", "transport", 3, 40),
    ("Filling station Kop", "transport", 35, 85),
    ("Cinema Lantern", "leisure", 9, 32),
    ("Bookshop Paragraph", "leisure", 11, 60),
    ("Restaurant Zout", "leisure", 25, 110),
)

Iban = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}\d{2}[A-Z0-9]{10,26}$")]


class Payee(TypedDict):
    """Somebody else's account."""

    name: Line
    iban: Iban


class AmountRange(TypedDict, total=False):
    """Amounts without sign, both included."""

    min: Money
    max: Money


class PaymentFilter(TypedDict, total=False):
    """Conditions that must all hold."""

    text: Line
    direction: Literal["in", "out"]
    category: Annotated[list[Category], Len(1, 8)]
    amount: AmountRange
    since: Day
    until: Day


class CardLimits(TypedDict, total=False):
    """Most EUR that a card pays."""

    per_day: Money
    per_payment: Money


Receiver = Payee | Id


def make_bank(rng: Random) -> dict[str, Any]:
    """Accounts A-1 (current), A-2 (savings), A-3 (dollars), A-4 (pounds); cards C-1 … C-3; standing order S-1."""
    names = (("Current account", "EUR"), ("Savings", "EUR"), ("Dollar account", "USD"), ("Sterling account", "GBP"))
    accounts: dict[str, Any] = {}
    for index, (name, currency) in enumerate(names, 1):
        iban = f"NL{rng.randint(10, 99)}TIDE{rng.randint(10**9, 10**10 - 1)}"
        balance = round(rng.uniform(3000, 9000) * (2 if index == 2 else 1), 2)
        number = f"A-{index}"
        accounts[number] = {"id": number, "name": name, "iban": iban, "currency": currency, "balance": balance}
    cards = {}
    for index, (kind, account) in enumerate((("debit", "A-1"), ("credit", "A-1"), ("debit", "A-3")), 1):
        card: Record = {"id": f"C-{index}", "kind": kind, "account": account}
        card["last_digits"] = f"{rng.randint(0, 9999):04}"
        card |= {"status": "active", "block_reason": None, "per_day": 2000.0, "per_payment": 1000.0}
        cards[card["id"]] = card
    cards["C-3"] |= {"status": "blocked", "block_reason": "travel"}
    state: Record = {"accounts": accounts, "cards": cards, "payments": {}, "standing_orders": {}, "sent_today": 0.0}
    state["next"] = {"TX": FIRST_PAYMENT, "S": 2}
    _live(state, rng)
    to = {"name": "Housing association Delta", "iban": "NL44HUIS0123456789"}
    order = {"id": "S-1", "account": "A-1", "to": to, "amount": float(rng.randint(900, 1300)), "every": "month"}
    state["standing_orders"]["S-1"] = order | {"next_day": "2025-04-01", "reference": "Rent"}
    return state


def _live(state: Record, rng: Random) -> None:
    """Payments of the last months; the balances are those after them."""
    for age in range(N_DAYS, 0, -1):
        day = days_from(TODAY, -age)
        if day.endswith("-25"):
            book(state, "A-1", round(rng.uniform(3900, 4700), 2), "Tidewell Gas", "Salary", "income", day)
        if day.endswith("-01"):
            book(state, "A-1", -1150.0, "Housing association Delta", "Rent", "housing", day)
        if rng.random() < 0.6:
            name, category, low, high = rng.choice(_SHOPS)
            book(state, "A-1", -round(rng.uniform(low, high), 2), name, "Card payment", category, day)
        if rng.random() < 0.05:
            account = rng.choice(("A-2", "A-3", "A-4"))
            book(state, account, round(rng.uniform(20, 300), 2), "Nora Lindqvist", "Deposit", "savings", day)


def book(state: Record, account: str, amount: float, other: str, text: str, category: str, day: str) -> Record:
    """Enter a payment (negative: money that leaves) and change the balance when it is of today."""
    number = f"TX-{state['next']['TX']}"
    state["next"]["TX"] += 1
    payment = {"id": number, "account": account, "day": day, "amount": amount, "other": other, "reference": text}
    state["payments"][number] = payment | {"category": category}
    if day == TODAY:
        balance = state["accounts"][account]["balance"]
        state["accounts"][account]["balance"] = round(balance + amount, 2)
    entered: Record = state["payments"][number]
    return entered


def rate(context: Context, source: str, target: str, day: str) -> float:
    """How many units of the target one unit of the source is worth on a day."""
    values = [PER_EURO[name] * context.random("fx", name, day).uniform(0.985, 1.015) for name in (source, target)]
    per_euro = [1.0 if name == "EUR" else value for name, value in zip((source, target), values)]
    return round(per_euro[1] / per_euro[0], 5)
