"""Arithmetic and small statistics."""

import math
import statistics
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from mcpserver.tool_error import ToolError
from mcpserver.toolbox.arithmetic import evaluate, tidy

RUNS_IN = "server"
MAX_NUMBER = 1e15


def _bounded(value: float) -> float:
    if not abs(value) <= MAX_NUMBER:
        raise ValueError(f"must lie between -{MAX_NUMBER:g} and {MAX_NUMBER:g}")
    return value


Number = Annotated[float, AfterValidator(_bounded)]
Numbers = Annotated[list[Number], Field(description="list of numbers", min_length=1, max_length=200)]


def calculate(expression: Annotated[str, Field(description="such as (3+4)*2")]) -> dict[str, Any]:
    """Calculate an arithmetic expression.

    Example:
        {"expression": "(31.5 - 29.2) * 1200"}
        {"expression": "sqrt(144) + 2 ** 10"}
    """
    return {"result": evaluate(expression)}


def mean(values: Numbers) -> dict[str, Any]:
    """Compute the mean of numbers.

    Example:
        {"values": [3, 5, 10]}
    """
    return {"result": tidy(statistics.fmean(values))}


def median(values: Numbers) -> dict[str, Any]:
    """Compute the median of numbers.

    Example:
        {"values": [3, 5, 10]}
    """
    return {"result": tidy(statistics.median(values))}


def standard_deviation(values: Numbers) -> dict[str, Any]:
    """Compute the sample standard deviation of numbers.

    Example:
        {"values": [3, 5, 10]}
    """
    if len(values) < 2:
        raise ToolError("bad_arguments", "values: a standard deviation needs at least two numbers")
    return {"result": tidy(round(statistics.stdev(values), 6))}


def percent_change(
    old: Annotated[Number, Field(description="first value")], new: Annotated[Number, Field(description="second value")]
) -> dict[str, Any]:
    """Compute the change between two values in percent.

    Example:
        {"old": 28.4, "new": 31.1}
    """
    if old == 0:
        raise ToolError("bad_arguments", "old: a change from 0 has no percentage")
    change = round((new - old) / abs(old) * 100, 4)
    if not math.isfinite(change):
        raise ToolError("bad_arguments", f"old: {old} is too close to 0")
    return {"result": tidy(change), "unit": "percent"}


def sum_values(values: Numbers) -> dict[str, Any]:
    """Add numbers.

    Example:
        {"values": [3, 5, 10]}
    """
    return {"result": tidy(math.fsum(values))}


def round_number(
    value: Annotated[Number, Field(description="number to round")],
    digits: Annotated[int, Field(description="digits after the point", ge=0, le=10)],
) -> dict[str, Any]:
    """Round a number.

    Example:
        {"value": 31.41592, "digits": 2}
    """
    return {"result": tidy(round(value, digits))}
