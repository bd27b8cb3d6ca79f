import hashlib
import json
import types
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge
from jsonschema import Draft202012Validator
from pydantic import BaseModel, Field

from mcpserver.catalogue import all_tools, built_in, collect, make_tool, select_tools, toolsets
from mcpserver.context import Context
from mcpserver.json_schema import tidy_schema
from mcpserver.tool_error import ToolError
from toolwright.calls import check_arguments, check_schema
from toolwright.errors import ConfigError, DataError

WANTED = {
    "energy": """get_spot_price get_factory_price get_auction_price get_heating_value convert_energy
        gas_volume_to_energy get_pipeline_flow get_storage_level price_spread transport_cost get_trading_day
        count_delivery_days book_capacity""",
    "files": "list_files read_file write_file append_line move_file delete_file find_text",
    "database": "list_tables describe_table query_rows count_rows insert_row update_rows delete_rows",
    "maths": "calculate mean median standard_deviation percent_change sum_values round_number",
}


class Leg(BaseModel):
    title: str
    volume: Annotated[int, Field(ge=1)]


def order(
    context: Context, hub: Literal["TTF", "NBP"], legs: list[Leg], note: str | None = None, urgent: bool = False
) -> dict[str, Any]:
    """Place an order.

    Args:
        context: never shown
        hub: where
        legs: what
        note: free text
        urgent: now

    Example:
        {"hub": "TTF", "legs": [{"title": "a", "volume": 3}]}
        {"hub": "NBP", "legs": [],
         "note": "x"}
    """
    return {"hub": hub, "seed": context.seed, "volume": sum(leg.volume for leg in legs)}


SPECS_HASH = "de754d493640ebc322d804900f856725110958f6fe20291fb72eba65d5874ae3"
SHORT = {name for names in WANTED.values() for name in names.split()}


def test_the_first_toolsets_hold_exactly_the_tools_that_were_agreed():
    found = {name: set(select_tools([name])) for name in WANTED}
    assert found == {toolset: set(names.split()) for toolset, names in WANTED.items()}


def test_what_models_see_of_the_first_tools_has_not_changed_by_a_byte():
    """The tiny model was trained on these texts, in this order."""
    specs = [tool.spec.model_dump(mode="json") for name, tool in all_tools().items() if name in SHORT]
    assert hashlib.sha256(json.dumps(specs).encode()).hexdigest() == SPECS_HASH


@pytest.mark.parametrize("tool", all_tools().values(), ids=lambda tool: tool.spec.name)
def test_each_tool_is_closed_described_and_has_examples_that_its_own_check_takes(tool):
    check_schema(tool.spec)
    assert tool.spec.parameters["additionalProperties"] is False
    assert all(schema.get("description") for schema in tool.spec.parameters["properties"].values())
    assert tool.examples
    for example in tool.examples:
        assert check_arguments(tool.spec, example) == []
        tool.check(example)
    Draft202012Validator.check_schema(tool.output_schema)
    assert tool.output_schema["type"] == "object"


@pytest.mark.parametrize("tool", select_tools(list(WANTED)).values(), ids=lambda tool: tool.spec.name)
def test_each_of_the_first_tools_is_short_enough_for_a_small_model(tool):
    properties = tool.spec.parameters["properties"]
    assert len(tool.spec.description.split()) <= 10
    assert all(len(schema["description"].split()) <= 6 for schema in properties.values())
    assert len(properties) <= 4 or tool.spec.name == "update_rows"
    assert len(json.dumps(tool.spec.parameters)) <= 600
    assert not {"title", "$defs", "$ref", "gt", "ge", "lt", "le"} & set(json.dumps(tool.spec.parameters).split('"'))


def test_the_typical_schema_of_the_first_tools_has_at_most_400_characters():
    sizes = sorted(len(json.dumps(tool.spec.parameters)) for tool in select_tools(list(WANTED)).values())
    assert sizes[len(sizes) // 2] <= 400
    assert sum(size > 420 for size in sizes) == 1


def test_a_function_becomes_a_closed_schema_without_titles_or_references():
    tool = make_tool(order, "orders")
    assert tool.spec.description == "Place an order"
    assert tool.spec.parameters == {
        "type": "object",
        "properties": {
            "hub": {"type": "string", "description": "where", "enum": ["TTF", "NBP"]},
            "legs": {
                "type": "array",
                "description": "what",
                "items": {
                    "properties": {"title": {"type": "string"}, "volume": {"minimum": 1, "type": "integer"}},
                    "required": ["title", "volume"],
                    "type": "object",
                    "additionalProperties": False,
                },
            },
            "note": {"type": "string", "description": "free text"},
            "urgent": {"type": "boolean", "description": "now", "default": False},
        },
        "required": ["hub", "legs"],
        "additionalProperties": False,
    }
    assert tool.context_name == "context"
    assert tool.examples[1] == {"hub": "NBP", "legs": [], "note": "x"}


def test_arguments_are_bound_strictly_and_errors_name_the_place():
    tool = make_tool(order, "orders")
    values = tool.check({"hub": "TTF", "legs": [{"title": "a", "volume": 3}]})
    assert values == {"hub": "TTF", "legs": [Leg(title="a", volume=3)]}
    assert tool.run(Context(5), values) == {"hub": "TTF", "seed": 5, "volume": 3}
    with pytest.raises(ToolError, match=r'parameter "legs\[0\]\.volume": expected integer, got string "3"'):
        tool.check({"hub": "TTF", "legs": [{"title": "a", "volume": "3"}]})


def test_a_schema_that_contains_itself_keeps_its_definitions():
    schema = {"$ref": "#/$defs/Node", "$defs": {"Node": {"properties": {"next": {"$ref": "#/$defs/Node"}}}}}
    assert tidy_schema(schema)["$defs"]["Node"]["properties"]["next"] == {"$ref": "#/$defs/Node"}


def test_two_tools_with_one_name_are_an_error_that_names_both_places():
    modules = []
    for toolset in ("one", "two"):
        module = types.ModuleType(toolset)
        exec(compile('def ping() -> str:\n    """Ping."""\n    return ""\n', f"{toolset}.py", "exec"), module.__dict__)
        modules.append(("any", toolset, module))
    with pytest.raises(DataError, match=r"two tools are called 'ping': one\.py:1 and two\.py:1"):
        collect(modules)


def undocumented(x: int) -> None: ...


def untyped(x) -> None:
    """Do."""


def no_return(x: int):
    """Do."""


def everything(*xs: int) -> None:
    """Do."""


def anything(**xs: int) -> None:
    """Do."""


def positional(x: int, /) -> None:
    """Do."""


def hidden(_x: int) -> None:
    """Do."""


def unfit_default(x: int = "one") -> None:
    """Do."""


def field_default(x: int = Field(3)) -> None:
    """Do."""


def no_json(x: type) -> None:
    """Do."""


def no_json_result(x: int) -> type:
    """Do."""


def unknown_name(x: "Nowhere") -> None:  # noqa: F821
    """Do."""


def two_contexts(a: Context, b: Context) -> None:
    """Do."""


def bound_on_union(x: Annotated[int | str, Ge(1)]) -> None:
    """Do."""


def wrong_argument_text(x: int) -> None:
    """Do.

    Args:
        x: how much
        y: what is it
    """


async def waiting(x: int) -> None:
    """Do."""


def bad_example(x: int) -> None:
    """Do.

    Example:
        {"x": }
    """


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (undocumented, "no docstring"),
        (untyped, "'x' has no type hint"),
        (no_return, "no return hint"),
        (everything, r"'\*xs' takes anything"),
        (anything, r"'\*\*xs' takes anything"),
        (positional, "'x' is positional only"),
        (hidden, "'_x' is never shown.*default"),
        (unfit_default, "default of 'x' does not fit"),
        (field_default, "write the default as"),
        (no_json, "cannot become JSON Schema"),
        (no_json_result, "return hint cannot become JSON Schema"),
        (unknown_name, "'Nowhere' is not defined"),
        (two_contexts, "a and b both take the Context"),
        (bound_on_union, "bound stands on a union"),
        (wrong_argument_text, "describes 'y', which is no parameter"),
        (waiting, "async"),
        (bad_example, "not JSON"),
        (lambda x: x, "no name for a tool"),
    ],
)
def test_a_function_that_cannot_be_a_tool_is_refused_with_its_place(function, problem):
    with pytest.raises(DataError, match=rf"test_mcpserver_catalogue\.py:\d+.*{problem}"):
        make_tool(function, "x")


def test_an_unknown_toolset_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match=r'no toolset, category or tool .enrgy.; did you mean "energy"'):
        select_tools(["enrgy"])


def test_a_name_selects_a_toolset_before_a_category_before_a_tool_in_the_order_of_the_catalogue():
    assert list(select_tools(["median", "mean"])) == ["mean", "median"]
    assert set(select_tools(["files"])) == set(WANTED["files"].split())
    assert set(select_tools(["files/"])) > set(select_tools(["files/files"])) == set(select_tools(["files"]))
    assert select_tools() == dict(all_tools())
    names = [tool.toolset for tool in all_tools().values()]
    assert names == sorted(names)
    assert toolsets() == tuple(sorted(set(names)))


@pytest.mark.parametrize("names", [("database", "energy", "files", "maths"), ("services",), ("sqlite", "text")])
def test_a_few_toolsets_are_the_same_whether_or_not_the_others_are_loaded(names):
    few, chosen = built_in(names), select_tools(names)
    assert few is not None
    assert list(few) == list(chosen)
    assert [tool.spec for tool in few.values()] == [tool.spec for tool in chosen.values()]


def test_only_toolsets_and_categories_are_found_without_loading():
    assert built_in(("read_file",)) is None
