"""The references of an OpenAPI document followed inside the document, and ``allOf`` merged into one schema.

References are written out; one that leads back to itself, or a schema that would grow too large, is kept under
``$defs``. References out of the document are errors: nothing is fetched.
"""

import re
from typing import Any

from mcpserver.api.report import Notes
from toolwright.errors import DataError
from toolwright.words import shorten

MAX_NODES = 1500
MAX_ALL_NODES = 50_000
MAX_DEPTH = 60
_STRUCTURE = ("properties", "patternProperties", "$defs")
_VALUES = ("enum", "const", "default", "example", "examples", "required", "x-examples")


class _TooLargeError(Exception):
    """Written out, the schema has too many parts."""


def follow(document: dict[str, Any], node: Any, where: str) -> Any:
    """What an object is, or what its ``$ref`` leads to.

    Raises:
        DataError: the reference leads out of the document, nowhere, or in a circle.
    """
    seen: list[str] = []
    while isinstance(node, dict) and isinstance(node.get("$ref"), str):
        reference = node["$ref"]
        if reference in seen:
            raise DataError(f"{where}: {reference!r} refers to itself")
        seen.append(reference)
        node = _target(document, reference, where)
    return node


def _target(document: dict[str, Any], reference: str, where: str) -> Any:
    if not reference.startswith("#/"):
        raise DataError(f"{where}: {shorten(reference, 80)} leads out of the document; put what it refers to inside")
    node: Any = document
    for step in reference[2:].split("/"):
        step = re.sub(r"%([0-9A-Fa-f]{2})", lambda match: chr(int(match[1], 16)), step)
        step = step.replace("~1", "/").replace("~0", "~")
        if isinstance(node, dict) and step in node:
            node = node[step]
        elif isinstance(node, list) and step.isdecimal() and int(step) < len(node):
            node = node[int(step)]
        else:
            raise DataError(f"{where}: {shorten(reference, 80)} leads nowhere")
    return node


def write_out(document: dict[str, Any], schema: Any, where: str, notes: Notes, *, inline: bool = True) -> Any:
    """A schema without references out of itself; ``inline`` false keeps every reference, under ``$defs``.

    Raises:
        DataError: a reference that leads nowhere or out of the document, or a schema of absurd size.
    """
    if inline:
        try:
            return _Writer(document, where, notes, inline=True).whole(schema)
        except _TooLargeError:
            pass
    try:
        return _Writer(document, where, notes, inline=False).whole(schema)
    except _TooLargeError:
        raise DataError(f"{where}: the schema has more than {MAX_ALL_NODES} parts") from None


class _Writer:
    def __init__(self, document: dict[str, Any], where: str, notes: Notes, *, inline: bool) -> None:
        self._document, self._where, self._notes = document, where, notes
        self._inline = inline
        self._left = MAX_NODES if inline else MAX_ALL_NODES
        self._kept: dict[str, str] = {}

    def whole(self, schema: Any) -> Any:
        written = self._write(schema, ())
        definitions: dict[str, Any] = {}
        while len(definitions) < len(self._kept):
            for reference, name in list(self._kept.items()):
                if name not in definitions:
                    definitions[name] = self._write(_target(self._document, reference, self._where), (reference,))
        if definitions and isinstance(written, dict):
            self._notes.add("reference_kept", self._where, next(iter(self._kept)), list(definitions))
            written = {**written, "$defs": definitions}
        return written

    def _write(self, node: Any, above: tuple[str, ...]) -> Any:
        self._left -= 1
        if self._left < 0 or len(above) > MAX_DEPTH:
            raise _TooLargeError
        if not isinstance(node, dict):
            return node
        if isinstance(node.get("$ref"), str):
            return self._reference(node, above)
        if isinstance(node.get("allOf"), list) and node["allOf"]:
            return self._all_of(node, above)
        return {str(key): self._value(key, value, above) for key, value in node.items()}

    def _value(self, key: object, value: Any, above: tuple[str, ...]) -> Any:
        if key in _VALUES:
            return value
        if key in _STRUCTURE and isinstance(value, dict):
            return {str(name): self._write(part, (*above, "")) for name, part in value.items()}
        if isinstance(value, list):
            return [self._write(part, (*above, "")) for part in value]
        return self._write(value, (*above, "")) if isinstance(value, dict) else value

    def _reference(self, node: dict[str, Any], above: tuple[str, ...]) -> Any:
        reference = node["$ref"]
        target = _target(self._document, reference, self._where)
        if reference in above or (not self._inline and above):
            name = self._kept.setdefault(reference, self._name(reference))
            return {"$ref": f"#/$defs/{name}"}
        written = self._write(target, (*above, reference))
        beside = {key: value for key, value in node.items() if key != "$ref"}
        if beside and isinstance(written, dict):
            written = {**written, **{str(key): self._value(key, value, above) for key, value in beside.items()}}
        return written

    def _name(self, reference: str) -> str:
        name = re.sub(r"[^\w.-]+", "_", reference.rpartition("/")[2]) or "part"
        number, free = 2, name
        while free in self._kept.values():
            free = f"{name}_{number}"
            number += 1
        return free

    def _all_of(self, node: dict[str, Any], above: tuple[str, ...]) -> Any:
        rest = {key: value for key, value in node.items() if key != "allOf"}
        parts = [self._write(part, (*above, "")) for part in (*node["allOf"], *([rest] if rest else []))]
        if any(not isinstance(part, dict) or "$ref" in part for part in parts):
            return {"allOf": parts}
        merged: dict[str, Any] = {}
        for part in parts:
            if not merge(merged, part):
                return {"allOf": parts}
        self._notes.add("all_of_merged", self._where, f"{len(node['allOf'])} parts", list(merged)[:6])
        return merged


_TEXTS = ("title", "description", "example", "examples", "default", "deprecated", "readOnly", "writeOnly", "nullable")
_LARGEST = ("minimum", "minLength", "minItems", "minProperties", "exclusiveMinimum")
_SMALLEST = ("maximum", "maxLength", "maxItems", "maxProperties", "exclusiveMaximum")
_FORMS: dict[str, Any] = {"properties": dict, "required": list, "enum": list}
_FORMS |= dict.fromkeys(_LARGEST + _SMALLEST, int | float)


def merge(merged: dict[str, Any], part: dict[str, Any]) -> bool:
    """Add a schema to another so that both hold; False when that needs ``allOf``."""
    for key, value in part.items():
        if key not in merged:
            merged[key] = dict(value) if isinstance(value, dict) else value
        elif merged[key] != value:
            both = _both(key, merged[key], value)
            if both is None:
                return False
            merged[key] = both
    return True


def _both(key: str, a: Any, b: Any) -> Any:
    """The value of a keyword that says what two values say; None when there is none."""
    form = _FORMS.get(key, object)
    if not (isinstance(a, form) and isinstance(b, form)):
        return None
    if key == "properties":
        return _both_properties(a, b)
    if key == "required":
        return list(dict.fromkeys([*a, *b]))
    if key == "enum":
        return [one for one in a if one in b]
    if key in _LARGEST + _SMALLEST:
        return max(a, b) if key in _LARGEST else min(a, b)
    said = key in _TEXTS or key.startswith("x-") or key in ("xml", "externalDocs", "discriminator")
    return b if said else None


def _both_properties(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any] | None:
    merged = dict(a)
    for name, part in b.items():
        if name not in merged:
            merged[name] = part
            continue
        both = dict(merged[name]) if isinstance(merged[name], dict) else None
        if both is None or not isinstance(part, dict) or not merge(both, part):
            return None
        merged[name] = both
    return merged
