"""Series of numbers in equal steps of time: smoothing, autocorrelation, forecasts. Reads and writes nothing."""

import math
from itertools import pairwise
from typing import Annotated, Any, Literal, NotRequired

from annotated_types import Ge, Gt, Le, Len
from typing_extensions import TypedDict

from mcpserver.toolbox.figures import NotNegative, Number, by_library, check

Series = Annotated[list[Number], Len(2, 800)]
Smoothing = Annotated[float, Gt(0), Le(1)]
Period = Annotated[int, Ge(2), Le(100)]


class Simple(TypedDict):
    """Mean of the last values, or of values on both sides (centered)."""

    kind: Literal["simple", "centered"]
    window: Annotated[int, Ge(2), Le(400)]


class Weighted(TypedDict):
    """Mean of the last values by weight, the newest last."""

    kind: Literal["weighted"]
    weights: Annotated[list[NotNegative], Len(2, 100)]


class Exponential(TypedDict):
    """Each new value counts by alpha, all before by the rest."""

    kind: Literal["exponential"]
    alpha: Smoothing


class Naive(TypedDict):
    """The last value, the last one of the same season, or a line through first and last value (drift)."""

    kind: Literal["last", "seasonal", "drift"]
    period: NotRequired[Period]


class Holt(TypedDict):
    """Exponential smoothing of level and trend; damping below 1 lets the trend fade."""

    kind: Literal["holt"]
    alpha: Smoothing
    beta: Smoothing
    damping: NotRequired[Annotated[float, Ge(0.5), Le(1)]]


class HoltWinters(TypedDict):
    """Exponential smoothing of level, trend and additive season; needs two whole periods."""

    kind: Literal["holt_winters"]
    alpha: Smoothing
    beta: Smoothing
    gamma: Smoothing
    period: Period


@by_library
def smooth_series(values: Series, method: Simple | Weighted | Exponential) -> dict[str, Any]:
    """Smooth a series by a moving average or exponentially.

    Args:
        values: the series, oldest first
        method: kind of smoothing

    Example:
        {"values": [3, 5, 4, 6, 8, 7], "method": {"kind": "simple", "window": 3}}
        {"values": [3, 5, 4, 6, 8, 7], "method": {"kind": "exponential", "alpha": 0.3}}
    """
    if method["kind"] == "exponential":
        smoothed = [float(values[0])]
        for value in values[1:]:
            smoothed.append(method["alpha"] * value + (1 - method["alpha"]) * smoothed[-1])
        return {"values": _short(smoothed), "first_index": 0}
    weights = method["weights"] if method["kind"] == "weighted" else [1.0] * method["window"]
    size = len(weights)
    check(math.fsum(weights) > 0, "method.weights: at least one must be above 0")
    check(size <= len(values), f"method: a window of {size} is longer than the series of {len(values)}")
    check(method["kind"] != "centered" or size % 2 == 1, "method.window: a centered window needs an odd length")
    means = [
        math.fsum(w * v for w, v in zip(weights, values[start : start + size])) / math.fsum(weights)
        for start in range(len(values) - size + 1)
    ]
    return {"values": _short(means), "first_index": size // 2 if method["kind"] == "centered" else size - 1}


@by_library
def autocorrelate_series(
    values: Annotated[list[Number], Len(4, 5000)], lags: Annotated[int, Ge(1), Le(100)] = 10
) -> dict[str, Any]:
    """Measure how a series goes together with itself some steps before, with the Ljung-Box test.

    Args:
        values: the series, oldest first
        lags: largest number of steps

    Example:
        {"values": [1, 3, 2, 4, 3, 5, 4, 6, 5, 7], "lags": 3}
    """
    import numpy as np
    from scipy import stats

    check(lags < len(values), f"lags: must be less than the {len(values)} values")
    centered = np.asarray(values, dtype=float) - np.mean(values)
    whole = float(centered @ centered)
    check(len(set(values)) > 1 and whole > 0, "values: they are all alike")
    found = [float(centered[lag:] @ centered[:-lag]) / whole for lag in range(1, lags + 1)]
    n = len(values)
    q = n * (n + 2) * math.fsum(r * r / (n - lag) for lag, r in enumerate(found, 1))
    bound = 1.959963984540054 / math.sqrt(n)
    outside = [lag for lag, r in enumerate(found, 1) if abs(r) > bound]
    result = {"autocorrelation": found, "bound_95": bound, "significant_lags": outside}
    return result | {"ljung_box": q, "p_value": stats.chi2.sf(q, lags)}


@by_library
def forecast_series(
    values: Annotated[list[Number], Len(3, 5000)],
    method: Naive | Holt | HoltWinters,
    steps: Annotated[int, Ge(1), Le(100)] = 5,
) -> dict[str, Any]:
    """Forecast a series by its last values, its trend, or its trend and season.

    Args:
        values: the series, oldest first
        method: model with its parameters
        steps: values to forecast

    Example:
        {"values": [10, 12, 13, 15, 16, 18], "method": {"kind": "holt", "alpha": 0.6, "beta": 0.3}, "steps": 3}
        {"values": [5, 9, 7, 3, 6, 10, 8, 4], "method": {"kind": "seasonal", "period": 4}, "steps": 4}
    """
    if method["kind"] == "holt":
        return _holt(values, method, steps)
    if method["kind"] == "holt_winters":
        return _holt_winters(values, method, steps)
    period = method.get("period", 0)
    check(
        method["kind"] != "seasonal" or 2 <= period <= len(values),
        "method.period: give the length of a season, at most that of the series",
    )
    if method["kind"] == "seasonal":
        return _judged(
            [values[len(values) - period + i % period] for i in range(steps)],
            [b - a for a, b in zip(values, values[period:])],
        )
    errors = [b - a for a, b in pairwise(values)]
    slope = (values[-1] - values[0]) / (len(values) - 1) if method["kind"] == "drift" else 0.0
    return _judged([values[-1] + slope * step for step in range(1, steps + 1)], [error - slope for error in errors])


def _holt(values: list[float], method: Holt, steps: int) -> dict[str, Any]:
    damping, errors = method.get("damping", 1.0), []
    level, trend = float(values[0]), float(values[1] - values[0])
    for value in values[1:]:
        expected = level + damping * trend
        errors.append(value - expected)
        before, level = level, method["alpha"] * value + (1 - method["alpha"]) * expected
        trend = method["beta"] * (level - before) + (1 - method["beta"]) * damping * trend
    factors = [math.fsum(damping**power for power in range(1, step + 1)) for step in range(1, steps + 1)]
    return _judged([level + factor * trend for factor in factors], errors) | {"level": level, "trend": trend}


def _holt_winters(values: list[float], method: HoltWinters, steps: int) -> dict[str, Any]:
    period = method["period"]
    check(len(values) >= 2 * period, f"values: two periods of {period} are needed, there are {len(values)} values")
    first, second = values[:period], values[period : 2 * period]
    level = math.fsum(first) / period
    trend = (math.fsum(second) / period - level) / period
    seasons, errors = [value - level for value in first], []
    for index in range(period, len(values)):
        value, season = values[index], seasons[index % period]
        errors.append(value - level - trend - season)
        before, level = level, method["alpha"] * (value - season) + (1 - method["alpha"]) * (level + trend)
        trend = method["beta"] * (level - before) + (1 - method["beta"]) * trend
        seasons[index % period] = method["gamma"] * (value - level) + (1 - method["gamma"]) * season
    found = [level + step * trend + seasons[(len(values) + step - 1) % period] for step in range(1, steps + 1)]
    return _judged(found, errors) | {"level": level, "trend": trend, "seasons": seasons}


def _judged(forecast: list[float], errors: list[float]) -> dict[str, Any]:
    """A forecast with the errors of the forecasts of one step (or season) within the series."""
    if not errors:
        return {"forecast": forecast}
    mean_error = math.fsum(map(abs, errors)) / len(errors)
    root = math.sqrt(math.fsum(error * error for error in errors) / len(errors))
    return {"forecast": forecast, "mean_absolute_error": mean_error, "root_mean_square_error": root}


def _short(values: list[float]) -> list[float]:
    return [float(f"{value:.8g}") for value in values]
