"""The book of a simulated gas trader: prices ahead, orders, positions, rights to flow."""

import calendar
import datetime
from random import Random
from typing import Any

from mcpserver.tool_error import ToolError
from mcpserver.toolbox import market
from toolwright.words import nearest

SERVICE = "trading"
HALF_SPREAD = 0.05
LIMIT_MW = 100
MONTHS_AHEAD = 24
MAX_ORDERS = 200
State = dict[str, Any]


def make_book(rng: Random) -> State:
    """Two positions (long TTF April, short THE May), an open order GO-1, and rights to flow in MWh a day."""
    first = {"mw": rng.randint(10, 30), "price": round(rng.uniform(29, 34), 2), "realised": 0.0}
    second = {"mw": -rng.randint(5, 15), "price": round(rng.uniform(30, 34), 2), "realised": 0.0}
    order = {"id": "GO-1", "hub": "TTF", "month": "2025-05", "side": "buy", "mw": 5, "limit": 12.5, "status": "open"}
    rights = {pipeline: 1000 * rng.randint(2, 12) for pipeline in market.PIPELINES}
    return {
        "positions": {"TTF 2025-04": first, "THE 2025-05": second},
        "orders": {"GO-1": order | {"price": None, "valid_until": "2025-04-16"}},
        "rights": rights,
        "nominations": {},
        "bids": {},
        "next": 2,
    }


def forward_price(seed: int, hub: str, month: str, day: datetime.date) -> float:
    """What a month's gas costs on a day before delivery, in EUR/MWh."""
    base = market.auction_price(seed, datetime.date.fromisoformat(f"{month}-01"), hub)
    return round(base + 1.6 * (market.draw(seed, "forward", hub, month, day) - 0.5), 2)


def hours_of(month: str) -> int:
    """The hours of a month, without the clock changes."""
    year, number = map(int, month.split("-"))
    return 24 * calendar.monthrange(year, number)[1]


def check_traded(month: str, today: datetime.date) -> None:
    """Only the months after this one are traded.

    Raises:
        ToolError: ``bad_arguments``.
    """
    year, number = map(int, month.split("-"))
    ahead = (year - today.year) * 12 + number - today.month
    if not 1 <= ahead <= MONTHS_AHEAD:
        first, last = month_ahead(today, 1), month_ahead(today, MONTHS_AHEAD)
        raise ToolError("bad_arguments", f"month: {month} is not traded; months are {first} to {last}")


def month_ahead(today: datetime.date, months: int) -> str:
    """The month some months after that of a day, as YYYY-MM."""
    year, index = divmod(today.year * 12 + today.month - 1 + months, 12)
    return f"{year}-{index + 1:02}"


def open_volume(book: State, hub: str, month: str, side: str) -> int:
    """What open orders on one side would still add, in MW."""
    orders = book["orders"].values()
    same = [o for o in orders if (o["hub"], o["month"], o["side"], o["status"]) == (hub, month, side, "open")]
    return sum(order["mw"] for order in same)


def check_limit(book: State, hub: str, month: str, side: str, mw: int) -> None:
    """A position, with all open orders of one side, stays within the limit.

    Raises:
        ToolError: ``denied``.
    """
    held = book["positions"].get(f"{hub} {month}", {"mw": 0})["mw"]
    sign = 1 if side == "buy" else -1
    reached = held * sign + open_volume(book, hub, month, side) + mw
    if reached > LIMIT_MW:
        free = max(0, LIMIT_MW - reached + mw)
        raise ToolError("denied", f"mw: the limit of {hub} {month} is {LIMIT_MW} MW; {free} MW are left to {side}")


def trade(book: State, hub: str, month: str, mw: int, price: float) -> None:
    """Change a position by signed MW at a price; what is closed is realised against the mean price."""
    key = f"{hub} {month}"
    held = book["positions"].get(key, {"mw": 0, "price": 0.0, "realised": 0.0})
    before, after = held["mw"], held["mw"] + mw
    if before * mw >= 0:
        mean = (before * held["price"] + mw * price) / after
    else:
        closed = min(abs(before), abs(mw)) * (1 if before > 0 else -1)
        held["realised"] = round(held["realised"] + closed * hours_of(month) * (price - held["price"]), 2)
        mean = held["price"] if before * after > 0 else price if after else 0.0
    book["positions"][key] = {"mw": after, "price": round(mean, 4), "realised": held["realised"]}


def find_order(book: State, order: str) -> dict[str, Any]:
    """The order of an id.

    Raises:
        ToolError: ``bad_arguments`` with near ids.
    """
    if order not in book["orders"]:
        hint = nearest(order, list(book["orders"]))
        raise ToolError("bad_arguments", f"order: there is no order {order!r}{hint}; see get_gas_position")
    found: dict[str, Any] = book["orders"][order]
    return found
