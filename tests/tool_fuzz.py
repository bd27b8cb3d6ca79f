"""Random arguments for a tool, drawn from its schema: mostly fitting, often extreme, sometimes naming real files."""

import inspect
import random
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from tool_calls import World

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
        arguments = {name: _value(schema["properties"][name], draw, files) for name in names}
        try:
            world.call(tool, **(example | arguments))
        except (ToolError, DataError):
            refused += 1
    return refused


def _value(schema: dict[str, Any], draw: random.Random, files: Sequence[str], depth: int = 0) -> Any:
    options = schema.get("anyOf") or schema.get("oneOf")
    if options:
        return _value(draw.choice(options), draw, files, depth)
    if "enum" in schema:
        return draw.choice(schema["enum"])
    if "const" in schema:
        return schema["const"]
    match schema.get("type"):
        case "integer" | "number":
            return _number(schema, draw)
        case "boolean":
            return draw.random() < 0.5
        case "array":
            least = schema.get("minItems", 0)
            size = draw.randint(least, min(schema.get("maxItems", 5), least + 4))
            return [_value(schema["items"], draw, files, depth + 1) for _ in range(size)] if depth < 6 else []
        case "object":
            return _object(schema, draw, files, depth)
    return draw.choice([*WORDS, *files])


def _number(schema: dict[str, Any], draw: random.Random) -> int | float:
    low, high = schema.get("minimum", -(10**6)), schema.get("maximum", 10**6)
    if schema["type"] == "integer":
        return draw.choice([low, high, draw.randint(low, high), min(high, max(low, draw.randint(0, 20)))])
    return draw.choice([low, high, draw.uniform(low, high), min(high, max(low, 0.5))])


def _object(schema: dict[str, Any], draw: random.Random, files: Sequence[str], depth: int) -> dict[str, Any]:
    if "properties" in schema:
        required = schema.get("required", ())
        wanted = [name for name in schema["properties"] if name in required or draw.random() < 0.5]
        return {name: _value(schema["properties"][name], draw, files, depth + 1) for name in wanted}
    inner = schema.get("additionalProperties")
    inner = inner if isinstance(inner, dict) else {"type": "string"}
    return {draw.choice(WORDS): _value(inner, draw, files, depth + 1) for _ in range(draw.randint(0, 3))}
