"""A server through its lives: one that died is started again at the next call, and who used it is told what that means.

Nothing of a conversation survives a server: neither an environment of ours nor what a foreign server remembers.
"""

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx2

from mcpserver.mcp_config import ServerConfig
from mcpserver.protocol import CLOSE_METHOD, OPEN_METHOD, STATE_METHOD
from mcpserver.session import ServerDiedError, Session, failed
from mcpserver.tool_lists import difference
from toolwright.errors import ToolServerError
from toolwright.records import ToolCall, ToolResult, ToolSpec

MAX_RESTARTS = 3
PER_S = 60.0


@dataclass
class Stay:
    """One conversation on one server.

    Attributes:
        seed: of its environment, where the server keeps environments.
        life: the session that it lives in; None before the first call, and after it met the end of one.
        handle: of its environment.
    """

    seed: int
    life: Session | None = None
    handle: str | None = None
    entering: asyncio.Lock = field(default_factory=asyncio.Lock)


class ToolServer:
    """One server, with the tools that it had when it was first started.

    Args:
        config: how to start or reach it.
        http: the client for a server that is reached by URL.
        start_timeout_s: for its list of tools.
        call_timeout_s: of a call, where the configuration has no timeout.
    """

    def __init__(
        self, config: ServerConfig, http: httpx2.AsyncClient | None, *, start_timeout_s: float, call_timeout_s: float
    ) -> None:
        self.config = config
        self._http = http
        self._start_timeout_s = start_timeout_s
        self._call_timeout_s = config.timeout_s or call_timeout_s
        self._session = self._new_session()
        self._starting = asyncio.Lock()
        self._restarts: deque[float] = deque(maxlen=MAX_RESTARTS)

    def _new_session(self) -> Session:
        return Session(self.config, self._call_timeout_s, self._http)

    @property
    def tools(self) -> Mapping[str, ToolSpec]:
        """The tools, by the server's own names."""
        return self._session.tools

    @property
    def toolsets(self) -> Mapping[str, str]:
        """The toolsets of tools, where the server tells."""
        return self._session.toolsets

    @property
    def has_environments(self) -> bool:
        """Whether it is one of ours, with an environment for each conversation."""
        return self._session.has_environments

    @property
    def sandbox(self) -> str | None:
        """The level of the sandbox that its tools run in, where it tells."""
        return self._session.sandbox

    @property
    def server_info(self) -> tuple[str, str]:
        """Its name and version, as it says."""
        return self._session.server_info

    async def start(self) -> None:
        """Start or reach the server and list its tools.

        Raises:
            DataError: a tool whose schema is not JSON Schema.
            ToolServerError: it does not start, or does not answer in time.
        """
        await self._session.start(self._start_timeout_s)

    async def _living(self) -> Session:
        """The session; a new one if it died.

        Raises:
            DataError, ToolServerError: as ``start``; it died too often, or has other tools now.
        """
        async with self._starting:
            if not self._session.is_dead:
                return self._session
            now = time.monotonic()
            if len(self._restarts) == MAX_RESTARTS and now - self._restarts[0] < PER_S:
                reason = f"it was started again {MAX_RESTARTS} times within {PER_S:g} s, and is left alone now"
                raise ToolServerError(f"{self._session.obituary}; {reason}")
            self._restarts.append(now)
            last, session = self._session, self._new_session()
            await last.close()
            try:
                await session.start(self._start_timeout_s)
            except BaseException:
                await session.close()
                raise
            if changes := difference(list(last.tools.values()), list(session.tools.values())):
                await session.close()
                raise ToolServerError(f"MCP server {self.config.name!r} was started again with other tools: {changes}")
            self._session = session
            return session

    async def call(self, call: ToolCall, stay: Stay | None = None) -> ToolResult:
        """Call a tool by the server's own name for it; a server that dies in the call is a typed result.

        Raises:
            DataError, ToolServerError: it cannot be started again, or died too often.
        """
        session = await self._living()
        try:
            if stay is not None and await self._enter(session, stay):
                return failed("tool_error", f"the server {self.config.name!r} was started again; {_LOST}")
            return await session.call(call, stay.handle if stay else None)
        except ServerDiedError as error:
            if stay is not None:
                stay.life = None
            return failed("tool_error", f"{error}; {_LOST}")

    async def _enter(self, session: Session, stay: Stay) -> bool:
        """Make sure that a conversation has its environment in this life; whether it lost that of another."""
        async with stay.entering:
            if stay.life is session:
                return False
            was_elsewhere = stay.life is not None
            if session.has_environments:
                stay.handle = str((await session.request(OPEN_METHOD, seed=stay.seed))["handle"])
            stay.life = session
            return was_elsewhere

    async def state(self, stay: Stay) -> str:
        """The state of a conversation's environment.

        Raises:
            ToolServerError: the server is gone, or refused; a conversation whose server died has no state.
        """
        session = await self._living()
        if await self._enter(session, stay):
            raise ToolServerError(f"MCP server {self.config.name!r} was started again; {_LOST}")
        return str((await session.request(STATE_METHOD, stay.handle))["state"])

    async def leave(self, stay: Stay) -> None:
        """Close a conversation's environment; a server that is gone has closed it."""
        session = stay.life
        if session is not None and session is self._session and stay.handle and not session.is_dead:
            with suppress(ToolServerError):
                await session.request(CLOSE_METHOD, stay.handle)

    async def close(self) -> None:
        """End the session and the server."""
        await self._session.close()

    def describe(self) -> dict[str, Any]:
        """What a record of its answers says about it: no command line and no URL, which may hold secrets."""
        name, version = self.server_info
        return {"name": self.config.name, "server": name, "version": version}


_LOST = "whatever it held for this conversation is lost, and the next call meets it as new"
