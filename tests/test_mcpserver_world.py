import asyncio

import pytest

from mcpserver.catalogue import all_tools
from mcpserver.client import ToolServers
from mcpserver.world import InProcessWorlds, open_configured, open_world
from toolwright.config import ToolsConfig
from toolwright.config_file import REPOSITORY
from toolwright.episode import World
from toolwright.errors import ConfigError
from toolwright.records import ToolCall


def test_the_world_in_this_process_gives_tools_toolsets_and_separate_environments():
    async def go():
        async with open_world() as worlds:
            assert len(worlds.tools) == len(all_tools())
            assert worlds.toolset("book_capacity") == "energy"
            async with worlds.environment(3) as one, worlds.environment(3) as other:
                world: World = one
                assert await one.state() == await other.state()
                result = await world.call(ToolCall(name="delete_file", arguments={"path": "notes/credit.md"}))
                assert result.ok
                assert await one.state() != await other.state()

    asyncio.run(go())


def test_the_level_of_the_sandbox_is_known_on_either_side():
    async def go(transport):
        async with open_world(transport=transport) as worlds, worlds.environment(3) as world:
            return world.sandbox

    assert asyncio.run(go("inprocess")) == asyncio.run(go("stdio")) in ("bwrap", "landlock", "none")


@pytest.mark.parametrize(
    ("tools", "transport", "kind"),
    [
        (ToolsConfig(), None, InProcessWorlds),
        (ToolsConfig(), "stdio", ToolServers),
        (ToolsConfig(transport="stdio"), None, ToolServers),
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
