"""The tools of a run, as every command of this package opens them."""

from contextlib import AbstractAsyncContextManager
from pathlib import Path

from mcpserver.world import Worlds, open_world
from toolwright.artifacts import hash_of
from toolwright.config import RunConfig


def open_tools(config: RunConfig) -> AbstractAsyncContextManager[Worlds]:
    """The tools of ``config.tools``.

    Raises:
        ConfigError: the ``mcpServers`` file is wrong.
        ToolServerError: a server does not start.
    """
    path = Path(config.tools.mcp_config) if config.tools.mcp_config else None
    return open_world(path, transport=config.data_gen.transport or config.tools.transport)


def tools_hash(world: Worlds) -> str:
    """What stands for the tools in a manifest: names, descriptions and parameters."""
    return hash_of([tool.to_openai() for tool in world.tools])
