"""Documents made from a JSON Schema: valid, plausible, and the same for the same seed, tool, arguments and history.

A document is made in several ways until one is valid: first with plausible values, the arguments and what is known of
the things in it, then with fewer of those, last the least that the schema asks for.
"""

import json
import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

from mcpserver.api.entities import POOL, WRAPPERS, Entities, id_kind, id_property, singular
from mcpserver.api.references import merge
from mcpserver.api.scalars import NoValueError, make_number, make_text
from mcpserver.api.type_names import fits_type
from mcpserver.api.validation import faults
from toolwright.errors import DataError

ATTEMPTS = 12
MAX_DEPTH = 9
MAX_NODES = 600
MAX_REFERENCES = 40
_COUNTS = ("limit", "count", "size", "per_page", "page_size", "max_results", "num", "top")
_TYPE_KEYS = (
    ("object", ("properties", "required", "additionalProperties", "minProperties", "maxProperties")),
    ("array", ("items", "prefixItems", "minItems", "maxItems", "uniqueItems")),
    ("string", ("pattern", "format", "minLength", "maxLength")),
    ("number", ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")),
)


def make_document(
    schema: dict[str, Any],
    entities: Entities,
    *,
    kind: str = "",
    arguments: Mapping[str, Any] | None = None,
    label: str = "",
) -> Any:
    """A document of a schema.

    Args:
        schema: a JSON Schema, its definitions under ``$defs``.
        entities: the things of the conversation, and its seed; learns what the document says of them.
        kind: the kind of thing that the document is about.
        arguments: of the call; properties of the same name repeat them.
        label: what tells this document from others of the same schema: tool and canonical arguments.

    Raises:
        DataError: no document of the schema was found.
    """
    for attempt in range(ATTEMPTS):
        maker = _Maker(schema, entities, kind, arguments or {}, f"{label}\0{attempt}", attempt)
        try:
            value = maker.value(schema, "", kind, 0, 0)
        except (NoValueError, RecursionError):
            continue
        if not faults(schema, value):
            for thing, identity, attributes, made_up in maker.said:
                entities.learn(thing, identity, attributes, made_up=made_up)
            return value
    raise DataError("no document of the schema was found; it may allow none")


class _Maker:
    def __init__(
        self,
        root: dict[str, Any],
        entities: Entities,
        kind: str,
        arguments: Mapping[str, Any],
        label: str,
        attempt: int,
    ) -> None:
        self._root, self._entities, self._kind = root, entities, kind
        self._arguments = arguments if attempt < 4 else {}
        self._rng = entities.random(label)
        self._plausible = attempt < 6
        self._least = attempt >= 9
        self._nodes = 0
        self.said: list[tuple[str, Any, dict[str, Any], bool]] = []

    def value(self, schema: Any, name: str, kind: str, depth: int, index: int, rng: random.Random | None = None) -> Any:
        """A value of a schema; ``name`` is the property that it is for, ``kind`` the thing that it belongs to."""
        self._nodes += 1
        rng = rng or self._rng
        if schema is False or self._nodes > 20 * MAX_NODES:
            raise NoValueError
        if not isinstance(schema, dict) or not schema:
            return make_text({}, name, rng)
        schema, kind = self._resolve(schema, kind)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self._one_of(schema, rng)
        for key in ("anyOf", "oneOf"):
            if schema.get(key):
                return self._branch(schema, key, name, kind, depth, index, rng)
        return self._typed(self._type(schema, depth, rng), schema, name, kind, depth, index, rng)

    def _typed(
        self, wanted: str, schema: dict[str, Any], name: str, kind: str, depth: int, index: int, rng: random.Random
    ) -> Any:
        if wanted == "object":
            return self._object(schema, kind, depth, index)
        if wanted == "array":
            return self._array(schema, name, kind, depth)
        if wanted in ("integer", "number"):
            return make_number(schema, name if self._plausible else "", wanted == "integer", rng)
        if wanted == "boolean":
            return rng.random() < 0.6
        return None if wanted == "null" else make_text(schema, name if self._plausible else "", rng)

    def _resolve(self, schema: dict[str, Any], kind: str) -> tuple[dict[str, Any], str]:
        """The schema without ``$ref`` and ``allOf`` at its top; a reference tells the kind of thing."""
        for _ in range(MAX_REFERENCES):
            reference = schema.get("$ref")
            if isinstance(reference, str):
                node: Any = self._root
                for step in reference.removeprefix("#").strip("/").split("/") if reference != "#" else ():
                    step = step.replace("~1", "/").replace("~0", "~")
                    node = node.get(step) if isinstance(node, dict) else None
                if not isinstance(node, dict):
                    raise NoValueError
                kind = singular(reference.rpartition("/")[2]) or kind
                schema = {**node, **{key: value for key, value in schema.items() if key != "$ref"}}
            elif schema.get("allOf"):
                schema, kind = self._all_of(schema, kind)
            else:
                return schema, kind
        raise NoValueError

    def _all_of(self, schema: dict[str, Any], kind: str) -> tuple[dict[str, Any], str]:
        merged = {key: value for key, value in schema.items() if key != "allOf"}
        for part in schema["allOf"]:
            if not isinstance(part, dict):
                continue
            inner, kind = self._resolve(part, kind)
            both = dict(merged)
            merged = both if merge(both, inner) else {**inner, **merged}
        return merged, kind

    def _branch(
        self, schema: dict[str, Any], key: str, name: str, kind: str, depth: int, index: int, rng: random.Random
    ) -> Any:
        rest = {one: value for one, value in schema.items() if one != key}
        branches = [branch for branch in schema[key] if branch is not False]
        order = rng.sample(branches, len(branches))
        order.sort(key=lambda branch: _weight(branch, depth))
        for branch in order:
            inner, thing = self._resolve(branch, kind) if isinstance(branch, dict) else ({}, kind)
            both = dict(rest)
            if not merge(both, inner):
                both = {**rest, **inner}
            try:
                value = self.value(both, name, thing, depth + 1, index, rng)
            except NoValueError:
                continue
            if key == "anyOf" or self._takes(schema, value):
                return value
        raise NoValueError

    def _takes(self, schema: dict[str, Any], value: Any) -> bool:
        definitions = {"$defs": self._root["$defs"]} if "$defs" in self._root else {}
        try:
            return not faults({**schema, **definitions}, value)
        except DataError:
            return True  # refers to the root: the whole document is checked in the end

    def _one_of(self, schema: dict[str, Any], rng: random.Random) -> Any:
        plain = {key: value for key, value in schema.items() if key != "enum"}
        fitting = [value for value in schema["enum"] if fits_type(value, schema.get("type"))]
        if plain.keys() - {"type", "description", "default", "title", "examples"}:
            fitting = [value for value in fitting if self._takes(plain, value)]
        useful = [value for value in fitting if value is not None] or fitting
        if not useful:
            raise NoValueError
        return rng.choice(useful)

    def _type(self, schema: dict[str, Any], depth: int, rng: random.Random) -> str:
        kinds = schema.get("type")
        if isinstance(kinds, str):
            return kinds
        if isinstance(kinds, list) and kinds:
            useful = [kind for kind in kinds if kind != "null"] or kinds
            flat = [kind for kind in useful if kind not in ("object", "array")]
            if "null" in kinds and (self._least or depth > MAX_DEPTH or rng.random() < 0.05):
                return "null"
            return str(rng.choice(flat if flat and depth > 3 else useful))
        return next((kind for kind, keys in _TYPE_KEYS if any(key in schema for key in keys)), "string")

    def _object(self, schema: dict[str, Any], kind: str, depth: int, index: int) -> dict[str, Any]:
        if depth > 3 * MAX_DEPTH:
            raise NoValueError
        properties = {name: part for name, part in schema.get("properties", {}).items() if part is not False}
        required = [name for name in schema.get("required", ()) if isinstance(name, str)]
        names = self._chosen(schema, properties, required, depth)
        identity, own_id, made_up = self._identity(properties, kind, index)
        known = self._entities.attributes(kind, identity) if own_id else {}
        value: dict[str, Any] = {}
        for name in names:
            part = properties.get(name, schema.get("additionalProperties", {}))
            if name == own_id and self._takes(_dict(part), identity):
                value[name] = identity
            else:
                rng = self._entities.random(kind, identity, name, json.dumps(part, sort_keys=True)) if own_id else None
                value[name] = self._property(part, name, kind, depth, known, rng if self._plausible else None)
        if own_id and own_id in value:
            self.said.append((kind, value[own_id], value, made_up))
        return value

    def _chosen(
        self, schema: dict[str, Any], properties: dict[str, Any], required: Sequence[str], depth: int
    ) -> list[str]:
        """Which properties an object gets: in the order of the schema, then required ones that it does not list."""
        few = self._least or depth > MAX_DEPTH or self._nodes > MAX_NODES
        most, least = schema.get("maxProperties", math.inf), schema.get("minProperties", 0)
        names = [name for name in properties if name in required]
        names += [name for name in dict.fromkeys(required) if name not in properties]
        for name in properties:
            if name not in names and len(names) < most and (not few or len(names) < least):
                names.append(name)
        number = 1
        while len(names) < least and schema.get("additionalProperties") is not False:
            extra = f"extra_{number}"
            names += [] if extra in names else [extra]
            number += 1
        order = {name: place for place, name in enumerate(properties)}
        return sorted(names, key=lambda name: order.get(name, len(order)))

    def _identity(self, properties: dict[str, Any], kind: str, index: int) -> tuple[Any, str | None, bool]:
        """The id of a thing, the property that holds it, and whether a caller gave it."""
        name = id_property(properties, kind) if self._plausible and kind else None
        if name is None:
            return None, None, False
        part, _ = self._resolve(_dict(properties[name]), kind)
        if "enum" in part or "const" in part:
            return None, None, False
        if index == 0 and kind == self._kind:
            for argument, value in self._arguments.items():
                meant = id_kind(argument)
                same = argument == name or meant == kind or meant == ""
                if same and isinstance(value, str | int) and self._takes(part, value):
                    return value, name, True
        if part.get("type") not in ("string", "integer", "number"):
            return None, None, False
        return self._entities.id_of(kind, index, part), name, False

    def _property(
        self, part: Any, name: str, kind: str, depth: int, known: Mapping[str, Any], rng: random.Random | None
    ) -> Any:
        schema = _dict(part)
        if self._plausible:
            if kind == self._kind and name in self._arguments and self._takes(schema, self._arguments[name]):
                return self._arguments[name]
            if name in known and self._takes(schema, known[name]):
                return known[name]
            other = id_kind(name)
            if (
                other
                and schema.get("type") in ("string", "integer")
                and not schema.keys() & {"enum", "pattern", "const"}
            ):
                value = self._entities.id_of(other, (rng or self._rng).randrange(POOL // 3), schema)
                if self._takes(schema, value):
                    return value
        inner = kind if name in WRAPPERS or not _is_compound(schema) else singular(name)
        return self.value(part, name, inner, depth + 1, 0, rng if not _is_compound(schema) else None)

    def _array(self, schema: dict[str, Any], name: str, kind: str, depth: int) -> list[Any]:
        least, most = schema.get("minItems", 0), schema.get("maxItems", math.inf)
        few = self._least or depth > MAX_DEPTH or self._nodes > MAX_NODES
        wanted = least if few else max(least, 1 if depth > 4 else self._rng.randint(2, 4))
        wanted = min(wanted, most, self._asked_for(kind)) if not least else min(wanted, most)
        first = schema.get("prefixItems") or []
        rest = schema.get("items", {})
        if rest is False:
            wanted = min(wanted, len(first))
        items: list[Any] = []
        for tried in range(int(wanted) * 8):
            if len(items) >= wanted:
                break
            part = first[len(items)] if len(items) < len(first) else rest
            item = self.value(part, name if not _is_compound(_dict(part)) else "", kind, depth + 1, tried)
            if not schema.get("uniqueItems") or not any(_same(item, other) for other in items):
                items.append(item)
        if len(items) < least:
            raise NoValueError
        return items

    def _asked_for(self, kind: str) -> float:
        """How many things the caller asked for."""
        asked = [self._arguments[name] for name in _COUNTS if name in self._arguments] if kind == self._kind else []
        return min((n for n in asked if isinstance(n, int) and not isinstance(n, bool) and n >= 0), default=math.inf)


def _dict(schema: Any) -> dict[str, Any]:
    return schema if isinstance(schema, dict) else {}


def _is_compound(schema: dict[str, Any]) -> bool:
    kinds = schema.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    return any(key in schema for key in ("properties", "items", "$ref", "allOf", "anyOf", "oneOf")) or (
        "object" in kinds or "array" in kinds
    )


def _weight(branch: Any, depth: int) -> int:
    """Null last; deep down, what nests last."""
    schema = _dict(branch)
    if schema.get("type") == "null":
        return 0 if depth > MAX_DEPTH else 2
    return int(depth > 4 and _is_compound(schema))


def _same(a: Any, b: Any) -> bool:
    return json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True) or (a == b and not isinstance(a, bool | list))
