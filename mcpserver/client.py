"""A client of MCP servers: starts them, lists their tools, calls them with deadlines, and ends them without orphans."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from mcpserver.mcp_config import ServerConfig
from mcpserver.protocol import CLOSE_METHOD, STATE_METHOD
from mcpserver.session import ServerSession, failed
from toolwright.errors import ToolServerError
from toolwright.records import ToolCall, ToolResult, ToolSpec
from toolwright.words import nearest, shorten

START_TIMEOUT_S = 30.0
CALL_TIMEOUT_S = 60.0


class ToolServers:
    """Several servers as one list of tools; with more than one server names have the prefix ``server__``."""

    def __init__(self, sessions: Sequence[ServerSession]) -> None:
        self.sessions = tuple(sessions)
        self._places: dict[str, tuple[ServerSession, str]] = {}
        self.tools: list[ToolSpec] = []
        self.sandbox: str | None = None
        for session in sessions:
            for name, spec in session.tools.items():
                shown = name if len(sessions) == 1 else f"{session.config.name}__{name}"
                self._places[shown] = session, name
                self.tools.append(spec.model_copy(update={"name": shown}))

    def toolset(self, name: str) -> str:
        """The toolset that the server tells for a tool, else the server's name; KeyError for no tool."""
        session, own_name = self._places[name]
        return session.toolsets.get(own_name, session.config.name)

    async def call(self, call: ToolCall, handle: str | None = None) -> ToolResult:
        """Call a tool, in the environment of a handle where its server has environments.

        Raises:
            ToolServerError: the server is gone.
        """
        if call.name not in self._places:
            near = nearest(call.name, list(self._places))
            return failed("unknown_tool", f"no tool {shorten(call.name, 60)}{near}")
        session, name = self._places[call.name]
        return await session.call(call.model_copy(update={"name": name}), handle)

    async def state(self, handle: str) -> str | None:
        """The state of a handle's environments on all servers; None when some server does not tell.

        Raises:
            ToolServerError: a server is gone.
        """
        if not all(session.has_environments for session in self.sessions):
            return None
        answers = [await session.request(STATE_METHOD, handle) for session in self.sessions]
        states = [str(answer["state"]) for answer in answers]
        return states[0] if len(states) == 1 else hashlib.sha256("".join(states).encode()).hexdigest()

    async def close_environment(self, handle: str) -> None:
        """Close a handle's environments; a server that is gone has closed its own."""
        for session in self.sessions:
            if session.has_environments:
                with suppress(ToolServerError):
                    await session.request(CLOSE_METHOD, handle)


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
    sessions = [ServerSession(config, call_timeout_s) for config in configs]
    try:
        started = await asyncio.gather(
            *(session.start(start_timeout_s) for session in sessions), return_exceptions=True
        )
        for outcome in started:
            if isinstance(outcome, BaseException):
                raise outcome
        yield ToolServers(sessions)
    finally:
        await asyncio.gather(*(session.close() for session in sessions))
