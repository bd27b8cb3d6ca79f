import contextlib
import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tool_calls import World
from tool_checks import NASTY, check_example, check_random_calls, examples_of, refused, tools_of

from mcpserver.tool_error import ToolError
from mcpserver.toolbox.distances import edits_between, similarity
from mcpserver.toolbox.json_patch import apply_operation, difference, same
from mcpserver.toolbox.structured_text import read_structured, write_structured
from mcpserver.toolbox.words_of_text import cardinal, from_roman, sentences_of, to_roman
from mcpserver.tools.text import comparison, encodings, patterns, structures, tables, text, writing
from toolwright.errors import DataError

MODULES = (text, writing, patterns, comparison, encodings, structures, tables)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("env"))


@pytest.mark.parametrize(("tool", "example"), examples_of(*MODULES))
def test_examples_work_and_are_repeatable(tool, example, tmp_path):
    check_example(tool, example, tmp_path)


@pytest.mark.parametrize("tool", tools_of(*MODULES), ids=lambda tool: tool.spec.name)
def test_random_calls_fail_in_the_typed_way_only(tool, tmp_path):
    check_random_calls(tool, tmp_path)


@pytest.mark.parametrize("module", [text, writing, encodings, tables])
def test_tools_of_the_server_take_no_time_whatever_the_text(module, world):
    for tool in tools_of(module):
        for name, schema in tool.spec.parameters["properties"].items():
            longest = schema.get("maxLength", 0)
            for piece in ("a", " ", ".", "\n", "\n ", "|", "A b. ", "'", '"', "&#", "é", "a|", "-|", "{", "%", "1,"):
                if longest > 500:
                    arguments = {**tool.examples[0], name: (piece * longest)[:longest]}
                    start = time.process_time()
                    with contextlib.suppress(ToolError, DataError):
                        world.call(tool, **arguments)
                    assert time.process_time() - start < 0.3, (tool.spec.name, piece)


@pytest.mark.parametrize(
    ("function", "arguments", "expected"),
    [
        (
            text.rank_phrases,
            {"text": "a gas a gas b gas"},
            {"phrases": [{"phrase": "gas", "count": 3}, {"phrase": "b", "count": 1}]},
        ),
        (text.split_sentences, {"text": "Dr. A. Smith came. It cost 2.5 EUR! Why?"}, {"total": 3}),
        (text.convert_roman, {"value": 1994}, {"roman": "MCMXCIV"}),
        (text.convert_roman, {"value": "mcmxciv"}, {"number": 1994}),
        (text.spell_number, {"number": 1_000_021, "style": "ordinal"}, {"words": "one million twenty-first"}),
        (text.spell_number, {"number": -0.05}, {"words": "minus zero point zero five"}),
        (text.spell_number, {"number": 1905, "style": "year"}, {"words": "nineteen oh five"}),
        (text.spell_number, {"number": 2000, "style": "year"}, {"words": "two thousand"}),
        (text.spell_number, {"number": 12, "style": "ordinal"}, {"words": "twelfth"}),
        (text.spell_number, {"number": 40, "style": "ordinal"}, {"words": "fortieth"}),
        (text.sort_items, {"items": ["b10", "b9", "B1"]}, {"items": ["B1", "b9", "b10"]}),
        (
            text.sort_items,
            {"items": ["É", "z", "a", "a"], "order": "alphabetical", "unique": True},
            {"items": ["a", "É", "z"]},
        ),
        (
            text.summarize_text,
            {"text": "Tea was served. Gas storage fell. The gas storage fell.", "sentences": 1},
            {"summary": "Gas storage fell."},
        ),
        (writing.wrap_text, {"text": "aa bb cc dd", "width": 11, "align": "justify"}, {"text": "aa bb cc dd"}),
        (
            writing.wrap_text,
            {"text": "aaaa bb c ddddddd", "width": 12, "align": "justify"},
            {"text": "aaaa   bb  c\nddddddd"},
        ),
        (writing.change_case, {"text": "gasPrice dayAhead", "style": "snake"}, {"text": "gas_price_day_ahead"}),
        (writing.change_case, {"text": "it's o'clock", "style": "title"}, {"text": "It's O'clock"}),
        (writing.slugify, {"text": "  Über uns: Preise & Größe! "}, {"slug": "ueber-uns-preise-groesse"}),
        (writing.transliterate_text, {"text": "Łódź Київ Αθήνα 中"}, {"text": "Lodz Kiyiv Athina ?"}),
        (
            writing.format_template,
            {"template": "{{{a:>4}}} {b:.1f}", "values": {"a": 7, "b": 2.25}},
            {"text": "{   7} 2.2"},
        ),
        (
            writing.clean_text,
            {"text": "a  “b”\n\n c…", "steps": ["plain_quotes", "plain_dashes", "trim_lines", "drop_empty_lines"]},
            {"text": 'a  "b"\nc...'},
        ),
        (
            comparison.compare_texts,
            {"first": "ca", "second": "ac", "method": "damerau"},
            {"edits": 1, "similarity": 0.5},
        ),
        (
            comparison.compare_texts,
            {"first": "MARTHA", "second": "MARHTA", "method": "jaro_winkler"},
            {"similarity": 0.9611},
        ),
        (comparison.compare_texts, {"first": "", "second": "", "method": "words"}, {"similarity": 1.0}),
        (
            comparison.diff_texts,
            {"first": "a b c", "second": "a x c", "unit": "words"},
            {"text": "a [-b-] {+x+} c", "added": 1},
        ),
        (
            comparison.group_similar,
            {"items": ["Tern", "tern", "Fern", "Oak"], "least": 0.7},
            {"alike": [["Tern", "tern", "Fern"]]},
        ),
        (encodings.encode_text, {"text": "SOS 1", "coding": "morse"}, {"text": "... --- ... / .----"}),
        (encodings.decode_text, {"text": "/w", "coding": "base64"}, {"hex": "ff", "bytes": 1}),
        (encodings.decode_text, {"text": "&lt;&eacute;", "coding": "html"}, {"text": "<é"}),
        (
            encodings.hash_text,
            {"text": "what do ya want for nothing?", "key": "Jefe", "method": "md5"},
            {"digest": "750c783e6ab0b503eaa86e310a5db738"},
        ),
        (
            encodings.parse_url,
            {"url": "http://u@H.example/%20?a=1&a=2"},
            {"host": "h.example", "path": "/ ", "query": {"a": ["1", "2"]}, "user": "u"},
        ),
        (
            encodings.make_uuid,
            {"name": "python.org", "namespace": "dns"},
            {"uuid": "886313e1-3b8a-5372-9b90-0c9aee199e5d"},
        ),
        (encodings.validate_code, {"code": "4111 1111 1111 1111", "kind": "card"}, {"valid": True}),
        (
            encodings.validate_code,
            {"code": "DE89370400440532013001", "kind": "iban"},
            {"valid": False, "problem": "its check digit is wrong"},
        ),
        (encodings.validate_code, {"code": "0-306-40615-2", "kind": "isbn10"}, {"valid": True}),
        (
            patterns.regex_replace,
            {"text": "a1b2", "pattern": "[0-9]", "replacement": "<\\g<0>>", "count": 1},
            {"text": "a<1>b2", "replaced": 1},
        ),
        (patterns.regex_split, {"text": "a, b;;c", "pattern": "[,;]\\s*"}, {"parts": ["a", "b", "c"]}),
        (
            patterns.classify_lines,
            {"text": "a\nb\n\na", "rules": [{"label": "A", "pattern": "^a"}]},
            {"counts": {"A": 2, "other": 1}},
        ),
        (
            patterns.redact_text,
            {"text": "x@y.example, X@y.example, +31 20 123 4567", "kinds": ["email", "phone"], "style": "numbered"},
            {"text": "[EMAIL 1], [EMAIL 1], [PHONE 1]"},
        ),
        (
            tables.make_text_table,
            {"rows": [{"a": "x|y", "n": 5}]},
            {"text": "| a    |   n |\n| ---- | --: |\n| x\\|y |   5 |"},
        ),
        (tables.make_text_table, {"rows": [{"a": 'q"', "b": True}], "form": "csv"}, {"text": 'a,b\n"q""",true\n'}),
        (tables.parse_csv_text, {"text": "a\tb\n007\t1.5\n"}, {"delimiter": "\t", "rows": [{"a": "007", "b": 1.5}]}),
        (
            structures.query_json,
            {"document": {"a": [{"b": 1}, {"b": 2}]}, "path": "$.a[-1].b"},
            {"found": [{"path": "$.a[1].b", "value": 2}]},
        ),
        (
            structures.query_json,
            {"document": {"a b": {"c": 1}}, "path": "['a b'].*"},
            {"found": [{"path": "$['a b'].c", "value": 1}]},
        ),
        (
            structures.merge_json,
            {"first": {"a": 1, "b": {"c": 1}}, "second": {"a": None, "b": {"d": 2}}},
            {"document": {"b": {"c": 1, "d": 2}}},
        ),
        (structures.format_json, {"text": '[1,{"a":null}]', "style": "lines"}, {"text": '1\n{"a": null}\n'}),
        (structures.flatten_json, {"document": {"a": {"b": [1, {}]}}}, {"document": {"a.b.0": 1, "a.b.1": {}}}),
    ],
)
def test_what_tools_answer(world, function, arguments, expected):
    result = world.call(function, **arguments)
    assert {key: result.get(key) for key in expected} == expected


@pytest.mark.parametrize(
    ("function", "arguments", "kind", "words"),
    [
        (
            writing.format_template,
            {"template": "{x.__class__.__init__.__globals__}", "values": {"x": 1}},
            "denied",
            "attributes",
        ),
        (writing.format_template, {"template": "{x[0]}", "values": {"x": "a"}}, "denied", "items"),
        (writing.format_template, {"template": "{x!r}", "values": {"x": 1}}, "denied", "no place"),
        (writing.format_template, {"template": "{x:>999999999}", "values": {"x": 1}}, "denied", "no place"),
        (writing.format_template, {"template": "{", "values": {}}, "denied", "no place"),
        (writing.format_template, {"template": "{nme}", "values": {"name": 1}}, "bad_arguments", "did you mean"),
        (writing.format_template, {"template": "{a:.2f}", "values": {"a": "x"}}, "bad_arguments", "does not fit"),
        (text.convert_roman, {"value": "IIX"}, "bad_arguments", "Roman"),
        (text.spell_number, {"number": 1.5, "style": "ordinal"}, "bad_arguments", "whole number"),
        (patterns.regex_search, {"text": "a", "pattern": "("}, "bad_arguments", "no regular expression"),
        (patterns.regex_replace, {"text": "a", "pattern": "a", "replacement": "\\9"}, "bad_arguments", "replacement"),
        (patterns.regex_replace, {"text": "a" * 9000, "pattern": "a", "replacement": "b" * 1000}, "limit", "longer"),
        (patterns.parse_lines, {"text": "a", "pattern": "a"}, "bad_arguments", "named group"),
        (encodings.decode_text, {"text": "a!", "coding": "base64"}, "bad_arguments", "no base64"),
        (encodings.decode_text, {"text": '"\\ud800"', "coding": "json"}, "bad_arguments", "no json"),
        (encodings.encode_text, {"text": "ü", "coding": "morse"}, "bad_arguments", "Morse"),
        (encodings.parse_url, {"url": "http://[::1"}, "bad_arguments", "url"),
        (encodings.parse_url, {"url": "http://a:99999/"}, "bad_arguments", "url"),
        (encodings.build_url, {"parts": {"host": "a/b"}}, "bad_arguments", "host"),
        (structures.format_json, {"text": "[NaN]"}, "bad_arguments", "NaN"),
        (structures.format_json, {"text": "[1e999]"}, "bad_arguments", "infinite"),
        (structures.format_json, {"text": "[" * 20000}, "bad_arguments", "no JSON"),
        (structures.format_json, {"text": "[" * 100 + "]" * 100}, "limit", "deeper"),
        (structures.format_json, {"text": "9" * 5000}, "bad_arguments", "no JSON"),
        (structures.format_json, {"text": '{"a": 1,}'}, "bad_arguments", "line 1 column"),
        (
            structures.convert_structure,
            {"text": "a: !!python/object/apply:os.system [ls]", "source": "yaml", "target": "json"},
            "bad_arguments",
            "no YAML",
        ),
        (structures.convert_structure, {"text": "a: &a [*a]", "source": "yaml", "target": "json"}, "limit", "deeper"),
        (
            structures.convert_structure,
            {"text": "!!bool maybe", "source": "yaml", "target": "json"},
            "bad_arguments",
            "no YAML",
        ),
        (
            structures.convert_structure,
            {"text": "[" * 20000, "source": "yaml", "target": "json"},
            "bad_arguments",
            "no YAML",
        ),
        (
            structures.convert_structure,
            {"text": "x = 1\nx = 2", "source": "toml", "target": "json"},
            "bad_arguments",
            "no TOML",
        ),
        (structures.convert_structure, {"text": "[null]", "source": "json", "target": "toml"}, "tool_error", "TOML"),
        (structures.convert_structure, {"text": "a: null", "source": "yaml", "target": "toml"}, "tool_error", "null"),
        (structures.query_json, {"document": {"name": 1}, "path": "nme"}, "tool_error", "did you mean"),
        (structures.query_json, {"document": {}, "path": "a["}, "bad_arguments", "no step"),
        (
            structures.patch_json,
            {"document": {"a": 1}, "operations": [{"op": "test", "path": "/a", "value": True}]},
            "tool_error",
            "operations[0]",
        ),
        (
            structures.patch_json,
            {"document": {"a": 1}, "operations": [{"op": "add", "path": "/b/c", "value": 1}]},
            "tool_error",
            "nothing is at",
        ),
        (
            structures.patch_json,
            {
                "document": {"a": ["x" * 500]},
                "operations": [{"op": "copy", "source": "", "path": "/b"}, {"op": "copy", "source": "", "path": "/c"}]
                * 5,
            },
            "limit",
            "too large",
        ),
        (structures.validate_json, {"document": 1, "json_schema": {"type": "intger"}}, "bad_arguments", "json_schema"),
        (
            structures.validate_json,
            {"document": 1, "json_schema": {"$ref": "http://127.0.0.1:1/x"}},
            "bad_arguments",
            "json_schema",
        ),
        (
            structures.validate_json,
            {"document": 1, "json_schema": {"$ref": "file:///etc/passwd"}},
            "bad_arguments",
            "json_schema",
        ),
        (structures.validate_json, {"document": 1, "json_schema": {"$ref": "#"}}, "bad_arguments", "json_schema"),
        (structures.validate_json, {"document": "a", "json_schema": {"pattern": "("}}, "bad_arguments", "json_schema"),
        (
            structures.flatten_json,
            {"document": {"a": 1, "a.b": 2}, "direction": "nest"},
            "bad_arguments",
            "below a key",
        ),
        (tables.parse_markdown_table, {"text": "no table"}, "tool_error", "0 tables"),
        (tables.parse_csv_text, {"text": '"a'}, "bad_arguments", "no separated values"),
        (tables.make_text_table, {"rows": [{}]}, "bad_arguments", "columns"),
    ],
)
def test_what_tools_refuse(world, function, arguments, kind, words):
    with refused(kind, words):
        world.call(function, **arguments)


def test_an_alias_bomb_is_stopped(world):
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [{','.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(8)
    )
    start = time.process_time()
    with refused("limit"):
        world.call(structures.convert_structure, text=bomb, source="yaml", target="json")
    assert time.process_time() - start < 2


@pytest.mark.parametrize(
    ("kind", "source", "values"),
    [
        ("email", "a.b+c@x-y.example.org, @x a@b, me@host.example.", ["a.b+c@x-y.example.org", "me@host.example"]),
        (
            "url",
            "see (https://a.example/x_(y)?q=1), http://b.example.",
            ["https://a.example/x_(y)?q=1", "http://b.example"],
        ),
        ("date", "2025-03-14, 2025-02-30, 3rd May 2024, Dec 1, 2023", ["2025-03-14", "2024-05-03", "2023-12-01"]),
        ("time", "at 09:30 or 23:59:59, not 25:00 or 1:2:3:4", ["09:30", "23:59:59"]),
        ("number", "1,250.50 and -3, not v2 or 1.2.3", [1250.5, -3]),
        ("money", "€12.50, 1,200 EUR, $5 and 7 apples", [12.5, 1200, 5]),
        ("percentage", "2.5 %, 10 percent, 5", [2.5, 10]),
        ("phone", "+44 20 7946 0311 and +31(20)123-4567, 12345", ["+442079460311", "+31201234567"]),
        ("ip", "10.0.0.1, 256.1.1.1, 1.2.3.4.5", ["10.0.0.1"]),
        ("hashtag", "#gas #2025 a#b", ["#gas"]),
        ("mention", "@nora and a@b", ["@nora"]),
    ],
)
def test_entities(world, kind, source, values):
    found = world.call(patterns.extract_from_text, text=source, kinds=[kind])["found"]
    assert [row["value"]["amount"] if kind == "money" else row["value"] for row in found] == values
    assert all(source[row["start"] :].startswith(row["text"]) for row in found)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=300))
def test_codings_come_back(world_text):
    for coding in ("base64", "base64url", "base32", "hex", "url", "html", "rot13", "json"):
        encoded = encodings.encode_text(world_text, coding)["text"]
        assert encodings.decode_text(encoded, coding)["text"] == world_text
    sentences_of(world_text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.floats(-1e6, 1e6) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(JSON, JSON)
def test_a_difference_applied_gives_the_second_value(first, second):
    operations = difference(first, second)
    value = json.loads(json.dumps(first))
    for operation in operations:
        value = apply_operation(value, operation)
    assert same(value, second)
    assert bool(operations) != same(first, second)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.text(max_size=4), JSON, max_size=4))
def test_structured_texts_come_back(value):
    for form in ("json", "yaml", "toml"):
        try:
            written = write_structured(value, form)
        except ToolError:
            assert form == "toml"  # a null
            continue
        assert same(read_structured(written, form), value), written


@settings(max_examples=100, deadline=None)
@given(st.text("ab", max_size=8), st.text("ab", max_size=8))
def test_distances_are_distances(first, second):
    edits = edits_between(first, second)
    assert edits == edits_between(second, first)
    assert abs(len(first) - len(second)) <= edits <= max(len(first), len(second))
    assert edits_between(first, second, swaps=True) <= edits
    for method in ("levenshtein", "damerau", "jaro_winkler", "ratio", "words", "trigrams"):
        assert 0 <= similarity(first, second, method) <= 1


def test_roman_numbers_and_words_are_different_for_every_number():
    assert all(from_roman(to_roman(number)) == number for number in range(1, 4000))
    assert len({cardinal(number) for number in range(5000)}) == 5000


@pytest.mark.parametrize("source", NASTY)
def test_nasty_texts_are_parsed_or_refused(world, source):
    for form in ("json", "yaml", "toml"):
        try:
            read_structured(source, form)
        except ToolError as error:
            assert error.kind in ("bad_arguments", "limit")  # noqa: PT017
