"""Google docstrings of tools: the first line, ``Args:`` and ``Example:``, which models and tests read."""

import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from toolwright.errors import DataError
from toolwright.words import shorten

_SECTIONS = ("Args", "Example", "Examples", "Raises", "Returns", "Note", "Notes", "Yields", "Source")


@dataclass(frozen=True)
class Docstring:
    """What a docstring says: its first line, one text for each parameter, and arguments that work."""

    summary: str
    parameters: Mapping[str, str]
    examples: tuple[dict[str, Any], ...]


def read_docstring(function: Callable[..., Any], place: str) -> Docstring:
    """Read the docstring of a tool; ``place`` is its file and line, for errors.

    Raises:
        DataError: no docstring, or an example that is not a JSON object.
    """
    lines = (inspect.getdoc(function) or "").splitlines()
    if not lines or not lines[0].strip():
        raise DataError(f"{place}: tool {function.__name__!r} has no docstring; its first line is what models read")
    sections = _split(lines[1:])
    where = f"{place}: example of tool {function.__name__!r}"
    examples = tuple(_read_examples("\n".join(sections.get("Example", []) + sections.get("Examples", [])), where))
    return Docstring(lines[0].strip().rstrip("."), dict(_read_arguments(sections.get("Args", []))), examples)


def _split(lines: list[str]) -> dict[str, list[str]]:
    """The lines of each section, with their indentation."""
    sections: dict[str, list[str]] = {}
    section = ""
    for line in lines:
        if line.removesuffix(":") in _SECTIONS and line.endswith(":"):
            section = line.removesuffix(":")
        elif line.strip():
            sections.setdefault(section, []).append(line)
    return sections


def _read_arguments(lines: list[str]) -> Iterator[tuple[str, str]]:
    """The text of each parameter; a line that is indented further continues the one before."""
    margin = min((len(line) - len(line.lstrip()) for line in lines), default=0)
    entries: list[str] = []
    for line in lines:
        if entries and line[margin].isspace():
            entries[-1] += f" {line.strip()}"
        else:
            entries.append(line.strip())
    for entry in entries:
        if match := re.match(r"\*{0,2}(\w+)[^:]*:\s*(.+)", entry):
            yield match[1], match[2]


def _read_examples(text: str, where: str) -> Iterator[dict[str, Any]]:
    """The JSON objects of an ``Example:`` section, one after the other."""
    decoder = json.JSONDecoder()
    text = text.strip()
    while text:
        try:
            example, end = decoder.raw_decode(text)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where} is not JSON ({error}): {shorten(text)}") from None
        if not isinstance(example, dict):
            raise DataError(f"{where} is not a JSON object: {shorten(text)}")
        yield example
        text = text[end:].lstrip()
