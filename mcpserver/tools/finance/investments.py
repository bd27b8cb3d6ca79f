"""Investments judged: flows, bonds, options, portfolios, prices over time. Reads and writes nothing."""

import datetime
import math
import statistics
from itertools import accumulate, pairwise
from typing import Annotated, Any, Literal, NotRequired

from annotated_types import Ge, Le, Len
from pydantic import Field
from typing_extensions import TypedDict

from mcpserver.tool_error import ToolError
from mcpserver.toolbox.figures import Name, check, in_figures
from mcpserver.tools.finance._rates import Amount, AnyPercent, Money, Percent, present_value, rates_of_return, solve

RUNS_IN = "server"
Flows = Annotated[list[Money], Len(2, 400)]
Day = Annotated[datetime.date, Field(description="YYYY-MM-DD")]
Frequency = Literal["yearly", "half_yearly", "quarterly", "monthly"]
Years = Annotated[float, Ge(0.01), Le(100)]
Volatility = Annotated[float, Ge(0.1), Le(500)]
Prices = Annotated[list[Amount], Len(3, 2000)]
Window = Annotated[int, Ge(2), Le(400)]
Returns = Annotated[list[Annotated[float, Ge(-100), Le(1000)]], Len(2, 1000)]
_TIMES = {"yearly": 1, "half_yearly": 2, "quarterly": 4, "monthly": 12}


class DatedFlow(TypedDict):
    """An amount on a day; paid out is negative."""

    day: Day
    amount: Money


class Holding(TypedDict):
    """A part of a portfolio, with its returns in percent period by period."""

    name: Name
    weight: Annotated[float, Ge(-10), Le(10)]
    returns: Returns


class MarketPrice(TypedDict):
    """The price at which the option is traded; its volatility is found."""

    market_price: Amount


class Average(TypedDict):
    """Simple (sma) or exponential (ema) moving average, or momentum in percent."""

    kind: Literal["sma", "ema", "momentum"]
    window: Window


class Rsi(TypedDict):
    """Relative strength index of Wilder, from 0 to 100."""

    kind: Literal["rsi"]
    window: NotRequired[Window]


class Bollinger(TypedDict):
    """Moving average with bands of some standard deviations."""

    kind: Literal["bollinger"]
    window: NotRequired[Window]
    deviations: NotRequired[Annotated[float, Ge(0.1), Le(10)]]


class Macd(TypedDict):
    """Difference of two exponential averages, with its signal line."""

    kind: Literal["macd"]
    fast: NotRequired[Window]
    slow: NotRequired[Window]
    signal: NotRequired[Window]


class Drawdown(TypedDict):
    """Fall from the highest price before, in percent."""

    kind: Literal["drawdown"]


Indicator = Average | Rsi | Bollinger | Macd | Drawdown


@in_figures
def net_present_value(flows: Flows, rate_percent: AnyPercent) -> dict[str, Any]:
    """Compute the net present value of yearly (or other periodic) flows.

    Args:
        flows: amounts, the first one today; paid out is negative
        rate_percent: discount rate for each period

    Example:
        {"flows": [-1000, 400, 400, 400], "rate_percent": 8}
    """
    value = present_value(rate_percent / 100, [(float(n), flow) for n, flow in enumerate(flows)])
    spent = -math.fsum(flow for flow in flows[:1] if flow < 0)
    index = {"profitability_index": round(1 + value / spent, 6)} if spent else {}
    return {"net_present_value": round(value, 2), "sum_of_flows": round(math.fsum(flows), 2), **index}


@in_figures
def internal_rate_of_return(
    flows: Flows, finance_percent: AnyPercent | None = None, reinvest_percent: AnyPercent | None = None
) -> dict[str, Any]:
    """Compute the internal rate of return of periodic flows, and the modified one.

    Args:
        flows: amounts, the first one today; paid out is negative
        finance_percent: rate paid for money paid out, for the modified rate
        reinvest_percent: rate earned on money received, for the modified rate

    Example:
        {"flows": [-1000, 300, 420, 680]}
        {"flows": [-1000, 300, 420, 680], "finance_percent": 8, "reinvest_percent": 5}
    """
    result = _rates([(float(n), flow) for n, flow in enumerate(flows)], "flows")
    if finance_percent is not None and reinvest_percent is not None:
        n = len(flows) - 1
        spent = -present_value(finance_percent / 100, [(float(t), flow) for t, flow in enumerate(flows) if flow < 0])
        earned = present_value(reinvest_percent / 100, [(float(t), flow) for t, flow in enumerate(flows) if flow > 0])
        modified = (earned / spent) ** (1 / n) * (1 + reinvest_percent / 100) - 1
        result["modified_percent"] = round(modified * 100, 6)
    return result


@in_figures
def dated_rate_of_return(flows: Annotated[list[DatedFlow], Len(2, 300)]) -> dict[str, Any]:
    """Compute the yearly rate of return of flows on any days (XIRR).

    Args:
        flows: amounts with their days, in any order

    Example:
        {"flows": [{"day": "2023-01-10", "amount": -5000}, {"day": "2023-08-01", "amount": 300},
         {"day": "2025-03-01", "amount": 5600}]}
    """
    start = min(flow["day"] for flow in flows)
    timed = [((flow["day"] - start).days / 365, flow["amount"]) for flow in flows]
    check(max(time for time, _ in timed) > 0, "flows: all are on the same day")
    return _rates(timed, "flows") | {"first_day": start.isoformat(), "gain": round(math.fsum(a for _, a in timed), 2)}


def _rates(flows: list[tuple[float, float]], parameter: str) -> dict[str, Any]:
    found = [round(rate * 100, 6) for rate in rates_of_return(flows)]
    if not found:
        raise ToolError("tool_error", f"{parameter}: no rate makes them worth nothing; both signs are needed")
    best = min(found, key=abs)
    others = [rate for rate in found if rate != best]
    return {"rate_percent": best, **({"other_rates_percent": others} if others else {})}


@in_figures
def payback_period(
    investment: Amount, flows: Annotated[list[Money], Len(1, 400)], rate_percent: AnyPercent = 0
) -> dict[str, Any]:
    """Find after how many periods an investment is earned back.

    Args:
        investment: amount paid at the beginning
        flows: amounts earned at the end of each period
        rate_percent: discount rate for each period

    Example:
        {"investment": 10000, "flows": [3000, 3500, 4000, 4500], "rate_percent": 6}
    """
    worth = [flow / (1 + rate_percent / 100) ** n for n, flow in enumerate(flows, 1)]
    sums = list(accumulate(worth))
    found = next((n for n, total in enumerate(sums) if total >= investment), None)
    if found is None:
        return {"paid_back": False, "missing": round(investment - sums[-1], 2)}
    before = sums[found - 1] if found else 0.0
    return {
        "paid_back": True,
        "periods": round(found + (investment - before) / worth[found], 4),
        "surplus": round(sums[-1] - investment, 2),
    }


@in_figures
def value_bond(
    face: Amount, coupon_percent: Percent, years: Years, yield_percent: AnyPercent, frequency: Frequency = "half_yearly"
) -> dict[str, Any]:
    """Price a bond at a yield, with duration and convexity.

    Args:
        face: amount paid back at the end
        coupon_percent: coupon per year
        years: time to maturity; a broken first period brings accrued interest
        yield_percent: yield per year, compounded as often as the coupon is paid
        frequency: how often the coupon is paid

    Example:
        {"face": 1000, "coupon_percent": 5, "years": 10, "yield_percent": 4}
    """
    flows, accrued = _bond(face, coupon_percent, years, frequency)
    times = _TIMES[frequency]
    rate = yield_percent / 100 / times
    price = present_value(rate, flows)
    duration = present_value(rate, [(t, t * amount) for t, amount in flows]) / price / times
    bend = present_value(rate, [(t, t * (t + 1) * amount) for t, amount in flows]) / price / (1 + rate) ** 2 / times**2
    result = {"price": round(price, 4), "clean_price": round(price - accrued, 4), "accrued_interest": round(accrued, 4)}
    modified = duration / (1 + rate)
    result |= {
        "duration_years": round(duration, 6),
        "modified_duration": round(modified, 6),
        "convexity": round(bend, 6),
    }
    return result | {"price_change_per_basis_point": round(-price * modified / 10_000, 6)}


@in_figures
def bond_yield(
    price: Amount, face: Amount, coupon_percent: Percent, years: Years, frequency: Frequency = "half_yearly"
) -> dict[str, Any]:
    """Find the yield to maturity of a bond from its clean price.

    Args:
        price: clean price, without accrued interest
        face: amount paid back at the end
        coupon_percent: coupon per year
        years: time to maturity
        frequency: how often the coupon is paid

    Example:
        {"price": 950, "face": 1000, "coupon_percent": 5, "years": 10}
    """
    flows, accrued = _bond(face, coupon_percent, years, frequency)
    found = solve(lambda rate: present_value(rate, flows) - price - accrued, -0.9, 10.0)
    if found is None:
        raise ToolError("tool_error", "price: no yield leads to it")
    times = _TIMES[frequency]
    effective = round(math.expm1(times * math.log1p(found)) * 100, 6)
    result = {"yield_percent": round(found * times * 100, 6), "effective_percent": effective}
    return result | {"current_yield_percent": round(face * coupon_percent / price, 6)}


def _bond(face: float, coupon_percent: float, years: float, frequency: str) -> tuple[list[tuple[float, float]], float]:
    """Flows by time in coupon periods, and the interest accrued since the last coupon."""
    times = _TIMES[frequency]
    coupon, count = face * coupon_percent / 100 / times, math.ceil(years * times - 1e-9)
    first = years * times - count + 1
    flows = [(first + n, coupon) for n in range(count)]
    return [*flows[:-1], (flows[-1][0], coupon + face)], coupon * (1 - min(1.0, first))


@in_figures
def price_option(
    kind: Literal["call", "put"],
    spot: Amount,
    strike: Amount,
    years: Annotated[float, Ge(0.001), Le(30)],
    rate_percent: AnyPercent,
    volatility_percent: Volatility | MarketPrice,
    dividend_percent: Annotated[float, Ge(0), Le(100)] = 0,
) -> dict[str, Any]:
    """Price a European option by Black and Scholes with its greeks, or find its implied volatility.

    Args:
        kind: call or put
        spot: price of the underlying
        strike: price of exercise
        years: time to expiry
        rate_percent: continuous rate without risk per year
        volatility_percent: per year; or the market price, from which it is found
        dividend_percent: continuous dividends per year

    Example:
        {"kind": "call", "spot": 100, "strike": 105, "years": 0.5, "rate_percent": 3, "volatility_percent": 25}
        {"kind": "put", "spot": 31, "strike": 30, "years": 0.25, "rate_percent": 2,
         "volatility_percent": {"market_price": 1.4}}
    """
    sign, rate, dividend = (1 if kind == "call" else -1), rate_percent / 100, dividend_percent / 100
    if isinstance(volatility_percent, dict):
        wanted = volatility_percent["market_price"]
        found = solve(
            lambda v: _black_scholes(sign, spot, strike, years, rate, dividend, v)["price"] - wanted, 1e-4, 10.0
        )
        if found is None:
            raise ToolError(
                "tool_error",
                "volatility_percent.market_price: no volatility leads to it; it lies outside its bounds",
            )
        implied = {"implied_volatility_percent": round(found * 100, 6)}
        return implied | _black_scholes(sign, spot, strike, years, rate, dividend, found)
    return _black_scholes(sign, spot, strike, years, rate, dividend, volatility_percent / 100)


def _black_scholes(
    sign: int, spot: float, strike: float, years: float, rate: float, dividend: float, volatility: float
) -> dict[str, float]:
    normal, root = statistics.NormalDist(), math.sqrt(years)
    d1 = (math.log(spot / strike) + (rate - dividend + volatility**2 / 2) * years) / (volatility * root)
    d2 = d1 - volatility * root
    own, paid = spot * math.exp(-dividend * years), strike * math.exp(-rate * years)
    chance1, chance2, density = normal.cdf(sign * d1), normal.cdf(sign * d2), normal.pdf(d1)
    decay = -own * density * volatility / (2 * root) + sign * (dividend * own * chance1 - rate * paid * chance2)
    return {
        "price": sign * (own * chance1 - paid * chance2),
        "delta": sign * math.exp(-dividend * years) * chance1,
        "gamma": math.exp(-dividend * years) * density / (spot * volatility * root),
        "vega_per_percent": own * density * root / 100,
        "theta_per_day": decay / 365,
        "rho_per_percent": sign * paid * years * chance2 / 100,
    }


@in_figures
def portfolio_performance(
    holdings: Annotated[list[Holding], Len(1, 20)],
    periods_per_year: Annotated[int, Ge(1), Le(366)] = 12,
    riskless_percent: AnyPercent = 0,
) -> dict[str, Any]:
    """Compute return, volatility, Sharpe ratio and largest fall of a portfolio from the returns of its parts.

    Args:
        holdings: parts with weights that add up to 1, rebalanced each period
        periods_per_year: 12 for monthly returns, 252 for daily ones
        riskless_percent: yearly return without risk

    Example:
        {"holdings": [{"name": "gas", "weight": 0.6, "returns": [2, -1, 3, 0.5]}, {"name": "bonds", "weight": 0.4,
         "returns": [0.3, 0.4, -0.2, 0.3]}]}
    """
    n = len(holdings[0]["returns"])
    for number, holding in enumerate(holdings):
        check(len(holding["returns"]) == n, f"holdings[{number}].returns: {len(holding['returns'])}, others have {n}")
    total = math.fsum(holding["weight"] for holding in holdings)
    check(abs(total - 1) < 1e-6, f"holdings: the weights add up to {total:g}, not to 1")
    whole = [math.fsum(h["weight"] * h["returns"][i] for h in holdings) / 100 for i in range(n)]
    check(min(whole) > -1, "holdings: the portfolio loses everything in a period")
    volatility = statistics.stdev(whole) * math.sqrt(periods_per_year)
    growth = math.expm1(math.fsum(map(math.log1p, whole)) * periods_per_year / n)
    wealth = list(accumulate(whole, lambda value, r: value * (1 + r), initial=1.0))
    falls = [1 - value / peak for value, peak in zip(wealth, accumulate(wealth, max))]
    excess = statistics.fmean(whole) * periods_per_year - riskless_percent / 100
    result: dict[str, Any] = {"total_percent": (wealth[-1] - 1) * 100, "yearly_percent": growth * 100}
    result |= {"volatility_percent": volatility * 100, "largest_fall_percent": max(falls) * 100}
    result |= {"sharpe_ratio": excess / volatility} if volatility > 1e-12 else {}
    result["parts"] = {
        h["name"]: {
            "volatility_percent": statistics.stdev(h["returns"]) * math.sqrt(periods_per_year),
            "correlation": _correlation(h["returns"], whole),
        }
        for h in holdings
    }
    return result


def _correlation(one: list[float], two: list[float]) -> float | None:
    try:
        return statistics.correlation(one, two)
    except statistics.StatisticsError:  # one of them is constant
        return None


@in_figures
def value_at_risk(
    amount: Amount,
    returns: Annotated[list[Annotated[float, Ge(-100), Le(1000)]], Len(10, 2000)],
    level: Annotated[float, Ge(0.5), Le(0.999)] = 0.95,
    method: Literal["historical", "normal"] = "historical",
    periods: Annotated[int, Ge(1), Le(365)] = 1,
) -> dict[str, Any]:
    """Estimate the loss that is not exceeded with a given chance (value at risk), and the mean loss beyond.

    Args:
        amount: worth of the position
        returns: past returns in percent
        level: confidence
        method: from the past returns themselves, or by the normal law
        periods: how long the position is held, scaled by the square root of time

    Example:
        {"amount": 100000, "returns": [1.2, -0.8, 0.3, -2.1, 0.9, 1.5, -1.1, 0.2, -0.4, 0.7], "level": 0.9}
    """
    scale = amount * math.sqrt(periods) / 100
    if method == "normal":
        mean, deviation = statistics.fmean(returns), statistics.stdev(returns)
        z = statistics.NormalDist().inv_cdf(level)
        loss, beyond = z * deviation - mean, deviation * statistics.NormalDist().pdf(z) / (1 - level) - mean
    else:
        losses = sorted((-value for value in returns), reverse=True)
        tail = losses[: max(1, math.floor(len(losses) * (1 - level) + 1e-9))]
        loss, beyond = tail[-1], statistics.fmean(tail)
    return {
        "value_at_risk": round(loss * scale, 2),
        "expected_shortfall": round(beyond * scale, 2),
        "percent": loss * scale / amount * 100,
    }


@in_figures
def compute_indicator(
    prices: Prices, indicator: Indicator, last: Annotated[int, Ge(1), Le(300)] = 30
) -> dict[str, Any]:
    """Compute an indicator of prices: moving average, RSI, Bollinger bands, MACD, momentum or drawdown.

    Args:
        prices: oldest first
        indicator: kind with its windows
        last: values to return, the newest ones

    Example:
        {"prices": [30, 31, 30.5, 32, 33, 32.5, 34], "indicator": {"kind": "sma", "window": 3}}
        {"prices": [44.3, 44.1, 44.2, 43.6, 44.3, 44.8, 45.1, 45.4], "indicator": {"kind": "rsi", "window": 5}}
    """
    match indicator["kind"]:
        case "sma":
            values: dict[str, list[float]] = {"values": _averages(prices, indicator["window"])}
        case "ema":
            values = {"values": _exponential(prices, indicator["window"])}
        case "momentum":
            values = {"values": [(b / a - 1) * 100 for a, b in zip(prices, prices[indicator["window"] :])]}
        case "rsi":
            values = {"values": _rsi(prices, indicator.get("window", 14))}
        case "bollinger":
            values = _bollinger(prices, indicator.get("window", 20), indicator.get("deviations", 2.0))
        case "macd":
            values = _macd(prices, indicator.get("fast", 12), indicator.get("slow", 26), indicator.get("signal", 9))
        case "drawdown":
            values = {"values": [(p / peak - 1) * 100 for p, peak in zip(prices, accumulate(prices, max))]}
    check(all(values.values()), f"prices: {len(prices)} are too few for this window")
    shown = {name: [float(f"{value:.7g}") for value in some[-last:]] for name, some in values.items()}
    return {"kind": indicator["kind"], **shown, "total": len(next(iter(values.values())))}


def _averages(prices: list[float], window: int) -> list[float]:
    return [math.fsum(prices[i - window : i]) / window for i in range(window, len(prices) + 1)]


def _exponential(prices: list[float], window: int) -> list[float]:
    """Begins with the simple average of the first window."""
    if len(prices) < window:
        return []
    return list(
        accumulate(
            prices[window:],
            lambda old, new: old + 2 / (window + 1) * (new - old),
            initial=math.fsum(prices[:window]) / window,
        )
    )


def _rsi(prices: list[float], window: int) -> list[float]:
    changes = [b - a for a, b in pairwise(prices)]
    if len(changes) < window:
        return []
    rise = math.fsum(max(0.0, change) for change in changes[:window]) / window
    fall = math.fsum(max(0.0, -change) for change in changes[:window]) / window
    found = [100 * rise / (rise + fall) if rise + fall else 50.0]
    for change in changes[window:]:
        rise = (rise * (window - 1) + max(0.0, change)) / window
        fall = (fall * (window - 1) + max(0.0, -change)) / window
        found.append(100 * rise / (rise + fall) if rise + fall else 50.0)
    return found


def _bollinger(prices: list[float], window: int, deviations: float) -> dict[str, list[float]]:
    middle = _averages(prices, window)
    spread = [math.dist(prices[i : i + window], [mean] * window) / math.sqrt(window) for i, mean in enumerate(middle)]
    low = [mean - deviations * s for mean, s in zip(middle, spread)]
    return {"middle": middle, "low": low, "high": [mean + deviations * s for mean, s in zip(middle, spread)]}


def _macd(prices: list[float], fast: int, slow: int, signal: int) -> dict[str, list[float]]:
    check(fast < slow, f"indicator.fast: must be less than slow {slow}")
    short, long = _exponential(prices, fast), _exponential(prices, slow)
    line = [a - b for a, b in zip(short[slow - fast :], long)]
    smooth = _exponential(line, signal)
    return {
        "macd": line[signal - 1 :],
        "signal": smooth,
        "histogram": [a - b for a, b in zip(line[signal - 1 :], smooth)],
    }
