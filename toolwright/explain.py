"""Words for a model that made a wrong call: which parameter, what was expected, what was given, what was meant."""

import difflib
import json
from collections.abc import Callable, Sequence
from typing import Any

from jsonschema import ValidationError
from jsonschema.exceptions import best_match

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
    close = _close(error.instance, values)
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
    return [f"{_where(error)}: {_cut(error.message)}"]


_EXPLAIN: dict[str, Callable[[ValidationError, Any], list[str]]] = {
    "required": _required,
    "additionalProperties": _additional,
    "type": _type,
    "enum": _enum,
    "const": _const,
    "anyOf": _choice,
    "oneOf": _choice,
}


def nearest(name: object, options: Sequence[object]) -> str:
    """A hint to append to a complaint about a wrong name: the nearest options, or all when they are few."""
    close = _close(name, options)
    if close:
        return f"; did you mean {close}?"
    return f"; there is {', '.join(map(show, options))}" if 0 < len(options) <= 10 else ""


def _close(name: object, options: Sequence[object]) -> str:
    if not isinstance(name, str):
        return ""
    by_lower = {option.lower(): option for option in reversed(options) if isinstance(option, str)}
    close = difflib.get_close_matches(name.lower()[:200], list(by_lower), n=3)
    return " or ".join(show(by_lower[key]) for key in close)


def show(value: object) -> str:
    """A value as JSON, cut to 80 characters."""
    return _cut(json.dumps(value, ensure_ascii=False, default=repr), 80)


def _cut(text: str, limit: int = 200) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


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
