"""The JSON Schemas of tools (draft 2020-12), compiled to validators that take types strictly and fetch nothing."""

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from jsonschema import Draft202012Validator, SchemaError
from jsonschema.protocols import Validator
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from toolwright.errors import DataError
from toolwright.records import ToolSpec
from toolwright.words import shorten


def _is_integer(_checker: object, instance: object) -> bool:
    return isinstance(instance, int) and not isinstance(instance, bool)


_StrictValidator = extend(  # type: ignore[no-untyped-call]
    Draft202012Validator, type_checker=Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer)
)


def compile_schema(spec: ToolSpec) -> Validator:
    """Make the validator of a tool's parameters; the same text is compiled once.

    Raises:
        DataError: names the tool, the JSON path and what is wrong there.
    """
    try:
        return _compile(json.dumps(spec.parameters))
    except DataError as error:
        raise DataError(f"tool {spec.name!r}: {error}") from None
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(f"tool {spec.name!r}: parameters are not JSON ({error})") from None


@lru_cache(maxsize=4096)
def _compile(text: str) -> Validator:
    schema = json.loads(text)
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        path = "parameters" + error.json_path.removeprefix("$")
        raise DataError(f"{path}: not JSON Schema (draft 2020-12): {error.message[:200]}") from None
    if schema.get("type") != "object":
        raise DataError(f"parameters.type: expected 'object', got {shorten(schema.get('type'))}")
    _check_references(schema)
    # An empty registry: a schema must never make us fetch an address.
    validator: Validator = _StrictValidator(schema, registry=Registry())
    try:
        validator.is_valid({})
    except RecursionError:
        raise DataError("parameters: the schema refers to itself without end") from None
    return validator


def _check_references(schema: dict[str, Any]) -> None:
    resolver = Registry().resolver_with_root(DRAFT202012.create_resource(schema))
    for path, reference in _references(schema, "parameters"):
        try:
            resolver.lookup(reference)
        except Unresolvable:
            raise DataError(
                f"{path}: {reference!r} leads nowhere inside this schema; put what it refers to under $defs"
            ) from None


def _references(schema: object, path: str) -> Iterator[tuple[str, str]]:
    """Find every reference that is a keyword, and not the name of a parameter or part of a value."""
    if not isinstance(schema, dict):
        return
    for key, value in schema.items():
        here = f"{path}.{key}"
        if key in ("$ref", "$dynamicRef"):
            yield here, value
        elif key == "$id" and path != "parameters":
            raise DataError(f"{here}: an $id inside a schema is not supported; refer to #/$defs/… instead")
        elif key in ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas"):
            for name, inner in value.items() if isinstance(value, dict) else ():
                yield from _references(inner, f"{here}.{name}")
        elif isinstance(value, list) and key not in ("enum", "examples"):
            for index, inner in enumerate(value):
                yield from _references(inner, f"{here}[{index}]")
        elif key not in ("const", "default"):
            yield from _references(value, here)
