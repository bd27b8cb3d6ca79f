"""Random signatures and arguments: the validator takes what the JSON Schema takes, and every error is a typed one.

Each of 500 examples of hypothesis is a seed for 20 signatures: drawing each hint by itself would take minutes.
"""

import collections.abc
import datetime
import decimal
import enum
import json
import random
import re
import uuid
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, Union

import pytest
from annotated_types import Ge, Gt, Le, Len, Lt, MultipleOf
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field
from typing_extensions import NotRequired, TypedDict  # noqa: UP035 - pydantic reads both, tools write either

from mcpserver.catalogue import Tool, make_tool
from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from toolwright.calls import check_arguments
from toolwright.errors import DataError
from toolwright.schemas import _StrictValidator

N_EXAMPLES, N_SIGNATURES = 500, 20
SLOW = settings(
    max_examples=N_EXAMPLES, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Mixed(enum.Enum):
    ONE = 1
    HALF = 0.5
    TEXT = "1"
    YES = True


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


class Row(TypedDict):
    name: str
    count: NotRequired[Annotated[int, Ge(0)]]


class Loop(TypedDict):
    value: int
    next: NotRequired["Loop | None"]


class Model(BaseModel):
    a: int
    b: list[float] = []
    c: "Model | None" = None


class Open(BaseModel, extra="allow"):
    kind: Literal["open"]
    a: str = Field(default="x", max_length=3)


class Shut(BaseModel):
    kind: Literal["shut"]
    n: Size = Size.SMALL


@dataclass
class Data:
    width: float
    tags: tuple[str, ...] = ()


class Pair(NamedTuple):
    left: int
    right: str


# What the JSON Schema says of these is all there is to say: both must take the same.
EXACT: list[Any] = [
    *(int, float, bool, str, None, Any, Color, Size, Mixed, Row, Loop, Model, Open, Data, dict, list),
    *(Literal["a", "b"], Literal[1, 2], Literal[1, "a", None], Literal[True, 0], Literal[-1]),
    *(Annotated[int, Ge(1), Lt(9)], Annotated[int, MultipleOf(3)], Annotated[float, Gt(-1.5), Le(1e6)]),
    *(Annotated[str, Len(1, 3)], Annotated[list[int], Len(1, 2)], Annotated[dict[str, int], Len(0, 1)]),
    *(Annotated[int, "so many"], Annotated[Row, Field(description="a row")]),
    Annotated[Union[Open, Shut], Field(discriminator="kind")],  # noqa: UP007
]
# Formats and patterns: what is taken must fit the JSON Schema, but not all that fits is taken.
NARROWER: list[Any] = [
    *(datetime.date, datetime.datetime, datetime.time, datetime.timedelta, decimal.Decimal, uuid.UUID, bytes, Pair),
    *(Annotated[decimal.Decimal, Ge(0)], Annotated[str, Field(pattern=r"^\w+$")], dict[int, str], dict[Color, int]),
    *(dict[Literal["a", "b"], int], Annotated[float, MultipleOf(0.1)], collections.abc.Sequence[int]),
]
WRONG: list[Any] = [
    type,
    object,
    5,
    "Nowhere",
    "1 +",
    re.Pattern,
    collections.abc.Iterator[int],
    collections.abc.Callable,
]
RESULTS: list[Any] = [dict[str, Any], int, list[str], Row, Model, Data, Loop, str | None]
DEFAULTS: list[Any] = [None, 1, "a", True, 0.5, [], {}, Color.RED, float("nan"), 10**400, b"\xff", object(), Model(a=1)]


def draw_hint(rng: random.Random, kinds: list[Any], depth: int = 0) -> Any:
    if depth > 2 or rng.random() < 0.5:
        return rng.choice(kinds)

    def inner() -> Any:
        return draw_hint(rng, kinds, depth + 1)

    shape = rng.randrange(10)
    if shape < 3:
        return list[inner()]  # type: ignore[misc]
    if shape < 5:
        return dict[str, inner()]  # type: ignore[misc]
    if shape < 7:
        return Union[inner(), inner()]  # noqa: UP007
    if shape == 7:
        return tuple[inner(), inner()]  # type: ignore[misc]
    if shape == 8:
        return TypedDict("Drawn", {"a": inner(), "b": NotRequired[inner()]})  # type: ignore[misc]
    return set[rng.choice([int, str, Literal[1, 2, 3], Color])]  # type: ignore[misc]


def build_function(rng: random.Random, kinds: list[Any], wrong: bool) -> Any:
    """A function of up to four parameters; a wrong one may lack anything that a tool needs."""
    namespace: dict[str, Any] = {"__name__": __name__, "Context": Context, "Any": Any}
    parameters = []
    for name in rng.sample(["a", "from_", "type", "title", "self", "properties", "x1"], rng.randrange(4)):
        namespace[f"{name}_hint"] = draw_hint(rng, kinds)
        if rng.random() < 0.4:
            namespace[f"{name}_default"] = rng.choice(DEFAULTS) if wrong else None
            parameters.append(f"{name}: {name}_hint = {name}_default")
        else:
            parameters.append(f"{name}: {name}_hint")
    if rng.random() < 0.3:
        parameters.append("context: Context | None")
    returned = "-> returned"
    namespace["returned"] = rng.choice(RESULTS)
    text = "Do it."
    start = "*"
    if wrong:
        faults = ["", "*args: int", "**rest: int", "naked", "_x: int", "b: wrong", "_y: wrong = 1", "/"]
        fault = rng.choice(faults)
        namespace["wrong"] = rng.choice(WRONG)
        if fault == "*args: int":
            start = fault
        elif fault == "/":
            start, parameters = "", ["p: int", "/"]
        else:
            parameters += [fault] if fault else []
        returned = rng.choice([returned, "", "-> wrong"])
        text = rng.choice(
            [text, "", "Do.\n\n    Example:\n        {", "Do.\n\n    Args:\n        zz: what\n    ", "\ud800"]
        )
    listed = ", ".join([*([start] if parameters and start else []), *parameters])
    source = f"def tool({listed}) {returned}:".replace("(*, **", "(**")
    namespace["text"] = text
    exec(f"{source}\n    pass\ntool.__doc__ = text", namespace)
    return namespace["tool"]


TEXTS = [
    "",
    "a",
    "abcd",
    "red",
    "1",
    "2025-03-14",
    "2025-03-14T09:00:00Z",
    "09:00",
    "PT1H",
    "NaN",
    "é",
    "\0",
    "1e5",
    " 1 ",
]
TEXTS += ["12345678-1234-1234-1234-123456789012", "0.3", "open", "shut"]
NUMBERS = [0, 1, -1, 2, 3, 9, 0.5, 1.0, -0.0, 1e300, 2**63, 10**20, 0.3, 1.5]


def draw_value(rng: random.Random, schema: Any, root: Any, depth: int = 0) -> Any:  # noqa: C901
    """Mostly what the schema wants, often something near it."""
    if rng.random() < 0.04 or depth > 6 or not isinstance(schema, dict):
        return rng.choice([None, True, False, [], {}, [1, 1], {"a": 1}, rng.choice(TEXTS), rng.choice(NUMBERS)])
    if "$ref" in schema:
        return draw_value(rng, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root, depth + 1)
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return draw_value(rng, rng.choice(schema[key]), root, depth)
    if "enum" in schema:
        return rng.choice([*schema["enum"], *schema["enum"], 1.0, True, False, 1])
    if "const" in schema:
        return schema["const"]
    kind = schema.get("type")
    if kind == "array":
        items = schema.get("prefixItems", [schema.get("items", {})] * rng.randrange(4))
        values = [draw_value(rng, item, root, depth + 1) for item in items]
        return values + values[: rng.random() < 0.1]
    if kind == "object":
        names = [name for name in schema.get("properties", {}) if rng.random() < 0.9]
        value = {name: draw_value(rng, schema["properties"][name], root, depth + 1) for name in names}
        more = schema.get("additionalProperties", {})
        if more or rng.random() < 0.15:
            value |= {rng.choice(["a", "1", "red", "z"]): draw_value(rng, more, root, depth + 1) for _ in range(2)}
        return value
    if kind == "integer":
        return rng.choice([*NUMBERS[:6], *NUMBERS])
    return rng.choice(NUMBERS if kind == "number" else TEXTS if kind == "string" else [None, True, False, 1])


def takes(tool: Tool, text: str | bytes) -> bool:
    """Whether a tool takes arguments; anything but the typed error with words for it is an error here."""
    try:
        tool.bind_json(text)
    except ToolError as error:
        if error.kind != "bad_arguments" or not error.message or "broke" in error.message:
            raise
        return False
    return True


def compare(tool: Tool, rng: random.Random, equal: bool) -> None:
    """Random arguments for one tool; ``equal`` if the schema says all that there is to say."""
    parameters = tool.spec.parameters
    fits = _StrictValidator(parameters).is_valid  # what check_arguments asks, without a check of the schema itself
    for _ in range(2):
        arguments = draw_value(rng, parameters, parameters)
        if not isinstance(arguments, dict):
            arguments = {"x": arguments}
        arguments = {name: value for name, value in arguments.items() if rng.random() < 0.95}
        taken, fitting = takes(tool, json.dumps(arguments)), fits(arguments)
        assert fitting or not taken, (parameters, arguments)
        assert taken or not (fitting and equal), (parameters, arguments, check_arguments(tool.spec, arguments))
        if rng.random() < 0.03:
            assert (not check_arguments(tool.spec, arguments)) == fitting


@pytest.mark.slow
@SLOW
@given(st.integers(0, 2**64))
@example(0)
def test_10000_random_signatures_take_what_their_schema_takes(seed):
    rng = random.Random(seed)
    for _ in range(N_SIGNATURES):
        equal = rng.random() < 0.7
        compare(make_tool(build_function(rng, EXACT if equal else EXACT + NARROWER, False), "x"), rng, equal)


@settings(SLOW, max_examples=N_EXAMPLES // 5)
@given(st.integers(0, 2**64))
def test_random_wrong_signatures_are_refused_with_file_and_line_or_work(seed):
    rng, refusals = random.Random(seed), []
    for _ in range(N_SIGNATURES):
        try:
            tool = make_tool(build_function(rng, EXACT + NARROWER, rng.random() < 0.9), "x")
        except DataError as error:
            refusals.append(str(error))
        else:
            compare(tool, rng, False)
    assert all(text.startswith("<string>:1: ") for text in refusals)


def wide(
    a: int, b: float | str = 0, c: dict[str, Any] | None = None, d: list[Model] | None = None, e: Any = None
) -> None:
    """Do."""


WIDE = make_tool(wide, "x")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=10,
)
NAMES = st.sampled_from(["a", "b", "c", "d", "e", "self", "__class__", "context", "_x", ""])


@settings(SLOW, max_examples=500)
@given(st.dictionaries(NAMES, JSON | st.integers(0, 9), max_size=5))
@example({"a": 10**5000})
@example({"a": float("nan")})
def test_random_arguments_are_taken_exactly_when_they_are_json_that_fits(arguments):
    try:
        json.dumps(arguments, allow_nan=False, ensure_ascii=False).encode()
        fits = not check_arguments(WIDE.spec, arguments)
    except ValueError:  # NaN, 5,000 digits, half of a surrogate pair
        fits = False
    try:
        taken = set(WIDE.check(arguments)) == set(arguments)
    except ToolError as error:
        taken = error.kind != "bad_arguments"
    assert taken == fits


@settings(SLOW, max_examples=2000)
@given(st.text(max_size=30) | st.binary(max_size=30) | st.text('{}[]":,0123456789eE+-.natrufI\\ ', max_size=40))
def test_random_texts_are_no_arguments_or_a_typed_error(text):
    for whole in (text, f'{{"a": {text!s}}}', f'{{"a": 1, "e": {text!s}}}'):
        assert not takes(WIDE, whole) or WIDE.bind_json(whole) == json.loads(whole)
