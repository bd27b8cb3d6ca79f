import asyncio

import pytest

from mcpserver.world import InProcessWorlds, ServerWorlds, open_configured, open_world
from toolwright.config import ToolsConfig
from toolwright.config_file import REPOSITORY
from toolwright.episode import World
from toolwright.errors import ConfigError
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


@pytest.mark.parametrize(
    ("tools", "transport", "kind"),
    [
        (ToolsConfig(), None, InProcessWorlds),
        (ToolsConfig(), "stdio", ServerWorlds),
        (ToolsConfig(transport="stdio"), None, ServerWorlds),
        (ToolsConfig(transport="stdio"), "inprocess", InProcessWorlds),
    ],
)
def test_the_configured_tools_are_reached_as_the_stage_or_else_the_section_says(tools, transport, kind):
    async def go():
        async with open_configured(tools, transport) as worlds:
            assert isinstance(worlds, kind)

    asyncio.run(go())


def test_a_configured_file_is_also_found_below_the_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    async def go():
        async with open_configured(ToolsConfig(mcp_config="configs/tiny.yaml")):
            pass

    with pytest.raises(ConfigError, match=rf"{REPOSITORY}/configs/tiny.yaml:1: cannot read the list of MCP servers"):
        asyncio.run(go())
