"""Gas trading: prices ahead, orders, positions, auctions, nominations, storage plans, hedges, imbalance."""

import datetime
import math
import statistics
from itertools import pairwise
from typing import Annotated, Any, Literal, NotRequired

from annotated_types import Ge, Gt, Le, Len
from typing_extensions import TypedDict

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.toolbox import market
from mcpserver.toolbox.figures import check, in_figures
from mcpserver.toolbox.market import Hub, Pipeline
from mcpserver.tools.energy._book import (
    HALF_SPREAD,
    MAX_ORDERS,
    SERVICE,
    check_limit,
    check_traded,
    find_order,
    forward_price,
    hours_of,
    make_book,
    month_ahead,
    trade,
)
from mcpserver.tools.energy._storage import best_levels
from mcpserver.tools.energy.energy import Day, Month

RUNS_IN = "server"
Price = Annotated[float, Ge(-500), Le(3000)]
Megawatt = Annotated[int, Ge(1), Le(1000)]
Energy = Annotated[float, Ge(0), Le(1e7)]
Count = Annotated[int, Ge(1), Le(60)]


class Days(TypedDict):
    """Day-ahead prices from a day on."""

    kind: Literal["days"]
    first: Day
    count: Count


class Months(TypedDict):
    """Prices of the next months, as they are traded today."""

    kind: Literal["months"]
    count: Annotated[int, Ge(1), Le(24)]


class MarketOrder(TypedDict):
    """Trade at once at the price offered."""

    kind: Literal["market"]


class LimitOrder(TypedDict):
    """Trade at this price or better; otherwise the order stays open."""

    kind: Literal["limit"]
    price: Price
    good_for_days: NotRequired[Annotated[int, Ge(1), Le(90)]]


class Step(TypedDict):
    """MW wanted up to a price."""

    price: Price
    mw: Megawatt


class DayFlow(TypedDict):
    """Energy of a gas day."""

    day: Day
    energy_mwh: Energy


class Measured(TypedDict):
    """What was nominated and what flowed on a day."""

    day: Day
    nominated_mwh: Energy
    measured_mwh: Energy


class Storage(TypedDict):
    """A storage: sizes in MWh, rates in MWh a day, cost of each MWh moved in EUR."""

    capacity_mwh: Annotated[float, Ge(1), Le(1e8)]
    level_mwh: Annotated[float, Ge(0), Le(1e8)]
    injection_mwh: Annotated[float, Ge(0), Le(1e8)]
    withdrawal_mwh: Annotated[float, Ge(0), Le(1e8)]
    cost: NotRequired[Annotated[float, Ge(0), Le(100)]]


class SpotPrices(TypedDict):
    """Day-ahead prices of a hub."""

    hub: Hub
    first: Day
    count: Count


def get_price_curve(context: Context, hubs: Annotated[list[Hub], Len(1, 5)], delivery: Days | Months) -> dict[str, Any]:
    """Get the price curve of gas hubs: day by day, or month by month ahead.

    Args:
        hubs: trading hubs
        delivery: days or months

    Example:
        {"hubs": ["TTF", "THE"], "delivery": {"kind": "months", "count": 6}}
        {"hubs": ["PSV"], "delivery": {"kind": "days", "first": "2025-03-10", "count": 7}}
    """
    today, names = context.now.date(), sorted(set(hubs))
    rows: list[dict[str, Any]] = []
    if delivery["kind"] == "months":
        for ahead in range(1, delivery["count"] + 1):
            month = month_ahead(today, ahead)
            rows.append({"month": month, **{hub: forward_price(context.seed, hub, month, today) for hub in names}})
    else:
        for day in _days(delivery["first"], delivery["count"]):
            rows.append({"day": day.isoformat(), **{hub: market.spot_price(context.seed, hub, day) for hub in names}})
    means = {hub: round(statistics.fmean(row[hub] for row in rows), 3) for hub in names}
    return {"curve": rows, "mean": means, "unit": "EUR/MWh"}


def place_gas_order(
    context: Context,
    hub: Hub,
    month: Month,
    side: Literal["buy", "sell"],
    mw: Megawatt,
    order: MarketOrder | LimitOrder,
) -> dict[str, Any]:
    """Place an order for gas of a month ahead, in MW around the clock.

    Args:
        hub: trading hub
        month: delivery month, YYYY-MM, one of the next 24
        side: buy or sell
        mw: size; a position may reach 100 MW
        order: at market, or with a limit in EUR/MWh

    Example:
        {"hub": "TTF", "month": "2025-06", "side": "buy", "mw": 10, "order": {"kind": "market"}}
        {"hub": "THE", "month": "2025-10", "side": "sell", "mw": 5, "order": {"kind": "limit", "price": 60,
         "good_for_days": 10}}
    """
    today = context.now.date()
    check_traded(month, today)
    book = context.change(SERVICE, make_book)
    if len(book["orders"]) >= MAX_ORDERS:
        raise ToolError("limit", f"order: there are {MAX_ORDERS} orders already; no more are taken")
    check_limit(book, hub, month, side, mw)
    sign = 1 if side == "buy" else -1
    offered = round(forward_price(context.seed, hub, month, today) + sign * HALF_SPREAD, 2)
    name = f"GO-{book['next']}"
    book["next"] += 1
    kept: dict[str, Any] = {"id": name, "hub": hub, "month": month, "side": side, "mw": mw, "limit": None}
    kept |= {"status": "open", "price": None, "valid_until": today.isoformat()}
    if order["kind"] == "limit":
        kept["limit"] = round(order["price"], 3)
        kept["valid_until"] = (today + datetime.timedelta(days=order.get("good_for_days", 1))).isoformat()
    if order["kind"] == "market" or (kept["limit"] - offered) * sign >= 0:
        kept |= {"status": "filled", "price": offered}
        trade(book, hub, month, sign * mw, offered)
    book["orders"][name] = kept
    return {
        **kept,
        "offered": offered,
        "energy_mwh": mw * hours_of(month),
        "position": book["positions"].get(f"{hub} {month}"),
    }


def cancel_gas_order(context: Context, order: Annotated[str, Len(1, 20)]) -> dict[str, Any]:
    """Cancel an open gas order.

    Args:
        order: id of the order

    Example:
        {"order": "GO-1"}
    """
    found = find_order(context.change(SERVICE, make_book), order)
    if found["status"] != "open":
        raise ToolError("tool_error", f"order: {order} is {found['status']}; only open orders can be cancelled")
    found["status"] = "cancelled"
    return found


def get_gas_position(context: Context, hub: Hub | None = None, with_orders: bool = True) -> dict[str, Any]:
    """Get the gas position by hub and month, and the orders.

    Args:
        hub: only this hub
        with_orders: whether the last 40 orders are listed

    Example:
        {}
        {"hub": "TTF", "with_orders": false}
    """
    book = context.read(SERVICE, make_book)
    positions = []
    for key, held in sorted(book["positions"].items()):
        own, month = key.split(" ")
        if hub in (None, own):
            positions.append({"hub": own, "month": month, **held, "energy_mwh": held["mw"] * hours_of(month)})
    total = sum(row["energy_mwh"] for row in positions)
    result: dict[str, Any] = {"positions": positions, "net_energy_mwh": total}
    if with_orders:
        result["orders"] = [order for order in book["orders"].values() if hub in (None, order["hub"])][-40:]
    return result


def mark_to_market(context: Context, day: Day | None = None) -> dict[str, Any]:
    """Value the gas position at the prices of a day.

    Args:
        day: day of the prices, else today

    Example:
        {}
        {"day": "2025-03-14"}
    """
    when = day or context.now.date()
    check(when <= context.now.date(), f"day: there are no prices of {when} yet")
    rows = []
    for key, held in sorted(context.read(SERVICE, make_book)["positions"].items()):
        hub, month = key.split(" ")
        price = forward_price(context.seed, hub, month, when)
        open_gain = round(held["mw"] * hours_of(month) * (price - held["price"]), 2)
        row = {"hub": hub, "month": month, "mw": held["mw"], "mean_price": held["price"], "price": price}
        rows.append(row | {"unrealised": open_gain, "realised": held["realised"]})
    sums = {name: round(math.fsum(row[name] for row in rows), 2) for name in ("unrealised", "realised")}
    return {"positions": rows, **sums, "total": round(sum(sums.values()), 2), "unit": "EUR", "day": when.isoformat()}


def submit_auction_bid(
    context: Context, hub: Hub, month: Month, steps: Annotated[list[Step], Len(1, 10)]
) -> dict[str, Any]:
    """Bid in the auction of a month's gas with a demand curve; all accepted steps pay the clearing price.

    Args:
        hub: trading hub
        month: delivery month, one of the next 24
        steps: MW wanted up to each price, prices falling

    Example:
        {"hub": "PEG", "month": "2025-07", "steps": [{"price": 45, "mw": 10}, {"price": 30, "mw": 10}, {"price": 15,
         "mw": 20}]}
    """
    today = context.now.date()
    check_traded(month, today)
    prices = [step["price"] for step in steps]
    check(prices == sorted(set(prices), reverse=True), "steps: prices must fall from step to step")
    book = context.change(SERVICE, make_book)
    key = f"{hub} {month}"
    if key in book["bids"]:
        raise ToolError("denied", f"month: a bid for {key} was made already; each auction takes one")
    check_limit(book, hub, month, "buy", sum(step["mw"] for step in steps))
    clearing = market.auction_price(context.seed, datetime.date.fromisoformat(f"{month}-01"), hub)
    rows = [{**step, "accepted": step["price"] >= clearing} for step in steps]
    won = sum(step["mw"] for step in steps if step["price"] >= clearing)
    book["bids"][key] = {"mw": won, "price": clearing, "day": today.isoformat()}
    if won:
        trade(book, hub, month, won, clearing)
    energy = won * hours_of(month)
    result = {"clearing_price": clearing, "won_mw": won, "energy_mwh": energy, "cost": round(energy * clearing, 2)}
    return result | {"steps": rows, "unit": "EUR/MWh"}


def nominate_flow(context: Context, pipeline: Pipeline, flows: Annotated[list[DayFlow], Len(1, 31)]) -> dict[str, Any]:
    """Nominate the gas that shall flow through a pipeline on days to come; all days are accepted, or none.

    Args:
        pipeline: pipeline name
        flows: energy of each day; a later nomination of a day replaces the earlier one, 0 withdraws it

    Example:
        {"pipeline": "Langeled", "flows": [{"day": "2025-03-18", "energy_mwh": 1500}, {"day": "2025-03-19",
         "energy_mwh": 900.5}]}
    """
    today = context.now.date()
    days = [flow["day"] for flow in flows]
    check(len(set(days)) == len(days), "flows: a day is given twice")
    book, booked = context.change(SERVICE, make_book), context.read("bookings", lambda _rng: {})
    own, rows = book["nominations"].setdefault(pipeline, {}), []
    for flow in sorted(flows, key=lambda flow: flow["day"]):
        day = flow["day"]
        check(
            today < day <= today + datetime.timedelta(days=90),
            f"flows: {day} is not one of the next 90 days",
        )
        right = book["rights"][pipeline] + sum(booked.get(f"{pipeline} {day}", []))
        if flow["energy_mwh"] > right:
            more = "book_capacity gives more"
            raise ToolError("denied", f"flows: only {right:g} MWh may flow through {pipeline} on {day}; {more}")
        own[day.isoformat()] = flow["energy_mwh"]
        rows.append(
            {"day": day.isoformat(), "energy_mwh": flow["energy_mwh"], "left_mwh": round(right - flow["energy_mwh"], 3)}
        )
    book["nominations"][pipeline] = dict(sorted((day, energy) for day, energy in own.items() if energy))
    cost = market.tariff(context.seed, pipeline) * math.fsum(flow["energy_mwh"] for flow in flows)
    return {"accepted": rows, "transport_cost": round(cost, 2), "unit": "EUR"}


def list_nominations(context: Context, pipeline: Pipeline | None = None) -> dict[str, Any]:
    """List the rights to flow and the nominations by pipeline.

    Args:
        pipeline: only this pipeline

    Example:
        {"pipeline": "Langeled"}
    """
    book = context.read(SERVICE, make_book)
    rows = []
    for name in sorted(book["rights"]):
        if pipeline in (None, name):
            flows = [{"day": day, "energy_mwh": energy} for day, energy in book["nominations"].get(name, {}).items()]
            rows.append({"pipeline": name, "right_mwh_per_day": book["rights"][name], "nominations": flows[-31:]})
    return {"pipelines": rows}


@in_figures
def plan_storage(
    context: Context,
    storage: Storage,
    prices: SpotPrices | Annotated[list[Price], Len(2, 60)],
    final_level_mwh: Annotated[float, Ge(0), Le(1e8)] | None = None,
) -> dict[str, Any]:
    """Plan injection and withdrawal of a gas storage day by day for the best result at known prices.

    Args:
        storage: sizes, rates and level at the beginning
        prices: EUR/MWh of each day, or the day-ahead prices of a hub
        final_level_mwh: least level at the end, else that of the beginning

    Example:
        {"storage": {"capacity_mwh": 1000, "level_mwh": 200, "injection_mwh": 200, "withdrawal_mwh": 400},
         "prices": [28, 27, 33, 35, 29], "final_level_mwh": 200}
        {"storage": {"capacity_mwh": 50000, "level_mwh": 10000, "injection_mwh": 5000, "withdrawal_mwh": 8000,
         "cost": 0.4}, "prices": {"hub": "TTF", "first": "2025-03-18", "count": 14}}
    """
    known = (
        [market.spot_price(context.seed, prices["hub"], day) for day in _days(prices["first"], prices["count"])]
        if isinstance(prices, dict)
        else prices
    )
    capacity, level = storage["capacity_mwh"], storage["level_mwh"]
    check(level <= capacity, f"storage.level_mwh: {level:g} is more than the capacity of {capacity:g}")
    final = level if final_level_mwh is None else final_level_mwh
    check(final <= capacity, f"final_level_mwh: {final:g} is more than the capacity of {capacity:g}")
    rates = (storage["injection_mwh"], storage["withdrawal_mwh"], storage.get("cost", 0.0))
    levels = best_levels(known, capacity, level, final, *rates)
    rows, total = [], 0.0
    for number, (price, before, after) in enumerate(zip(known, levels, levels[1:]), 1):
        flow = after - before
        cash = -flow * price - abs(flow) * storage.get("cost", 0.0)
        total += cash
        rows.append(
            {
                "day": number,
                "price": price,
                "injected": max(0.0, flow),
                "withdrawn": max(0.0, -flow),
                "level": after,
                "cash": round(cash, 2),
            }
        )
    return {"plan": rows, "result": round(total, 2), "final_level_mwh": levels[-1], "unit": "EUR"}


@in_figures
def compute_hedge_ratio(
    context: Context,
    exposure: SpotPrices,
    hedge_hub: Hub,
    energy_mwh: Annotated[float, Gt(0), Le(1e9)],
    lot_mwh: Annotated[float, Gt(0), Le(1e6)] = 744,
) -> dict[str, Any]:
    """Compute the hedge of a gas exposure at another hub that leaves the least variance.

    Args:
        exposure: hub of the exposure and the days of prices that are looked at
        hedge_hub: hub at which is hedged
        energy_mwh: energy exposed
        lot_mwh: energy of a contract

    Example:
        {"exposure": {"hub": "PSV", "first": "2025-01-06", "count": 50}, "hedge_hub": "TTF", "energy_mwh": 30000}
    """
    check(exposure["count"] >= 10, "exposure.count: at least 10 days are needed")
    check(exposure["hub"] != hedge_hub, "hedge_hub: must be another hub than that of the exposure")
    days = _days(exposure["first"], exposure["count"])
    own, other = ([market.spot_price(context.seed, hub, day) for day in days] for hub in (exposure["hub"], hedge_hub))
    changes, hedges = ([b - a for a, b in pairwise(prices)] for prices in (own, other))
    ratio = statistics.covariance(changes, hedges) / statistics.variance(hedges)
    correlation = statistics.correlation(changes, hedges)
    lots = round(ratio * energy_mwh / lot_mwh)
    result = {"hedge_ratio": ratio, "correlation": correlation, "variance_removed_percent": 100 * correlation**2}
    return result | {"lots_to_sell": lots, "hedged_mwh": lots * lot_mwh}


@in_figures
def settle_imbalance(
    context: Context,
    hub: Hub,
    days: Annotated[list[Measured], Len(1, 60)],
    tolerance_percent: Annotated[float, Ge(0), Le(50)] = 2,
    penalty_percent: Annotated[float, Ge(0), Le(200)] = 10,
) -> dict[str, Any]:
    """Settle the imbalance between nominated and measured gas day by day.

    Args:
        hub: hub whose day-ahead prices count
        days: energy nominated and measured
        tolerance_percent: deviation settled at the plain price, as a share of the nomination
        penalty_percent: what is beyond costs so much more, or brings so much less

    Example:
        {"hub": "TTF", "days": [{"day": "2025-03-12", "nominated_mwh": 1000, "measured_mwh": 1100},
         {"day": "2025-03-13", "nominated_mwh": 1000, "measured_mwh": 990}]}
    """
    rows: list[dict[str, Any]] = []
    for number, row in enumerate(days):
        check(row["day"] <= context.now.date(), f"days[{number}].day: {row['day']} has not been measured yet")
        missing = row["measured_mwh"] - row["nominated_mwh"]  # taken more than nominated: it must be bought
        free = min(abs(missing), row["nominated_mwh"] * tolerance_percent / 100)
        price = market.spot_price(context.seed, hub, row["day"])
        change = penalty_percent / 100 * (1 if missing > 0 else -1)
        cost = math.copysign(free * price + (abs(missing) - free) * price * (1 + change), missing) if missing else 0.0
        rows.append({"day": row["day"].isoformat(), "imbalance_mwh": missing, "price": price, "cost": round(cost, 2)})
    total = round(math.fsum(row["cost"] for row in rows), 2)
    return {
        "days": rows,
        "cost": total,
        "imbalance_mwh": math.fsum(row["imbalance_mwh"] for row in rows),
        "unit": "EUR",
    }


@in_figures
def spark_spread(
    gas_price: Price,
    power_price: Price,
    efficiency_percent: Annotated[float, Ge(20), Le(70)] = 50,
    carbon_price: Annotated[float, Ge(0), Le(1000)] = 0,
    other_cost: Annotated[float, Ge(0), Le(100)] = 0,
) -> dict[str, Any]:
    """Compute the margin of a gas power plant (clean spark spread) and the power price at which it breaks even.

    Args:
        gas_price: EUR/MWh of gas, by its upper heating value
        power_price: EUR/MWh of power
        efficiency_percent: power from gas
        carbon_price: EUR per tonne of CO2; gas emits 0.202 tonnes per MWh
        other_cost: EUR/MWh of power

    Example:
        {"gas_price": 31.5, "power_price": 92, "efficiency_percent": 55, "carbon_price": 70}
    """
    fuel = gas_price / (efficiency_percent / 100)
    carbon = carbon_price * 0.202 / (efficiency_percent / 100)
    even = fuel + carbon + other_cost
    margins = {"spark_spread": power_price - fuel, "clean_spark_spread": power_price - even}
    rounded = {name: round(value, 4) for name, value in {**margins, "break_even_power_price": even}.items()}
    return {**rounded, "runs": power_price > even, "unit": "EUR/MWh"}


def _days(first: datetime.date, count: int) -> list[datetime.date]:
    return [first + datetime.timedelta(days=number) for number in range(count)]
