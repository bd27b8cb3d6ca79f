"""The MCP server, on the low-level server of the SDK, over the one dispatcher; served on stdio here, by ``http`` there.

The SDK's ``MCPServer`` coerces wrong arguments and drops unknown ones; a model must be told instead. Only tools with
fields that are known before have an output schema and structured content: for the others it would repeat the text, and
cost clients a check in Python (a tenth of a call).

What it understands beyond the standard is in ``protocol``. On stdio, a request that names no environment means that of
the process, which is right for one desktop client; over HTTP it is refused.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPError
from pydantic import StrictInt

from mcpserver.catalogue import Tool
from mcpserver.environment import DEFAULT_SETTINGS, offered_tools
from mcpserver.mcp_results import to_mcp
from mcpserver.pool import PROCESS_HANDLE, EnvironmentPool
from mcpserver.protocol import (
    CLOSE_METHOD,
    ENV_HEADER,
    ENV_META,
    OPEN_METHOD,
    SANDBOX_META,
    STATE_METHOD,
    TOOLSET_META,
)
from mcpserver.rendering import error_text
from mcpserver.sandbox.level import choose_level
from mcpserver.settings import Settings
from mcpserver.tool_error import ToolError
from toolwright import __version__
from toolwright.records import ToolCall, ToolResult
from toolwright.words import shorten

NAME = "toolwright"
PAGE_SIZE = 1000
"""Tools in one page of their list: all of ours, since some clients read only the first; imported ones are more."""
NO_ENVIRONMENT = (
    f"no environment selected: open one with {OPEN_METHOD} or POST /environments, and name its handle in each request,"
    f" as _meta {ENV_META} or as the header {ENV_HEADER}"
)

Context = ServerRequestContext[EnvironmentPool, Any]


class OpenParams(types.RequestParams):
    """The parameters of ``toolwright/open``."""

    seed: StrictInt | None = None


def build_server(make_pool: Callable[[], EnvironmentPool], settings: Settings = DEFAULT_SETTINGS) -> Server[Any]:
    """An MCP server over the catalogue; ``make_pool`` is called once for each run of the server.

    Raises:
        ConfigError, DataError: the settings name tools that are not there or wrong.
        SandboxError: the sandbox that the settings ask for does not work here.
    """
    tools = offered_tools(settings)
    listed = [_listed(tool) for tool in tools.values()]
    structured = {tool.name for tool in listed if tool.output_schema is not None}
    sandbox = choose_level(settings.sandbox) or "none"

    @contextlib.asynccontextmanager
    async def lifespan(_server: Server[EnvironmentPool]) -> AsyncIterator[EnvironmentPool]:
        async with make_pool().running() as pool:
            yield pool

    async def list_tools(_context: Context, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        start = _read_cursor(params.cursor if params else None, len(listed))
        end = start + PAGE_SIZE
        cursor = str(end) if end < len(listed) else None
        return types.ListToolsResult(tools=listed[start:end], next_cursor=cursor, _meta={SANDBOX_META: sandbox})

    async def call_tool(context: Context, params: types.CallToolRequestParams) -> dict[str, Any]:
        try:
            handle = _handle(context)
        except ToolError as error:
            return to_mcp(ToolResult(content=error_text(error), error=error.kind))
        call = ToolCall(name=params.name, arguments=params.arguments or {})
        return to_mcp(await context.lifespan_context.call(handle, call), structured=params.name in structured)

    def schema(name: str) -> dict[str, Any] | None:
        return tools[name].spec.parameters if name in tools else None

    server: Server[EnvironmentPool] = Server(
        NAME,
        version=__version__,
        instructions=f"Tools run in environments of their own; sandbox: {sandbox}.",
        lifespan=lifespan,
        on_list_tools=list_tools,
        get_tool_input_schema=schema,
    )
    # Traces for OpenTelemetry, which nobody here collects, take a tenth of a call.
    server.middleware.clear()
    server.add_request_handler("tools/call", types.CallToolRequestParams, call_tool)
    _add_environments(server)
    return server


def _add_environments(server: Server[EnvironmentPool]) -> None:
    """The requests about environments."""

    async def open_(context: Context, params: OpenParams) -> dict[str, Any]:
        pool = context.lifespan_context
        with _refusals():
            handle = pool.open(params.seed)
            return {"handle": handle, "sandbox": pool.sandbox(handle)}

    async def state(context: Context, _params: types.RequestParams) -> dict[str, Any]:
        with _refusals():
            return {"state": await context.lifespan_context.state(_handle(context))}

    async def close(context: Context, _params: types.RequestParams) -> dict[str, Any]:
        with _refusals():
            return {"closed": await context.lifespan_context.close(_handle(context))}

    server.add_request_handler(OPEN_METHOD, OpenParams, open_)
    server.add_request_handler(STATE_METHOD, types.RequestParams, state)
    server.add_request_handler(CLOSE_METHOD, types.RequestParams, close)


def _listed(tool: Tool) -> types.Tool:
    spec = tool.spec
    fixed = bool(tool.output_schema.get("properties")) and not tool.wraps_result
    return types.Tool(
        name=spec.name,
        description=spec.description,
        input_schema=spec.parameters,
        output_schema=dict(tool.output_schema) if fixed else None,
        _meta={TOOLSET_META: tool.toolset},
    )


def _read_cursor(cursor: str | None, count: int) -> int:
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) < 9 and int(cursor) < count):
        raise MCPError(code=types.INVALID_PARAMS, message=f"cursor {shorten(cursor)}: not one that tools/list gave")
    return int(cursor)


def _handle(context: Context) -> str:
    """The environment handle of a request: ``_meta`` first, then the HTTP header; on stdio else that of the process.

    Raises:
        ToolError: ``denied``.
    """
    meta = context.meta
    handle = meta.get(ENV_META) if meta else None
    if handle is None:
        if context.request is None:
            return PROCESS_HANDLE
        handle = context.request.headers.get(ENV_HEADER)
    if handle is None:
        raise ToolError("denied", NO_ENVIRONMENT)
    if not isinstance(handle, str) or not handle:
        raise ToolError("denied", f"no environment {shorten(handle, 60)}: a handle is a text that {OPEN_METHOD} gave")
    return handle


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except ToolError as error:
        raise MCPError(code=types.INVALID_PARAMS, message=error_text(error)) from None


def serve_stdio(pool: EnvironmentPool) -> None:
    """Serve one client over standard input and output until it closes them, or SIGTERM or SIGINT."""
    server = build_server(lambda: pool, pool.settings)

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, _leave, pool, number)
        async with stdio_server() as (incoming, outgoing):
            await server.run(incoming, outgoing, server.create_initialization_options())

    asyncio.run(serve())


def _leave(pool: EnvironmentPool, number: int) -> None:
    """End at once: the SDK's reader thread waits for standard input and cannot be interrupted."""
    pool.close_all()
    sys.stderr.flush()
    os._exit(128 + number)
