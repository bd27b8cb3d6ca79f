"""What may be said of pydantic's validators by looking at the schemas of pydantic-core that they are made of."""

from collections.abc import Iterator, Mapping
from types import NoneType
from typing import Any

# Kinds of pydantic-core's schemas. Of all others (sets, decimals, what users write themselves) we do not know.
_NATIVE = {
    *("any", "none", "bool", "int", "float", "str", "list", "dict", "typed-dict", "typed-dict-field"),
    *("literal", "nullable", "union", "definitions", "definition-ref"),
}
_EXACT = _NATIVE | {
    *("model", "model-fields", "model-field", "dataclass", "dataclass-args", "dataclass-field", "default", "enum"),
    *("function-after", "tagged-union", "tuple", "date", "datetime", "time", "timedelta", "uuid", "bytes"),
}
_NO_SCHEMAS = ("metadata", "serialization", "default", "expected", "members", "config", "function", "computed_fields")
_REWRITES = ("pattern", "strip_whitespace", "to_lower", "to_upper", "coerce_numbers_to_str")


def _nodes(node: Any) -> Iterator[dict[str, Any]]:
    """Every schema inside a pydantic-core schema, itself included."""
    if isinstance(node, dict):
        if isinstance(node.get("type"), str):
            yield node
        for key, value in node.items():
            if key not in _NO_SCHEMAS or not isinstance(node.get("type"), str):
                yield from _nodes(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _nodes(value)


def is_native(schema: Any) -> bool:
    """Whether what a schema gives are plain JSON values, so that a function can be called with them as they are."""
    return all(map(_is_native, _nodes(schema)))


def is_exact(schema: Any) -> bool:
    """Whether pydantic takes nothing that the JSON Schema made from the same hints refuses."""
    return all(map(_is_exact, _nodes(schema)))


def _has_text_keys(node: Mapping[str, Any]) -> bool:
    return node.get("keys_schema", {"type": "any"})["type"] in ("any", "str")


def _is_native(node: Mapping[str, Any]) -> bool:
    kind = node["type"]
    if kind == "literal":
        return all(type(value) in (str, int, bool, NoneType) for value in node["expected"])
    return kind in _NATIVE and (kind != "dict" or _has_text_keys(node))


def _is_exact(node: Mapping[str, Any]) -> bool:
    kind = node["type"]
    if any(key.startswith("str_") for key in node.get("config") or {}):
        return False
    if kind == "literal":
        return all(isinstance(value, str | NoneType) for value in node["expected"])
    if kind == "enum":
        return "missing" not in node and all(isinstance(member.value, str) for member in node["members"])
    if kind == "dict":
        return _has_text_keys(node)
    if kind in ("str", "float"):
        return not any(node.get(key) is not None for key in (*_REWRITES, "multiple_of"))
    if kind in ("typed-dict-field", "model-field", "dataclass-field"):
        has_default = kind == "typed-dict-field" and node["schema"]["type"] == "default"
        return not has_default and not isinstance(node.get("validation_alias"), list)
    return kind in _EXACT
