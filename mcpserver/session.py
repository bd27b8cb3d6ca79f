"""The session with one MCP server: one task starts, owns and ends it, since the SDK allows no other task to do so.

A server that dies ends that task, and every call from then on is a ``ToolServerError``.
"""

import asyncio
import json
import tempfile
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import IO, Any, get_args

import httpx2
import mcp_types as types
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.shared.exceptions import MCPError
from pydantic import TypeAdapter, ValidationError

from mcpserver.child_process import run_child
from mcpserver.mcp_config import ServerConfig
from mcpserver.protocol import ENV_META, ERROR_META, TOOLSET_META
from mcpserver.rendering import cap
from toolwright.calls import check_schema
from toolwright.errors import DataError, ToolServerError
from toolwright.records import ErrorType, ToolCall, ToolResult, ToolSpec
from toolwright.words import shorten

CLOSE_TIMEOUT_S = 8.0
GRACE_S = 1.0
MAX_PAGES = 1000


_ANSWER = TypeAdapter(dict[str, Any])


class _Ask(types.Request[types.RequestParams, str]):
    """A request outside the standard, for our own servers."""

    method: str
    params: types.RequestParams


class ServerSession:
    """One server: the task that owns its session, its tools, and calls to it.

    Attributes:
        tools: by the server's own names, with their toolset where the server tells.
        has_environments: whether the server keeps environments by handle, as ours does.
    """

    def __init__(self, config: ServerConfig, call_timeout_s: float) -> None:
        self.config = config
        self.call_timeout_s = call_timeout_s
        self.tools: dict[str, ToolSpec] = {}
        self.toolsets: dict[str, str] = {}
        self._client: Client | None = None
        self._ready = asyncio.Event()
        self._stop = asyncio.Event()
        self._owner: asyncio.Task[None] | None = None
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()

    @property
    def has_environments(self) -> bool:
        return bool(self.toolsets)

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
            client = Client(await self._transport(stack), read_timeout_seconds=None, cache=None)
            self._client = await stack.enter_async_context(client)
            await self._list_tools(self._client)
            self._ready.set()
            await self._stop.wait()

    async def _transport(self, stack: AsyncExitStack) -> Any:
        if self.config.command:
            return run_child(self.config, self._errors)
        http = await stack.enter_async_context(create_mcp_http_client(headers=dict(self.config.headers)))
        return streamable_http_client(self.config.url, http_client=http)

    async def _list_tools(self, client: Client) -> None:
        cursor = None
        for _ in range(MAX_PAGES):
            try:
                page = await client.list_tools(cursor=cursor)
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(map(str, first["loc"]))
                raise DataError(f"MCP server {self.config.name!r}: list of tools: {where}: {first['msg']}") from None
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
        """Call a tool by the server's own name for it.

        Raises:
            ToolServerError: the server is gone.
        """
        meta: Any = {ENV_META: handle} if handle and self.has_environments else None
        assert self._client is not None
        try:
            answer = await self._ask(self._client.call_tool(call.name, call.arguments, meta=meta))
        except TimeoutError:
            return failed("timeout", f"{call.name} gave no result within {self.call_timeout_s:g} s")
        except MCPError as error:
            return failed("tool_error", f"the server refused: {error.message}")
        return _read_result(answer)

    async def request(self, method: str, handle: str) -> Mapping[str, Any]:
        """Ask one of our own servers about an environment.

        Raises:
            ToolServerError: the server is gone, or refused.
        """
        assert self._client is not None
        meta: Any = {ENV_META: handle}
        ask = _Ask(method=method, params=types.RequestParams(_meta=meta))
        try:
            answer = await self._ask(self._client.session.send_request(ask, _ANSWER))
        except (MCPError, TimeoutError) as error:
            raise ToolServerError(self._line(f"refused {method} ({error})")) from None
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
            if isinstance(error, MCPError) and error.code != types.CONNECTION_CLOSED:
                raise error
        # the SDK tells of a dead server by a cancelled call, a closed connection or a failed session
        await asyncio.wait({self._owner}, timeout=GRACE_S)
        raise self._failure("died")

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


def _read_result(answer: types.CallToolResult) -> ToolResult:
    """Text of an answer; other kinds of content are named, since the models here read text."""
    parts = [part.text if isinstance(part, types.TextContent) else f"[{part.type} left out]" for part in answer.content]
    if not parts and answer.structured_content is not None:
        parts = [json.dumps(answer.structured_content, ensure_ascii=False)]
    kind = (answer.meta or {}).get(ERROR_META)
    error: ErrorType | None = None
    if answer.is_error:
        error = kind if kind in get_args(ErrorType) else "tool_error"
    return ToolResult(content=cap("\n".join(parts)), error=error)
