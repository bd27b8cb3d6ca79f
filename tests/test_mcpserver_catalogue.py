import json
import types
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field

from mcpserver.catalogue import all_tools, collect, make_tool, select_tools, tidy_schema, toolsets
from mcpserver.environment import Environment
from mcpserver.tool_error import ToolError
from toolwright.calls import check_schema
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


def _order(
    env: object, hub: Literal["TTF", "NBP"], legs: list[Leg], note: str | None = None, urgent: bool = False
) -> None:
    """Place an order.

    Args:
        env: never shown
        hub: where
        legs: what
        note: free text
        urgent: now

    Example:
        {"hub": "TTF", "legs": [{"title": "a", "volume": 3}]}
        {"hub": "NBP", "legs": [],
         "note": "x"}
    """


def test_the_catalogue_holds_exactly_the_tools_that_were_agreed():
    found = {name: {tool.spec.name for tool in all_tools().values() if tool.toolset == name} for name in toolsets()}
    assert found == {toolset: set(names.split()) for toolset, names in WANTED.items()}


@pytest.mark.parametrize("tool", all_tools().values(), ids=lambda tool: tool.spec.name)
def test_each_tool_is_short_enough_for_a_small_model_and_has_an_example(tool):
    check_schema(tool.spec)
    properties = tool.spec.parameters["properties"]
    assert tool.spec.parameters["additionalProperties"] is False
    assert len(tool.spec.description.split()) <= 10
    assert all(len(schema["description"].split()) <= 6 for schema in properties.values())
    assert len(properties) <= 4 or tool.spec.name == "update_rows"
    assert len(json.dumps(tool.spec.parameters)) <= 600
    assert not {"title", "$defs", "$ref", "gt", "ge", "lt", "le"} & set(json.dumps(tool.spec.parameters).split('"'))
    assert tool.examples


def test_the_typical_schema_has_at_most_400_characters():
    sizes = sorted(len(json.dumps(tool.spec.parameters)) for tool in all_tools().values())
    assert sizes[len(sizes) // 2] <= 400
    assert sum(size > 420 for size in sizes) == 1


def test_a_function_becomes_a_closed_schema_without_titles_or_references():
    tool = make_tool(_order, "orders")
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
    assert tool.takes_env
    assert tool.examples[1] == {"hub": "NBP", "legs": [], "note": "x"}


def test_an_environment_is_injected_by_its_type_under_any_name():
    def _look(where: str, world: Environment) -> None:
        """Look around."""

    tool = make_tool(_look, "x")
    assert list(tool.spec.parameters["properties"]) == ["where"]


def test_arguments_are_bound_strictly_and_errors_name_the_place():
    tool = make_tool(_order, "orders")
    assert tool.bind({"hub": "TTF", "legs": [{"title": "a", "volume": 3}]})["legs"] == [Leg(title="a", volume=3)]
    with pytest.raises(ToolError, match=r"legs\[0\]\['volume'\]: .*valid integer.*'3'"):
        tool.bind({"legs": [{"title": "a", "volume": "3"}]})


def test_a_schema_that_contains_itself_keeps_its_definitions():
    schema = {"$ref": "#/$defs/Node", "$defs": {"Node": {"properties": {"next": {"$ref": "#/$defs/Node"}}}}}
    assert tidy_schema(schema)["$defs"]["Node"]["properties"]["next"] == {"$ref": "#/$defs/Node"}


def test_two_tools_with_one_name_are_an_error_that_names_both_places():
    modules = []
    for toolset in ("one", "two"):
        module = types.ModuleType(toolset)
        exec(compile('def ping() -> str:\n    """Ping."""\n    return ""\n', f"{toolset}.py", "exec"), module.__dict__)
        modules.append((toolset, module))
    with pytest.raises(DataError, match=r"two tools are called 'ping': one\.py:1 and two\.py:1"):
        collect(modules)


def _undocumented(x: int) -> None: ...


def _untyped(x) -> None:
    """Do."""


def _bad_example(x: int) -> None:
    """Do.

    Example:
        {"x": }
    """


@pytest.mark.parametrize(
    ("function", "problem"), [(_undocumented, "no docstring"), (_untyped, "'x'.*type hint"), (_bad_example, "not JSON")]
)
def test_a_function_that_cannot_be_a_tool_is_refused_with_its_place(function, problem):
    with pytest.raises(DataError, match=rf"test_mcpserver_catalogue\.py:\d+.*{problem}"):
        make_tool(function, "x")


def test_an_unknown_toolset_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match=r'unknown toolset .enrgy.; did you mean "energy"'):
        select_tools(["enrgy"])
