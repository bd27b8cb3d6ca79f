"""Random arguments for a tool, drawn from its schema: mostly fitting, often extreme, sometimes naming real files."""

import inspect
import random
from collections.abc import Sequence
from types import ModuleType

from tool_calls import World
from tool_checks import random_value

from mcpserver.catalogue import Function, make_tool
from mcpserver.tool_error import ToolError
from toolwright.errors import DataError

WORDS = [
    "",
    "a",
    "x" * 50,
    "navy",
    "#12345678",
    "a\x00b",
    "\ud800",
    "é ß 漢字 🎈",
    "../x",
    "//",
    ".",
    "a/b",
    "1",
    "2025-03-14",
    "x**2",
]


def functions(*modules: ModuleType) -> list[Function]:
    """The functions of tool modules that are tools."""
    found = ((module, value) for module in modules for value in vars(module).values() if inspect.isfunction(value))
    return [value for module, value in found if value.__module__ == module.__name__ and value.__name__[0] != "_"]


def refusals(world: World, function: Function, calls: int, files: Sequence[str], seed: int = 0) -> int:
    """Call a tool with random arguments; give how many calls it refused. Anything but a ``ToolError`` escapes."""
    tool = make_tool(function, "test")
    draw = random.Random(f"{seed} {function.__name__}")
    refused = 0
    for _ in range(calls):
        schema = tool.spec.parameters
        example = dict(draw.choice(tool.examples))
        names = [name for name in schema["properties"] if draw.random() < 0.35]
        arguments = {name: random_value(schema["properties"][name], draw, [*WORDS, *files]) for name in names}
        try:
            world.call(tool, **(example | arguments))
        except (ToolError, DataError):
            refused += 1
    return refused
