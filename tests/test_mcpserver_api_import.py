import gzip
import json
import random
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from api_server import PETSTORE, write_catalogue
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_values import random_arguments

from mcpserver.api.__main__ import main
from mcpserver.api.importing import Imported, import_source, save
from mcpserver.api.names import built_in_names
from mcpserver.api.storage import read_catalogue
from mcpserver.catalogue import catalogue, load_tools
from mcpserver.tool_error import ToolError
from toolwright.calls import check_schema
from toolwright.errors import ConfigError, DataError
from toolwright.records import ToolSpec


def import_rows(folder: Path, rows: list[Any], **options: Any) -> Imported:
    path = folder / "rows.json"
    path.write_text(json.dumps(rows))
    imported = import_source(path, **options)
    report = imported.report
    assert report.accepted + len(report.refused) == report.read
    assert report.accepted == len(imported.rows)
    for row in imported.rows:
        check_schema(ToolSpec(name=row["name"], parameters=row["parameters"]))
    return imported


def define(properties: Any, name: str = "lookup", **more: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, **more}
    return {"name": name, "description": "Look it up.", "parameters": parameters}


PARAMETERS: list[tuple[Any, dict[str, Any], str]] = [
    ({"type": "STRING"}, {"type": "string"}, "type_spelling"),
    ({"type": "NUMBER", "default": "10"}, {"type": "number", "default": 10}, "default_converted"),
    ({"type": "int"}, {"type": "integer"}, "type_spelling"),
    ({"type": "Float"}, {"type": "number"}, "type_spelling"),
    ({"type": "dict"}, {"type": "object"}, "type_spelling"),
    ({"type": "list"}, {"type": "array", "items": {"type": "string"}}, "items_missing"),
    ({"type": "List[int]"}, {"type": "array", "items": {"type": "integer"}}, "type_spelling"),
    ({"type": "string[]"}, {"type": "array", "items": {"type": "string"}}, "type_spelling"),
    ({"type": "string | null"}, {"type": ["string", "null"]}, "type_spelling"),
    ({"type": "blob of things"}, {"type": "string"}, "type_unknown"),
    ({"type": None, "default": 3}, {"type": "integer", "default": 3}, "type_missing"),
    ({}, {"type": "string"}, "type_missing"),
    ("integer", {"type": "integer"}, "schema_not_object"),
    ("the city", {"type": "string", "description": "the city"}, "schema_not_object"),
    ({"type": "array"}, {"type": "array", "items": {"type": "string"}}, "items_missing"),
    ({"type": "array", "default": [1, 2]}, {"type": "array", "items": {"type": "integer"}}, "items_missing"),
    (
        {"type": "array", "items": [{"type": "int"}]},
        {"type": "array", "prefixItems": [{"type": "integer"}]},
        "items_list",
    ),
    ({"type": "array", "items": "number"}, {"type": "array", "items": {"type": "number"}}, "type_spelling"),
    ({"type": "string", "enum": "a, b, c"}, {"type": "string", "enum": ["a", "b", "c"]}, "enum_in_text"),
    ({"type": "number", "enum": ["1", "2", 2]}, {"type": "number", "enum": [1, 2]}, "enum_values"),
    ({"type": "number", "enum": ["low", "high"]}, {"type": "string", "enum": ["low", "high"]}, "enum_values"),
    ({"type": "string", "enum": []}, {"type": "string"}, "enum_empty"),
    ({"type": "string", "enum": ["JSON", "CSV"], "default": "json"}, {"default": "JSON"}, "default_converted"),
    ({"type": "boolean", "default": "true"}, {"default": True}, "default_converted"),
    ({"type": "number", "default": 10.0}, {"default": 10}, "default_whole"),
    ({"type": "number", "default": "many"}, {"type": "number"}, "default_dropped"),
    ({"type": "integer", "default": 1.5}, {"type": "integer"}, "default_dropped"),
    ({"type": "string", "default": None}, {"type": "string"}, "default_null"),
    ({"type": "integer", "maximum": 5, "default": 9}, {"maximum": 5}, "default_dropped"),
    ({"type": "integer", "minimum": "1"}, {"minimum": 1}, "number_in_text"),
    ({"type": "integer", "minimum": 0, "exclusiveMinimum": True}, {"exclusiveMinimum": 0}, "bound_boolean"),
    ({"type": "string", "pattern": "(a+)+$"}, {"type": "string"}, "pattern_unusable"),
    ({"type": "string", "optional": True}, {"type": "string"}, "schema_keyword"),
    ({"type": "string", "minLength": -1}, {"type": "string"}, "schema_keyword"),
    ({"type": "string", "example": "x"}, {"examples": ["x"]}, "example_keyword"),
    ({"type": "string", "nullable": True}, {"type": ["string", "null"]}, "nullable"),
    ({"type": "string", "description": "Unit. Defaults to None."}, {"description": "Unit."}, "none_in_text"),
    ({"type": "string", "description": "The\u200b day \n"}, {"description": "The day"}, "description_characters"),
    ({"type": "string", "description": " "}, {"description": "Page size."}, "description_missing"),
    (
        {"type": "string", "description": "Order. Allowed values are 'asc' and 'desc'. Default is 'asc'."},
        {"enum": ["asc", "desc"]},
        "enum_in_text",
    ),
]


@pytest.mark.parametrize(("raw", "expected", "rule"), PARAMETERS)
def test_each_defect_of_a_parameter_has_its_rule(tmp_path: Path, raw: Any, expected: dict[str, Any], rule: str) -> None:
    imported = import_rows(tmp_path, [define({"page_size": raw})])
    made = imported.rows[0]["parameters"]["properties"]["page_size"]
    assert {key: made.get(key) for key in expected} == expected
    assert "description" in made
    assert rule in imported.report.times
    if rule in ("default_dropped", "enum_empty", "pattern_unusable", "default_null"):
        assert not made.keys() & {"default", "enum", "pattern"}


@pytest.mark.parametrize(
    "text",
    [
        "Fields, comma separated. Allowed values are 'a', 'b'.",
        "For example one of 'a' or 'b'.",
        "Either 'a', 'b' or a number of your own.",
        "Allowed values are 0-18.",
        "Format, 'CSV' or 'JSON'. Defaults to 'xml'.",
        "One of 'CSV' or 'JSON'. Defaults to `json`.",
    ],
)
def test_values_in_a_text_become_no_enum_where_others_may_be_right(tmp_path: Path, text: str) -> None:
    made = import_rows(tmp_path, [define({"x": {"type": "string", "description": text}})]).rows[0]
    assert "enum" not in made["parameters"]["properties"]["x"]


DEFINITIONS: list[tuple[Any, str]] = [
    ({"type": "function", "function": define({})}, "definition_wrapped"),
    ({"name": "a", "description": "A."}, "parameters_missing"),
    (
        {"name": "a", "description": "A.", "parameters": [{"name": "x", "type": "int", "required": True}]},
        "parameters_list",
    ),
    ({"name": "a", "description": "A.", "parameters": {"x": {"type": "int"}}}, "parameters_flat"),
    ({"name": "a", "description": "A.", "parameters": '{"type": "object", "properties": {}}'}, "parameters_flat"),
    ({"name": "a", "description": "A.", "input_schema": {"type": "object", "properties": {}}}, "parameters_key"),
    (
        {"name": "a", "description": "A.", "parameters": {"type": "dict", "properties": {"x": {"type": "int"}}}},
        "parameters_type",
    ),
    (define({}, "get-the weather!"), "name_characters"),
    (define({}, "2nd_try"), "name_characters"),
    (define({}, "x" * 90), "name_too_long"),
    (define({"a b": {"type": "string"}}), "parameter_name"),
    (define({"City": {"type": "string"}}, required=["city"]), "required_unknown"),
    (define({"x": {"type": "string"}}, required=["nothing"]), "required_unknown"),
    (define({"x": {"type": "string"}}, required="x"), "required_form"),
    (define({"x": {"type": "string"}}, required=["x", "x", 3]), "required_form"),
    (define({"x": {"type": "string", "required": True}}), "required_form"),
    ({"name": "a", "description": None, "parameters": {"type": "object", "properties": {}}}, "description_missing"),
    ({"name": "a", "description": "x" * 3000}, "description_cut"),
    (
        {"name": "a", "description": "This is a sub-function API for tool chess.\nAPI description: One."},
        "description_boilerplate",
    ),
]


@pytest.mark.parametrize(("raw", "rule"), [case for case in DEFINITIONS if case[1] != "parameter_name"])
def test_each_defect_of_a_definition_has_its_rule(tmp_path: Path, raw: Any, rule: str) -> None:
    imported = import_rows(tmp_path, [raw])
    assert imported.report.accepted == 1
    assert rule in imported.report.times
    assert len(imported.rows[0]["description"]) <= 1024


def test_required_names_lead_to_the_parameter_that_was_meant(tmp_path: Path) -> None:
    rows = [define({"City": "string", "x": {"type": "string", "required": "true"}}, required=["city", "gone"])]
    assert import_rows(tmp_path, rows).rows[0]["parameters"]["required"] == ["City", "x"]


REFUSED: list[tuple[Any, str]] = [
    ("text", "expected an object"),
    (7, "expected an object"),
    ({"description": "no name"}, "no name"),
    ({"name": "", "parameters": {}}, "no name"),
    ({"name": "\u4e2d\u6587", "parameters": {}}, "no letter or digit"),
    ({"name": "a", "parameters": {"type": "string"}}, "of type 'string'"),
    ({"name": "a", "parameters": 5}, "expected a schema of an object"),
    ({"name": "a", "parameters": "{oops"}, "not JSON"),
    ({"name": "a", "parameters": [{"type": "string"}]}, "without a name"),
    ({"name": "a", "parameters": {"type": "object", "properties": {"x": {"$ref": "#/$defs/gone"}}}}, "leads nowhere"),
]


@pytest.mark.parametrize(("raw", "reason"), REFUSED)
def test_what_is_no_tool_is_refused_with_a_reason(tmp_path: Path, raw: Any, reason: str) -> None:
    report = import_rows(tmp_path, [raw, define({})]).report
    assert (report.read, report.accepted) == (2, 1)
    assert reason in report.refused[0].reason
    assert report.refused[0].place.endswith("rows.json[0]")


def test_a_schema_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(60):
        deep = {"type": "object", "properties": {"x": deep}}
    assert "nested" in import_rows(tmp_path, [define({"x": deep})]).report.refused[0].reason


def test_names_are_unique_and_never_those_of_built_in_tools(tmp_path: Path) -> None:
    taken = min(built_in_names().tools)
    rows = [
        define({}, "look"),
        define({"x": {}}, "look"),
        define({"y": {}}, "look"),
        define({}, taken),
        define({}, "look"),
    ]
    imported = import_rows(tmp_path, rows)
    names = [row["name"] for row in imported.rows]
    assert names[:3] == ["look", "look_2", "look_3"]
    assert len(set(names)) == 4
    assert taken not in names
    assert imported.report.refused[0].reason == "the same definition was read before"
    assert [row["name"] for row in import_rows(tmp_path, rows[:1], prefix="shop_").rows] == ["shop_look"]


def test_a_folder_is_read_whole_and_a_broken_line_costs_only_itself(tmp_path: Path) -> None:
    source = tmp_path / "apis"
    (source / "deep").mkdir(parents=True)
    (source / "a.jsonl").write_text(f"{json.dumps(define({}, 'one'))}\n{{broken\n\n{json.dumps(define({}, 'two'))}\n")
    (source / "deep" / "b.jsonl.gz").write_bytes(gzip.compress(json.dumps(define({}, "three")).encode()))
    (source / "c.json").write_text(
        json.dumps(
            {
                "tool_name": "chess",
                "api_list": [
                    {
                        "name": "Top players",
                        "url": "https://chess.p.rapidapi.com/top/{country}",
                        "method": "GET",
                        "description": "Best players.",
                        "required_parameters": [{"name": "country", "type": "STRING", "default": "NL"}],
                        "optional_parameters": [{"name": "count", "type": "NUMBER", "default": "5"}],
                    }
                ],
            }
        )
    )
    (source / "d.json").write_text("not json")
    (source / "e.json.gz").write_bytes(b"not gzip")
    report = (imported := import_source(source)).report
    assert (report.read, report.accepted, len(report.refused)) == (7, 4, 3)
    chess = next(row for row in imported.rows if row["name"] == "Top_players")
    assert chess["parameters"]["required"] == ["country"]
    assert chess["parameters"]["properties"]["count"]["default"] == 5
    assert (chess["method"], chess["path"], chess["server"]) == (
        "GET",
        "/top/{country}",
        "https://chess.p.rapidapi.com",
    )
    assert chess["places"] == {"country": ["path", "country"], "count": ["query", "count"]}


def test_a_catalogue_is_read_back_as_tools_and_refused_when_it_was_changed(tmp_path: Path) -> None:
    path = Path(write_catalogue(tmp_path, [define({"n": {"type": "integer", "maximum": 5}}, required=["n"])]))
    tool = load_tools([str(path)])["lookup"]
    assert (tool.runs_in, tool.category, tool.takes_context) == ("api", "shop", False)
    assert tool.api is not None
    assert tool.check({"n": 3}) == {"n": 3}
    for wrong, word in (
        ({"n": 9}, "greater than"),
        ({"n": True}, "integer"),
        ({}, "missing"),
        ({"n": 1, "m": 2}, "unknown"),
    ):
        with pytest.raises(ToolError, match=word) as error:
            tool.check(wrong)
        assert error.value.kind == "bad_arguments"
    assert "lookup" in catalogue((str(path), str(path)))
    path.write_text(path.read_text().replace("Look it up", "Look this up"))
    with pytest.raises(DataError, match="import it again"):
        load_tools([str(path)])
    with pytest.raises(ConfigError, match=r"mcpserver\.api import"):
        load_tools([str(tmp_path / "none.api.jsonl")])


def test_a_long_text_meets_no_pattern(tmp_path: Path) -> None:
    row = define({"code": {"type": "string", "pattern": "^[a-z]+-[0-9]+$"}})
    tool = load_tools([write_catalogue(tmp_path, [row])])["lookup"]
    assert tool.check({"code": "ab-12"})
    with pytest.raises(ToolError, match="more than 4000") as error:
        tool.check({"code": "a" * 200_000})
    assert error.value.kind == "limit"


def test_half_of_a_surrogate_pair_is_taken_out_of_texts_and_refused_elsewhere(tmp_path: Path) -> None:
    rows = [define({"x": {"type": "string", "enum": ["\ud800"]}}, "bad"), define({"\udfff": {}}, "worse")]
    text = {"x": {"type": "string", "description": "one \ud83d two", "default": "a\\ud800"}}
    imported = import_rows(tmp_path, [*rows, define(text, "good")])
    assert [row["name"] for row in imported.rows][-1] == "good"
    assert "half of a surrogate pair" in imported.report.refused[0].reason
    made = next(tool for tool in read_catalogue(save(imported, tmp_path, "x")) if tool.spec.name == "good")
    assert made.spec.parameters["properties"]["x"]["description"] == "one  two"
    "\n".join(imported.report.table()).encode()


def test_two_catalogues_with_one_name_say_what_to_do(tmp_path: Path) -> None:
    first = write_catalogue(tmp_path, [define({})])
    (tmp_path / "other").mkdir()
    second = write_catalogue(tmp_path / "other", [define({})])
    with pytest.raises(DataError, match="--prefix"):
        load_tools([first, second])


def read_openapi(folder: Path, document: dict[str, Any]) -> tuple[dict[str, dict[str, Any]], Imported]:
    path = folder / "api.json"
    path.write_text(json.dumps(document))
    imported = import_source(path)
    for row in imported.rows:
        check_schema(ToolSpec(name=row["name"], parameters=row["parameters"]))
    return {row["of"]: row for row in imported.rows}, imported


def test_each_operation_of_an_openapi_document_becomes_a_tool(tmp_path: Path) -> None:
    rows, imported = read_openapi(tmp_path, PETSTORE)
    assert imported.report.read == imported.report.accepted == 5
    assert [row["name"] for row in imported.rows] == [
        "listPets",
        "createPet",
        "get_pets_by_pet_id",
        "replace_pet",
        "plantTree",
    ]
    assert imported.source.servers == ("https://eu.pets.example.com/v1",)
    assert imported.source.security == ("key: key in header X-Key",)
    listing = rows["listPets"]
    assert set(listing["parameters"]["properties"]) == {"limit", "status", "X-Trace"}
    assert listing["parameters"]["properties"]["limit"]["default"] == 20
    assert listing["response"]["type"] == "array"
    assert listing["toolset"] == "pets"
    assert rows["createPet"]["parameters"]["required"] == ["name"]
    assert "id" not in rows["createPet"]["parameters"]["properties"]
    assert rows["createPet"]["parameters"]["properties"]["tag"]["type"] == ["string", "null"]
    assert rows["replace-pet"]["parameters"]["required"] == ["petId", "name", "bark"]
    one = rows["get_pets_by_pet_id"]
    assert one["deprecated"] is True
    assert one["description"] == "Deprecated. One pet."
    assert "$defs" in rows["plantTree"]["parameters"] or "$ref" in json.dumps(rows["plantTree"]["parameters"])
    assert {
        "name_missing",
        "auth_parameter",
        "read_only",
        "nullable",
        "deprecated",
        "all_of_merged",
        "reference_kept",
    } <= set(imported.report.times)


def test_yaml_and_json_say_the_same(tmp_path: Path) -> None:
    _, from_json = read_openapi(tmp_path, PETSTORE)
    (tmp_path / "api.yaml").write_text(yaml.safe_dump(PETSTORE))
    assert import_source(tmp_path / "api.yaml").rows == from_json.rows


def test_yaml_words_that_look_like_something_else_stay_words(tmp_path: Path) -> None:
    text = """
openapi: 3.1.0
info: {title: T, version: 1}
paths:
  /a:
    get:
      parameters:
        - {name: country, in: query, schema: {type: string, enum: [no, on, yes], default: no}}
        - {name: day, in: query, schema: {type: string, default: 2024-01-31}}
      responses: {200: {description: ok}}
"""
    (tmp_path / "a.yaml").write_text(text)
    properties = import_source(tmp_path / "a.yaml").rows[0]["parameters"]["properties"]
    assert (properties["country"]["enum"], properties["country"]["default"]) == (["no", "on", "yes"], "no")
    assert properties["day"]["default"] == "2024-01-31"


def operation(schema: Any, **more: Any) -> dict[str, Any]:
    return {
        "openapi": "3.1.0",
        "info": {"title": "T"},
        "components": more.pop("components", {}),
        "paths": {
            "/x/{id}": {
                "post": {
                    "operationId": "op",
                    "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}}],
                    "requestBody": {
                        "required": True,
                        "content": {more.pop("media", "application/json"): {"schema": schema}},
                    },
                    **more,
                }
            }
        },
    }


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (operation({"$ref": "other.yaml#/Pet"}), "leads out of the document"),
        (operation({"$ref": "#/components/schemas/Gone"}), "leads nowhere"),
        (operation({"type": "string"}, media="image/png"), "does not write"),
        (operation({}, parameters=[]), "the path names 'id'"),
        (operation({}, parameters="all"), "expected a list"),
        (operation({}, parameters=[{"name": "id"}]), "no place"),
    ],
)
def test_an_operation_that_cannot_be_a_tool_is_refused_with_a_reason(
    tmp_path: Path, document: Any, reason: str
) -> None:
    rows, imported = read_openapi(tmp_path, document)
    assert not rows
    assert imported.report.read == 1
    assert reason in imported.report.refused[0].reason


def test_a_body_property_named_like_another_parameter_gets_its_own_name(tmp_path: Path) -> None:
    rows, _ = read_openapi(tmp_path, operation({"type": "object", "properties": {"id": {"type": "string"}}}))
    assert rows["op"]["places"] == {"id": ["path", "id", "", False], "body_id": ["body", "id"]}


def test_a_body_that_is_no_plain_object_is_one_parameter(tmp_path: Path) -> None:
    for schema in (
        {"type": "array", "items": {"type": "integer"}},
        {"oneOf": [{"type": "string"}, {"type": "integer"}]},
    ):
        rows, _ = read_openapi(tmp_path, operation(schema))
        assert rows["op"]["whole_body"] == "body"
        assert rows["op"]["parameters"]["required"] == ["id", "body"]


def test_references_that_multiply_do_not_run_away(tmp_path: Path) -> None:
    schemas: dict[str, Any] = {"S0": {"type": "string"}}
    for number in range(1, 40):
        part = {"$ref": f"#/components/schemas/S{number - 1}"}
        schemas[f"S{number}"] = {"type": "object", "properties": {"a": part, "b": part}}
    started = time.process_time()
    rows, _ = read_openapi(tmp_path, operation({"$ref": "#/components/schemas/S39"}, components={"schemas": schemas}))
    assert "op" in rows
    assert len(json.dumps(rows["op"])) < 50_000
    assert time.process_time() - started < 5


BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))
LOOP = "openapi: 3.0.0\npaths: &p\n  /a: *p\n"


@pytest.mark.parametrize(
    "text", [f"{BOMB}openapi: 3.0.0\npaths: {{}}\n", LOOP, "{", '{"swagger": "2.0", "paths": {}}', "[1]"]
)
def test_a_document_that_is_not_openapi_3_is_named(
    tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "api.yaml"
    path.write_text(text)
    assert main(["import", str(path), "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_the_command_writes_a_catalogue_and_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "mine.json"
    source.write_text(json.dumps([define({"x": {"type": "STRING"}}), {"name": ""}]))
    assert (
        main(
            [
                "import",
                str(source),
                "--out",
                str(tmp_path / "out"),
                "--header",
                "X-Key: ${KEY}",
                "--base-url",
                "https://api.example.com/",
            ]
        )
        == 0
    )
    printed = capsys.readouterr().out
    assert "read 2, accepted 1, refused 1" in printed
    assert "type_spelling" in printed
    report = json.loads((tmp_path / "out" / "mine.report.json").read_text())
    assert report["accepted"] + len(report["refused"]) == report["read"] == 2
    assert report["rules"]["type_spelling"]["examples"][0] == {
        "tool": "lookup",
        "where": "x",
        "before": "STRING",
        "after": "string",
    }
    tool = next(read_catalogue(tmp_path / "out" / "mine.api.jsonl"))
    assert tool.api is not None
    assert tool.api.source.base_url == "https://api.example.com"
    assert tool.api.source.headers == {"X-Key": "${KEY}"}


JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-5, 5),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=8),
        st.sampled_from(["string", "INT", "array", "object", "a, b", "true"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "properties",
                    "items",
                    "required",
                    "enum",
                    "default",
                    "description",
                    "minimum",
                    "anyOf",
                    "allOf",
                    "$ref",
                    "pattern",
                    "additionalProperties",
                    "nullable",
                    "x",
                    "name",
                    "$defs",
                    "const",
                ]
            ),
            inner,
            max_size=5,
        ),
    ),
    max_leaves=15,
)


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.one_of(
            JSON,
            st.builds(lambda n, p: {"name": n, "parameters": p}, st.text(max_size=5), JSON),
            st.builds(lambda p: define(p if isinstance(p, dict) else {"x": p}), JSON),
        ),
        max_size=3,
    )
)
def test_whatever_is_written_is_a_tool_or_refused(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    imported = import_rows(tmp_path_factory.mktemp("rows"), rows)
    path = save(imported, tmp_path_factory.mktemp("out"), "any")
    assert len(list(read_catalogue(path))) == imported.report.accepted


SHARED = Path(__file__).parents[1] / "../shared/data/api_defines.jsonl.gz"


def test_the_shared_definitions_are_all_accepted_or_refused_in_time(tmp_path: Path) -> None:
    if not SHARED.exists():
        pytest.skip("the shared definitions (../shared/data/api_defines.jsonl.gz) are not on this machine")
    started = time.process_time()
    imported = import_source(SHARED)
    assert time.process_time() - started < 5
    report = imported.report
    assert report.accepted + len(report.refused) == report.read == 3472
    path = save(imported, tmp_path, "shared")
    started = time.process_time()
    tools = load_tools([str(path)])
    assert time.process_time() - started < 2
    assert len(tools) == report.accepted
    rng = random.Random(17)
    for tool in tools.values():
        check_schema(tool.spec)
        tool.check(random_arguments(tool.spec.parameters, rng, ()))


def places(node: Any) -> list[tuple[Any, Any]]:
    """Every place in a document: its container, and key or index."""
    pairs = list(node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ())
    return [(node, key) for key, _ in pairs] + [place for _, inner in pairs for place in places(inner)]


WRONG = [
    None,
    True,
    -1,
    1.5,
    "",
    "x",
    "#/components/schemas/Pet",
    [],
    ["a", None],
    {},
    {"$ref": "#/paths"},
    {"$ref": "#/components/schemas/Tree"},
    {"type": "object", "properties": {"a": 5}},
    "STRING",
    {"allOf": [{"$ref": "#/components/schemas/Dog"}, 7]},
    {"type": ["integer", "null"], "enum": [None]},
]


def test_a_damaged_document_costs_its_operations_and_nothing_else(tmp_path: Path) -> None:
    rng = random.Random(17)
    for _ in range(150):
        document = json.loads(json.dumps(PETSTORE))
        for _ in range(rng.randint(1, 4)):
            node, key = rng.choice(places(document))
            node[key] = json.loads(json.dumps(rng.choice(WRONG)))
        try:
            _, imported = read_openapi(tmp_path, document)
        except ConfigError:
            continue
        assert imported.report.accepted + len(imported.report.refused) == imported.report.read
