"""Environments by handle: clients of the MCP and HTTP faces name theirs with each request.

A handle is ``seed:<integer>`` or ``seed:<integer>/id:<1 to 64 of A-Z a-z 0-9 . _ ->``, chosen by the client; the same
handle means the same environment, another handle another one. The first use opens it; it is closed explicitly, or after
it lay idle. Requests without a handle share the environment of the process, which is right for one desktop client.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from mcpserver.environment import DEFAULT_SETTINGS, Environment
from mcpserver.settings import Settings
from toolwright.errors import DataError
from toolwright.records import ToolCall, ToolResult
from toolwright.words import shorten

HANDLE = re.compile(r"seed:(-?\d{1,18})(?:/id:[A-Za-z0-9._-]{1,64})?")
IDLE_TIMEOUT_S = 1800.0
MAX_ENVIRONMENTS = 4096
MAX_REMEMBERED = 100_000
PROCESS_HANDLE = ""
"""The environment of requests without a handle; it never expires."""


def parse_handle(handle: str) -> int:
    """The seed that a handle names.

    Raises:
        DataError: not a handle.
    """
    match = HANDLE.fullmatch(handle)
    if match is None:
        raise DataError(f"environment handle {shorten(handle)}: expected seed:17 or seed:17/id:any-name")
    return int(match[1])


@dataclass
class _Entry:
    environment: Environment
    last_used: float
    running: int = 0


class EnvironmentPool:
    """The open environments of a server process.

    Args:
        seed: of the environment for requests without a handle.
        settings: of each environment.
        idle_timeout_s: after which an unused environment is closed.
    """

    def __init__(
        self, seed: int, settings: Settings = DEFAULT_SETTINGS, *, idle_timeout_s: float = IDLE_TIMEOUT_S
    ) -> None:
        self._seed = seed
        self.settings = settings
        self._idle_timeout_s = idle_timeout_s
        self._entries: dict[str, _Entry] = {}
        self._expired: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, handle: str) -> bool:
        return handle in self._entries

    async def call(self, handle: str, call: ToolCall) -> ToolResult:
        """Run a call in the environment of a handle.

        Raises:
            DataError: a wrong or expired handle, or too many environments.
        """
        entry = self._entry(handle)
        entry.running += 1
        try:
            return await entry.environment.call(call)
        finally:
            entry.running -= 1
            entry.last_used = time.monotonic()

    async def state(self, handle: str) -> str:
        """The state hash of a handle's environment.

        Raises:
            DataError: as ``call``.
        """
        return await self._entry(handle).environment.state()

    def close(self, handle: str) -> bool:
        """Close a handle's environment; whether there was one. Using the handle again starts afresh."""
        self._expired.pop(handle, None)
        entry = self._entries.pop(handle, None)
        if entry is not None:
            entry.environment.close()
        return entry is not None

    def close_all(self) -> None:
        """Close every environment."""
        for handle in list(self._entries):
            self.close(handle)

    def close_idle(self) -> None:
        """Close the environments that lay idle too long; their handles are refused from then on."""
        limit = time.monotonic() - self._idle_timeout_s
        for handle, entry in list(self._entries.items()):
            if handle != PROCESS_HANDLE and not entry.running and entry.last_used < limit:
                self.close(handle)
                self._expired[handle] = None
        while len(self._expired) > MAX_REMEMBERED:
            del self._expired[next(iter(self._expired))]

    def _entry(self, handle: str) -> _Entry:
        entry = self._entries.get(handle)
        if entry is None:
            seed = self._seed if handle == PROCESS_HANDLE else parse_handle(handle)
            if handle in self._expired:
                raise DataError(
                    f"environment {handle} was closed after {self._idle_timeout_s:g} s without a call; use another id"
                )
            if len(self._entries) >= MAX_ENVIRONMENTS:
                raise DataError(f"{MAX_ENVIRONMENTS} environments are open already; close some")
            entry = self._entries[handle] = _Entry(Environment.open(seed, self.settings), 0.0)
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
            self.close_all()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(max(0.05, self._idle_timeout_s / 10))
            self.close_idle()
