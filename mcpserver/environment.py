"""One conversation's world: its files, databases, simulated services, and the one dispatcher of tool calls.

Every face (in-process, MCP, HTTP) calls ``Environment.call``, so checks, errors and limits are the same everywhere.
What touches files, SQL, patterns, images or code runs in the environment's own sandbox; the first such call starts it.
"""

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mcpserver.api.replies import Apis
from mcpserver.base import Base, open_base
from mcpserver.catalogue import Tool, built_in, catalogue, select_tools
from mcpserver.context import Cell, Context, Picture, Services, nobody
from mcpserver.discovery import sources_from_environment
from mcpserver.rendering import argument_text, cap, error_text, render
from mcpserver.sandbox.launch import Level, plan
from mcpserver.sandbox.level import choose_level, refusal
from mcpserver.sandbox.limits import Limits
from mcpserver.sandbox.spares import Spares
from mcpserver.sandbox.worker import Worker
from mcpserver.settings import PythonKind, Settings
from mcpserver.tool_error import ToolError
from toolwright.errors import SandboxError
from toolwright.records import ToolCall, ToolResult, ToolSpec
from toolwright.words import nearest

DEFAULT_LIMITS, DEFAULT_SETTINGS = Limits(), Settings()


def offered_tools(settings: Settings) -> dict[str, Tool]:
    """The tools that the settings name, by name.

    Raises:
        ConfigError: an unknown name.
        DataError: a tool of the user's own that is wrong.
    """
    if settings.toolsets is not None and not settings.sources and not sources_from_environment():
        few = built_in(settings.toolsets)  # to load all takes a second
        if few is not None:
            return dict(few)
    return select_tools(settings.toolsets, catalogue(settings.sources))


class Environment:
    """The world of one conversation; make it with ``Environment.create``, or ``open`` and ``close``.

    Attributes:
        seed: decides everything that is simulated.
        services: the state of simulated services; part of ``state``.
        apis: what answers the tools of APIs.
        sandbox: the level at which tools and code run; belongs into each trajectory's record.
    """

    def __init__(
        self,
        seed: int,
        tools: Mapping[str, Tool],
        base: Base,
        *,
        sandbox: Level | None = None,
        limits: Limits = DEFAULT_LIMITS,
        python: PythonKind = "light",
        ask_human: Callable[[str], str] = nobody,
        apis: Apis | None = None,
        spares: Spares | None = None,
    ) -> None:
        self.seed = seed
        self.apis = apis or Apis(seed)
        self.services = Services(seed)
        self.sandbox = sandbox
        self.limits = limits
        self._python = python
        self._ask_human = ask_human
        self._base = base
        self._tools = tools
        # what a user sent along is part of a sandbox, which is then not used again
        self._spares = None if base.attachments else spares
        self._turn = asyncio.Lock()
        self._worker: Worker | None = None
        self._closed = False

    @classmethod
    def open(
        cls,
        seed: int,
        settings: Settings = DEFAULT_SETTINGS,
        *,
        ask_human: Callable[[str], str] = nobody,
        attachments: Mapping[str, bytes] | None = None,
        spares: Spares | None = None,
    ) -> "Environment":
        """Open an environment that lives until ``close``; see ``create``. It may use again what is in ``spares``."""
        return cls(
            seed,
            offered_tools(settings),
            open_base(settings.world).sample(seed, settings.n_files).attach(attachments or {}),
            sandbox=choose_level(settings.sandbox),
            limits=Limits(call_timeout_s=settings.call_timeout_s),
            python=settings.python,
            ask_human=ask_human,
            apis=Apis(seed, settings.apis),
            spares=spares,
        )

    @classmethod
    @asynccontextmanager
    async def create(
        cls, seed: int, toolsets: Sequence[str] | None = None, **options: Any
    ) -> AsyncIterator["Environment"]:
        """Open an environment of its own: a private copy of the base world, gone at the end.

        Args:
            seed: of everything simulated.
            toolsets: names of toolsets, categories or tools on offer; None means all.
            options: the other fields of ``Settings``; ``ask_human``, which puts a question to somebody; and
                ``attachments``, what the user sent along, by file name: it lies in the folder ``attachments``.

        Raises:
            ConfigError: an unknown toolset, or a base that cannot be used.
            SandboxError: the level that was asked for does not work here.
        """
        more = {name: options.pop(name) for name in ("ask_human", "attachments") if name in options}
        settings = Settings(toolsets=None if toolsets is None else tuple(toolsets), **options)
        environment = cls.open(seed, settings, **more)
        try:
            yield environment
        finally:
            await environment.aclose()

    def close(self) -> None:
        """End the sandbox; later calls fail."""
        self._closed = True
        if self._worker is not None:
            self._worker.close()

    async def aclose(self) -> None:
        """``close``, and wait until no process, connection or file is left, or the sandbox is a spare one, as new."""
        try:
            await self._end_sandbox()
        finally:
            await self.apis.aclose()

    async def _end_sandbox(self) -> None:
        worker, closed = self._worker, self._closed
        if worker is None or self._spares is None or closed:
            self.close()
            if worker is not None:
                await worker.wait_closed()
            return
        self._closed, self._worker = True, None
        try:
            async with self._turn:
                await self._spares.give(self._made_for, worker)
        except BaseException:  # cancelled: nobody holds it any more
            worker.close()
            raise

    async def reset(self, seed: int | None = None) -> None:
        """Make this environment a fresh one, for the same seed or another; cheaper than a new one.

        Raises:
            ToolError: the environment is closed or broken.
        """
        self.seed = self.seed if seed is None else seed
        self.services = Services(self.seed)
        self.apis.reset(self.seed)
        if self._worker is not None:
            async with self._turn:
                await self._worker.reset()

    @property
    def tools(self) -> list[ToolSpec]:
        """The tools on offer, as models see them."""
        return [tool.spec for tool in self._tools.values()]

    async def call(self, call: ToolCall) -> ToolResult:
        """Check and run one call; whatever goes wrong is a typed result, never an exception.

        Calls into the sandbox run one after the other, so parallel calls give the same state every time.
        """
        try:
            tool, text = self._find(call)
            if tool.runs_in == "api":
                return await self.apis.call(tool, tool.bind_json(text))
            if tool.runs_in == "server":
                value, pictures = self._run_here(tool, text)
            else:
                value, pictures = await self._run_in_worker(tool, text, call.arguments)
            if isinstance(value, Cell):
                text, pictures = await self._run_cell(value)
            else:
                text = render(tool.prepare(value))
            content = cap(text)
        except ToolError as error:
            return ToolResult(content=error_text(error), error=error.kind)
        return ToolResult(content=content, pictures=tuple(map(_data_url, pictures)))

    def _find(self, call: ToolCall) -> tuple[Tool, str]:
        if self._closed:
            raise ToolError("tool_error", "this environment is closed")
        tool = self._tools.get(call.name)
        if tool is None:
            raise ToolError("unknown_tool", f"no tool {call.name[:60]!a}{nearest(call.name[:100], list(self._tools))}")
        return tool, argument_text(call.arguments)

    def _run_here(self, tool: Tool, text: str) -> tuple[Any, list[Picture]]:
        values = tool.bind_json(text)
        context = Context(
            self.seed, services=self.services, ask_human=self._ask_human, attachments=tuple(self._base.attachments)
        )
        try:
            value = tool.run(context, values)
        except ToolError:
            raise
        except Exception as error:
            raise ToolError("tool_error", f"{tool.spec.name} failed: {type(error).__name__}") from error
        context.commit()
        return value, context.pictures

    async def _run_in_worker(self, tool: Tool, text: str, arguments: dict[str, Any]) -> tuple[Any, list[Picture]]:
        values = tool.bind_json(text)
        request = {
            "module": tool.module,
            "is_file": tool.is_file,
            "function": tool.function.__name__,
            "arguments": arguments if tool.needs_conversion else values,
            "convert": tool.needs_conversion,
            "context_name": tool.context_name,
            "seed": self.seed,
            "attachments": list(self._base.attachments),
        }
        async with self._turn:
            worker = await self._sandbox_worker()
            return await worker.run_tool(request, self.limits.call_timeout_s)

    async def _run_cell(self, cell: Cell) -> tuple[str, list[Picture]]:
        if self.sandbox is None:
            raise ToolError("denied", refusal())
        async with self._turn:
            worker = await self._sandbox_worker()
            if cell.restart:
                had = await worker.restart_python()
                return "Python was started again." if had else "Python is ready; there were no variables.", []
            output, pictures = await worker.run_python(cell.code, self.limits.call_timeout_s, shell=cell.shell)
        return output.rstrip("\n") or "Done; nothing was printed.", pictures

    async def _sandbox_worker(self) -> Worker:
        if self._closed:
            raise ToolError("tool_error", "this environment is closed")
        if self._worker is None and self._spares is not None:
            self._worker = self._spares.take(self._made_for)
        if self._worker is None:
            # Where no sandbox runs, our own tools still do: they check every path themselves. Code does not.
            level = self.sandbox or "none"
            try:
                launch = plan(level, self._base.content, self.limits, _tool_paths(self._tools), self._python)
                self._worker = await Worker.start(launch)
            except SandboxError as error:
                raise ToolError("tool_error", str(error)) from None
        return self._worker

    @property
    def _made_for(self) -> tuple[object, ...]:
        """What two environments must have in common to use one sandbox after the other."""
        return self.sandbox, self._python, self.limits, self._base.folder, self._base.names, *_tool_paths(self._tools)

    async def snapshot(self) -> dict[str, str]:
        """The hash of each file, table and changed service: ``file:…``, ``table:…``, ``service:…``."""
        parts = dict(self._base.hashes)
        if self._worker is not None:
            async with self._turn:
                parts = await self._worker.snapshot()
        return parts | {f"service:{name}": value for name, value in self.services.changed().items()}

    async def state(self) -> str:
        """SHA-256 over contents of files, rows of databases and state of services; no times, no order of rows."""
        return hashlib.sha256(json.dumps(await self.snapshot(), sort_keys=True).encode()).hexdigest()

    async def diff(self, since: Mapping[str, str]) -> dict[str, str]:
        """What changed since a ``snapshot``: its name and ``added``, ``removed`` or ``changed``."""
        now = await self.snapshot()
        changes = {name: "changed" if name in since else "added" for name in now if now[name] != since.get(name)}
        return changes | {name: "removed" for name in since if name not in now}


def _tool_paths(tools: Mapping[str, Tool]) -> list[str]:
    """The folders of users' own tools, for the sandbox to see."""
    return sorted({str(Path(tool.module).parent) for tool in tools.values() if tool.is_file})


def _data_url(picture: Picture) -> str:
    return f"data:{picture.mime_type};base64,{base64.b64encode(picture.content).decode()}"
