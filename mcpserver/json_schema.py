"""What pydantic writes as JSON Schema, made short enough for a small model to read. Pure functions."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from toolwright.words import shorten

_MAPS = ("properties", "patternProperties", "$defs")
_VALUES = ("enum", "default", "const", "examples")
_LEFT_OUT = ("title", "discriminator")
_FOREIGN = {"ge", "gt", "le", "lt", "multiple_of"}
_BOUNDS = {
    *("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "pattern"),
}


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


def find_faults(schema: Any) -> Iterator[str]:
    """What pydantic lets pass: patterns that Python cannot read, and bounds on a union, which come out wrong."""
    for node in _nodes(schema):
        pattern = node.get("pattern")
        for text in (*([pattern] if isinstance(pattern, str) else ()), *node.get("patternProperties", ())):
            try:
                re.compile(text)
            except (re.error, RecursionError, OverflowError) as error:
                yield f"pattern {shorten(text)}: {error}"
        is_union = "anyOf" in node or "oneOf" in node
        if (is_union and _BOUNDS & set(node)) or _FOREIGN & set(node):
            yield "a bound stands on a union, or on a type without it; put it on a member: Annotated[int, Ge(1)] | str"


def _nodes(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, list):
        for item in node:
            yield from _nodes(item)
    elif isinstance(node, dict):
        yield node
        for key, value in node.items():
            if key not in _VALUES:
                yield from _nodes(list(value.values()) if key in _MAPS else value)
