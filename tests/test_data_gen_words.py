import re
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tool_calls import DESK

from data_gen.answers import fill_answer, show
from data_gen.phrasebook import generic_phrases, load_phrasebook, spoken
from data_gen.results import find_key, find_source, find_values, look_up
from data_gen.samplers import draw_value
from data_gen.similar import Seen
from data_gen.spoken import mentions, say
from data_gen.templates import as_clause, fill, fill_each, plain, slots
from mcpserver.environment import offered_tools
from toolwright.calls import check_arguments
from toolwright.records import ToolCall, ToolSpec

BOOK = load_phrasebook()


@pytest.mark.parametrize(
    ("template", "said", "text"),
    [
        ("Get it[ at {hub}][ on {date}].", {"hub": "TTF", "date": "2025-03-04"}, "Get it at TTF on 2025-03-04."),
        ("Get the price[ at {hub}][ on {date}].", {"hub": "TTF"}, "Get the price at TTF."),
        ("Read[ {path}~ the file].", {"path": "a.txt"}, "Read a.txt."),
        ("Read[ {path}~ the file].", {}, "Read the file."),
        ("Read {path}.", {}, None),
        ("Read[ {path}].", {"path": "a", "lines": "3"}, None),
        ("Say {text}.", {"text": "{path} [x]"}, "Say {path} [x]."),
    ],
)  # fmt: skip
def test_a_template_leaves_out_clauses_without_a_value_and_never_drops_one(template, said, text):
    assert fill(template, said) == text


def test_the_part_behind_the_bar_is_said_for_each_call():
    said = [{"hub": "TTF"}, {"hub": "NBP"}, {"hub": "PEG"}]
    assert fill_each("Get the price|[ at {hub}].", said) == "Get the price at TTF, at NBP and at PEG."
    assert fill_each("Get the price[ at {hub}].", said) is None


def test_a_sentence_becomes_a_clause_unless_a_name_begins_it():
    assert as_clause("Get the price at TTF.") == "get the price at TTF"
    assert as_clause("I need it.") == "I need it"


OURS = offered_tools(DESK)


@pytest.mark.parametrize("name", sorted(OURS))
def test_every_tool_of_ours_has_phrasings_that_take_all_its_arguments(name):
    spec = OURS[name].spec
    phrases = BOOK.of(spec)
    assert phrases.written
    assert 4 <= len(phrases.ask) <= 8
    assert len(set(phrases.answer)) >= 3
    said = {parameter: parameter.upper() for parameter in spec.parameters["properties"]}
    for template in phrases.ask:
        text = fill(plain(template), said)
        assert text is not None, template
        assert not re.search(r"[\[\]{}|~]", text)
    for template in phrases.answer:
        names = {slot for slot in slots(template) if not slot.startswith("result")}
        assert names <= said.keys()
    assert phrases.covers <= OURS.keys() - {name}


def test_every_chain_joins_tools_and_parameters_that_exist():
    for chain in BOOK.chains:
        assert chain.first in OURS
        assert chain.parameter in OURS[chain.then].spec.parameters["properties"], chain


@pytest.mark.parametrize(
    ("text", "value", "told"),
    [
        ("the price on 2025-03-04", "2025-03-04", True),
        ("the price on 4 March 2025", "2025-03-04", True),
        ("the price on 14 March 2025", "2025-03-04", False),
        ("round 31.25 to 1 digits", 31.2, False),
        ("round 31.2 to 1 digits", 31.2, True),
        ("round 131.2", 31.2, False),
        ("add 3 and 12.", [3, 12], True),
        ("add 3 and 125", [3, 12], False),
        ("move 500.", 500.0, True),
        ("move 500.5", 500, False),
        ("delete notes/storage.md", "notes/storage.md", True),
        ("at Ttf", "TTF", True),
        ("with site Rehden and task \"meter check\"", {"site": "Rehden", "task": "meter check"}, True),
        ("with site Rehden", {"site": "Rehden", "task": "meter check"}, False),
        ("yes please", True, True),
    ],
)  # fmt: skip
def test_a_request_tells_a_value_only_when_it_stands_there_on_its_own(text, value, told):
    assert mentions(text, value) is told


@given(
    st.recursive(
        st.integers(-9999, 9999) | st.decimals(0, 999, places=2).map(float) | st.sampled_from(("TTF", "2025-03-04")),
        lambda inner: st.lists(inner, min_size=1, max_size=4),
        max_leaves=5,
    ),
    st.integers(0, 1000),
)  # fmt: skip
def test_what_is_said_is_told(value, seed):
    assert mentions(f"Take {say(value, Random(seed))} please.", value)


SCHEMAS = [
    {"type": "integer", "minimum": 3, "maximum": 5},
    {"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 4},
    {"type": "integer", "maximum": -4},
    {"type": "integer", "multipleOf": 5, "minimum": 11, "maximum": 40},
    {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
    {"type": "string", "enum": ["a", "b"]},
    {"const": 7},
    {"type": "string", "format": "date"},
    {"type": "string", "format": "email"},
    {"type": "string", "format": "date-time"},
    {"type": "string", "pattern": "^[A-Z]{3}-\\d{4}$"},
    {"type": "string", "minLength": 30},
    {"type": "string", "maxLength": 3},
    {"type": ["string", "null"]},
    {"anyOf": [{"type": "integer"}, {"type": "null"}]},
    {"type": "boolean"},
    {"type": "array", "items": {"type": "number"}, "minItems": 3},
    {"type": "array", "items": {"enum": ["x", "y"]}, "uniqueItems": True},
    {"type": "array", "items": {"type": "integer"}, "maxItems": 1},
    {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]},
    {"type": "string", "examples": ["Q1 2025"]},
    {},
]


@pytest.mark.parametrize("schema", SCHEMAS)
def test_drawn_values_fit_their_schema(schema):
    spec = ToolSpec(name="t", parameters={"type": "object", "properties": {"value": schema}})
    for seed in range(40):
        assert check_arguments(spec, {"value": draw_value(schema, "value", Random(seed))}) == []


def test_a_foreign_tool_gets_phrasings_from_its_schema():
    spec = ToolSpec(
        name="shop__searchProducts",
        description="Search products in the shop. Slow.",
        parameters={"type": "object", "properties": {"query": {}, "max_price": {}}},
    )
    phrases = generic_phrases(spec)
    texts = [fill(plain(template), {"query": "lamp", "max_price": "20"}) for template in phrases.ask]
    assert texts[0] == "Search products in the shop with query lamp, max price 20."
    assert len(set(texts)) >= 4
    assert None not in texts
    assert spoken("shop__searchProducts") == "search products"


def test_values_are_found_in_results_and_looked_up_again_in_a_live_one():
    planned = [{"text": "Partner: nordgas\nHub: TTF\n"}, {"rows": [{"id": 3, "hub": "NBP"}], "total": 1}]
    assert find_key(planned[0], "Hub") == "TTF"
    assert find_source(planned, "NBP") == (1, ("rows", 0, "hub"))
    number, path = find_source(planned, "TTF")
    assert look_up({"text": "Partner: x\nHub: PEG\n"}, path) == "PEG"
    assert number == 0
    assert find_key({"a": {"id": 1}, "b": {"id": 2}}, "id") is None
    with pytest.raises(LookupError):
        look_up({"text": "no lines"}, path)


@given(
    st.recursive(st.integers() | st.text(max_size=5), lambda i: st.lists(i) | st.dictionaries(st.text(max_size=3), i))
)
def test_every_value_of_a_result_is_at_its_path(value):
    for path, item in find_values(value):
        assert look_up(value, path) == item or isinstance(item, str)


def test_answers_copy_live_values_and_are_none_where_one_is_lacking():
    call = ToolCall(name="get_spot_price", arguments={"hub": "TTF"})
    template = "It is {0.result.price} at {0.hub}."
    assert fill_answer(template, [call], ['{"price": 31.20}']) == "It is 31.2 at TTF."
    assert fill_answer(template, [call], ['{"cost": 1}']) is None
    assert fill_answer(template, [], []) is None
    assert show(["a", "b"]) == "a, b"
    assert len(show("word " * 50)) < 70


@pytest.mark.parametrize(
    ("first", "second", "why"),
    [
        ("Get the spot price at TTF.", "get the spot price at TTF", "duplicate"),
        ("What is the mean of 3 and 4?", "Please, what is the mean of 3 and 4", "near-duplicate"),
        ("Convert 5 MWh to GJ.", "Convert 5 GJ to MWh.", None),
        ("Get the spot price at TTF.", "Get the spot price at NBP.", None),
        ("Add 3 and 4.", "Add 3 and 5.", None),
        ("Get the spot price at TTF on 2025-03-04.", "Get the auction result at TTF for 2025-03-04.", None),
    ],
)
def test_questions_that_were_asked_before_are_found(first, second, why):
    seen = Seen()
    seen.add(first)
    assert seen.why_not(second) == why
