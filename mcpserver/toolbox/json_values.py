"""JSON values that models give or get: read strictly, checked for size, addressed by path and pointer.

Nothing but the standard library at import, since it is used by sandboxed workers.
"""

import datetime
import json
import math
import re
from collections.abc import Iterator
from typing import Any

from mcpserver.tool_error import ToolError
from toolwright.words import nearest, shorten

MAX_DEPTH = 50
MAX_NODES = 50_000
_MAX_INTEGER = 10**300
_STEP = re.compile(r"\.?\[(-?\d{1,9}|\*|'[^']*'|\"[^\"]*\")\]|(\.\.|\.|^)([^.\[\]]+)")


def parse_json(text: str, parameter: str = "text") -> Any:
    """Read JSON; NaN, infinite and endless numbers are none.

    Raises:
        ToolError: ``bad_arguments`` with line and column.
    """
    try:
        value = json.loads(text, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}"
        raise ToolError("bad_arguments", f"{parameter}: no JSON: {error.msg} at {place}") from None
    except (ValueError, RecursionError) as error:
        raise ToolError("bad_arguments", f"{parameter}: no JSON: {shorten(str(error), 80)}") from None
    return plain(value, parameter)


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def plain(value: Any, parameter: str) -> Any:
    """A JSON value made of whatever YAML, TOML or JSON gave: dates as text, keys as text, no part shared.

    Raises:
        ToolError: ``limit`` for more than ``MAX_NODES`` parts (which a few aliases of YAML can make of a short text)
            or too deep nesting; ``bad_arguments`` for infinite numbers and what is no JSON.
    """
    return _plain(value, parameter, iter(range(MAX_NODES)), 0)


def _plain(value: Any, parameter: str, left: Iterator[int], depth: int) -> Any:
    if next(left, None) is None or depth > MAX_DEPTH:
        raise ToolError("limit", f"{parameter}: more than {MAX_NODES} values, or deeper than {MAX_DEPTH} levels")
    if isinstance(value, dict):
        return {_key(key): _plain(inner, parameter, left, depth + 1) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner, parameter, left, depth + 1) for inner in value]
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and not math.isfinite(value):
        raise ToolError("bad_arguments", f"{parameter}: an infinite number or NaN cannot be written in JSON")
    if isinstance(value, int) and abs(value) > _MAX_INTEGER:
        raise ToolError("bad_arguments", f"{parameter}: an integer of more than 300 digits is not taken")
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    return value


def _key(key: Any) -> str:
    if isinstance(key, str):
        return key.encode("utf-8", "replace").decode()
    return json.dumps(key) if key is None or isinstance(key, bool) else str(key)


def find_path(value: Any, path: str) -> list[tuple[str, Any]]:
    """All places that a path leads to, each with its own path.

    The path is written as in ``items[0].name``; ``[*]`` or ``*`` means all, ``..name`` searches below, ``['a b']``
    names a key with other characters; a ``$`` at the beginning means the whole value.

    Raises:
        ToolError: ``bad_arguments`` for what is no path.
    """
    rest = path.removeprefix("$")
    found = [("$", value)]
    while rest:
        match = _STEP.match(rest)
        if match is None or match.end() == 0:
            raise ToolError("bad_arguments", f"path: {shorten(rest, 40)} is no step such as .name, [0], [*] or ..name")
        step, rest = match[1] or match[3], rest[match.end() :]
        name = step[1:-1] if step[:1] in "'\"" else step
        is_index = match[1] is not None and step[:1] not in "'\""
        places = [inner for place in found for inner in _below(place)] if match[2] == ".." else found
        found = [inner for place in places for inner in _children(place, name, is_index)]
    return found


def _children(place: tuple[str, Any], name: str, is_index: bool) -> Iterator[tuple[str, Any]]:
    path, value = place
    if isinstance(value, dict):
        if name == "*":
            yield from ((path + _named(key), inner) for key, inner in value.items())
        elif not is_index and name in value:
            yield path + _named(name), value[name]
    elif isinstance(value, list):
        if name == "*":
            yield from ((f"{path}[{index}]", inner) for index, inner in enumerate(value))
        elif re.fullmatch(r"-?\d{1,9}", name) and -len(value) <= int(name) < len(value):
            index = int(name) % len(value)
            yield f"{path}[{index}]", value[index]


def _named(key: str) -> str:
    return f".{key}" if re.fullmatch(r"[^.\[\]'\"*\s]+", key) else f"[{key!r}]"


def _below(place: tuple[str, Any]) -> Iterator[tuple[str, Any]]:
    yield place
    for inner in _children(place, "*", False):
        yield from _below(inner)


def need_path(value: Any, path: str) -> list[tuple[str, Any]]:
    """As ``find_path``, but something must be there.

    Raises:
        ToolError: ``tool_error`` with the names that are there.
    """
    found = find_path(value, path)
    if not found:
        names = list(value) if isinstance(value, dict) else [f"[{index}]" for index in range(len(value))][:5]
        last = re.split(r"[.\[]", path.strip("$."))[0]
        raise ToolError("tool_error", f"path: nothing is at {shorten(path, 60)}{nearest(last, names)}")
    return found
