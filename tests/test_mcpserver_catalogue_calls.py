"""A user's own tools through the dispatcher, in the server and in the sandboxed worker alike."""

import asyncio

import pytest

from mcpserver.environment import Environment
from toolwright.records import ToolCall

TOOLS = '''
import datetime
import enum
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field

from mcpserver.context import Context

RUNS_IN = "%s"


class Color(enum.Enum):
    RED = "red"


class Leg(BaseModel):
    day: datetime.date
    volume: float = 1.5


@dataclass
class Box:
    color: Color
    sizes: tuple[int, ...]


def last_context_%s(a: int, b: float = 1, *, world: Context) -> dict[str, Any]:
    """Do."""
    return {"a": a, "b": b / 2, "b is a float": b.is_integer(), "seed": world.seed}


def converted_%s(leg: Leg, box: Box, days: set[datetime.date], context: "Context | None" = None) -> Box:
    """Do."""
    assert leg.day in days and context is not None
    return Box(box.color, (*box.sizes, 3))


def scalar_%s(from_: Annotated[str, Field(alias="from")], _hidden: int = 2) -> str:
    """Do."""
    return from_ * _hidden


def dated_%s(day: datetime.date) -> list[datetime.date]:
    """Do."""
    return [day, day + datetime.timedelta(days=1)]


def broken_promise_%s() -> dict[str, Any]:
    """Do."""
    return 3
'''

CALLS = [
    ("last_context", {"a": 1, "b": 3}, '{"a": 1, "b": 1.5, "b is a float": true, "seed": 5}'),
    ("last_context", {"a": 1}, "tool_error: "),
    ("last_context", {"a": 1, "world": 2}, 'bad_arguments: unknown parameter "world"'),
    (
        "converted",
        {"leg": {"day": "2025-03-14"}, "box": {"color": "red", "sizes": [1]}, "days": ["2025-03-14"]},
        '{"color": "red", "sizes": [1, 3]}',
    ),
    ("converted", {"leg": {"day": "2025-02-30"}, "box": {"color": "red", "sizes": []}, "days": []}, "bad_arguments: "),
    ("scalar", {"from": "ab"}, '{"result": "abab"}'),
    ("scalar", {"from": "ab", "_hidden": 9}, 'bad_arguments: unknown parameter "_hidden"'),
    ("dated", {"day": "2024-02-28"}, '{"result": ["2024-02-28", "2024-02-29"]}'),
    ("broken_promise", {}, "tool_error: "),
]


@pytest.fixture(scope="module", params=["server", "worker"])
def results(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    where = request.param
    (folder / f"own_{where}.py").write_text(TOOLS % ((where,) * 6))

    async def play():
        async with Environment.create(5, [f"own_{where}"], sources=(str(folder),)) as environment:
            return [
                await environment.call(ToolCall(name=f"{name}_{where}", arguments=arguments))
                for name, arguments, _ in CALLS
            ]

    return asyncio.run(play())


@pytest.mark.parametrize(
    "number", range(len(CALLS)), ids=[f"{name}-{number}" for number, (name, _, _) in enumerate(CALLS)]
)
def test_a_users_tool_gets_its_values_and_its_result_is_an_object(results, number):
    assert results[number].content.startswith(CALLS[number][2])
    assert results[number].ok == CALLS[number][2].startswith("{")
