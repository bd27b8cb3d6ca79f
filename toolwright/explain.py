"""Words for a model that made a wrong call: which parameter, what was expected, what was given, what was meant."""

from collections.abc import Callable
from typing import Any

from jsonschema import ValidationError
from jsonschema.exceptions import best_match

from toolwright.words import close_matches, cut, nearest, show

_TYPE_NAMES = {str: "string", bool: "boolean", int: "integer", float: "number", dict: "object", list: "array"}


def explain(error: ValidationError) -> list[str]:
    """Say what a schema error means, in one sentence for each parameter that is at fault."""
    return _EXPLAIN.get(str(error.validator), _otherwise)(error, error.validator_value)


def _required(error: ValidationError, names: Any) -> list[str]:
    given: Any = error.instance
    return [f"missing parameter {show(_path(error, name))}" for name in names if name not in given]


def _additional(error: ValidationError, allowed: Any) -> list[str]:
    schema: Any = error.schema
    given: Any = error.instance
    if allowed is not False or "patternProperties" in schema:
        return _otherwise(error, allowed)
    known = list(schema.get("properties", {}))
    strange = [name for name in given if name not in known]
    return [f"unknown parameter {show(_path(error, name))}{nearest(name, known)}" for name in strange]


def _type(error: ValidationError, types: Any) -> list[str]:
    return [f"{_where(error)}: expected {_either(types)}, got {_given(error.instance)}"]


def _enum(error: ValidationError, values: Any) -> list[str]:
    close = close_matches(error.instance, values)
    hint = f"; did you mean {close}?" if close else ""
    return [f"{_where(error)}: expected one of {', '.join(map(show, values))}, got {_given(error.instance)}{hint}"]


def _const(error: ValidationError, value: Any) -> list[str]:
    return [f"{_where(error)}: expected {show(value)}, got {_given(error.instance)}"]


def _choice(error: ValidationError, branches: Any) -> list[str]:
    if not error.context:
        return _otherwise(error, branches)
    if all(isinstance(branch, dict) and set(branch) - {"title", "description"} == {"type"} for branch in branches):
        return _type(error, [name for branch in branches for name in _listed(branch["type"])])
    closest = best_match(error.context)
    reasons = "; ".join(explain(closest)) if closest else ""
    return [f"{_where(error)}: fits none of its {len(branches)} forms; the closest one: {reasons}"]


def _otherwise(error: ValidationError, _value: Any) -> list[str]:
    return [f"{_where(error)}: {cut(error.message)}"]


_EXPLAIN: dict[str, Callable[[ValidationError, Any], list[str]]] = {
    "required": _required,
    "additionalProperties": _additional,
    "type": _type,
    "enum": _enum,
    "const": _const,
    "anyOf": _choice,
    "oneOf": _choice,
}


def _path(error: ValidationError, *more: str) -> str:
    path = ""
    for step in [*error.absolute_path, *more]:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else str(step)
    return path


def _where(error: ValidationError) -> str:
    path = _path(error)
    return f"parameter {show(path)}" if path else "the arguments"


def _listed(types: object) -> list[str]:
    return [str(name) for name in types] if isinstance(types, list) else [str(types)]


def _either(types: object) -> str:
    return " or ".join(_listed(types))


def _given(value: object) -> str:
    if value is None:
        return "null"
    return f"{_TYPE_NAMES.get(type(value), type(value).__name__)} {show(value)}"
