"""The tools of a run, as every command of this package opens them."""

from contextlib import AbstractAsyncContextManager

from mcpserver.world import Worlds, open_configured
from toolwright.artifacts import hash_of
from toolwright.config import RunConfig


def open_tools(config: RunConfig) -> AbstractAsyncContextManager[Worlds]:
    """The tools of ``config.tools``, reached as ``data_gen.transport`` says.

    Raises:
        ConfigError: the ``mcpServers`` file is wrong.
        ToolServerError: a server does not start.
    """
    return open_configured(config.tools, config.data_gen.transport)


def tools_hash(world: Worlds) -> str:
    """What stands for the tools in a manifest: names, descriptions and parameters."""
    return hash_of([tool.to_openai() for tool in world.tools])
