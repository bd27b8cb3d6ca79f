"""Examples of a tool with numbers changed to extreme ones, so that lists keep their lengths."""

import contextlib
import random
from typing import Any

from tool_calls import World

from mcpserver.catalogue import Tool
from mcpserver.tool_error import ToolError
from toolwright.errors import DataError

EXTREMES = (
    0,
    1,
    -1,
    2,
    3,
    7,
    12,
    100,
    0.5,
    0.1,
    -0.25,
    1e-12,
    1e-300,
    -1e-9,
    999.99,
    1e6,
    -1e6,
    1e9,
    1e12,
    -1e12,
    10**30,
)


def check_extreme_numbers(tool: Tool, world: World, calls: int = 150) -> None:
    """Whatever the numbers, a finite result comes back, or a typed error."""
    draw = random.Random(tool.spec.name)
    for _ in range(calls):
        part = draw.choice((0.1, 0.3, 1.0))
        arguments = {name: _changed(value, draw, part) for name, value in draw.choice(tool.examples).items()}
        with contextlib.suppress(ToolError, DataError):
            world.call(tool, **arguments)  # refuses NaN and infinity in a result


def _changed(value: Any, draw: random.Random, part: float) -> Any:
    if isinstance(value, dict):
        return {name: _changed(inner, draw, part) for name, inner in value.items()}
    if isinstance(value, list):
        return [_changed(inner, draw, part) for inner in value]
    if isinstance(value, bool):
        return value if draw.random() > part else draw.random() < 0.5
    if isinstance(value, int | float) and draw.random() < part:
        return draw.choice((*EXTREMES, value, value * 2, -value))
    return value
