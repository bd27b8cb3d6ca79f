"""A client of MCP servers: starts them, lists their tools, calls them with deadlines, and ends them without orphans."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx2
from mcp.shared._httpx_utils import create_mcp_http_client

from mcpserver.mcp_config import ServerConfig
from mcpserver.session import failed
from mcpserver.tool_lists import shown_names
from mcpserver.tool_server import Stay, ToolServer
from toolwright.records import ToolCall, ToolResult, ToolSpec
from toolwright.words import nearest

START_TIMEOUT_S = 30.0
CALL_TIMEOUT_S = 60.0


class ToolServers:
    """Several servers as one list of tools; with more than one server names have the prefix ``server__``.

    Attributes:
        sessions: the servers.
        tools: the tools of all of them, by the names that models see.
        sandbox: the level of the sandbox that tools run in; with several servers that differ, one for each of them;
            None when none tells.
    """

    def __init__(self, sessions: Sequence[ToolServer]) -> None:
        self.sessions = tuple(sessions)
        self.tools: list[ToolSpec] = []
        self._places: dict[str, tuple[ToolServer, str]] = {}
        names = shown_names({session.config.name: session.tools for session in sessions})
        for session in sessions:
            for name, spec in session.tools.items():
                shown = names[session.config.name, name]
                self._places[shown] = session, name
                self.tools.append(spec.model_copy(update={"name": shown}))

    @property
    def sandbox(self) -> str | None:
        levels = {session.config.name: session.sandbox for session in self.sessions}
        if len(set(levels.values())) == 1:
            return next(iter(levels.values()))
        return ", ".join(f"{name}: {level or 'unknown'}" for name, level in levels.items())

    def toolset(self, name: str) -> str:
        """The toolset that the server tells for a tool, else the server's name; KeyError for no tool."""
        session, own_name = self._places[name]
        return session.toolsets.get(own_name, session.config.name)

    def describe(self) -> list[dict[str, Any]]:
        """The servers, as they name themselves; no secrets."""
        return [session.describe() for session in self.sessions]

    async def call(self, call: ToolCall, stays: "ServerWorld | None" = None) -> ToolResult:
        """Call a tool, in the environment of a conversation where its server has environments.

        Raises:
            ToolServerError: the server is gone, and cannot be started again.
        """
        if call.name not in self._places:
            near = nearest(call.name[:100], list(self._places))
            return failed("unknown_tool", f"no tool {call.name[:60]!a}{near}")
        session, name = self._places[call.name]
        stay = stays.stays[session] if stays is not None else None
        return await session.call(call.model_copy(update={"name": name}), stay)

    @asynccontextmanager
    async def environment(self, seed: int) -> AsyncIterator["ServerWorld"]:
        """A fresh environment on each server that keeps them; foreign servers are shared by all conversations."""
        world = ServerWorld(self, seed)
        try:
            yield world
        finally:
            await asyncio.gather(*(session.leave(stay) for session, stay in world.stays.items()))


class ServerWorld:
    """A conversation on MCP servers."""

    def __init__(self, servers: ToolServers, seed: int) -> None:
        self.stays = {session: Stay(seed) for session in servers.sessions}
        self.sandbox = servers.sandbox
        self._servers = servers

    async def call(self, call: ToolCall) -> ToolResult:
        """Run one call; a failure is a typed result.

        Raises:
            ToolServerError: the server is gone, and cannot be started again.
        """
        return await self._servers.call(call, self)

    async def state(self) -> str | None:
        """The state of its environments on all servers; None when some server does not tell.

        Raises:
            ToolServerError: a server is gone.
        """
        if not all(session.has_environments for session in self.stays):
            return None
        states = [await session.state(stay) for session, stay in self.stays.items()]
        return states[0] if len(states) == 1 else hashlib.sha256("".join(states).encode()).hexdigest()


@asynccontextmanager
async def open_servers(
    configs: Sequence[ServerConfig],
    *,
    start_timeout_s: float = START_TIMEOUT_S,
    call_timeout_s: float = CALL_TIMEOUT_S,
) -> AsyncIterator[ToolServers]:
    """Start all servers at once, give their tools, and end them.

    Raises:
        DataError: a tool whose schema is not JSON Schema: names server, tool and path.
        ToolServerError: a server does not start: names server, command and what to try.
    """
    async with _http_clients(configs) as clients:
        servers = [
            ToolServer(config, http, start_timeout_s=start_timeout_s, call_timeout_s=call_timeout_s)
            for config, http in zip(configs, clients)
        ]
        try:
            started = await asyncio.gather(*(server.start() for server in servers), return_exceptions=True)
            for outcome in started:
                if isinstance(outcome, BaseException):
                    raise outcome
            yield ToolServers(servers)
        finally:
            await asyncio.gather(*(server.close() for server in servers))


@asynccontextmanager
async def _http_clients(configs: Sequence[ServerConfig]) -> AsyncIterator[list[httpx2.AsyncClient | None]]:
    """The HTTP client for each server with a URL; servers with the same headers share one, for each takes 25 ms."""
    async with AsyncExitStack() as stack:
        clients: dict[tuple[tuple[str, str], ...], httpx2.AsyncClient] = {}
        for config in configs:
            headers = tuple(sorted(config.headers.items()))
            if config.url and headers not in clients:
                clients[headers] = await stack.enter_async_context(create_mcp_http_client(headers=dict(headers)))
        yield [clients[tuple(sorted(config.headers.items()))] if config.url else None for config in configs]
