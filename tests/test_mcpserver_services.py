"""What holds for every tool of the simulated services; what single services do is tested by theme beside this."""

import importlib
import json
import pkgutil
import random
import re

import pytest
from random_values import random_arguments
from tool_calls import World

import mcpserver.tools.services
from mcpserver.catalogue import Tool, collect
from mcpserver.tool_error import ToolError
from toolwright.calls import check_schema
from toolwright.errors import DataError

READING = (
    "list",
    "search",
    "read",
    "get",
    "find",
    "browse",
    "view",
    "check",
    "compare",
    "plan",
    "report",
    "screen",
    "geocode",
)
MAX_STATE_BYTES = 1_000_000
CALLS_PER_TOOL = 350  # more than any service keeps of anything; 10,000 leave the same


def _service_tools() -> dict[str, Tool]:
    names = [m.name for m in pkgutil.iter_modules(mcpserver.tools.services.__path__) if not m.name.startswith("_")]
    modules = [importlib.import_module(f"mcpserver.tools.services.{name}") for name in names]
    return collect([("services", name, module) for name, module in zip(names, modules)])


TOOLS = _service_tools()
SERVICES = sorted({tool.toolset for tool in TOOLS.values()})
each_tool = pytest.mark.parametrize("tool", TOOLS.values(), ids=list(TOOLS))
each_service = pytest.mark.parametrize("service", SERVICES)


def _own(service: str) -> list[Tool]:
    return [tool for tool in TOOLS.values() if tool.toolset == service]


def _ids(world: World) -> list[str]:
    """Everything in the states that looks like an id or a name: what tools take as arguments."""
    texts = re.findall(r'"([^"\\]{2,40})"', json.dumps(world.services.states))
    return sorted(set(texts)) or ["nothing"]


@each_tool
def test_a_tool_has_a_short_schema_and_runs_in_the_server(tool):
    check_schema(tool.spec)
    properties = tool.spec.parameters["properties"]
    assert tool.runs_in == "server"
    assert len(tool.spec.description.split()) <= 10
    assert all(len(schema["description"].split()) <= 7 for schema in properties.values())
    assert len(properties) <= 6
    assert len(json.dumps(tool.spec.parameters)) <= 1700


@each_tool
@pytest.mark.parametrize("seed", [17, 3, 2024])
def test_each_example_works_in_a_fresh_world_and_looking_changes_nothing(tool, seed, tmp_path):
    assert tool.examples
    for example in tool.examples:
        world = World(tmp_path, seed=seed)
        result = world.call(tool, **example)
        assert isinstance(result, dict)
        assert len(json.dumps(result, ensure_ascii=False).encode()) <= 16_000
        is_reading = tool.spec.name.split("_")[0] in READING
        assert bool(world.services.changed()) is not is_reading


def _play(service: str, seed: int, n_calls: int, world: World) -> list[str]:
    """Call the tools of a service at random; gives the results and the kinds of errors as text."""
    rng = random.Random(f"{service} {seed}")
    tools, record = _own(service), []
    for number in range(n_calls):
        tool = rng.choice(tools)
        known = _ids(world) if number % 25 == 0 else known  # noqa: F821
        arguments = rng.choice(tool.examples) if rng.random() < 0.1 else None
        arguments = arguments or random_arguments(tool.spec.parameters, rng, known)
        before = json.dumps(world.services.states, sort_keys=True) if number % 10 == 0 else None
        try:
            text = json.dumps(world.call(tool, **arguments), ensure_ascii=False)
        except (ToolError, DataError) as error:
            text = str(error)
            assert before is None or not world.services.states or _same(before, world)
            assert len(text) <= 3000
        assert len(text.encode()) <= 16_000, f"{tool.spec.name} {arguments}"
        record.append(f"{tool.spec.name}: {text}")
    return record


def _same(before: str, world: World) -> bool:
    return before == "{}" or before == json.dumps(world.services.states, sort_keys=True)


@each_service
def test_only_typed_errors_escape_and_equal_seeds_give_equal_results(service, tmp_path):
    one, two = World(tmp_path, seed=5), World(tmp_path, seed=5)
    assert _play(service, 5, 400, one) == _play(service, 5, 400, two)
    assert one.services.changed() == two.services.changed()
    assert any(": {" in line for line in _play(service, 6, 50, two))


@each_service
def test_another_seed_gives_another_first_state(service, tmp_path):
    views = set()
    for seed in (1, 2, 3):
        world = World(tmp_path, seed=seed)
        looks = [tool for tool in _own(service) if tool.spec.name.split("_")[0] in READING]
        views.add(json.dumps([world.call(tool, **example) for tool in looks for example in tool.examples]))
    assert len(views) == 3


@each_service
def test_many_calls_end_at_a_limit_and_leave_results_and_state_small(service, tmp_path):
    world = World(tmp_path)
    changing = [tool for tool in _own(service) if tool.spec.name.split("_")[0] not in READING]
    for tool in changing:
        for _ in range(CALLS_PER_TOOL):
            try:
                world.call(tool, **tool.examples[-1])
            except ToolError:  # the same call again is refused for ever
                break
    assert len(json.dumps(world.services.states)) <= MAX_STATE_BYTES
    for tool in _own(service):
        for example in tool.examples:
            try:
                assert len(json.dumps(world.call(tool, **example), ensure_ascii=False).encode()) <= 16_000
            except ToolError:
                continue
