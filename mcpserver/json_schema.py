"""What pydantic writes as JSON Schema, made short enough for a small model to read. Pure functions."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

_MAPS = ("properties", "patternProperties")
_VALUES = ("enum", "default", "const", "examples")
_LEFT_OUT = ("title", "discriminator")


def tidy_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Shorten what pydantic writes: no titles, references inlined, objects closed to unknown keys.

    A schema that contains itself keeps its ``$defs``, since it cannot be inlined.
    """
    definitions = schema.get("$defs", {})
    recursive = {name for name in definitions if _reaches(name, name, definitions)}
    tidied: dict[str, Any] = _tidy({k: v for k, v in schema.items() if k != "$defs"}, definitions, recursive)
    if recursive:
        tidied["$defs"] = {name: _tidy(definitions[name], definitions, recursive) for name in sorted(recursive)}
    return tidied


def _reaches(start: str, goal: str, definitions: Mapping[str, Any]) -> bool:
    todo, seen = [start], set[str]()
    while todo:
        for name in re.findall(r'"#/\$defs/([^"]+)"', json.dumps(definitions[todo.pop()])):
            if name == goal:
                return True
            if name not in seen:
                seen.add(name)
                todo.append(name)
    return False


def _tidy(node: Any, definitions: Mapping[str, Any], recursive: set[str]) -> Any:
    if isinstance(node, list):
        return [_tidy(item, definitions, recursive) for item in node]
    if not isinstance(node, dict):
        return node
    name = str(node.get("$ref", "")).removeprefix("#/$defs/")
    if name and name not in recursive:
        siblings = {key: value for key, value in node.items() if key != "$ref"}
        return _tidy({**definitions[name], **siblings}, definitions, recursive)
    tidied: dict[str, Any] = {}
    for key, value in node.items():
        if key in _MAPS:  # a property may itself be called "title"
            tidied[key] = {name: _tidy(schema, definitions, recursive) for name, schema in value.items()}
        elif key in _VALUES:
            tidied[key] = value
        elif key not in _LEFT_OUT and not (key == "additionalProperties" and value is True):
            tidied[key] = _tidy(value, definitions, recursive)
    if "properties" in tidied:
        tidied.setdefault("additionalProperties", False)
    return tidied


def find_patterns(node: Any) -> Iterator[str]:
    """Every regular expression in a schema."""
    if isinstance(node, list):
        for item in node:
            yield from find_patterns(item)
    elif isinstance(node, dict):
        if isinstance(node.get("pattern"), str):
            yield node["pattern"]
        yield from node.get("patternProperties", ())
        for key, value in node.items():
            if key not in _VALUES:
                yield from find_patterns(list(value.values()) if key in _MAPS else value)
