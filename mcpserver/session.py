"""One life of an MCP server: one task starts, owns and ends the session, since the SDK allows no other task to do so.

A server that dies ends that task; every call from then on is ``ServerDiedError``, and ``tool_server`` starts another
life.
"""

import asyncio
import tempfile
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import IO, Any

import httpx2
import mcp_types as types
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from pydantic import ConfigDict, TypeAdapter, ValidationError

from mcpserver.child_process import run_child
from mcpserver.mcp_config import ServerConfig
from mcpserver.mcp_results import from_mcp
from mcpserver.protocol import ENV_META, SANDBOX_META, TOOLSET_META
from mcpserver.rendering import argument_text, error_text
from mcpserver.tool_error import ToolError
from toolwright.calls import check_schema
from toolwright.errors import DataError, ToolServerError
from toolwright.records import ErrorType, ToolCall, ToolResult, ToolSpec
from toolwright.words import shorten

CLOSE_TIMEOUT_S = 8.0
GRACE_S = 1.0
MAX_PAGES = 1000
_ANSWER = TypeAdapter(dict[str, Any])


class AskParams(types.RequestParams):
    """The parameters of a request outside the standard."""

    model_config = ConfigDict(extra="allow")


class Ask(types.Request[AskParams, str]):
    """A request outside the standard, for our own servers."""

    method: str
    params: AskParams


class ServerDiedError(ToolServerError):
    """The server ended, or the connection to it."""


class Session:
    """One life of one server: the task that owns the session, its tools, and calls to it.

    Args:
        config: how to start or reach the server.
        call_timeout_s: deadline of a call.
        http: the client for a server that is reached by URL; it has the headers.

    Attributes:
        tools: by the server's own names.
        toolsets: of the tools, where the server tells.
        sandbox: the level of the sandbox that tools run in, where the server tells.
        server_info: name and version, as the server says.
    """

    def __init__(self, config: ServerConfig, call_timeout_s: float, http: httpx2.AsyncClient | None = None) -> None:
        self.config = config
        self.call_timeout_s = call_timeout_s
        self.tools: dict[str, ToolSpec] = {}
        self.toolsets: dict[str, str] = {}
        self.sandbox: str | None = None
        self.server_info: tuple[str, str] = ("", "")
        self._http = http
        self._client: Client | None = None
        self._ready = asyncio.Event()
        self._stop = asyncio.Event()
        self._ended = asyncio.Event()
        self._owner: asyncio.Task[None] | None = None
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()

    @property
    def has_environments(self) -> bool:
        """Whether the server is one of ours, and keeps environments by handle."""
        return bool(self.toolsets)

    @property
    def is_dead(self) -> bool:
        """Whether it ended, or never began."""
        return self._owner is None or self._owner.done() or self._ended.is_set()

    async def start(self, timeout_s: float) -> None:
        """Start or reach the server and list its tools.

        Raises:
            DataError: a tool whose schema is not JSON Schema.
            ToolServerError: the server does not start, or does not answer in time.
        """
        self._owner = asyncio.create_task(self._own())
        ready = asyncio.create_task(self._ready.wait())
        try:
            await asyncio.wait({self._owner, ready}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
        if self._owner.done():
            raise self._failure("did not start")
        if not self._ready.is_set():
            raise ToolServerError(self._line(f"gave no list of tools within {timeout_s:g} s"))

    async def _own(self) -> None:
        async with AsyncExitStack() as stack:
            client = Client(self._transport(), read_timeout_seconds=None, cache=None)
            self._client = await stack.enter_async_context(client)
            info = self._client.server_info
            self.server_info = (info.name, info.version) if info else ("", "")
            await self._list_tools(self._client)
            self._ready.set()
            await self._stop.wait()

    def _transport(self) -> Any:
        if self.config.command:
            return run_child(self.config, self._errors, self._ended)
        return streamable_http_client(self.config.url, http_client=self._http)

    async def _list_tools(self, client: Client) -> None:
        cursor = None
        for _ in range(MAX_PAGES):
            try:
                page = await client.list_tools(cursor=cursor)
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(map(str, first["loc"]))
                raise DataError(f"MCP server {self.config.name!r}: list of tools: {where}: {first['msg']}") from None
            sandbox = (page.meta or {}).get(SANDBOX_META)
            self.sandbox = sandbox if isinstance(sandbox, str) else self.sandbox
            for tool in page.tools:
                self._add(tool)
            cursor = page.next_cursor
            if cursor is None:
                return
        raise DataError(f"MCP server {self.config.name!r}: more than {MAX_PAGES} pages of tools")

    def _add(self, tool: types.Tool) -> None:
        where = f"MCP server {self.config.name!r}"
        if tool.name in self.tools:
            raise DataError(f"{where}: two tools are called {tool.name!r}")
        spec = ToolSpec(name=tool.name, description=tool.description or "", parameters=tool.input_schema)
        try:
            check_schema(spec)
        except DataError as error:
            raise DataError(f"{where}: {error}") from None
        self.tools[tool.name] = spec
        toolset = (tool.meta or {}).get(TOOLSET_META)
        if isinstance(toolset, str):
            self.toolsets[tool.name] = toolset

    async def call(self, call: ToolCall, handle: str | None = None) -> ToolResult:
        """Call a tool by the server's own name for it, in the environment of a handle if there is one.

        Raises:
            ServerDiedError: the server is gone.
        """
        meta: Any = {ENV_META: handle} if handle else None
        assert self._client is not None
        try:
            argument_text(call.arguments)
            answer = await self._ask(self._client.call_tool(call.name, call.arguments, meta=meta))
        except ToolError as error:
            return ToolResult(content=error_text(error), error=error.kind)
        except TimeoutError:
            return failed("timeout", f"{call.name} gave no result within {self.call_timeout_s:g} s")
        except MCPError as error:
            return failed("tool_error", f"the server refused: {error.message}")
        except (RuntimeError, ValueError) as error:
            return failed("tool_error", f"the server's answer cannot be used: {shorten(str(error))}")
        return from_mcp(answer, ours=self.has_environments)

    async def request(self, method: str, handle: str | None = None, **params: Any) -> Mapping[str, Any]:
        """Ask one of our own servers about an environment.

        Raises:
            ServerDiedError: the server is gone.
            ToolServerError: it refused.
        """
        assert self._client is not None
        meta = {} if handle is None else {ENV_META: handle}
        ask = Ask(method=method, params=AskParams.model_validate({"_meta": meta, **params}))
        try:
            answer = await self._ask(self._client.session.send_request(ask, _ANSWER))
        except (MCPError, TimeoutError) as error:
            raise ToolServerError(self._line(f"refused {method} ({error or 'no answer in time'})")) from None
        return dict(answer)

    async def _ask(self, work: Any) -> Any:
        """Wait for an answer, a deadline, or the end of the server, whichever is first."""
        assert self._owner is not None
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait({task, self._owner}, timeout=self.call_timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                task.cancel()
                await asyncio.wait({task}, timeout=GRACE_S)
                if not self._owner.done():
                    raise TimeoutError
        except asyncio.CancelledError:
            task.cancel()
            raise
        if task.done() and not task.cancelled():
            error = task.exception()
            if error is None:
                return task.result()
            is_closed = isinstance(error, MCPError) and error.code == types.CONNECTION_CLOSED
            if isinstance(error, MCPError | RuntimeError | ValueError) and not is_closed:
                raise error
        # the SDK tells of a dead server by a cancelled call, a closed connection or a failed session
        self._ended.set()
        await asyncio.wait({self._owner}, timeout=GRACE_S)
        raise ServerDiedError(self.obituary)

    @property
    def obituary(self) -> str:
        """What is known of the end, in one line."""
        return str(self._failure("died"))

    def _failure(self, what: str) -> DataError | ToolServerError:
        owner = self._owner
        error = owner.exception() if owner is not None and owner.done() and not owner.cancelled() else None
        error = _root_cause(error)
        if isinstance(error, DataError):
            return error
        return ToolServerError(self._line(f"{what} ({self._last_words() or _reason(error)})"))

    def _line(self, what: str) -> str:
        config = self.config
        advice = f"check that {config.url} is served" if config.url else f"run `{config.address}` by hand"
        return f"MCP server {config.name!r} [{config.address}] {what}; {advice}"

    def _last_words(self) -> str:
        """The last line that the server wrote to standard error."""
        if self._errors.closed:
            return ""
        size = self._errors.seek(0, 2)
        self._errors.seek(max(0, size - 4096))
        lines = self._errors.read().decode(errors="replace").split("\n")
        return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "")

    async def close(self) -> None:
        """End the session and the server; never raises for what is already broken."""
        self._stop.set()
        if self._owner is not None:
            await asyncio.wait({self._owner}, timeout=CLOSE_TIMEOUT_S if self._ready.is_set() else 0)
            self._owner.cancel()
            await asyncio.wait({self._owner}, timeout=CLOSE_TIMEOUT_S)
            if self._owner.done() and not self._owner.cancelled():
                self._owner.exception()  # seen: a server that died was reported by the call
        self._errors.close()


def _root_cause(error: BaseException | None) -> BaseException | None:
    """The first real error inside groups of them."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _reason(error: BaseException | None) -> str:
    if error is None:
        return "it closed the connection"
    if isinstance(error, httpx2.ConnectError):
        return "no connection"
    return f"{type(error).__name__}: {shorten(str(error))}"


def failed(kind: ErrorType, text: str) -> ToolResult:
    """A failure as the episode loop writes it: type, colon, text."""
    return ToolResult(content=f"{kind}: {text}", error=kind)
