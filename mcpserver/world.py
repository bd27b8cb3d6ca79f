"""One way for the stages to get tools: our own, in-process or over stdio, those of an ``mcpServers`` file, a cassette.

``open_world`` and ``open_configured`` give a ``Worlds``; ``worlds.environment(seed)`` a world to play one conversation
in, which has the ``call`` that ``toolwright.episode`` wants. Reads the configuration file when one is given.
"""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

from mcpserver.base import GENERATED
from mcpserver.cassette import open_cassette
from mcpserver.discovery import SOURCES_VARIABLE
from mcpserver.environment import DEFAULT_SETTINGS, Environment, offered_tools
from mcpserver.mcp_config import ServerConfig, read_mcp_config, server_names
from mcpserver.sandbox.spares import Spares
from mcpserver.settings import SANDBOX_VARIABLE, Settings, flags_of, make_apis, variables_of
from toolwright import __version__
from toolwright.config import ToolsConfig
from toolwright.config_file import find_file
from toolwright.records import ToolCall, ToolResult, ToolSpec

Transport = Literal["inprocess", "stdio"]
OWN_NAME = "toolwright"
SPARE_S = 30.0
"""What our own server may take beyond the deadline of a call, which it keeps itself: the start of a sandbox."""


class ToolWorld(Protocol):
    """The world of one conversation."""

    sandbox: str | None
    """The level of the sandbox in which tools run; None when the server does not tell. It belongs into the record."""

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

    def describe(self) -> list[dict[str, Any]]:
        """The servers behind the tools, for records: ``name``, ``server`` and ``version``; no secrets."""
        ...

    def environment(self, seed: int) -> AbstractAsyncContextManager[ToolWorld]:
        """A world for one conversation; the servers of a configuration file are shared by all of them."""
        ...


class _InProcessWorld:
    """An environment in this process."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self.sandbox: str | None = environment.sandbox or "none"

    async def call(self, call: ToolCall) -> ToolResult:
        return await self._environment.call(call)

    async def state(self) -> str | None:
        return await self._environment.state()


class InProcessWorlds:
    """Our own tools, called directly: the fast way, and the one to train on."""

    def __init__(self, settings: Settings = DEFAULT_SETTINGS) -> None:
        self._settings = settings
        self._tools = offered_tools(settings)
        self.spares = Spares()

    @property
    def tools(self) -> list[ToolSpec]:
        """The tools that the settings name."""
        return [tool.spec for tool in self._tools.values()]

    def toolset(self, name: str) -> str:
        """The toolset of a tool."""
        return self._tools[name].toolset

    def describe(self) -> list[dict[str, Any]]:
        """This process."""
        return [{"name": OWN_NAME, "server": OWN_NAME, "version": __version__}]

    @asynccontextmanager
    async def environment(self, seed: int) -> AsyncIterator[ToolWorld]:
        """A fresh environment, removed at the end."""
        environment = Environment.open(seed, self._settings, spares=self.spares)
        try:
            yield _InProcessWorld(environment)
        finally:
            await environment.aclose()


def own_server(settings: Settings = DEFAULT_SETTINGS) -> ServerConfig:
    """Our own server as a child process, whatever directory we were started in."""
    package_parent = str(Path(__file__).resolve().parents[1])
    variables = {"PYTHONPATH": package_parent}
    for name in ("TMPDIR", "XDG_CACHE_HOME", SANDBOX_VARIABLE, SOURCES_VARIABLE, *variables_of(settings.apis)):
        if name in os.environ:
            variables[name] = os.environ[name]
    return ServerConfig(OWN_NAME, sys.executable, ("-m", "mcpserver", *flags_of(settings)), variables)


@asynccontextmanager
async def open_world(
    mcp_config: Path | None = None, *, transport: Transport = "inprocess", settings: Settings = DEFAULT_SETTINGS
) -> AsyncIterator[Worlds]:
    """Open the tools to play with.

    Args:
        settings: of our own tools and their environments.
        mcp_config: an ``mcpServers`` JSON file; None means our own tools.
        transport: how to reach our own tools; ``stdio`` starts ``python -m mcpserver`` as a child process.

    Raises:
        ConfigError: the file is wrong.
        DataError: a server offers a tool whose schema is not JSON Schema.
        ToolServerError: a server does not start.
    """
    if mcp_config is None and transport == "inprocess":
        worlds = InProcessWorlds(settings)
        try:
            yield worlds
        finally:
            worlds.spares.close()
        return
    # Imported here: who plays in this process need not wait for the MCP SDK (0.6 s).
    from mcpserver.client import open_servers

    if mcp_config is None:
        configs, timeout_s = [own_server(settings)], settings.call_timeout_s + SPARE_S
    else:
        configs, timeout_s = read_mcp_config(mcp_config), settings.call_timeout_s
    async with open_servers(configs, call_timeout_s=timeout_s) as servers:
        yield servers


def open_configured(tools: ToolsConfig, transport: Transport | None = None) -> AbstractAsyncContextManager[Worlds]:
    """Open the tools of section ``tools``; ``transport`` goes before the section's own.

    Raises:
        ConfigError: the ``mcpServers`` file is wrong, or the cassette is not there or has other tools.
        DataError: a server offers a tool whose schema is not JSON Schema; not a cassette.
        ToolServerError: a server does not start.
    """
    mcp_config = find_file(Path(tools.mcp_config)) if tools.mcp_config else None
    settings = Settings(
        toolsets=None if tools.toolsets is None else tuple(tools.toolsets),
        sources=tuple(str(find_file(Path(name))) if name.startswith((".", "/")) else name for name in tools.sources),
        world=tools.world if tools.world in GENERATED else str(find_file(Path(tools.world))),
        n_files=tools.n_files,
        sandbox=tools.sandbox,
        python=tools.python,
        call_timeout_s=tools.call_timeout_s,
        apis=make_apis(tools.apis),
    )

    def open_live() -> AbstractAsyncContextManager[Worlds]:
        return open_world(mcp_config, transport=transport or tools.transport, settings=settings)

    if tools.cassette is None:
        return open_live()
    return open_cassette(
        Path(tools.cassette),
        tools.cassette_mode,
        open_live,
        offered=None if mcp_config else [tool.spec for tool in offered_tools(settings).values()],
        servers=server_names(mcp_config) if mcp_config else None,
    )
