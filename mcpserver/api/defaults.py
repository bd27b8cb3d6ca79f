"""Enums and defaults that fit the type of their parameter: converted where that is certain, else left out."""

import json
import math
import re
from typing import Any

from mcpserver.api.report import Notes
from mcpserver.api.type_names import fits_type, type_of_value
from mcpserver.api.validation import faults
from mcpserver.api.words import enum_in_text, say
from toolwright.errors import DataError
from toolwright.words import cut

_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_NO = object()


def fix_enum(schema: dict[str, Any], where: str, notes: Notes) -> None:
    """Make ``enum`` a list of different values of the type, in place; or take it from the description."""
    if "enum" not in schema:
        _find_enum(schema, where, notes)
        return
    raw = schema["enum"]
    values = _listed(raw)
    if isinstance(raw, str) and values:
        notes.add("enum_in_text", where, raw, values)
    elif not values:
        del schema["enum"]
        notes.add("enum_empty" if raw in ([], {}, "", None) else "schema_keyword", where, {"enum": raw}, None)
        return
    kind = schema.get("type")
    kept = _distinct([_converted(value, kind) for value in values])
    if any(value is _NO for value in kept):
        kept = _distinct(values)  # the values are what the API takes; the type was wrong
        types = list(dict.fromkeys(type_of_value(value) for value in kept))
        schema["type"] = types if len(types) > 1 else types[0]
        notes.add("enum_values", where, {"type": kind}, {"type": schema["type"]})
    if isinstance(raw, list) and (len(kept) != len(raw) or any(a is not b for a, b in zip(kept, raw))):
        notes.add("enum_values", where, raw, kept)
    schema["enum"] = kept


def _find_enum(schema: dict[str, Any], where: str, notes: Notes) -> None:
    text = schema.get("description")
    if schema.get("type") != "string" or not text or "pattern" in schema or "const" in schema:
        return
    values = enum_in_text(text)
    if values and ("default" not in schema or schema["default"] is None or schema["default"] in values):
        schema["enum"] = values
        notes.add("enum_in_text", where, text, values)


def _listed(raw: object) -> list[Any]:
    if isinstance(raw, list):
        return [value for value in raw if _is_json(value)]
    if isinstance(raw, dict):
        return list(raw)
    if isinstance(raw, str):
        return [part.strip().strip("'\"`") for part in re.split(r"[,|;]", raw.strip("[](){} ")) if part.strip()]
    return []


def _distinct(values: list[Any]) -> list[Any]:
    kept: list[Any] = []
    for value in values:
        if value is _NO or not any(value == other and type(value) is type(other) for other in kept):
            kept.append(value)
    return kept


def _is_json(value: object) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _converted(value: Any, kind: object) -> Any:
    """The value as one of the type; ``_NO`` when that is not certain."""
    if fits_type(value, kind):
        return value
    kinds = kind if isinstance(kind, list) else [kind]
    for one in kinds:
        made = _convert(value, one)
        if made is not _NO:
            return made
    return _NO


def _convert(value: Any, kind: object) -> Any:
    if kind == "string" and isinstance(value, bool | int | float):
        return json.dumps(value)
    if kind == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    if kind in ("array", "object") and isinstance(value, str):
        return _parsed(value, kind)
    if not isinstance(value, str | int) or isinstance(value, bool):
        return _NO
    text = str(value).strip()
    if kind == "boolean" and text.lower() in (*_TRUE, *_FALSE):
        return text.lower() in _TRUE
    if kind in ("integer", "number") and len(text) < 40 and _NUMBER.fullmatch(text):
        number = float(text)
        if number.is_integer() and abs(number) < 2**53:
            return int(number)
        return number if kind == "number" and math.isfinite(number) else _NO
    return _NO


def _parsed(text: str, kind: str) -> Any:
    if text.strip()[:1] in ("[", "{"):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return _NO
        return value if fits_type(value, kind) and _is_json(value) else _NO
    return _NO


def fix_default(schema: dict[str, Any], where: str, notes: Notes) -> None:
    """Make ``default`` one that the schema takes, in place, or leave it out and tell it in the description."""
    if "default" not in schema:
        return
    raw = schema["default"]
    if raw is None and not fits_type(None, schema.get("type", "any")):
        del schema["default"]
        notes.add("default_null", where, None, "left out")
        return
    value = _converted(raw, schema.get("type")) if _is_json(raw) else _NO
    if value is not _NO and isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
        notes.add("default_whole", where, raw, value)
    value = _in_enum(value, schema.get("enum"))
    if value is _NO or not _takes(schema, value):
        del schema["default"]
        notes.add("default_dropped", where, raw, "left out")
        if raw not in ("", [], {}) and _is_json(raw):
            say(schema, f"(Default: {cut(raw if isinstance(raw, str) else json.dumps(raw, ensure_ascii=False), 60)})")
        return
    if value != raw or (type(value) is not type(raw) and not isinstance(raw, float)):
        notes.add("default_converted", where, raw, value)
    schema["default"] = value


def _in_enum(value: Any, enum: list[Any] | None) -> Any:
    """The value as the enum writes it, if only case or blanks differ."""
    if value is _NO or enum is None or value in enum:
        return value
    same = [one for one in enum if isinstance(one, str) and one.strip().lower() == str(value).strip().lower()]
    return same[0] if len(same) == 1 else _NO


_PLAIN = frozenset(("type", "description", "default", "format", "title", "examples", "deprecated"))


def _takes(schema: dict[str, Any], value: Any) -> bool:
    if _PLAIN.issuperset(schema):
        return True
    try:
        return not faults(schema, value)
    except DataError:  # refers to what stands elsewhere, or is wrong: it is checked as a whole later
        return False
