"""A simulated broker: quotes, history, portfolio, market and limit orders, watchlist and screening."""

import datetime
from typing import Annotated, Any, Literal

from annotated_types import Len

from mcpserver.context import Context
from mcpserver.tools.services._kinds import NOW, TODAY, Day, Id, Limit, Offset
from mcpserver.tools.services._records import Record, check, days_from, find, keep_room, new_id, page, refuse_if
from mcpserver.tools.services._stocks import (
    COMPANIES,
    Criteria,
    LimitOrder,
    Market,
    Quantity,
    Symbol,
    Symbols,
    company,
    fee_of,
    is_trading_day,
    make_portfolio,
    price_on,
)

RUNS_IN = "server"
MAX_ORDERS, MAX_HISTORY_DAYS = 250, 366
_SERVICE = "stocks"
_VALID_DAYS = {"day": 0, "week": 7, "month": 30}


def get_stock_quotes(context: Context, symbols: Symbols) -> dict[str, Any]:
    """Get the prices of stocks now.

    Args:
        symbols: ticker symbols

    Example:
        {"symbols": ["TIDE", "KSTL"]}
    """
    wanted = sorted({symbol.upper() for symbol in symbols})
    return {"time": NOW, "currency": "EUR", "quotes": [_quote(context, symbol) for symbol in wanted]}


def get_stock_history(
    context: Context, symbol: Symbol, first_day: Day, last_day: Day, interval: Literal["day", "week", "month"] = "day"
) -> dict[str, Any]:
    """Get closing prices of a stock.

    Args:
        symbol: ticker symbol
        first_day: YYYY-MM-DD
        last_day: YYYY-MM-DD, not after today
        interval: one price for each

    Example:
        {"symbol": "BRNK", "first_day": "2025-03-03", "last_day": "2025-03-14"}
        {"symbol": "TIDE", "first_day": "2024-06-01", "last_day": "2025-03-01", "interval": "month"}
    """
    company(symbol)
    check(first_day <= last_day <= TODAY, f"last_day: wanted first_day <= last_day <= {TODAY}")
    check(last_day <= days_from(first_day, MAX_HISTORY_DAYS), f"last_day: at most {MAX_HISTORY_DAYS} days at once")
    closing: dict[str, str] = {}
    day = first_day
    while day <= last_day:
        if is_trading_day(day):  # of a week or month, the last trading day
            closing[day if interval == "day" else day[:7] if interval == "month" else _week(day)] = day
        day = days_from(day, 1)
    prices = [{"day": day, "close": price_on(context, symbol.upper(), day)} for day in closing.values()]
    values = [float(str(row["close"])) for row in prices]
    summary = {"low": min(values), "high": max(values)} if values else {}
    return {"symbol": symbol.upper(), **summary, "prices": prices}


def get_portfolio(context: Context) -> dict[str, Any]:
    """Get cash, shares, their worth and gain.

    Example:
        {}
    """
    state = context.read(_SERVICE, make_portfolio)
    rows = []
    for symbol, position in sorted(state["positions"].items()):
        price = price_on(context, symbol, TODAY)
        gain = round((price - position["cost_per_share"]) * position["quantity"], 2)
        worth = _times(price, position["quantity"])
        rows.append({"symbol": symbol, **position, "price": price, "worth": worth, "gain": gain})
    total = round(state["cash"] + sum(float(row["worth"]) for row in rows), 2)
    return {"cash": state["cash"], "positions": rows, "total": total, "currency": "EUR"}


def place_stock_order(
    context: Context, symbol: Symbol, side: Literal["buy", "sell"], quantity: Quantity, order: Market | LimitOrder
) -> dict[str, Any]:
    """Place an order to buy or sell shares.

    Args:
        symbol: ticker symbol
        side: buy or sell
        quantity: number of shares
        order: market, or limit with price

    Example:
        {"symbol": "TIDE", "side": "sell", "quantity": 5, "order": {"type": "market"}}
        {"symbol": "CRVO", "side": "buy", "quantity": 4, "order": {"type": "limit", "price": 20, "good_for": "month"}}
    """
    company(symbol)
    state = context.change(_SERVICE, make_portfolio)
    keep_room(state["orders"], MAX_ORDERS, "orders")
    symbol = symbol.upper()
    now = price_on(context, symbol, TODAY)
    kept: Record = {"id": new_id(state, "SO"), "symbol": symbol, "side": side, "quantity": quantity}
    kept |= {"type": order["type"], "limit_price": None, "valid_until": TODAY}
    kept |= {"status": "open", "price": None, "fee": 0.0}
    if order["type"] == "limit":
        kept["limit_price"] = round(order["price"], 2)
        kept["valid_until"] = days_from(TODAY, _VALID_DAYS[order["good_for"]])
    limit = kept["limit_price"] or now
    _check_means(state, kept, limit if side == "buy" else now)
    if now <= limit if side == "buy" else now >= limit:
        _trade(state, kept, now)
    state["orders"][kept["id"]] = kept
    return {**kept, "price_now": now, "cash": state["cash"]}


def cancel_stock_order(context: Context, order: Id) -> dict[str, Any]:
    """Cancel an open stock order.

    Args:
        order: id of the order

    Example:
        {"order": "SO-1"}
    """
    found: Record = find(context.change(_SERVICE, make_portfolio)["orders"], order, "order", "list_stock_orders")
    refuse_if(found["status"] != "open", f"order: {order} is {found['status']}; only open orders can be cancelled")
    found["status"] = "cancelled"
    return found


def list_stock_orders(
    context: Context,
    status: Literal["open", "filled", "cancelled"] | None = None,
    limit: Limit = 20,
    offset: Offset = 0,
) -> dict[str, Any]:
    """List stock orders, newest first.

    Args:
        status: only with this status
        limit: most orders to list
        offset: orders to leave out first

    Example:
        {"status": "open"}
    """
    orders = list(context.read(_SERVICE, make_portfolio)["orders"].values())
    return page([order for order in reversed(orders) if status in (None, order["status"])], limit, offset, "orders")


def get_watchlist(context: Context) -> dict[str, Any]:
    """Get the watched stocks with their prices.

    Example:
        {}
    """
    return {"watchlist": [_quote(context, symbol) for symbol in context.read(_SERVICE, make_portfolio)["watchlist"]]}


def change_watchlist(
    context: Context,
    add: Annotated[list[Symbol], Len(0, 12)] | None = None,
    remove: Annotated[list[Symbol], Len(0, 12)] | None = None,
) -> dict[str, Any]:
    """Put stocks on the watchlist, or take them off.

    Args:
        add: ticker symbols
        remove: ticker symbols

    Example:
        {"add": ["TIDE"]}
    """
    check(bool(add or remove), "add: say what to add or to remove")
    for symbol in (*(add or ()), *(remove or ())):
        company(symbol)
    state = context.change(_SERVICE, make_portfolio)
    gone = {symbol.upper() for symbol in remove or ()}
    absent = sorted(gone - set(state["watchlist"]))
    refuse_if(bool(absent), f"remove: not watched: {', '.join(absent)}")
    state["watchlist"] = sorted({*state["watchlist"], *(symbol.upper() for symbol in add or ())} - gone)
    return {"watchlist": state["watchlist"]}


def screen_stocks(
    context: Context,
    criteria: Criteria,
    sort: Literal["price", "pe_ratio", "dividend_percent", "change_30_days_percent"] = "price",
    falling: bool = False,
) -> dict[str, Any]:
    """Find stocks by sector, price, ratios and change.

    Args:
        criteria: conditions that must all hold
        sort: order of the list
        falling: highest first

    Example:
        {"criteria": {"sectors": ["energy", "finance"], "dividend_percent": {"min": 4}}, "sort": "dividend_percent"}
        {"criteria": {"price": {"max": 60}, "pe_ratio": {"min": 10, "max": 20}}}
        {"criteria": {}}
    """
    rows = []
    for symbol, about in COMPANIES.items():
        price, before = price_on(context, symbol, TODAY), price_on(context, symbol, days_from(TODAY, -30))
        row: Record = {"symbol": symbol, "name": about.name, "sector": about.sector, "price": price}
        row |= {"pe_ratio": about.pe_ratio, "dividend_percent": about.dividend_percent}
        row["change_30_days_percent"] = round(100 * (price / before - 1), 2)
        if all(
            _within(row[name], value) for name, value in criteria.items() if isinstance(value, dict)
        ) and about.sector in criteria.get("sectors", [about.sector]):
            rows.append(row)
    return {"stocks": sorted(rows, key=lambda row: (row[sort], row["symbol"]), reverse=falling)}


def _quote(context: Context, symbol: str) -> Record:
    about, price = company(symbol), price_on(context, symbol, TODAY)
    before = price_on(context, symbol, days_from(TODAY, -3))  # today is a Monday
    change = round(100 * (price / before - 1), 2)
    return {"symbol": symbol, "name": about.name, "price": price, "previous_close": before, "change_percent": change}


def _within(value: float, limits: dict[str, float]) -> bool:
    return limits.get("min", value) <= value <= limits.get("max", value)


def _week(day: str) -> str:
    year, week, _ = datetime.date.fromisoformat(day).isocalendar()
    return f"{year}-{week}"


def _times(price: float, quantity: int) -> float:
    return round(price * quantity, 2)


def _check_means(state: Record, order: Record, price: float) -> None:
    """Enough cash, or shares, beside what open orders have claimed."""
    opened = [other for other in state["orders"].values() if other["status"] == "open"]
    others = [other for other in opened if other["side"] == order["side"]]
    if order["side"] == "buy":
        claimed = sum(_times(other["limit_price"], other["quantity"]) for other in others)
        needed = _times(price, order["quantity"])
        needed += fee_of(needed)
        free = round(state["cash"] - claimed, 2)
        refuse_if(needed > free, f"quantity: {needed:.2f} EUR are needed with fee, {free:.2f} are free")
        return
    own = state["positions"].get(order["symbol"], {"quantity": 0})["quantity"]
    free_shares = own - sum(other["quantity"] for other in others if other["symbol"] == order["symbol"])
    short = order["quantity"] > free_shares
    refuse_if(short, f"quantity: only {free_shares} shares of {order['symbol']} are free to sell")


def _trade(state: Record, order: Record, price: float) -> None:
    amount, symbol, quantity = _times(price, order["quantity"]), order["symbol"], order["quantity"]
    position = state["positions"].setdefault(symbol, {"quantity": 0, "cost_per_share": 0.0})
    order |= {"status": "filled", "price": price, "fee": fee_of(amount)}
    if order["side"] == "buy":
        paid = position["quantity"] * position["cost_per_share"] + amount
        position["quantity"] += quantity
        position["cost_per_share"] = round(paid / position["quantity"], 2)
        state["cash"] = round(state["cash"] - amount - order["fee"], 2)
        return
    position["quantity"] -= quantity
    state["cash"] = round(state["cash"] + amount - order["fee"], 2)
    if not position["quantity"]:
        del state["positions"][symbol]
