"""One way for the stages to get tools: our own in-process or over stdio, or the servers of an ``mcpServers`` file.

``open_world`` and ``open_configured`` give a ``Worlds``; ``worlds.environment(seed)`` a world to play one conversation
in, which has the ``call`` that ``toolwright.episode`` wants. Reads the configuration file when one is given.
"""

import os
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from mcpserver.catalogue import all_tools
from mcpserver.environment import Environment
from mcpserver.mcp_config import ServerConfig, read_mcp_config
from toolwright.config import ToolsConfig
from toolwright.config_file import find_file
from toolwright.records import ToolCall, ToolResult, ToolSpec

if TYPE_CHECKING:
    from mcpserver.client import ToolServers

Transport = Literal["inprocess", "stdio"]


class ToolWorld(Protocol):
    """The world of one conversation."""

    async def call(self, call: ToolCall) -> ToolResult:
        """Run one call; a failure is a typed result."""
        ...

    async def state(self) -> str | None:
        """A hash of everything that calls can change; None when the server does not tell."""
        ...


class Worlds(Protocol):
    """The tools on offer, and worlds to call them in."""

    @property
    def tools(self) -> list[ToolSpec]:
        """The tools, as models see them."""
        ...

    def toolset(self, name: str) -> str:
        """The toolset that a tool belongs to; for tools of foreign servers the server's name.

        Raises:
            KeyError: no such tool.
        """
        ...

    def environment(self, seed: int) -> AbstractAsyncContextManager[ToolWorld]:
        """A world for one conversation; the servers of a configuration file are shared by all of them."""
        ...


class _InProcessWorld:
    """An environment in this process."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment

    async def call(self, call: ToolCall) -> ToolResult:
        return await self._environment.call(call)

    async def state(self) -> str | None:
        return await self._environment.state()


class InProcessWorlds:
    """Our own tools, called directly: the fast way, and the one to train on."""

    @property
    def tools(self) -> list[ToolSpec]:
        """All tools of the catalogue."""
        return [tool.spec for tool in all_tools().values()]

    def toolset(self, name: str) -> str:
        """The toolset of a tool."""
        return all_tools()[name].toolset

    @asynccontextmanager
    async def environment(self, seed: int) -> AsyncIterator[ToolWorld]:
        """A fresh environment, removed at the end."""
        async with Environment.create(seed) as environment:
            yield _InProcessWorld(environment)


class _ServerWorld:
    """A conversation on MCP servers; those that keep environments know it by its handle."""

    def __init__(self, servers: "ToolServers", handle: str) -> None:
        self._servers = servers
        self._handle = handle

    async def call(self, call: ToolCall) -> ToolResult:
        return await self._servers.call(call, self._handle)

    async def state(self) -> str | None:
        return await self._servers.state(self._handle)


class ServerWorlds:
    """Tools of MCP servers: ours as a child process, or those of a configuration file."""

    def __init__(self, servers: "ToolServers") -> None:
        self._servers = servers

    @property
    def tools(self) -> list[ToolSpec]:
        """The tools of all servers."""
        return self._servers.tools

    def toolset(self, name: str) -> str:
        """The toolset of a tool, or its server's name."""
        return self._servers.toolset(name)

    @asynccontextmanager
    async def environment(self, seed: int) -> AsyncIterator[ToolWorld]:
        """A fresh environment on each server that keeps them; foreign servers are shared."""
        handle = f"seed:{seed}/id:{uuid.uuid4().hex}"
        try:
            yield _ServerWorld(self._servers, handle)
        finally:
            await self._servers.close_environment(handle)


def own_server() -> ServerConfig:
    """Our own server as a child process, whatever directory we were started in."""
    package_parent = str(Path(__file__).resolve().parents[1])
    variables = {"PYTHONPATH": package_parent}
    if "TMPDIR" in os.environ:
        variables["TMPDIR"] = os.environ["TMPDIR"]
    return ServerConfig("toolwright", sys.executable, ("-m", "mcpserver"), variables)


@asynccontextmanager
async def open_world(mcp_config: Path | None = None, *, transport: Transport = "inprocess") -> AsyncIterator[Worlds]:
    """Open the tools to play with.

    Args:
        mcp_config: an ``mcpServers`` JSON file; None means our own tools.
        transport: how to reach our own tools; ``stdio`` starts ``python -m mcpserver`` as a child process.

    Raises:
        ConfigError: the file is wrong.
        DataError: a server offers a tool whose schema is not JSON Schema.
        ToolServerError: a server does not start.
    """
    if mcp_config is None and transport == "inprocess":
        yield InProcessWorlds()
        return
    # Imported here: who plays in this process need not wait for the MCP SDK (0.6 s).
    from mcpserver.client import open_servers

    configs = [own_server()] if mcp_config is None else read_mcp_config(mcp_config)
    async with open_servers(configs) as servers:
        yield ServerWorlds(servers)


def open_configured(tools: ToolsConfig, transport: Transport | None = None) -> AbstractAsyncContextManager[Worlds]:
    """Open the tools of section ``tools``; ``transport`` goes before the section's own.

    Raises:
        ConfigError: the ``mcpServers`` file is wrong.
        DataError: a server offers a tool whose schema is not JSON Schema.
        ToolServerError: a server does not start.
    """
    mcp_config = find_file(Path(tools.mcp_config)) if tools.mcp_config else None
    return open_world(mcp_config, transport=transport or tools.transport)
