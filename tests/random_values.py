"""Random arguments for a tool, drawn from its JSON Schema: mostly what the schema allows, with ids that exist."""

import random
import string
from collections.abc import Sequence
from typing import Any

_WORDS = (
    "tomorrow",
    "Rotterdam",
    "Nora Lindqvist",
    "a b",
    "Ä–ß",
    "0",
    "x" * 90,
    "all",
    "list\nof",
    "'; drop",
    "😀" * 30,
)
_FORMATS = {
    "date": ("2025-03-17", "2025-03-20", "2025-04-01", "2026-02-28", "2020-01-01", "2030-12-31", "1999-01-01"),
    r"^\d{4}-\d\d-\d\d[ T]\d\d:\d\d$": ("2025-03-18 10:00", "2025-03-20T15:30", "2025-04-02 19:30", "2025-02-30 10:00"),
    r"^([01]\d|2[0-3]):[0-5]\d$": ("00:00", "09:30", "18:00", "23:59"),
    r"^\d{4}-\d\d$": ("2025-01", "2025-03", "2025-13", "2019-05"),
}


def random_arguments(schema: dict[str, Any], rng: random.Random, ids: Sequence[str]) -> dict[str, Any]:
    """Arguments that fit the schema of a tool, but for patterns."""
    value = _value(schema, rng, ids)
    assert isinstance(value, dict)
    return value


def _value(schema: dict[str, Any], rng: random.Random, ids: Sequence[str]) -> Any:
    if "anyOf" in schema or "oneOf" in schema:
        return _value(rng.choice(schema.get("anyOf") or schema["oneOf"]), rng, ids)
    if "enum" in schema:
        return rng.choice(schema["enum"])
    if "const" in schema:
        return schema["const"]
    kind = schema.get("type")
    if kind == "object":
        return {
            name: _value(inner, rng, ids)
            for name, inner in schema.get("properties", {}).items()
            if name in schema.get("required", ()) or rng.random() < 0.4
        }
    if kind == "array":
        n_items = rng.randint(schema.get("minItems", 0), min(schema.get("maxItems", 4), schema.get("minItems", 0) + 3))
        return [_value(schema["items"], rng, ids) for _ in range(n_items)]
    if kind in ("integer", "number"):
        return _number(schema, rng)
    return rng.random() < 0.5 if kind == "boolean" else None if kind == "null" else _text(schema, rng, ids)


def _number(schema: dict[str, Any], rng: random.Random) -> float:
    low, high = schema.get("minimum", schema.get("exclusiveMinimum", -1000)), schema.get("maximum", 100_000)
    value = rng.choice((low, high, rng.uniform(low, high), rng.uniform(low, min(high, low + 10))))
    return int(value) if schema["type"] == "integer" else float(value)


def _text(schema: dict[str, Any], rng: random.Random, ids: Sequence[str]) -> str:
    fitting = _FORMATS.get(schema.get("format") or schema.get("pattern") or "")
    if fitting:
        return rng.choice(fitting)
    letters = "".join(rng.choices(string.ascii_lowercase, k=rng.randint(1, 8)))
    text = rng.choice((*_WORDS, letters, letters)) if not ids or rng.random() < 0.4 else rng.choice(list(ids))
    return text[: schema.get("maxLength", 200)]
