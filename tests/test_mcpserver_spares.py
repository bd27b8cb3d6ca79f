"""Sandboxes that are used again, as new, unless code of a model ran in them."""

import asyncio

import pytest

from mcpserver.sandbox.level import choose_level
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
