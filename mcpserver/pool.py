"""Environments by handle: clients of the MCP and HTTP faces name theirs with each request.

``open`` gives a handle that nobody can guess; whoever has it has the environment, and every other text is refused. An
environment is closed explicitly, or after it lay idle. The process has one environment more, without a handle, for the
one client on the other side of standard input and output; the HTTP faces do not offer it.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from mcpserver.environment import DEFAULT_SETTINGS, Environment
from mcpserver.rendering import error_text
from mcpserver.sandbox.spares import Spares
from mcpserver.settings import Settings
from mcpserver.tool_error import ToolError
from toolwright.records import ToolCall, ToolResult
from toolwright.words import shorten

IDLE_TIMEOUT_S = 1800.0
MAX_ENVIRONMENTS = 1024
MAX_REMEMBERED = 100_000
SEEDS = range(-(10**18) + 1, 10**18)
PROCESS_HANDLE = ""
"""The environment of requests without a handle; it never expires."""


@dataclass
class _Entry:
    environment: Environment
    last_used: float
    running: int = 0


class EnvironmentPool:
    """The open environments of a server process.

    Args:
        seed: of the environment without a handle, and of those opened without a seed.
        settings: of each environment.
        idle_timeout_s: after which an unused environment is closed.
        max_environments: open at once; with more, ``open`` refuses.
    """

    def __init__(
        self,
        seed: int,
        settings: Settings = DEFAULT_SETTINGS,
        *,
        idle_timeout_s: float = IDLE_TIMEOUT_S,
        max_environments: int = MAX_ENVIRONMENTS,
    ) -> None:
        self.seed = seed
        self.settings = settings
        self._idle_timeout_s = idle_timeout_s
        self._max_environments = max_environments
        self._entries: dict[str, _Entry] = {}
        self._expired: dict[str, None] = {}
        self._spares = Spares()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, handle: str) -> bool:
        return handle in self._entries

    def open(self, seed: int | None = None) -> str:
        """Open an environment; gives its handle.

        Raises:
            ToolError: ``bad_arguments`` for the seed, ``limit`` for too many environments.
        """
        if seed is not None and seed not in SEEDS:
            raise ToolError("bad_arguments", f"seed: an integer of at most 18 digits, got {shorten(seed)}")
        if len(self._entries) >= self._max_environments:
            raise ToolError("limit", f"{self._max_environments} environments are open already; close some")
        handle = secrets.token_hex(20)
        self._add(handle, self.seed if seed is None else seed)
        return handle

    def _add(self, handle: str, seed: int) -> _Entry:
        entry = self._entries[handle] = _Entry(
            Environment.open(seed, self.settings, spares=self._spares), time.monotonic()
        )
        return entry

    async def call(self, handle: str, call: ToolCall) -> ToolResult:
        """Run a call in the environment of a handle; a wrong handle is a typed result, ``denied``."""
        try:
            entry = self._entry(handle)
        except ToolError as error:
            return ToolResult(content=error_text(error), error=error.kind)
        entry.running += 1
        try:
            return await entry.environment.call(call)
        finally:
            entry.running -= 1
            entry.last_used = time.monotonic()

    async def state(self, handle: str) -> str:
        """The state hash of a handle's environment.

        Raises:
            ToolError: ``denied`` for a wrong handle; or the environment is broken.
        """
        return await self._entry(handle).environment.state()

    def sandbox(self, handle: str) -> str:
        """The level at which a handle's environment runs tools.

        Raises:
            ToolError: ``denied``.
        """
        return self._entry(handle).environment.sandbox or "none"

    async def close(self, handle: str) -> bool:
        """Close a handle's environment, to the last process and file; whether there was one."""
        entry = self._entries.pop(handle, None)
        if entry is not None:
            await entry.environment.aclose()
        return entry is not None

    def close_all(self) -> None:
        """Close every environment without waiting for its processes to end."""
        for entry in self._entries.values():
            entry.environment.close()
        self._entries.clear()
        self._spares.close()

    async def close_idle(self) -> None:
        """Close the environments that lay idle too long; their handles are refused from then on."""
        limit = time.monotonic() - self._idle_timeout_s
        for handle, entry in list(self._entries.items()):
            if handle != PROCESS_HANDLE and not entry.running and entry.last_used < limit:
                self._expired[handle] = None
                await self.close(handle)
        while len(self._expired) > MAX_REMEMBERED:
            del self._expired[next(iter(self._expired))]

    def _entry(self, handle: str) -> _Entry:
        entry = self._entries.get(handle)
        if entry is None:
            if handle in self._expired:
                reason = f"it was closed after {self._idle_timeout_s:g} s without a call"
            elif handle == PROCESS_HANDLE:
                return self._add(PROCESS_HANDLE, self.seed)
            else:
                reason = "it was never opened here, or closed"
            raise ToolError("denied", f"no environment {shorten(handle, 60)}: {reason}; open one, and use its handle")
        entry.last_used = time.monotonic()
        return entry

    @asynccontextmanager
    async def running(self) -> AsyncIterator["EnvironmentPool"]:
        """Close idle environments in the background, and all at the end."""
        sweeper = asyncio.create_task(self._sweep())
        try:
            yield self
        finally:
            sweeper.cancel()
            with suppress(asyncio.CancelledError):
                await sweeper
            self._spares.close()
            await asyncio.gather(*map(self.close, list(self._entries)))

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(max(0.05, self._idle_timeout_s / 10))
            await self.close_idle()
