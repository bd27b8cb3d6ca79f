"""The simulated stock market: invented companies, prices that depend only on seed and day, and a first portfolio."""

import datetime
import math
from collections.abc import Mapping
from random import Random
from typing import Annotated, Any, Literal, NamedTuple

from annotated_types import Ge, Le, Len
from pydantic import StringConstraints
from typing_extensions import TypedDict

from mcpserver.context import Context
from mcpserver.tools.services._kinds import TODAY, Money
from mcpserver.tools.services._records import days_from, find

Sector = Literal["energy", "industry", "technology", "health", "consumer", "finance"]
Price = Annotated[float, Ge(0.01), Le(100_000)]
Quantity = Annotated[int, Ge(1), Le(100_000)]
Symbol = Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{3,4}$")]
Symbols = Annotated[list[Symbol], Len(1, 12)]
FEE_SHARE, MIN_FEE = 0.001, 2.0


class Company(NamedTuple):
    """An invented company: price level in EUR, yearly swing, dividend and price-earnings ratio."""

    name: str
    sector: Sector
    level: float
    swing: float
    dividend_percent: float
    pe_ratio: float


COMPANIES: Mapping[str, Company] = {
    "TIDE": Company("Tidewell Gas", "energy", 48.0, 0.22, 4.1, 11.2),
    "FJRD": Company("Fjordline Storage", "energy", 31.5, 0.25, 3.4, 13.0),
    "BRNK": Company("Brinkmann Pumps", "industry", 92.0, 0.18, 2.2, 17.5),
    "ALDG": Company("Aldgate Freight", "industry", 27.4, 0.28, 1.8, 14.1),
    "CRVO": Company("Corvo Metering", "technology", 64.2, 0.30, 0.9, 24.8),
    "KSTL": Company("Kestrel Software", "technology", 151.0, 0.35, 0.0, 38.6),
    "MDRA": Company("Medora Health", "health", 78.8, 0.16, 1.5, 21.3),
    "LUMN": Company("Lumen Diagnostics", "health", 43.1, 0.33, 0.0, 45.0),
    "VNTG": Company("Vantage Foods", "consumer", 36.9, 0.14, 2.9, 16.4),
    "SOLC": Company("Solace Travel", "consumer", 19.7, 0.31, 0.5, 19.9),
    "OAKM": Company("Oakmere Insurance", "finance", 112.5, 0.15, 4.8, 9.7),
    "HLLM": Company("Hallam Bank", "finance", 22.3, 0.20, 5.3, 8.1),
}


class Market(TypedDict):
    """Trade at once at the market price."""

    type: Literal["market"]


class LimitOrder(TypedDict):
    """Trade when the price is this or better."""

    type: Literal["limit"]
    price: Price
    good_for: Literal["day", "week", "month"]


class Range(TypedDict, total=False):
    """Values, both included."""

    min: Annotated[float, Ge(-1000), Le(1_000_000)]
    max: Annotated[float, Ge(-1000), Le(1_000_000)]


class Criteria(TypedDict, total=False):
    """Conditions that must all hold."""

    sectors: Annotated[list[Sector], Len(1, 6)]
    price: Range
    pe_ratio: Range
    dividend_percent: Range
    change_30_days_percent: Range


def make_portfolio(rng: Random) -> dict[str, Any]:
    """Cash, shares of TIDE, OAKM and two more, a watchlist, and one open limit order, SO-1 (buy KSTL far below)."""
    others = rng.sample([symbol for symbol in COMPANIES if symbol not in ("TIDE", "OAKM", "KSTL")], 4)
    positions = {}
    for symbol in ("TIDE", "OAKM", *others[:2]):
        cost = round(COMPANIES[symbol].level * rng.uniform(0.8, 1.1), 2)
        positions[symbol] = {"quantity": rng.randint(10, 80), "cost_per_share": cost}
    order = {"id": "SO-1", "symbol": "KSTL", "side": "buy", "quantity": rng.randint(2, 9), "type": "limit"}
    order |= {"limit_price": 60.0, "valid_until": days_from(TODAY, 30), "status": "open", "price": None, "fee": 0.0}
    cash: Money = round(rng.uniform(8000, 15000), 2)
    state = {"cash": cash, "positions": positions, "orders": {"SO-1": order}, "watchlist": sorted(others[2:])}
    return state | {"next": {"SO": 2}}


def company(symbol: str) -> Company:
    """The company of a symbol, upper and lower case alike."""
    return find(COMPANIES, symbol.upper(), "symbol", "screen_stocks")


def price_on(context: Context, symbol: str, day: str) -> float:
    """The closing price of a day (today: the price now)."""
    about, ordinal = COMPANIES[symbol], datetime.date.fromisoformat(day).toordinal()
    phases = context.random("stock", symbol)
    waves = sum(
        math.sin(2 * math.pi * (ordinal / length + phases.random())) * part
        for length, part in ((390.0, 0.6), (97.0, 0.3), (31.0, 0.15))
    )
    noise = context.random("stock", symbol, day).gauss(0, 0.02)
    return round(about.level * math.exp(about.swing * (waves + noise)), 2)


def is_trading_day(day: str) -> bool:
    """Whether the market is open: Monday to Friday."""
    return datetime.date.fromisoformat(day).weekday() < 5


def fee_of(amount: float) -> float:
    """What a trade costs."""
    return round(max(MIN_FEE, amount * FEE_SHARE), 2)
