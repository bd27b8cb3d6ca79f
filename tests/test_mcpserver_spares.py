"""Sandboxes that are used again, as new, unless code of a model ran in them."""

import asyncio

import pytest

from mcpserver.environment import Environment
from mcpserver.sandbox.level import choose_level
from mcpserver.sandbox.worker import Worker
from mcpserver.settings import Settings
from mcpserver.world import open_world
from toolwright.records import ToolCall

SETTINGS = Settings(toolsets=("files", "python"), world="desk")


def play(*calls: tuple[str, dict[str, str]]):
    """Calls, each in an environment of its own; their results, states before and after, and process ids."""

    async def go():
        seen = []
        async with open_world(settings=SETTINGS) as worlds:
            for name, arguments in calls:
                async with worlds.environment(1) as world:
                    before = await world.state()
                    result = await world.call(ToolCall(name=name, arguments=arguments))
                    seen.append((result, before, await world.state(), world._environment._worker._keeper))
        return seen

    return asyncio.run(go())


def test_the_next_conversation_finds_a_fresh_world_in_the_same_sandbox():
    write = ("write_file", {"path": "new/mine.txt", "text": "mine"})
    first, second, third = play(write, ("read_file", {"path": "new/mine.txt"}), write)
    assert first[0].ok
    assert second[0].error == "tool_error"
    assert first[1] == second[1] == third[1]
    assert first[2] == third[2] != first[1]
    assert first[3] == second[3] == third[3], "one process served all three"


@pytest.mark.skipif(choose_level() is None, reason="no sandbox works on this machine, so code is refused")
def test_a_sandbox_in_which_code_ran_is_never_used_again():
    first, second = play(("run_python", {"code": "x = 1"}), ("list_files", {"folder": "notes"}))
    assert first[0].ok
    assert second[0].ok
    assert first[3] != second[3]


class SlowSpares:
    """Spares that take their time, so that the end of an environment can be cancelled while it waits for them."""

    def __init__(self, pause_s: float) -> None:
        self.pause_s = pause_s

    def take(self, _key: object) -> None:
        return None

    async def give(self, _key: object, worker: Worker) -> None:
        await asyncio.sleep(self.pause_s)
        worker.close()


@pytest.mark.parametrize("cancelled", [False, True])
def test_an_environment_that_gives_its_sandbox_away_closes_its_connections(cancelled: bool):
    async def go():
        environment = Environment.open(1, SETTINGS, spares=SlowSpares(30 if cancelled else 0))
        closed = []
        environment.apis._stack.callback(closed.append, True)
        await environment.call(ToolCall(name="list_files", arguments={"folder": "notes"}))
        ending = asyncio.create_task(environment.aclose())
        await asyncio.sleep(0.1)
        if cancelled:
            ending.cancel()
        await asyncio.gather(ending, return_exceptions=True)
        return ending.cancelled(), closed

    assert asyncio.run(go()) == (cancelled, [True])
