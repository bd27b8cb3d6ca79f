"""The catalogue to look at: text by category and toolset, or JSON. Writes to standard output."""

import json
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from mcpserver.catalogue import Tool, all_tools, catalogue, select_tools
from toolwright.words import cut

NARROWEST, WIDEST = 60, 1000


def show_tools(sources: Sequence[str] = (), names: Sequence[str] | None = None, form: str = "text") -> None:
    """Print the built-in tools and those of the sources; warnings about users' tools go to standard error.

    Args:
        sources: users' own tools, as ``catalogue`` takes them.
        names: toolsets, categories or tools; None means all.
        form: ``text``, ``full`` (JSON with everything) or ``openai`` (JSON as models get it).

    Raises:
        ConfigError, DataError: as ``catalogue`` and ``select_tools``.
    """
    tools = select_tools(names, catalogue(sources))
    if form == "text":
        print("\n".join(_lines(tools.values())))
    else:
        write = _describe if form == "full" else lambda tool: tool.spec.to_openai()
        print(json.dumps([write(tool) for tool in tools.values()], indent=1))
    for tool in tools.values():
        if not tool.examples and tool.api is None:
            print(f"warning: {tool.place}: tool {tool.spec.name!r} has no 'Example:' in its docstring", file=sys.stderr)


def _lines(tools: Iterable[Tool]) -> Iterator[str]:
    width = max(NARROWEST, shutil.get_terminal_size().columns) if sys.stdout.isatty() else WIDEST
    ordered = sorted(tools, key=lambda tool: (tool.category, tool.toolset))
    for category, group in groupby(ordered, key=lambda tool: tool.category):
        own = list(group)
        yield f"{category} ({_count(len(own), 'tool')})"
        for toolset, members in _by_toolset(own):
            yield f"  {toolset} ({len(members)})"
            yield from (f"    {_line(tool.spec.name, tool, width - 4)}" for tool in members)
    n_categories = len({tool.category for tool in ordered})
    n_toolsets = len({(tool.category, tool.toolset) for tool in ordered})
    users = sum(tool.spec.name not in all_tools() for tool in ordered)
    yield (
        f"{_count(len(ordered), 'tool')} in {_count(n_toolsets, 'toolset')} of {_count(n_categories, 'category')}"
        + (f", {users} of them your own" if users else "")
    )


def _by_toolset(tools: Sequence[Tool]) -> Iterator[tuple[str, list[Tool]]]:
    for toolset, group in groupby(tools, key=lambda tool: tool.toolset):
        yield toolset, list(group)


def _line(name: str, tool: Tool, width: int) -> str:
    """``name(given, [optional]): what it does``, cut at the width."""
    required = tool.spec.parameters.get("required", ())
    shown = (part if part in required else f"[{part}]" for part in tool.spec.parameters["properties"])
    return cut(f"{name}({', '.join(shown)}): {tool.spec.description}", width)


def _count(number: int, noun: str) -> str:
    plural = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{number} {noun if number == 1 else plural}"


def _describe(tool: Tool) -> Mapping[str, Any]:
    return {
        "name": tool.spec.name,
        "category": tool.category,
        "toolset": tool.toolset,
        "description": tool.spec.description,
        "parameters": tool.spec.parameters,
        "output": tool.output_schema,
        "runs_in": tool.runs_in,
        "examples": list(tool.examples),
        "place": tool.place,
    }
