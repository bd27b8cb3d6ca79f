"""JSON, YAML and TOML as text and as values: format, convert, query, patch, compare, validate, flatten."""

import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, Len

from mcpserver.tool_error import ToolError
from mcpserver.toolbox.json_patch import Operation, apply_operation, difference
from mcpserver.toolbox.json_values import need_path, parse_json, plain
from mcpserver.toolbox.results import MAX_RESULT_BYTES, clip, json_bytes, page, whole
from mcpserver.toolbox.structured_text import Format, read_structured, write_structured
from toolwright.words import shorten

Text = Annotated[str, Len(1, 50_000)]
Document = dict[str, Any] | list[Any]


def format_json(
    text: Text,
    style: Literal["pretty", "compact", "lines"] = "pretty",
    indent: Annotated[int, Ge(0), Le(8)] = 2,
    sort_keys: bool = False,
) -> dict[str, Any]:
    """Check a JSON text and write it anew.

    Args:
        text: JSON
        style: pretty with indentation, compact on one line, or lines with one entry of a list per line
        indent: spaces per level of pretty
        sort_keys: whether keys are sorted

    Example:
        {"text": "{\\"b\\": 1, \\"a\\": [1, 2]}", "style": "compact", "sort_keys": true}
    """
    value = parse_json(text)
    if style == "lines":
        if not isinstance(value, list):
            raise ToolError("bad_arguments", "style: lines takes a list")
        rows = [json.dumps(item, ensure_ascii=False, sort_keys=sort_keys) for item in value]
        return {"text": whole("".join(f"{row}\n" for row in rows))}
    options: dict[str, Any] = {"indent": indent} if style == "pretty" else {"separators": (",", ":")}
    return {"text": whole(json.dumps(value, ensure_ascii=False, sort_keys=sort_keys, **options))}


def convert_structure(text: Text, source: Format, target: Format) -> dict[str, Any]:
    """Convert between JSON, YAML and TOML.

    Args:
        text: document
        source: form of the document
        target: form to write

    Example:
        {"text": "server:\\n  port: 8080\\n  hosts: [a, b]\\n", "source": "yaml", "target": "toml"}
        {"text": "title = \\"desk\\"\\n[limits]\\nmw = 50\\n", "source": "toml", "target": "json"}
    """
    return {"text": whole(write_structured(read_structured(text, source), target))}


def query_json(
    document: Document,
    path: Annotated[str, Len(1, 200)],
    limit: Annotated[int, Ge(1), Le(500)] = 100,
    offset: Annotated[int, Ge(0)] = 0,
) -> dict[str, Any]:
    """Find the values at a path in a JSON value.

    Args:
        document: JSON object or list
        path: such as items[0].name, items[*].price for all, ..price for all below, ['a b'] for other names
        limit: how many values to show
        offset: how many values to leave out first

    Example:
        {"document": {"items": [{"price": 3}, {"price": 5}]}, "path": "items[*].price"}
    """
    value = plain(document, "document")
    rows = [{"path": clip(place), "value": inner} for place, inner in need_path(value, path)]
    return page("found", rows, offset, limit)


def patch_json(document: Document, operations: Annotated[list[Operation], Len(1, 50)]) -> dict[str, Any]:
    """Change a JSON value by a JSON Patch (RFC 6902), all of it or nothing.

    Args:
        document: JSON object or list
        operations: done one after the other

    Example:
        {"document": {"a": 1, "list": [1, 2]}, "operations": [
            {"op": "replace", "path": "/a", "value": 5}, {"op": "add", "path": "/list/-", "value": 3}]}
    """
    value: Any = plain(document, "document")
    for number, operation in enumerate(operations):
        if "value" in operation:
            plain(operation["value"], f"operations[{number}].value")
        try:
            value = apply_operation(value, operation)
        except ToolError as error:
            raise ToolError(error.kind, f"operations[{number}]: {error.message}") from None
        # each copy can double the value
        if json_bytes(plain(value, "document")) > MAX_RESULT_BYTES:
            raise ToolError("limit", f"operations[{number}]: the value becomes too large to be shown")
    return {"document": value}


def diff_json(first: Document, second: Document) -> dict[str, Any]:
    """Compare two JSON values; the differences are a JSON Patch that makes the second of the first.

    Args:
        first: the old value
        second: the new value

    Example:
        {"first": {"a": 1, "b": [1, 2]}, "second": {"a": 2, "b": [1]}}
    """
    found = difference(plain(first, "first"), plain(second, "second"))
    return {"same": not found, **page("operations", found, limit=200)}


def merge_json(
    first: dict[str, Any], second: dict[str, Any], lists: Literal["replace", "append", "union"] = "replace"
) -> dict[str, Any]:
    """Merge two JSON objects; where both have a value, the second wins.

    Args:
        first: object with defaults
        second: object that is laid over it; null removes a key
        lists: what happens where both have a list

    Example:
        {"first": {"a": {"x": 1, "y": 2}, "tags": ["a"]}, "second": {"a": {"y": 3}, "tags": ["b"]}, "lists": "append"}
    """
    merged = _merge(plain(first, "first"), plain(second, "second"), lists)
    if json_bytes(merged) > MAX_RESULT_BYTES:
        raise ToolError("limit", f"the merged object is longer than {MAX_RESULT_BYTES} bytes")
    return {"document": merged}


def _merge(first: Any, second: Any, lists: str) -> Any:
    if isinstance(first, dict) and isinstance(second, dict):
        both = {key: _merge(first.get(key), inner, lists) for key, inner in second.items() if inner is not None}
        return {key: inner for key, inner in first.items() if key not in second} | both
    if isinstance(first, list) and isinstance(second, list) and lists != "replace":
        return first + [item for item in second if lists == "append" or item not in first]
    return _merge({}, second, lists) if isinstance(second, dict) else second


def validate_json(document: Any, json_schema: dict[str, Any]) -> dict[str, Any]:
    """Check a JSON value against a JSON Schema (draft 2020-12).

    Args:
        document: JSON value
        json_schema: schema; references must point into itself

    Example:
        {"document": {"mw": "50"}, "json_schema": {"type": "object", "properties": {"mw": {"type": "integer"}}}}
    """
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError
    from referencing import Registry

    value = plain(document, "document")
    try:
        Draft202012Validator.check_schema(json_schema)
        # an empty registry: the default one would fetch what a reference names
        validator = Draft202012Validator(json_schema, registry=Registry())
        errors = [
            {"path": clip(error.json_path), "problem": clip(error.message)}
            for error, _ in zip(validator.iter_errors(value), range(50))
        ]
    except SchemaError as error:
        raise ToolError("bad_arguments", f"json_schema{error.json_path[1:]}: {shorten(error.message, 160)}") from None
    except RecursionError:
        raise ToolError("bad_arguments", "json_schema: a reference leads to itself without end") from None
    except Exception as error:  # noqa: BLE001 - references, patterns and numbers fail in ways of their own
        raise ToolError("bad_arguments", f"json_schema: {shorten(str(error), 160)}") from None
    return {"valid": not errors, **page("errors", errors)}


def flatten_json(
    document: Document, direction: Literal["flatten", "nest"] = "flatten", separator: Literal[".", "/", "_"] = "."
) -> dict[str, Any]:
    """Turn a nested JSON value into one level of keys, or back.

    Args:
        document: JSON object or list
        direction: flatten makes {"a.b": 1} of {"a": {"b": 1}}; nest does the opposite
        separator: stands between the keys

    Example:
        {"document": {"server": {"port": 8080, "hosts": ["a", "b"]}}}
        {"document": {"a.b": 1, "a.c": 2}, "direction": "nest"}
    """
    value = plain(document, "document")
    if direction == "flatten":
        flat = dict(_leaves(value, "", separator))
    elif isinstance(value, dict):
        flat = _nest(value, separator)
    else:
        raise ToolError("bad_arguments", "document: to nest, give an object with flat keys")
    if json_bytes(flat) > MAX_RESULT_BYTES:
        raise ToolError("limit", f"document: the result is longer than {MAX_RESULT_BYTES} bytes")
    return {"document": flat}


def _leaves(value: Any, path: str, separator: str) -> Iterator[tuple[str, Any]]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if not children or not value:
        yield path, value
    for key, inner in children:
        yield from _leaves(inner, f"{path}{separator}{key}" if path else str(key), separator)


def _nest(flat: dict[str, Any], separator: str) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        *above, last = key.split(separator)
        if len(above) > 50:
            raise ToolError("limit", "document: a key has more than 50 parts")
        place = nested
        for name in above:
            place = place.setdefault(name, {})
            if not isinstance(place, dict):
                raise ToolError("bad_arguments", f"document: {key!r} lies below a key that has a value already")
        if last in place:
            raise ToolError("bad_arguments", f"document: {key!r} is given twice, or has keys below it")
        place[last] = value
    return nested
