"""Types as people write them, to types of JSON Schema."""

import re
from typing import Any

JSON_TYPES = frozenset(("string", "number", "integer", "boolean", "array", "object", "null"))

_WORDS: tuple[tuple[dict[str, Any], str], ...] = (
    (
        {"type": "string"},
        "str|text|char|varchar|uuid|url|uri|email|password|enum|file|binary|path|byte|bytes|base64|image|json string"
        "|timestamp|datetime-local|time|phone|html",
    ),
    ({"type": "string", "format": "date"}, "date"),
    ({"type": "string", "format": "date-time"}, "datetime|date-time|date time"),
    ({"type": "integer"}, "int|int32|int64|long|short|bigint|uint|smallint|whole number"),
    ({"type": "number"}, "float|double|decimal|num|numeric|real|float32|float64|money|currency"),
    ({"type": "boolean"}, "bool|logical|flag"),
    ({"type": "object"}, "dict|dictionary|map|mapping|hash|json|struct|record|hashmap"),
    ({"type": "array"}, "list|tuple|set|sequence|vector"),
    ({}, "any|mixed|unknown"),
    ({"type": "null"}, "none|nil|nonetype|void"),
)
_SPELLINGS = {word: schema for schema, words in _WORDS for word in words.split("|")}
_LIST_OF = re.compile(r"(?:list|array|tuple|set|sequence)\s*(?:\[|<|\(| of )\s*(.+?)\s*(?:\]|>|\))?", re.IGNORECASE)
_DICT_OF = re.compile(r"(?:dict|map|dictionary|mapping)\s*[\[<(].*", re.IGNORECASE)
_OPTIONAL = re.compile(r"optional\s*[\[<(]\s*(.+?)\s*[\]>)]", re.IGNORECASE)


def read_type(text: str) -> dict[str, Any] | None:
    """The schema that the name of a type means, such as ``{"type": "integer"}`` for ``Int``; None for no type."""
    word = text.strip().lower()
    if word in JSON_TYPES:
        return {"type": word}
    if word in _SPELLINGS:
        return dict(_SPELLINGS[word])
    if len(word) > 200:
        return None
    if match := _OPTIONAL.fullmatch(word):
        return read_type(match[1])
    if word.endswith("[]"):
        return _array_of(word[:-2])
    if match := _LIST_OF.fullmatch(word):
        return _array_of(match[1])
    if _DICT_OF.fullmatch(word):
        return {"type": "object"}
    if word.endswith("s") and word[:-1] in ("string", "integer", "number", "boolean", "object", "int", "float"):
        return _array_of(word[:-1])
    return _either(word)


def _array_of(word: str) -> dict[str, Any]:
    inner = read_type(word)
    return {"type": "array", "items": {"type": "string"} if inner is None else inner}


def _either(word: str) -> dict[str, Any] | None:
    """``string|null`` and ``string or integer``: a list of types."""
    parts = [part for part in re.split(r"\s*(?:\||/|,|\bor\b)\s*", word) if part]
    read = [read_type(part) for part in parts] if 1 < len(parts) < 6 else []
    if not read or not all(part and list(part) == ["type"] for part in read):
        return None
    types = list(dict.fromkeys(part["type"] for part in read if part))
    return {"type": types if len(types) > 1 else types[0]}


def type_of_value(value: object) -> str:
    """The JSON type of a value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number"
    return "string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"


def fits_type(value: object, kind: object) -> bool:
    """Whether a value is of a type, or of one of several; no type takes everything."""
    if kind is None:
        return True
    kinds = kind if isinstance(kind, list) else [kind]
    own = type_of_value(value)
    return own in kinds or (own == "integer" and "number" in kinds)
