"""Arguments that a model writes as untyped text: strings as they are, everything else as JSON.

Such text is ambiguous: ``7`` may be the number or a string of one digit. The tool's JSON Schema decides where the tools
are known: a reading that the schema has no place for gives way to the other one. Without a schema, or where the schema
has a place for both, text that is JSON other than a string is that JSON value, and any other text is itself. Python's
``True``, ``False`` and ``None`` count as JSON here, because several chat templates write them.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from toolwright.dialect.block import BlockError, load_json, write_json
from toolwright.records import ToolCall, ToolSpec
from toolwright.words import shorten

PYTHON_WORDS: dict[str, Any] = {"True": True, "False": False, "None": None}
_MAX_REFERENCES = 16


def read_arguments(name: str, pairs: Sequence[tuple[str, str]], tools: Sequence[ToolSpec]) -> dict[str, Any]:
    """Give types to the arguments of a call of ``name``, by the schema of the tool of that name if there is one.

    Raises:
        BlockError: a parameter that is written twice, or text that no string may hold.
    """
    schema: Mapping[str, Any] = next((tool.parameters for tool in tools if tool.name == name), {})
    properties = schema.get("properties")
    arguments: dict[str, Any] = {}
    for key, text in pairs:
        if key in arguments:
            raise BlockError("bad_arguments", f"the parameter {shorten(key, 60)} is written twice")
        own = properties.get(key) if isinstance(properties, Mapping) else None
        arguments[key] = read_value(text, own, schema)
    return strict(arguments)


def read_value(text: str, schema: object, root: Mapping[str, Any]) -> Any:
    """The value that ``text`` stands for in a place with ``schema``, whose references point into ``root``."""
    try:
        value = PYTHON_WORDS[text] if text in PYTHON_WORDS else load_json(text)
    except BlockError:
        return text
    if isinstance(value, str) or text != text.strip():
        return text
    types = allowed_types(schema, root)
    return text if types is not None and "string" in types and not _type_names(value) & types else value


def allowed_types(schema: object, root: Mapping[str, Any], follow: int = _MAX_REFERENCES) -> frozenset[str] | None:
    """The JSON types that a schema has a place for; None where it does not say."""
    if not isinstance(schema, Mapping):
        return None
    if "$ref" in schema:
        target = _refer(schema["$ref"], root) if follow else None
        return allowed_types(target, root, follow - 1)
    types = schema.get("type")
    if isinstance(types, str):
        return frozenset({types})
    if isinstance(types, list):
        return frozenset(name for name in types if isinstance(name, str))
    values = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if isinstance(values, list):
        return frozenset().union(*map(_type_names, values))
    for key in ("anyOf", "oneOf"):
        if isinstance(schema.get(key), list):
            options = [allowed_types(option, root, follow - 1) if follow else None for option in schema[key]]
            known = [option for option in options if option is not None]
            return frozenset().union(*known) if len(known) == len(options) else None
    return None


def _refer(reference: object, root: Mapping[str, Any]) -> object:
    target: object = root
    for part in str(reference).removeprefix("#").split("/")[1:]:
        target = target.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(target, Mapping) else None
    return target


def _type_names(value: object) -> frozenset[str]:
    if isinstance(value, bool):
        return frozenset({"boolean"})
    if isinstance(value, int):
        return frozenset({"integer", "number"})
    names = {float: "number", str: "string", list: "array", dict: "object", type(None): "null"}
    return frozenset({names.get(type(value), "object")})


def strict(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The same arguments, made sure to be what strict JSON can hold.

    Raises:
        BlockError: numbers that are not finite, lone surrogates, or too many levels.
    """
    checked: dict[str, Any] = load_json(json.dumps(arguments))
    return checked


def write_value(call: ToolCall, value: object) -> str:
    """Write an argument of ``call`` as untyped text.

    Raises:
        DataError: a value that JSON cannot hold.
    """
    return value if isinstance(value, str) else write_json(call, value)
