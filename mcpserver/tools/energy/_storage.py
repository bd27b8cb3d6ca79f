"""The best use of a storage at known prices. Reads and writes nothing."""

from mcpserver.tool_error import ToolError

Segments = list[tuple[float, float]]
"""Slopes with their lengths, slopes falling: a concave function from a first level on."""
_NOISE = 1e-7


def best_levels(
    prices: list[float], capacity: float, start: float, final: float, up: float, down: float, cost: float
) -> list[float]:
    """The levels day by day (one more than prices) that earn most, ending at ``final`` or above; ties stay put.

    What gas in store is worth is concave and piecewise linear in the level. Going back a day adds two pieces to it: the
    injection at price plus cost, and the withdrawal at price minus cost. So the plan is exact.

    Raises:
        ToolError: the final level cannot be reached.
    """
    low, pieces = final, [(0.0, capacity - final)]
    later = [(low, pieces)]
    for price in reversed(prices):
        low, pieces = low - up, sorted([*pieces, (price + cost, up), (price - cost, down)], reverse=True)
        low, pieces = _within(low, pieces, capacity)
        later.append((low, pieces))
    if not later[-1][0] - _NOISE <= start <= _end(*later[-1]) + _NOISE:
        raise ToolError("tool_error", f"final_level_mwh: {final:g} cannot be reached in {len(prices)} days")
    levels = [start]
    for price, (low, pieces) in zip(prices, reversed(later[:-1])):
        levels.append(_next(levels[-1], price, low, pieces, up, down, cost))
    return levels


def _within(low: float, pieces: Segments, capacity: float) -> tuple[float, Segments]:
    """The part of a function between 0 and the capacity."""
    kept: Segments = []
    at, first = low, max(0.0, low)
    for slope, length in pieces:
        a, b = max(at, 0.0), min(at + length, capacity)
        if b > a:
            kept.append((slope, b - a))
        at += length
    return first, kept


def _end(low: float, pieces: Segments) -> float:
    return low + sum(length for _, length in pieces)


def _next(level: float, price: float, low: float, pieces: Segments, up: float, down: float, cost: float) -> float:
    """The level after a day: up while gas is worth more later than it costs now, down while it is worth less."""
    lowest, highest = max(low, level - down), min(_end(low, pieces), level + up)
    at, target = low, min(max(level, lowest), highest)
    for slope, length in pieces:
        a, b = max(at, level), min(at + length, highest)
        if b > a and slope > price + cost + _NOISE:
            target = max(target, b)
        c, d = max(at, lowest), min(at + length, level)
        if d > c and slope < price - cost - _NOISE:
            target = min(target, c)
        at += length
    return round(target, 9)
