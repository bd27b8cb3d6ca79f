import json
import random
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcpserver.api.entities import Entities
from mcpserver.api.generate import make_document
from mcpserver.api.patterns import is_safe, matching_text
from mcpserver.api.sampling import infer_schema
from mcpserver.api.validation import faults
from toolwright.errors import DataError

NAMES = st.sampled_from(
    ["id", "name", "price", "ownerId", "tags", "items", "created_at", "x y", "email", "größe", "$a"]
)
SMALL = st.integers(0, 4)


def bounds(low: str, high: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    pairs = st.tuples(values, values).map(sorted)
    return st.one_of(
        st.just({}),
        values.map(lambda value: {low: value}),
        values.map(lambda value: {high: value}),
        pairs.map(lambda pair: {low: pair[0], high: pair[1]}),
    )


NUMBERS = st.one_of(st.integers(-(10**6), 10**6), st.floats(-1e6, 1e6, allow_nan=False).map(lambda n: round(n, 3)))
SCALARS: st.SearchStrategy[dict[str, Any]] = st.one_of(
    bounds("minimum", "maximum", st.integers(-(10**9), 10**9)).map(lambda b: {"type": "integer", **b}),
    bounds("minimum", "maximum", NUMBERS).map(lambda b: {"type": "number", **b}),
    st.builds(lambda low: {"type": "number", "exclusiveMinimum": low, "exclusiveMaximum": low + 1}, NUMBERS),
    st.sampled_from([1, 2, 5, 0.5, 0.25, 0.01, 7]).map(lambda m: {"type": "number", "multipleOf": m}),
    st.builds(
        lambda m, low: {"type": "integer", "multipleOf": m, "minimum": low}, st.integers(1, 50), st.integers(-99, 99)
    ),
    bounds("minLength", "maxLength", st.integers(0, 40)).map(lambda b: {"type": "string", **b}),
    st.sampled_from(["date", "date-time", "email", "uri", "uuid", "ipv4", "time", "int32", "unheard-of"]).map(
        lambda name: {"type": "string", "format": name}
    ),
    st.sampled_from([r"^[A-Z]{2}\d{4}$", r"^(red|green)-\w+$", r"[^a-z]{3}", r"^\S+@\S+$", r"^v\d+\.\d+(-beta)?$"]).map(
        lambda pattern: {"type": "string", "pattern": pattern}
    ),
    st.sampled_from(
        [{"type": "boolean"}, {"type": "null"}, {}, {"type": ["string", "null"]}, {"const": [1, {"a": None}]}]
    ),
    st.lists(st.one_of(st.text(max_size=5), st.integers(), st.none()), min_size=1, max_size=4).map(
        lambda e: {"enum": e}
    ),
)


def nested(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    def make_object(properties: dict[str, Any], required: list[str], closed: bool) -> dict[str, Any]:
        known = [name for name in required if name in properties or not closed]
        extra = {"additionalProperties": False} if closed else {}
        return {"type": "object", "properties": properties, "required": sorted(set(known)), **extra}

    return st.one_of(
        st.builds(make_object, st.dictionaries(NAMES, inner, max_size=4), st.lists(NAMES, max_size=3), st.booleans()),
        st.builds(array, inner, bounds("minItems", "maxItems", SMALL)),
        st.builds(lambda a, b: {"anyOf": [a, b]}, inner, inner),
        st.builds(lambda first, rest: {"type": "array", "prefixItems": [first], "items": rest}, inner, inner),
        st.builds(both, inner, inner),
        inner.filter(lambda part: "$ref" not in json.dumps(part)).map(
            lambda part: {"$ref": "#/$defs/Part", "$defs": {"Part": part}}
        ),
    )


def both(a: Any, b: Any) -> dict[str, Any]:
    second = {"type": "object", "required": ["b"], "properties": {"b": b}}
    return {"allOf": [{"type": "object", "properties": {"a": a}}, second]}


def array(items: Any, limits: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items, **limits}


def lift(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema whose definitions stand at its top, where references look for them."""
    definitions: dict[str, Any] = {}

    def walk(node: Any) -> Any:
        if isinstance(node, list):
            return [walk(part) for part in node]
        if not isinstance(node, dict):
            return node
        if isinstance(node.get("$ref"), str):
            name = f"Part{len(definitions)}"
            definitions[name] = None
            definitions[name] = walk(node["$defs"]["Part"])
            return {"$ref": f"#/$defs/{name}"}
        return {key: walk(value) if key not in ("enum", "const") else value for key, value in node.items()}

    top = walk(schema)
    return {**top, "$defs": definitions} if definitions else top


SCHEMAS = st.recursive(SCALARS, nested, max_leaves=12).map(lift)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    SCHEMAS, st.integers(0, 10**6), st.dictionaries(NAMES, st.one_of(st.integers(), st.text(max_size=4)), max_size=3)
)
def test_every_document_validates_and_is_the_same_for_the_same_seed(
    schema: dict[str, Any], seed: int, arguments: dict[str, Any]
) -> None:
    made = make_document(schema, Entities(seed), kind="pet", arguments=arguments, label="a")
    assert not faults(schema, made)
    assert made == make_document(schema, Entities(seed), kind="pet", arguments=arguments, label="a")
    json.dumps(made, allow_nan=False)


PET = {
    "type": "object",
    "properties": {
        "id": {"type": "integer"},
        "name": {"type": "string"},
        "status": {"type": "string", "enum": ["available", "sold"]},
        "owner_id": {"type": "integer"},
    },
    "required": ["id", "name"],
}
PETS = {"type": "object", "properties": {"total": {"type": "integer"}, "pets": {"type": "array", "items": PET}},
        "required": ["pets"]}  # fmt: skip
OWNER = {"type": "object", "properties": {"id": {"type": "integer"}, "name": {"type": "string"}}, "required": ["id"]}


def test_a_thing_looks_the_same_through_a_list_and_by_its_id() -> None:
    entities = Entities(17)
    pets = make_document(PETS, entities, kind="pet", label="list")["pets"]
    assert len({pet["id"] for pet in pets}) == len(pets) > 1
    for pet in reversed(pets):
        assert make_document(PET, entities, kind="pet", arguments={"petId": pet["id"]}, label=f"get {pet['id']}") == pet


def test_what_was_created_is_found_again_with_what_was_said_of_it() -> None:
    entities = Entities(17)
    made = make_document(PET, entities, kind="pet", arguments={"name": "Rex", "status": "sold"}, label="post")
    assert (made["name"], made["status"]) == ("Rex", "sold")
    assert make_document(PET, entities, kind="pet", arguments={"id": made["id"]}, label="get") == made
    unknown = make_document(PET, entities, kind="pet", arguments={"id": 424242}, label="get other")
    assert unknown["id"] == 424242
    assert unknown["name"] != "Rex"
    assert 424242 in [pet["id"] for pet in make_document(PETS, entities, kind="pet", label="list")["pets"]]


def test_ids_of_other_things_lead_to_things_that_exist() -> None:
    entities = Entities(3)
    pet = make_document(PET, entities, kind="pet", label="get")
    owners = {"type": "array", "items": OWNER, "minItems": 8}
    assert pet["owner_id"] in [owner["id"] for owner in make_document(owners, entities, kind="owner", label="owners")]


def test_seeds_and_arguments_make_other_documents() -> None:
    made = {json.dumps(make_document(PETS, Entities(seed), kind="pet", label="l")) for seed in range(10)}
    assert len(made) == 10
    few = make_document(PETS, Entities(1), kind="pet", arguments={"limit": 1}, label="l")
    assert len(few["pets"]) == 1


def test_what_a_real_reply_said_is_kept() -> None:
    entities = Entities(17)
    entities.learn_from("pet", {"data": [{"id": 7, "name": "Luna", "owner": {"id": 9, "name": "Ada"}}]})
    assert make_document(PET, entities, kind="pet", arguments={"id": 7}, label="x")["name"] == "Luna"
    assert make_document(OWNER, entities, kind="owner", arguments={"ownerId": 9}, label="y") == {"id": 9, "name": "Ada"}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer", "minimum": 5, "maximum": 4},
        {"not": {}},
        {"type": "array", "items": {"enum": ["a"]}, "minItems": 2, "uniqueItems": True},
        {
            "$ref": "#/$defs/A",
            "$defs": {"A": {"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#/$defs/A"}}}},
        },
    ],
)
def test_a_schema_that_allows_nothing_is_a_typed_error(schema: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"no document|refers to itself"):
        make_document(schema, Entities(1), label="x")


def test_a_schema_that_refers_to_itself_ends() -> None:
    tree = {
        "$ref": "#/$defs/Node",
        "$defs": {"Node": {"type": "object", "required": ["value", "children"], "properties": {
            "value": {"type": "integer"}, "children": {"type": "array", "items": {"$ref": "#/$defs/Node"}},
            "parent": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]}}}},
    }  # fmt: skip
    made = make_document(tree, Entities(1), label="x")
    assert not faults(tree, made)
    assert len(json.dumps(made)) < 100_000


@pytest.mark.parametrize(
    ("pattern", "safe"),
    [
        (r"^\d{4}-\d\d$", True),
        (r"^[a-z]+-[0-9]+$", True),
        (r"^(a|b)$", True),
        (r"[a-z]+", True),
        (r"(a+)+$", False),
        (r"^(a|aa)*b$", False),
        (r"[a-z]+-[0-9]+", False),
        (r"^\s*a\s*b\s*$", False),
        (r"(a)\1", False),
        (r"(", False),
        (r"^(?:[a-z]{1,250}){1,250}$", False),
        ("x" * 501, False),
    ],
)
def test_only_patterns_that_cannot_run_away_are_kept(pattern: str, safe: bool) -> None:
    assert is_safe(pattern) is safe


@pytest.mark.parametrize("pattern", [r"^[a-z]+-[0-9]+$", r"a?b?c?x*", r"^\w+x*$"])
def test_a_kept_pattern_is_fast_on_the_longest_text_that_it_may_see(pattern: str) -> None:
    import re

    assert is_safe(pattern)
    started = time.process_time()
    re.search(pattern, "a" * 4000 + "!")
    assert time.process_time() - started < 2


@given(
    st.sampled_from([r"^[A-Z]{3}-\d{2,4}$", r"^(?:ab|cd)+$", r"^[^\s,]+$", r"\d+(\.\d+)?", "^.{3,8}$"]), st.integers()
)
def test_texts_are_made_that_match_a_pattern(pattern: str, seed: int) -> None:
    import re

    text = matching_text(pattern, random.Random(seed))
    assert text is not None
    assert re.search(pattern, text)


def test_a_schema_is_read_from_examples() -> None:
    schema = infer_schema([{"a": 1, "b": [{"c": "x"}]}, {"a": 1.5, "b": [], "d": None}])
    assert schema["required"] == ["a", "b"]
    assert schema["properties"]["a"] == {"type": "number"}
    assert not faults(schema, {"a": 2, "b": [{"c": "y"}]})
    assert faults(schema, {"a": "2", "b": []})
