"""Arguments checked against schemas, calls compared, and predicted calls paired with gold calls."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolwright.assignment import best_assignment
from toolwright.calls import canonical, canonical_value, check_arguments, check_schema, match_calls, same_call
from toolwright.errors import DataError
from toolwright.records import ToolCall, ToolSpec

FORECAST = ToolSpec(
    name="forecast",
    parameters={
        "type": "object",
        "properties": {
            "city": {"type": "string", "minLength": 1},
            "days": {"type": "integer", "minimum": 1, "maximum": 14},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
            "limit": {"type": "number"},
            "hourly": {"type": "boolean"},
            "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "version": {"const": 2},
            "place": {
                "type": "object",
                "properties": {"lat": {"type": "number"}, "lon": {"type": "number"}},
                "required": ["lat", "lon"],
                "additionalProperties": False,
            },
            "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 2},
            "when": {
                "oneOf": [
                    {"type": "object", "properties": {"day": {"type": "integer"}}, "required": ["day"]},
                    {"type": "string", "pattern": "^[a-z]+$"},
                ]
            },
        },
        "required": ["city"],
    },
)


def call(name: str, /, **arguments: Any) -> ToolCall:
    return ToolCall(name=name, arguments=arguments)


def tool(parameters: dict[str, Any]) -> ToolSpec:
    return ToolSpec(name="t", parameters=parameters)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"days": 3, "unit": "celsius", "limit": 1.5, "hourly": False},
        {"limit": 2},
        {"note": None},
        {"note": "n"},
        {"place": {"lat": 1, "lon": 2.5}},
        {"tags": []},
        {"when": {"day": 1}},
        {"when": "monday"},
    ],
)
def test_fitting_arguments_raise_no_complaint(more: dict[str, Any]) -> None:
    assert check_arguments(FORECAST, {"city": "Paris", **more}) == []


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ({"days": "1"}, 'parameter "days": expected integer, got string "1"'),
        ({"days": 1.0}, 'parameter "days": expected integer, got number 1.0'),
        ({"days": True}, 'parameter "days": expected integer, got boolean true'),
        ({"days": None}, 'parameter "days": expected integer, got null'),
        ({"days": 15}, 'parameter "days": 15 is greater than the maximum of 14'),
        ({"limit": True}, 'parameter "limit": expected number, got boolean true'),
        ({"hourly": 0}, 'parameter "hourly": expected boolean, got integer 0'),
        ({"hourly": ""}, 'parameter "hourly": expected boolean, got string ""'),
        (
            {"unit": "celcius"},
            'parameter "unit": expected one of "celsius", "fahrenheit", got string "celcius"; did you mean "celsius"?',
        ),
        ({"unit": 3}, 'parameter "unit": expected string, got integer 3'),
        ({"note": 3}, 'parameter "note": expected string or null, got integer 3'),
        ({"version": 3}, 'parameter "version": expected 2, got integer 3'),
        ({"place": {"lat": 1}}, 'missing parameter "place.lon"'),
        ({"place": {"lat": 1, "lon": 2, "lot": 3}}, 'unknown parameter "place.lot"; did you mean "lon" or "lat"?'),
        ({"tags": ["a", 2]}, 'parameter "tags[1]": expected string, got integer 2'),
        ({"days": [1] * 100}, 'parameter "days": expected integer, got array [' + "1, " * 26 + "…"),
        ({"citty": "x"}, 'unknown parameter "citty"; did you mean "city"?'),
        ({"Days": 1}, 'unknown parameter "Days"; did you mean "days"?'),
    ],
)
def test_a_wrong_argument_is_explained_to_the_model(more: dict[str, Any], complaint: str) -> None:
    assert check_arguments(FORECAST, {"city": "Paris", **more}) == [complaint]


def test_every_mistake_is_named_once_and_a_flood_of_them_is_cut() -> None:
    assert check_arguments(FORECAST, {"days": "1", "x": 1}) == [
        'unknown parameter "x"; there is "city", "days", "unit", "limit", "hourly", "note", "version", "place", '
        '"tags", "when"',
        'missing parameter "city"',
        'parameter "days": expected integer, got string "1"',
    ]
    two = tool({"type": "object", "properties": {"a": {}, "b": {}}, "required": ["a", "b"]})
    assert check_arguments(two, {}) == ['missing parameter "a"', 'missing parameter "b"']
    flood = check_arguments(two, {"a": 1, "b": 2} | {f"wrong{i}": i for i in range(30)})
    assert len(flood) == 11
    assert flood[-1] == "and 20 more"


def test_a_choice_of_forms_names_the_closest_one() -> None:
    (complaint,) = check_arguments(FORECAST, {"city": "Paris", "when": {"day": "1"}})
    assert complaint.startswith('parameter "when": fits none of its 2 forms; the closest one: ')


@pytest.mark.parametrize(
    ("parameters", "refused"),
    [
        ({"type": "object", "properties": {"a": {}}}, True),
        ({"type": "object", "properties": {}}, True),
        ({"type": "object", "properties": {"a": {}}, "additionalProperties": False}, True),
        ({"type": "object", "properties": {"a": {}}, "additionalProperties": True}, False),
        ({"type": "object", "properties": {"a": {}}, "additionalProperties": {"type": "integer"}}, False),
        ({"type": "object", "properties": {"a": {}}, "patternProperties": {"^b": {}}}, False),
        ({"type": "object", "allOf": [{"properties": {"b": {}}}], "properties": {"a": {}}}, False),
        ({"type": "object"}, False),
    ],
)
def test_an_unknown_parameter_is_refused_unless_the_schema_is_open(parameters: dict[str, Any], refused: bool) -> None:
    assert bool(check_arguments(tool(parameters), {"b": 1})) == refused


def test_references_inside_the_schema_are_followed() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}, "additionalProperties": False}
    schema = {"type": "object", "properties": {"node": {"$ref": "#/$defs/node"}}, "$defs": {"node": node}}
    assert check_arguments(tool(schema), {"node": {"next": {"next": {}}}}) == []
    assert check_arguments(tool(schema), {"node": {"next": {"nxt": {}}}}) == [
        'unknown parameter "node.next.nxt"; did you mean "next"?'
    ]


def test_arguments_as_deep_as_the_parser_lets_through_are_checked_without_a_crash() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}
    schema = {"type": "object", "properties": {"node": {"$ref": "#/$defs/node"}}, "$defs": {"node": node}}
    value: dict[str, Any] = {}
    for _ in range(62):
        value = {"next": value}
    assert check_arguments(tool(schema), {"node": value}) in ([], ["the arguments are nested too deeply to be checked"])


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({}, ["parameters.type", "'object'", "None"]),
        ({"type": "array"}, ["parameters.type", "'array'"]),
        ({"type": "object", "properties": {"a": {"type": "strng"}}}, ["parameters.properties.a.type", "strng"]),
        ({"type": "object", "properties": []}, ["parameters.properties"]),
        ({"type": "object", "required": "a"}, ["parameters.required"]),
        ({"type": "object", "properties": {"a": {"pattern": "["}}}, ["parameters.properties.a.pattern"]),
        ({"type": "object", "properties": {"a": {"$ref": "#/$defs/x"}}}, ["parameters.properties.a.$ref", "$defs/x"]),
        ({"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:9/s"}}}, ["127.0.0.1:9"]),
        ({"type": "object", "anyOf": [{"$ref": "#/nope"}]}, ["parameters.anyOf[0].$ref"]),
        ({"type": "object", "properties": {"a": {"$dynamicRef": "#nope"}}}, ["parameters.properties.a.$dynamicRef"]),
        ({"type": "object", "$defs": {"a": {"$id": "http://x/y"}}}, ["parameters.$defs.a.$id", "not supported"]),
        ({"type": "object", "$ref": "#"}, ["without end"]),
        ({"type": "object", "default": {1, 2}}, ["not JSON"]),
    ],
)
def test_a_wrong_schema_names_tool_and_path(parameters: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        check_schema(tool(parameters))
    assert str(caught.value).startswith("tool 't': parameters")
    assert all(word in str(caught.value) for word in words)
    assert "\n" not in str(caught.value)


def test_a_parameter_may_have_the_name_of_a_keyword() -> None:
    names = {"$ref": {"type": "string"}, "properties": {"type": "object"}, "pattern": {"type": "string"}}
    schema = {"type": "object", "properties": names, "default": {"$ref": "x"}}
    check_schema(tool(schema))
    assert check_arguments(tool(schema), {"$ref": "x", "pattern": "["}) == []


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (1, 1.0, True),
        (0, -0.0, True),
        (1000, 1e3, True),
        (1, True, False),
        (0, False, False),
        (None, False, False),
        (1, "1", False),
        (1.5, 1.25, False),
        (2**53 + 1, float(2**53), False),
        ([1, 2], [2, 1], False),
        ((1, 2), [1, 2], True),
        ({"a": 1, "b": [True]}, {"b": [True], "a": 1.0}, True),
        ({"a": {"b": 1}}, {"a": {"b": True}}, False),
        ("é", "e\u0301", False),
        ("a", "a ", False),
        ({}, None, False),
        ({"a": None}, {}, False),
    ],
)
def test_values_are_compared_as_json_values(a: Any, b: Any, same: bool) -> None:
    assert (canonical_value(a) == canonical_value(b)) is same
    assert same_call(call("f", x=a), call("f", x=b)) is same


def test_names_count_and_ids_do_not() -> None:
    assert same_call(ToolCall(name="f", id="1"), ToolCall(name="f", id="2"))
    assert not same_call(call("f"), call("g"))
    assert canonical(call("f", b=1, a="é")) == '"f" {"a":"\\u00e9","b":1}'
    assert canonical(ToolCall(name='f" {}', arguments={})) != canonical(call("f"))


@pytest.mark.parametrize("value", [{1: 2}, object(), {"a": {1, 2}}])
def test_what_is_not_json_cannot_be_compared(value: Any) -> None:
    with pytest.raises(DataError, match="not a JSON value"):
        canonical_value(value)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, 1.0, -0.0, 2.0]) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=300, deadline=None)
@given(VALUES, VALUES)
def test_canonical_texts_are_equal_exactly_when_the_values_are(a: Any, b: Any) -> None:
    assert (canonical_value(a) == canonical_value(b)) is equal_as_json(a, b)
    assert canonical_value(json.loads(canonical_value(a))) == canonical_value(a)


def equal_as_json(a: Any, b: Any) -> bool:
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(equal_as_json, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(equal_as_json(a[key], b[key]) for key in a)
    return bool(a == b)


def test_matching_by_hand() -> None:
    predicted = [call("a", x=1), call("a", x=2, y=3), call("b", q="s")]
    gold = [call("a", x=2, y=3.0), call("a", x=True, z=1), call("c")]
    match = match_calls(predicted, gold)
    assert match.pairs == ((1, 0), (0, 1))
    assert match.exact == ((1, 0),)
    assert (match.missing, match.extra) == ((2,), (2,))
    assert (match.names.hits, match.names.predicted, match.names.gold) == (2, 3, 3)
    assert (match.parameters.hits, match.parameters.predicted, match.parameters.gold) == (3, 4, 4)
    assert (match.values.hits, match.values.predicted, match.values.gold) == (2, 4, 4)
    assert not match.perfect


def test_exact_calls_come_before_many_equal_values() -> None:
    predicted = [call("a", x=1), call("a", x=1, y=2, z=3)]
    gold = [call("a", x=1), call("a", w=0)]
    assert match_calls(predicted, gold).exact == ((0, 0),)
    assert match_calls(predicted[::-1], gold).exact == ((1, 0),)


def test_order_counts_for_nothing_but_ties() -> None:
    twins = [call("a", x=1), call("a", x=1), call("a", x=2)]
    assert match_calls(twins, twins).pairs == ((0, 0), (1, 1), (2, 2))
    assert match_calls(twins[::-1], twins).perfect
    wrong = [call("a", x=1), call("a", x=2), call("a", x=3)]
    assert match_calls(wrong, [call("b"), call("c"), call("a", x=9)]).pairs == ((2, 2),)


@pytest.mark.parametrize(
    ("predicted", "gold", "precision", "recall", "f1", "perfect"),
    [
        ([], [], 1.0, 1.0, 1.0, True),
        ([call("a")], [], 0.0, 0.0, 0.0, False),
        ([], [call("a")], 0.0, 0.0, 0.0, False),
        ([call("a"), call("a")], [call("a")], 0.5, 1.0, 2 / 3, False),
        ([call("a")], [call("a")], 1.0, 1.0, 1.0, True),
    ],
)
def test_no_calls_are_right_when_none_are_due(
    predicted: list[ToolCall], gold: list[ToolCall], precision: float, recall: float, f1: float, perfect: bool
) -> None:
    match = match_calls(predicted, gold)
    assert (match.names.precision, match.names.recall, match.perfect) == (precision, recall, perfect)
    assert match.names.f1 == pytest.approx(f1)


FEW_CALLS = st.lists(
    st.builds(
        ToolCall, name=st.sampled_from("ab"), arguments=st.dictionaries(st.sampled_from("xyz"), st.integers(0, 1))
    ),
    max_size=4,
)


@settings(max_examples=200, deadline=None)
@given(FEW_CALLS, FEW_CALLS)
def test_the_matching_is_the_best_of_all(predicted: list[ToolCall], gold: list[ToolCall]) -> None:
    match = match_calls(predicted, gold)
    assert len({p for p, _ in match.pairs}) == len({g for _, g in match.pairs}) == len(match.pairs)
    assert sorted([p for p, _ in match.pairs] + list(match.extra)) == list(range(len(predicted)))
    assert sorted([g for _, g in match.pairs] + list(match.missing)) == list(range(len(gold)))
    found = (len(match.pairs), len(match.exact), match.values.hits, match.parameters.hits)
    assert found == max(score(predicted, gold, order) for order in orders(len(predicted), len(gold)))


def orders(n_predicted: int, n_gold: int) -> list[list[tuple[int, int]]]:
    if n_predicted <= n_gold:
        return [list(zip(range(n_predicted), gold)) for gold in itertools.permutations(range(n_gold), n_predicted)]
    return [[(p, g) for g, p in order] for order in orders(n_gold, n_predicted)]


def score(predicted: list[ToolCall], gold: list[ToolCall], order: list[tuple[int, int]]) -> tuple[int, int, int, int]:
    pairs = [(predicted[p], gold[g]) for p, g in order if predicted[p].name == gold[g].name]
    common = [(a.arguments, b.arguments, a.arguments.keys() & b.arguments.keys()) for a, b in pairs]
    values = sum(a[name] == b[name] for a, b, names in common for name in names)
    return len(pairs), sum(map(same_call, *zip(*pairs))) if pairs else 0, values, sum(len(n) for _, _, n in common)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 4), st.integers(0, 5), st.data())
def test_the_assignment_has_the_largest_weight(n_rows: int, n_columns: int, data: st.DataObject) -> None:
    row = st.lists(st.integers(-9, 9), min_size=n_columns, max_size=n_columns)
    weights = data.draw(st.lists(row, min_size=n_rows, max_size=n_rows))
    pairs = best_assignment(weights)
    assert len(pairs) == min(n_rows, n_columns)
    total = sum(weights[row][column] for row, column in pairs)
    assert total == max(sum(weights[row][column] for row, column in order) for order in orders(n_rows, n_columns))


def test_a_flood_of_predicted_calls_is_matched_fast() -> None:
    flood = [call("a", x=index) for index in range(500)]
    assert match_calls(flood, [call("a", x=499), call("a", x=250)]).exact == ((499, 0), (250, 1))
