"""Each kind of type hint: what the model sees, what is accepted, what the function gets."""

import datetime
import decimal
import enum
import json
import sys
import uuid
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NotRequired, Optional

import pytest
from annotated_types import Ge, Le, Len
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field
from typing_extensions import TypedDict

from mcpserver.binding import convert, prepare_result, to_plain
from mcpserver.catalogue import make_tool
from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from toolwright.calls import check_arguments
from toolwright.errors import DataError


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Point(TypedDict):
    """A place."""

    x: Annotated[int, "to the right", Ge(0)]
    y: NotRequired[Annotated[float, "upwards"]]


class Tree(TypedDict):
    name: str
    children: list["Tree"]


class Plain(TypedDict):
    name: str


class Leg(BaseModel):
    hub: Literal["TTF", "NBP"]
    volume: Annotated[int, Field(ge=1, description="in MWh")] = 10
    sent: float | None = None


@dataclass
class Box:
    width: int
    colors: list[Color]


def _not_odd(value: int) -> int:
    if value % 2:
        raise ValueError("must be even")
    return value


def _break(value: int) -> int:
    return 1 // value


def tool_of(hint: Any, default: Any = ..., name: str = "x") -> Any:
    """A tool with one parameter."""
    namespace = {"hint": hint, "default": default, "Any": Any}
    given = "" if default is ... else " = default"
    source = f'def f({name}: hint{given}) -> dict[str, Any]:\n    """Do."""\n    return {{}}\n'
    exec(compile(source, "f.py", "exec"), namespace)
    return make_tool(namespace["f"], "test")


def shown(tool: Any) -> Any:
    return next(iter(tool.spec.parameters["properties"].values()))


POINT = {
    "type": "object",
    "description": "A place.",
    "properties": {
        "x": {"description": "to the right", "minimum": 0, "type": "integer"},
        "y": {"description": "upwards", "type": "number"},
    },
    "required": ["x"],
    "additionalProperties": False,
}
LEG = {
    "type": "object",
    "properties": {
        "hub": {"enum": ["TTF", "NBP"], "type": "string"},
        "volume": {"default": 10, "description": "in MWh", "minimum": 1, "type": "integer"},
        "sent": {"anyOf": [{"type": "number"}, {"type": "null"}], "default": None},
    },
    "required": ["hub"],
    "additionalProperties": False,
}
MARCH = datetime.date(2025, 3, 14)
ID = uuid.UUID("12345678-1234-1234-1234-123456789012")

HINTS = [
    # hint, what the model sees, [(JSON text, value or None where it is refused)], values are plain JSON
    (
        int,
        {"type": "integer"},
        [("1", 1), ("-0", 0), ("1.0", None), ("true", None), ('"1"', None), ("null", None)],
        True,
    ),
    (float, {"type": "number"}, [("1", 1.0), ("1e3", 1e3), ("NaN", None), ("-Infinity", None), ("1e999", None)], True),
    (bool, {"type": "boolean"}, [("true", True), ("1", None), ('"true"', None)], True),
    (str, {"type": "string"}, [('"é"', "é"), ("1", None), ('"\\ud800"', None)], True),
    (int | None, {"anyOf": [{"type": "integer"}, {"type": "null"}]}, [("null", None), ("1", 1)], True),
    (Optional[int], {"anyOf": [{"type": "integer"}, {"type": "null"}]}, [("1", 1), ("1.5", None)], True),  # noqa: UP045
    (
        float | str,
        {"anyOf": [{"type": "number"}, {"type": "string"}]},
        [("1.5", 1.5), ('"a"', "a"), ("[]", None)],
        True,
    ),
    (list[int | None], None, [("[1,null]", [1, None]), ('["a"]', None)], True),
    (list[list[str]], None, [('[["a"],[]]', [["a"], []]), ('["a"]', None)], True),
    (dict[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}, [('{"a":1}', {"a": 1})], True),
    (dict[str, Any], {"type": "object"}, [('{"a":[1]}', {"a": [1]}), ('{"a":1e999}', None), ('{"a":NaN}', None)], True),
    (dict[int, str], None, [('{"1":"a"}', {1: "a"}), ('{"b":"a"}', None)], False),
    (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}, [('"a"', "a"), ('"c"', None)], True),
    (Literal[1, 2], {"type": "integer", "enum": [1, 2]}, [("1", 1), ("1.0", None), ("true", None)], True),
    (Color, {"type": "string", "enum": ["red", "blue"]}, [('"red"', Color.RED), ('"RED"', None)], False),
    (Level, {"type": "integer", "enum": [1, 2]}, [("2", Level.HIGH), ("2.0", None), ("true", None)], False),
    (tuple[int, str], None, [('[1,"a"]', (1, "a")), ("[1]", None), ('[1,"a",2]', None)], False),
    (tuple[int, ...], None, [("[1,2]", (1, 2)), ("[1.0]", None)], False),
    (
        set[int],
        {"type": "array", "items": {"type": "integer"}, "uniqueItems": True},
        [("[1]", {1}), ("[1,1]", None)],
        False,
    ),
    (frozenset[str], None, [('["a"]', frozenset("a")), ('["a","a"]', None)], False),
    (
        datetime.date,
        {"type": "string", "format": "date"},
        [('"2025-03-14"', MARCH), ('"14.3."', None), ("0", None)],
        False,
    ),
    (
        datetime.datetime,
        {"type": "string", "format": "date-time"},
        [('"2025-03-14T09:00:00"', ...), ("1", None)],
        False,
    ),
    (uuid.UUID, {"type": "string", "format": "uuid"}, [(f'"{ID}"', ID), ('"1"', None)], False),
    (
        decimal.Decimal,
        None,
        [("1.5", decimal.Decimal("1.5")), ('"1.5"', decimal.Decimal("1.5")), ('"NaN"', None)],
        False,
    ),
    (bytes, None, [('"ab"', b"ab"), ("1", None)], False),
    (Point, POINT, [('{"x":1}', {"x": 1}), ('{"x":1,"z":2}', None), ('{"x":-1}', None), ("{}", None)], True),
    (list[Point], None, [('[{"x":1}]', [{"x": 1}]), ('[{"x":1,"z":2}]', None)], True),
    (
        Leg,
        LEG,
        [('{"hub":"TTF"}', Leg(hub="TTF")), ('{"hub":"TTF","a":1}', None), ('{"hub":"TTF","sent":1e999}', None)],
        False,
    ),
    (
        Box,
        None,
        [('{"width":1,"colors":["red"]}', Box(1, [Color.RED])), ('{"width":1,"colors":[],"a":1}', None)],
        False,
    ),
    (Tree, None, [('{"name":"a","children":[{"name":"b","children":[]}]}', ...), ('{"name":"a"}', None)], True),
    (Annotated[int, Ge(1), Le(9)], {"type": "integer", "maximum": 9, "minimum": 1}, [("9", 9), ("10", None)], True),
    (Annotated[str, Len(1, 3)], {"type": "string", "maxLength": 3, "minLength": 1}, [('"a"', "a"), ('""', None)], True),
    (Annotated[list[int], Len(1, 2)], None, [("[1]", [1]), ("[]", None), ("[1,2,3]", None)], True),
    (Annotated[int, "how many"], {"type": "integer", "description": "how many"}, [("1", 1)], True),
    (list[Annotated[int, "a day"]], {"type": "array", "items": {"description": "a day", "type": "integer"}}, [], True),
    (Annotated[int, AfterValidator(_not_odd)], {"type": "integer"}, [("2", 2), ("1", None)], False),
    (Annotated[int, AfterValidator(_break)], {"type": "integer"}, [("1", 1), ("0", None)], False),
    (Annotated[list[int], BeforeValidator(lambda text: [1])], None, [("[2]", [1]), ('"2"', None)], False),
    (
        Annotated[str, Field(pattern="^a+$")],
        {"type": "string", "pattern": "^a+$"},
        [('"aa"', "aa"), ('"b"', None)],
        True,
    ),
]


@pytest.mark.parametrize(("hint", "schema", "cases", "native"), HINTS, ids=lambda value: str(value)[:40])
def test_a_type_hint_is_shown_checked_and_converted(hint, schema, cases, native):
    tool = tool_of(hint)
    if schema is not None:
        assert shown(tool) == schema
    assert tool.needs_conversion is not native
    for text, wanted in cases:
        if wanted is None and text != "null":
            with pytest.raises(ToolError) as caught:
                tool.bind_json(f'{{"x": {text}}}')
            assert caught.value.kind == "bad_arguments"
        elif not (wanted is None and hint in (int, str)):
            value = tool.bind_json(f'{{"x": {text}}}')
            assert wanted is ... or value == {"x": wanted}
            assert check_arguments(tool.spec, json.loads(f'{{"x": {text}}}')) == []
            assert convert(tool.function, {"x": json.loads(text)}) == value


DEFAULTS = [
    (Color, Color.BLUE, "blue"),
    (Level, Level.HIGH, 2),
    (Leg, Leg(hub="NBP"), {"hub": "NBP", "volume": 10, "sent": None}),
    (Box, Box(1, [Color.RED]), {"width": 1, "colors": ["red"]}),
    (datetime.date, MARCH, "2025-03-14"),
    (decimal.Decimal, decimal.Decimal("0.1"), "0.1"),
    (uuid.UUID, ID, str(ID)),
    (tuple[int, int], (1, 2), [1, 2]),
    (set[int], {3}, [3]),
    (list[int], [], []),
    (int | None, 5, 5),
    (bool, False, False),
]


@pytest.mark.parametrize(("hint", "default", "written"), DEFAULTS, ids=lambda value: str(value)[:30])
def test_a_default_is_shown_as_json_and_left_to_the_function(hint, default, written):
    tool = tool_of(hint, default)
    assert shown(tool)["default"] == written
    assert "required" not in tool.spec.parameters
    assert tool.check({}) == {}
    tool.check({"x": written})


@pytest.mark.parametrize("hint", [int | None, Optional[int], Annotated[int | None, "n"], Literal[1, None]])  # noqa: UP045
def test_an_optional_parameter_shows_its_type_and_takes_no_null(hint):
    tool = tool_of(hint, None)
    assert shown(tool)["type"] == "integer"
    assert "default" not in shown(tool)
    with pytest.raises(ToolError, match="x"):
        tool.check({"x": None})
    assert tool.check({"x": 1}) == {"x": 1}
    several = tool_of(int | str | None, None)
    with pytest.raises(ToolError, match="expected integer or string, got null"):
        several.check({"x": None})


def test_a_recursive_type_keeps_its_definition_and_is_closed_at_every_level():
    tool = tool_of(Tree)
    assert "$defs" in tool.spec.parameters
    deep = {"name": "a", "children": [{"name": "b", "children": [], "extra": 1}]}
    with pytest.raises(ToolError, match="unknown parameter"):
        tool.check({"x": deep})


def test_an_alias_is_what_callers_write():
    tool = tool_of(Annotated[str, Field(alias="from")], name="from_")
    assert list(tool.spec.parameters["properties"]) == ["from"] == tool.spec.parameters["required"]
    assert tool.check({"from": "a"}) == {"from_": "a"}
    with pytest.raises(ToolError, match="unknown parameter"):
        tool.check({"from_": "a", "from": "b"})


def test_a_typed_dict_of_the_standard_library_is_refused_where_pydantic_cannot_read_it():
    if sys.version_info >= (3, 12):
        pytest.skip("pydantic reads it from Python 3.12 on")
    from typing import TypedDict as Other

    with pytest.raises(DataError, match=r"f\.py:1.*typing_extensions"):
        tool_of(Other("Other", {"a": int}))


def last(a: int, b: str = "x", *, context: Context) -> dict[str, Any]:
    """Do."""
    return {"a": a, "b": b, "seed": context.seed}


def optional(context: Context | None, a: int) -> dict[str, Any]:
    """Do."""
    return {"a": a, "seed": context and context.seed}


def quoted(a: "int", world: "Annotated[Context, 'never shown']", _b: int = 3) -> "dict[str, Any]":
    """Do."""
    return {"a": a, "seed": world.seed}


@pytest.mark.parametrize("function", [last, optional, quoted])
@pytest.mark.parametrize("stranger", ["context", "world", "self", "__class__", "_b", "_x", ""])
def test_the_context_is_injected_and_no_caller_can_supply_it(function, stranger):
    tool = make_tool(function, "test")
    assert set(tool.spec.parameters["properties"]) <= {"a", "b"}
    assert tool.run(Context(9), tool.check({"a": 1})).items() >= {"a": 1, "seed": 9}.items()
    with pytest.raises(ToolError, match=f'unknown parameter "{stranger}"'):
        tool.check({"a": 1, stranger: 1})


def test_a_function_finds_the_context_by_its_quoted_name_alone():
    namespace: dict[str, Any] = {}
    exec('def f(a: int, context: "Context | None" = None) -> None:\n    """Do."""\n', namespace)
    assert make_tool(namespace["f"], "test").context_name == "context"


WHOLE = [
    ('"text"', "must be one JSON object"),
    ("[1]", "must be one JSON object"),
    ("", "not JSON"),
    ("{", "not JSON"),
    (b"\xff", "not UTF-8"),
    ('{"x": 1} {}', "not JSON"),
    ('{"x": ' + "9" * 5000 + "}", "too large"),
    ('{"x": ' + "9" * 400 + "}", "too large"),
    ('{"x": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
    ('{"x": ' + "[" * 300 + "]" * 300 + "}", "recursion limit"),
    ('{"x": "\\ud800"}', "surrogate|hex escape"),
    ('{"x": "\ud800"}', "UTF-8|unicode|raw data"),
    ('{"x": 1, "\ud800": 1}', "unknown|raw data"),
]


@pytest.mark.parametrize(("text", "message"), WHOLE, ids=lambda value: repr(value)[:24])
def test_arguments_that_are_no_object_of_json_are_a_typed_error(text, message):
    for hint in (Any, dict[str, Any] | list[Any] | int | str):
        with pytest.raises(ToolError, match=message) as caught:
            tool_of(hint).bind_json(text)
        assert caught.value.kind == "bad_arguments"
        assert len(caught.value.message.encode()) < 1000


def _nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


STRANGE = [10**5000, 10**400, float("nan"), float("inf"), {1, 2}, "\udcff", b"x", _nested(5000)]


@pytest.mark.parametrize("value", STRANGE, ids=["5000 digits", "1e400", "nan", "inf", "set", "half", "bytes", "deep"])
def test_values_that_json_has_not_are_a_typed_error(value):
    with pytest.raises(ToolError) as caught:
        tool_of(Any).check({"x": value})
    assert caught.value.kind == "bad_arguments"


RESULTS = [
    (dict[str, Any], {"type": "object"}, {"a": 1}, {"a": 1}),
    (dict[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}, {"a": 1}, {"a": 1}),
    (Plain, None, {"name": "a"}, {"name": "a"}),
    (Leg, None, Leg(hub="TTF"), {"hub": "TTF", "volume": 10, "sent": None}),
    (Box, None, Box(1, [Color.RED]), {"width": 1, "colors": ["red"]}),
    (int, None, 3, {"result": 3}),
    (str | None, None, None, {"result": None}),
    (list[datetime.date], None, [MARCH], {"result": ["2025-03-14"]}),
    (tuple[int, str], None, (1, "a"), {"result": [1, "a"]}),
    (set[int], None, {2, 1}, {"result": [1, 2]}),
    (decimal.Decimal, None, decimal.Decimal("1.50"), {"result": "1.50"}),
    (dict[str, int] | list[int], None, {"a": 1}, {"result": {"a": 1}}),
]


@pytest.mark.parametrize(("hint", "schema", "value", "served"), RESULTS, ids=lambda value: str(value)[:30])
def test_a_result_is_served_as_the_object_that_the_output_schema_promises(hint, schema, value, served):
    namespace = {"hint": hint}
    exec('def f() -> hint:\n    """Do."""\n', namespace)
    tool = make_tool(namespace["f"], "test")
    assert schema is None or tool.output_schema == schema
    assert tool.output_schema["type"] == "object"
    result = json.loads(json.dumps(tool.prepare(value), default=to_plain))
    assert result == served
    assert check_arguments(tool.spec.model_copy(update={"parameters": dict(tool.output_schema)}), result) == []


def test_a_result_that_breaks_the_promise_is_an_error():
    with pytest.raises(TypeError, match="promises an object"):
        prepare_result(MARCH, False)
    with pytest.raises(TypeError, match="no JSON form"):
        json.dumps({"a": object()}, default=to_plain)


def test_a_right_call_is_checked_in_microseconds():
    import timeit

    tool = make_tool(last, "test")
    text = '{"a": 3, "b": "hello world"}'
    assert min(timeit.repeat(lambda: tool.bind_json(text), number=2000, repeat=5)) / 2000 < 8e-6
