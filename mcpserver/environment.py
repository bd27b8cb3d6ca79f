"""One conversation's world: its files, databases, simulated services, and the one dispatcher of tool calls.

Every face (in-process, MCP, HTTP) calls ``Environment.call``, so checks, errors and limits are the same everywhere.
Reads a base world, writes only into its own temporary directory.
"""

import asyncio
import contextvars
import hashlib
import json
import math
import sqlite3
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from mcpserver.baseworld import Base, default_base, load_base
from mcpserver.catalogue import Tool, select_tools
from mcpserver.databases import hash_base, hash_folder, open_database
from mcpserver.tool_error import ToolError
from mcpserver.workspace import Workspace
from toolwright.calls import check_arguments
from toolwright.errors import ConfigError
from toolwright.explain import nearest
from toolwright.records import ToolCall, ToolResult, ToolSpec, shorten

MAX_RESULT_BYTES = 64 * 1024
MAX_ARGUMENT_BYTES = 256 * 1024
MAX_MESSAGE = 1000  # characters of an error message
CALL_TIMEOUT_S = 10.0


@dataclass
class _Deadline:
    """When the running call is given up, on the clock of ``time.monotonic``; moved to the past when it was."""

    at: float = math.inf


_deadline: contextvars.ContextVar[_Deadline] = contextvars.ContextVar("deadline")


@lru_cache(maxsize=1)
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=64, thread_name_prefix="tool")


class Environment:
    """The world of one conversation; make it with ``Environment.create``, or ``open`` and ``close``.

    Attributes:
        seed: decides everything that is simulated.
        services: the state of simulated services, JSON values by service name; part of ``state``.
    """

    is_tool_environment: ClassVar[bool] = True

    def __init__(self, seed: int, tools: Mapping[str, Tool], base: Base, call_timeout_s: float) -> None:
        self.seed = seed
        self.services: dict[str, Any] = {}
        self.call_timeout_s = call_timeout_s
        self.workspace = Workspace(base)
        self._base = base
        self._tools = tools
        self._turn = asyncio.Lock()

    @classmethod
    def open(
        cls,
        seed: int,
        toolsets: Sequence[str] | None = None,
        *,
        base: Path | None = None,
        call_timeout_s: float = CALL_TIMEOUT_S,
    ) -> "Environment":
        """Open an environment that lives until ``close``; see ``create``."""
        if base is None:
            content = default_base()
        else:
            content = load_base(base)
            try:
                hash_base(content)
            except sqlite3.Error as error:
                raise ConfigError(f"base world {base}: a database cannot be read ({error}); replace it") from None
        return cls(seed, select_tools(toolsets), content, call_timeout_s)

    @classmethod
    @asynccontextmanager
    async def create(
        cls,
        seed: int,
        toolsets: Sequence[str] | None = None,
        *,
        base: Path | None = None,
        call_timeout_s: float = CALL_TIMEOUT_S,
    ) -> AsyncIterator["Environment"]:
        """Open an environment of its own: a private copy of the base world, removed at the end.

        Raises:
            ConfigError: an unknown toolset, or a base directory that cannot be used.
        """
        environment = cls.open(seed, toolsets, base=base, call_timeout_s=call_timeout_s)
        try:
            yield environment
        finally:
            environment.close()

    def close(self) -> None:
        """Remove the private copy; later calls fail."""
        self.workspace.close()

    @property
    def tools(self) -> list[ToolSpec]:
        """The tools on offer, as models see them."""
        return [tool.spec for tool in self._tools.values()]

    async def call(self, call: ToolCall) -> ToolResult:
        """Check and run one call; whatever goes wrong is a typed result, never an exception.

        Calls of one environment run one after the other, so parallel calls give the same state every time.
        """
        try:
            tool = self._find(call)
            values = tool.bind(call.arguments)
            async with self._turn:
                content = await self._run(tool, values)
        except ToolError as error:
            return ToolResult(content=f"{error.kind}: {_bound(error.message)}", error=error.kind)
        return ToolResult(content=content)

    def _find(self, call: ToolCall) -> Tool:
        tool = self._tools.get(call.name)
        if tool is None:
            raise ToolError("unknown_tool", f"no tool {call.name[:60]!a}{nearest(call.name[:100], list(self._tools))}")
        try:
            size = len(json.dumps(call.arguments, ensure_ascii=False, allow_nan=False).encode())
        except (ValueError, TypeError, RecursionError) as error:
            raise ToolError("bad_arguments", f"arguments are not JSON text: {shorten(str(error), 80)}") from None
        if size > MAX_ARGUMENT_BYTES:
            raise ToolError("limit", f"arguments hold at most {MAX_ARGUMENT_BYTES} bytes, got {size}")
        problems = check_arguments(tool.spec, call.arguments)
        if problems:
            raise ToolError("bad_arguments", "; ".join(problems))
        return tool

    async def _run(self, tool: Tool, values: Mapping[str, Any]) -> str:
        deadline = _Deadline(time.monotonic() + self.call_timeout_s)
        context = contextvars.copy_context()
        context.run(_deadline.set, deadline)
        work = asyncio.get_running_loop().run_in_executor(_threads(), context.run, self._run_in_thread, tool, values)
        try:
            return await asyncio.wait_for(work, self.call_timeout_s)
        except TimeoutError:
            raise ToolError("timeout", f"{tool.spec.name} took longer than {self.call_timeout_s:g} s") from None
        finally:
            deadline.at = 0.0  # a thread that is still running, late or cancelled, changes nothing more

    def _run_in_thread(self, tool: Tool, values: Mapping[str, Any]) -> str:
        try:
            result = tool.function(self, **values) if tool.takes_env else tool.function(**values)
            return cap(_to_json(_whole(result)))
        except ToolError:
            raise
        except Exception as error:
            raise ToolError("tool_error", f"{tool.spec.name} failed: {type(error).__name__}") from error

    def check_deadline(self) -> None:
        """Stop a call that was already given up, before it changes anything.

        Raises:
            ToolError: ``timeout``.
        """
        if time.monotonic() > _when_given_up():
            raise ToolError("timeout", "the call took too long; nothing more was changed")

    def write_file(self, target: Path, content: bytes) -> None:
        """Write a path that ``workspace.resolve`` gave, unless the call's time is up."""
        self.check_deadline()
        self.workspace.write(target, content)

    def open_database(self, name: str) -> AbstractContextManager[sqlite3.Connection]:
        """Open one of this environment's databases for the running call."""
        return open_database(self.workspace.databases, name, _when_given_up)

    def snapshot(self) -> dict[str, str]:
        """The hash of each file, table and service: ``file:…``, ``table:…``, ``service:…``."""
        on_disk = self.workspace.copied
        tables = hash_folder(self.workspace.databases) if on_disk else hash_base(self._base)
        parts = {f"file:{name}": value for name, value in self.workspace.hashes().items()}
        parts |= {f"table:{name}": value for name, value in tables.items()}
        for name, value in self.services.items():
            parts[f"service:{name}"] = hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
        return parts

    def state(self) -> str:
        """SHA-256 over contents of files, rows of databases and state of services; no times, no order of rows."""
        return hashlib.sha256(json.dumps(self.snapshot(), sort_keys=True).encode()).hexdigest()

    def diff(self, since: Mapping[str, str]) -> dict[str, str]:
        """What changed since a ``snapshot``: its name and ``added``, ``removed`` or ``changed``."""
        now = self.snapshot()
        changes = {name: "changed" if name in since else "added" for name in now if now[name] != since.get(name)}
        return changes | {name: "removed" for name in since if name not in now}


def _when_given_up() -> float:
    deadline = _deadline.get(None)
    return math.inf if deadline is None else deadline.at


def _whole(value: object) -> object:
    """Write whole floats as integers (900, not 900.0), as people and models do."""
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else value


def _to_json(value: object) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value)
    except ValueError:
        raise ToolError("tool_error", "the result is not a finite number") from None
    return text


def _bound(message: str) -> str:
    """Cut an error message, and escape what is not UTF-8 (names of files may hold such bytes)."""
    message = message.encode("utf-8", "backslashreplace").decode()
    return message if len(message) <= MAX_MESSAGE else message[: MAX_MESSAGE - 1] + "…"


def cap(text: str) -> str:
    """Cut a result at 64 KiB of UTF-8, and say so."""
    content = text.encode()
    if len(content) <= MAX_RESULT_BYTES:
        return text
    marker = f" … [cut: the result has {len(content)} bytes, shown are the first {MAX_RESULT_BYTES - 100}]"
    return content[: MAX_RESULT_BYTES - 100].decode(errors="ignore") + marker
