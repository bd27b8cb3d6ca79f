import asyncio

from mcpserver.world import open_world
from toolwright.episode import World
from toolwright.records import ToolCall


def test_the_world_in_this_process_gives_tools_toolsets_and_separate_environments():
    async def go():
        async with open_world() as worlds:
            assert len(worlds.tools) == 34
            assert worlds.toolset("book_capacity") == "energy"
            async with worlds.environment(3) as one, worlds.environment(3) as other:
                world: World = one
                assert await one.state() == await other.state()
                result = await world.call(ToolCall(name="delete_file", arguments={"path": "notes/credit.md"}))
                assert result.ok
                assert await one.state() != await other.state()

    asyncio.run(go())
