"""Interest worked out: what flows are worth, and at which rates nothing. Reads and writes nothing."""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Annotated

from annotated_types import Ge, Gt, Le

Percent = Annotated[float, Ge(0), Le(1000)]
AnyPercent = Annotated[float, Gt(-100), Le(1000)]
Money = Annotated[float, Ge(-1e12), Le(1e12)]
Amount = Annotated[float, Gt(0), Le(1e12)]
Cost = Annotated[float, Ge(0), Le(1e12)]
Flow = tuple[float, float]
"""A time in periods, and an amount."""
_LARGEST_EXPONENT = 600.0


def cents(amount: float) -> float:
    """An amount to two decimals, half a cent away from zero."""
    return math.copysign(math.floor(abs(amount) * 100 + 0.5 + 1e-9) / 100, amount) if amount else 0.0


def present_value(rate: float, flows: Sequence[Flow]) -> float:
    """What flows are worth at time 0; ``rate`` is a share above -1 for each period."""
    growth = math.log1p(rate)
    return sum(amount * math.exp(min(_LARGEST_EXPONENT, -time * growth)) for time, amount in flows)


def rates_of_return(flows: Sequence[Flow]) -> list[float]:
    """All rates from -99.99 % to 10,000 % at which the flows are worth nothing, lowest first."""
    if not (any(amount > 0 for _, amount in flows) and any(amount < 0 for _, amount in flows)):
        return []
    grid = [math.expm1(step / 25) for step in range(-230, 116)]
    return list(_zeros(lambda rate: present_value(rate, flows), grid))


def solve(function: Callable[[float], float], low: float, high: float) -> float | None:
    """Where a rising or falling function is 0, between two numbers; nothing where it keeps its sign."""
    return next(_zeros(function, [low, high]), None)


def _zeros(function: Callable[[float], float], grid: Sequence[float]) -> Iterator[float]:
    for (a, left), (b, right) in pairwise((point, function(point)) for point in grid):
        if left == 0:
            yield a
        elif left * right < 0:
            yield _bisect(function, a, b, left)
    if function(grid[-1]) == 0:
        yield grid[-1]


def _bisect(function: Callable[[float], float], a: float, b: float, left: float) -> float:
    for _ in range(100):
        middle = (a + b) / 2
        a, b = (middle, b) if (function(middle) > 0) == (left > 0) else (a, middle)
    return (a + b) / 2


def payment_of(principal: float, rate: float, periods: float) -> float:
    """The level payment at the end of each period that pays back a loan."""
    return principal / periods if rate == 0 else principal * rate / -math.expm1(-periods * math.log1p(rate))
