"""Any schema that people write, to JSON Schema 2020-12 that the validator takes; each change noted by its rule.

Only keywords with values of the right form are written, so what comes out is always a schema; what it refers to must
stand under ``$defs``.
"""

import math
from collections.abc import Callable
from typing import Any

from mcpserver.api.defaults import fix_default, fix_enum
from mcpserver.api.patterns import is_safe
from mcpserver.api.report import Notes
from mcpserver.api.type_names import JSON_TYPES, read_type, type_of_value
from mcpserver.api.words import MAX_PARAMETER_TEXT, parameter_text, say, tidy_text
from toolwright.errors import DataError
from toolwright.words import cut, shorten

MAX_DEPTH = 30
_ORDER = {"type": 0, "description": 1, "enum": 2}


def parameters_schema(raw: dict[str, Any], notes: Notes) -> dict[str, Any]:
    """The schema of all parameters of a tool.

    Raises:
        DataError: it is no schema of an object, or nested too deeply.
    """
    kind = raw.get("type")
    if kind != "object":
        meant = (read_type(kind) if isinstance(kind, str) else None) or {}
        fits = meant.get("type") == "object" or isinstance(raw.get("properties"), dict | list)
        if not fits and not (kind is None and any(key in raw for key in ("anyOf", "oneOf", "allOf", "$ref"))):
            raise DataError(f"parameters are of type {shorten(kind, 40)}, but a call has an object of arguments")
        notes.add("parameters_type", "parameters", kind, "object")
        raw = {**raw, "type": "object"}
    schema = _object({"type": "object"}, raw, "parameters", notes, 0)
    for key in ("anyOf", "oneOf", "allOf"):
        if isinstance(raw.get(key), list) and raw[key]:
            schema[key] = [normal_schema(part, key, notes, 1, shown=False) for part in raw[key]]
    if isinstance(raw.get("$defs"), dict):
        schema["$defs"] = {
            name: normal_schema(part, f"$defs.{name}", notes, 1, shown=False) for name, part in raw["$defs"].items()
        }
    return schema


def normal_schema(raw: Any, where: str, notes: Notes, depth: int = 0, shown: bool = True) -> dict[str, Any]:
    """One schema; ``where`` is its path, ``shown`` whether it is a parameter, which gets a type and a description.

    Raises:
        DataError: nested too deeply.
    """
    if depth > MAX_DEPTH:
        raise DataError(f"{where}: nested more than {MAX_DEPTH} deep")
    if not isinstance(raw, dict):
        raw = _from_value(raw, where, notes)
    if isinstance(raw.get("$ref"), str):
        return {"$ref": raw["$ref"], **({"description": str(raw["description"])} if raw.get("description") else {})}
    schema = _type(raw, where, notes, shown)
    _describe(schema, raw, where, notes, shown)
    kinds = schema.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if "object" in kinds:
        schema = _object(schema, raw, where, notes, depth)
    if "array" in kinds:
        _items(schema, raw, where, notes, depth)
    for key in ("anyOf", "oneOf", "allOf"):
        if isinstance(raw.get(key), list) and raw[key]:
            schema[key] = [normal_schema(part, where, notes, depth + 1, shown=False) for part in raw[key]]
    if isinstance(raw.get("not"), dict):
        schema["not"] = normal_schema(raw["not"], where, notes, depth + 1, shown=False)
    if not raw.keys() <= _SIMPLE:
        _keywords(schema, raw, where, notes)
    _values(schema, raw, where, notes)
    return dict(sorted(schema.items(), key=lambda item: _ORDER.get(item[0], 9)))


def _from_value(raw: object, where: str, notes: Notes) -> dict[str, Any]:
    if isinstance(raw, str):
        read = read_type(raw)
        schema = {"type": "string", "description": raw} if read is None else read
    elif isinstance(raw, list) and raw:
        schema = {"enum": raw}
    else:
        schema = {}
    if raw is not True and raw is not False:
        notes.add("schema_not_object", where, raw, schema)
    return {"not": {}} if raw is False else schema


def _type(raw: dict[str, Any], where: str, notes: Notes, shown: bool) -> dict[str, Any]:
    kind = raw.get("type")
    if isinstance(kind, str) and kind in JSON_TYPES:
        schema: dict[str, Any] = {"type": kind}
    elif isinstance(kind, str) and kind.strip():
        read = read_type(kind)
        schema = {"type": "string"} if read is None else read
        notes.add("type_unknown" if read is None else "type_spelling", where, kind, schema.get("type", "any"))
    elif isinstance(kind, list) and kind:
        schema = _types(kind, where, notes)
    elif isinstance(kind, dict):
        schema = normal_schema(kind, where, notes, MAX_DEPTH - 3, shown=False)
        notes.add("type_spelling", where, kind, schema)
    else:
        schema = _guess(raw, where, notes, shown)
    if raw.get("nullable") is True:
        _allow_null(schema, raw, where, notes)
    return schema


def _types(kinds: list[Any], where: str, notes: Notes) -> dict[str, Any]:
    read = [read_type(kind) if isinstance(kind, str) else {"type": "string"} for kind in kinds]
    names = list(dict.fromkeys((part or {}).get("type", "string") for part in read))
    flat = [name for name in names if isinstance(name, str)]
    if flat != kinds:
        notes.add("type_spelling", where, kinds, flat)
    return {"type": flat if len(flat) > 1 else flat[0] if flat else "string"}


def _guess(raw: dict[str, Any], where: str, notes: Notes, shown: bool) -> dict[str, Any]:
    if not shown or any(key in raw for key in ("anyOf", "oneOf", "allOf", "const", "not")):
        implied = "object" if isinstance(raw.get("properties"), dict) else "array" if "items" in raw else None
        return {} if implied is None else {"type": implied}
    if "properties" in raw or "additionalProperties" in raw:
        kind = "object"
    elif "items" in raw:
        kind = "array"
    elif isinstance(raw.get("enum"), list) and raw["enum"]:
        kinds = {type_of_value(value) for value in raw["enum"]}
        kind = kinds.pop() if len(kinds) == 1 else ""
    else:
        kind = type_of_value(raw["default"]) if raw.get("default") is not None else "string"
    notes.add("type_missing", where, raw.get("type"), kind or "any")
    return {"type": kind} if kind else {}


def _allow_null(schema: dict[str, Any], raw: dict[str, Any], where: str, notes: Notes) -> None:
    kind = schema.get("type")
    if isinstance(kind, str) and kind != "null":
        schema["type"] = [kind, "null"]
    elif isinstance(kind, list) and "null" not in kind:
        kind.append("null")
    if isinstance(raw.get("enum"), list) and None not in raw["enum"]:
        raw["enum"] = [*raw["enum"], None]
    notes.add("nullable", where, kind, schema.get("type"))


def _describe(schema: dict[str, Any], raw: dict[str, Any], where: str, notes: Notes, shown: bool) -> None:
    if shown:
        name = where.rpartition(".")[2]
        schema["description"] = parameter_text(raw.get("description") or raw.get("title"), name, where, notes)
    elif raw.get("description"):
        schema["description"] = tidy_text(raw["description"], where, MAX_PARAMETER_TEXT, notes)


def _object(schema: dict[str, Any], raw: dict[str, Any], where: str, notes: Notes, depth: int) -> dict[str, Any]:
    listed = _rows(raw.get("properties"), where, notes)
    required = _required(raw.get("required"), where, notes)
    prefix = "" if where == "parameters" else f"{where}."
    properties: dict[str, Any] = {}
    hidden = "readOnly" if notes.shown else "writeOnly"
    for name, part in listed.items():
        if isinstance(part, dict) and part.get(hidden) is True:
            notes.add("read_only", f"{prefix}{name}", hidden, "left out")
            required = [one for one in required if one != name]
            continue
        if isinstance(part, dict) and isinstance(part.get("required"), bool | str):
            if part["required"] in (True, "true", "True", "yes"):
                required = [*required, name]
            notes.add("required_form", f"{prefix}{name}", part["required"], "the object's list")
            part = {key: value for key, value in part.items() if key != "required"}
        properties[name] = normal_schema(part, f"{prefix}{name}", notes, depth + 1, shown=notes.shown)
    if properties or where == "parameters" or "properties" in raw:
        schema["properties"] = properties
    if known := _known(list(dict.fromkeys(required)), properties, raw, where, notes):
        schema["required"] = known
    extra = raw.get("additionalProperties")
    if isinstance(extra, bool):
        schema["additionalProperties"] = extra
    elif isinstance(extra, dict):
        schema["additionalProperties"] = normal_schema(extra, f"{where}.*", notes, depth + 1, shown=False)
    return schema


def _rows(raw: object, where: str, notes: Notes) -> dict[str, Any]:
    """Properties as an object; a list of rows with names becomes one."""
    if isinstance(raw, dict):
        return {str(name): part for name, part in raw.items()}
    if isinstance(raw, list):
        rows = {str(row["name"]): {k: v for k, v in row.items() if k != "name"} for row in raw
                if isinstance(row, dict) and isinstance(row.get("name"), str) and row["name"]}  # fmt: skip
        if len(rows) != len(raw):
            raise DataError(f"{where}: a list of parameters has rows without a name of their own: {shorten(raw)}")
        notes.add("parameters_list", where, raw[:1], list(rows))
        return rows
    if raw is not None:
        notes.add("schema_keyword", where, {"properties": shorten(raw, 60)}, "left out")
    return {}


def _required(raw: object, where: str, notes: Notes) -> list[str]:
    if isinstance(raw, list):
        names = list(dict.fromkeys(name for name in raw if isinstance(name, str)))
        if len(names) != len(raw):
            notes.add("required_form", where, raw, names)
        return names
    if raw is None:
        return []
    names = [part.strip() for part in raw.split(",") if part.strip()] if isinstance(raw, str) else []
    names = [] if names in (["true"], ["false"]) else names
    notes.add("required_form", where, raw, names)
    return names


def _known(required: list[str], properties: dict[str, Any], raw: dict[str, Any], where: str, notes: Notes) -> list[str]:
    """The required names that are properties; those of another spelling as the property is spelt."""
    known: list[str] = []
    for name in required:
        meant = name if name in properties else _meant(name, properties)
        if meant is None and where != "parameters" and raw.get("additionalProperties", True) is not False:
            meant = name  # an object that takes more than it lists may require one of those
        if meant != name:
            notes.add("required_unknown", where, name, meant or "left out")
        if meant is not None and meant not in known:
            known.append(meant)
    return known


def _meant(name: str, properties: dict[str, Any]) -> str | None:
    def plain(text: str) -> str:
        return "".join(char for char in text.lower() if char.isalnum())

    same = [one for one in properties if plain(one) == plain(name)]
    return same[0] if len(same) == 1 else None


def _items(schema: dict[str, Any], raw: dict[str, Any], where: str, notes: Notes, depth: int) -> None:
    items = raw.get("items", schema.get("items"))
    if isinstance(items, list) and items:
        schema["prefixItems"] = [normal_schema(item, f"{where}[]", notes, depth + 1, shown=False) for item in items]
        schema.pop("items", None)
        notes.add("items_list", where, f"a list of {len(items)}", "prefixItems")
    elif isinstance(items, dict) and items:
        schema["items"] = normal_schema(items, f"{where}[]", notes, depth + 1, shown=False)
    elif isinstance(items, str) and (read := read_type(items)) is not None:
        schema["items"] = read
        notes.add("type_spelling", f"{where}[]", items, read)
    elif "prefixItems" not in raw and items is not True:
        default = raw.get("default")
        kinds = {type_of_value(value) for value in default} if isinstance(default, list) and default else {"string"}
        schema["items"] = {"type": kinds.pop()} if len(kinds) == 1 else {}
        notes.add("items_missing", where, items, schema["items"])
    if isinstance(raw.get("prefixItems"), list) and raw["prefixItems"]:
        schema["prefixItems"] = [
            normal_schema(item, f"{where}[]", notes, depth + 1, shown=False) for item in raw["prefixItems"]
        ]


def _count(value: object) -> int | None:
    whole = isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 and float(value).is_integer()
    return int(value) if whole and isinstance(value, int | float) else None


def _number(value: object) -> int | float | None:
    good = isinstance(value, int | float) and not isinstance(value, bool)
    return value if good and isinstance(value, int | float) and abs(value) < 1e300 and math.isfinite(value) else None


def _positive(value: object) -> int | float | None:
    number = _number(value)
    return number if number is not None and number > 0 else None


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


_CHECKS: dict[str, Callable[[object], object]] = {
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"), _count),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), _number),
    "multipleOf": _positive,
    "uniqueItems": _flag,
    "deprecated": _flag,
    "format": _text,
    "contentEncoding": _text,
    "contentMediaType": _text,
}
_SIMPLE = frozenset(("type", "description", "default", "enum"))
_HANDLED = _SIMPLE | {
    "title", "properties", "required", "additionalProperties", "items", "prefixItems", "anyOf", "oneOf", "allOf",
    "not", "nullable", "const", "examples", "example", "pattern", "$defs", "$ref", "readOnly", "writeOnly",
}  # fmt: skip
_TOLD_ELSEWHERE = frozenset(("xml", "externalDocs", "discriminator", "$comment", "name"))


def _keywords(schema: dict[str, Any], raw: dict[str, Any], where: str, notes: Notes) -> None:
    for key, value in raw.items():
        if key in _CHECKS:
            _keyword(schema, raw, key, where, notes)
        elif key == "pattern":
            _pattern(schema, value, where, notes)
        elif key not in _HANDLED and key not in _TOLD_ELSEWHERE and not str(key).startswith("x-"):
            notes.add("schema_keyword", where, {str(key): cut(repr(value), 40)}, "left out")


def _keyword(schema: dict[str, Any], raw: dict[str, Any], key: str, where: str, notes: Notes) -> None:
    value = raw[key]
    if key.startswith("exclusive") and isinstance(value, bool):
        plain = key.removeprefix("exclusive").lower()
        bound = _number(raw.get(plain))
        if value and bound is not None:
            schema[key] = bound
            schema.pop(plain, None)
        notes.add("bound_boolean", where, {key: value}, {key: bound} if value else "left out")
        return
    plain_bound = f"exclusive{key[:1].upper()}{key[1:]}"
    if key in ("minimum", "maximum") and raw.get(plain_bound) is True:
        return
    checked = _CHECKS[key](value)
    if checked is None and isinstance(value, str) and _CHECKS[key] in (_count, _number, _positive):
        checked = _CHECKS[key](_read_number(value))
        notes.add("number_in_text" if checked is not None else "schema_keyword", where, {key: value}, checked)
    elif checked is None:
        notes.add("schema_keyword", where, {key: cut(repr(value), 40)}, "left out")
    if checked is not None:
        schema[key] = checked


def _read_number(text: str) -> float | int | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _pattern(schema: dict[str, Any], value: object, where: str, notes: Notes) -> None:
    if isinstance(value, str) and is_safe(value):
        schema["pattern"] = value
    else:
        notes.add("pattern_unusable", where, value, "told in the description")
        say(schema, f"(Pattern: {cut(str(value), 100)})")


def _values(schema: dict[str, Any], raw: dict[str, Any], where: str, notes: Notes) -> None:
    """The keywords that hold values: enum, const, default, examples."""
    if "const" in raw:
        schema["const"] = raw["const"]
    if "enum" in raw:
        schema["enum"] = raw["enum"]
    if "default" in raw:
        schema["default"] = raw["default"]
    if "enum" in raw or "description" in schema:
        fix_enum(schema, where, notes)
    fix_default(schema, where, notes)
    if isinstance(raw.get("examples"), list) and raw["examples"]:
        schema["examples"] = raw["examples"][:3]
    elif raw.get("example") is not None:
        schema["examples"] = [raw["example"]]
        notes.add("example_keyword", where, {"example": raw["example"]}, {"examples": [raw["example"]]})
