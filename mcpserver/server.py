"""The MCP server, on the low-level server of the SDK, over the one dispatcher; served on stdio here, by ``http`` there.

The SDK's ``MCPServer`` coerces wrong arguments and drops unknown ones; a model must be told instead.

What it understands beyond the standard is in ``protocol``.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPError

from mcpserver.catalogue import Tool
from mcpserver.environment import DEFAULT_SETTINGS, offered_tools
from mcpserver.pool import PROCESS_HANDLE, EnvironmentPool
from mcpserver.protocol import CLOSE_METHOD, ENV_HEADER, ENV_META, ERROR_META, STATE_METHOD, TOOLSET_META
from mcpserver.settings import Settings
from toolwright.errors import DataError
from toolwright.records import ToolCall
from toolwright.words import shorten

NAME = "toolwright"
PAGE_SIZE = 100

Context = ServerRequestContext[EnvironmentPool, Any]


def build_server(make_pool: Callable[[], EnvironmentPool], settings: Settings = DEFAULT_SETTINGS) -> Server[Any]:
    """An MCP server over the catalogue; ``make_pool`` is called once for each run of the server."""
    tools = offered_tools(settings)
    listed = [_listed(tool) for tool in tools.values()]

    @contextlib.asynccontextmanager
    async def lifespan(_server: Server[EnvironmentPool]) -> AsyncIterator[EnvironmentPool]:
        async with make_pool().running() as pool:
            yield pool

    async def list_tools(_context: Context, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        start = _read_cursor(params.cursor if params else None, len(listed))
        end = start + PAGE_SIZE
        return types.ListToolsResult(tools=listed[start:end], next_cursor=str(end) if end < len(listed) else None)

    async def call_tool(context: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        call = ToolCall(name=params.name, arguments=params.arguments or {})
        with _refusals():
            result = await context.lifespan_context.call(_handle(context), call)
        meta = {ERROR_META: result.error} if result.error else None
        text = types.TextContent(type="text", text=result.content)
        return types.CallToolResult(content=[text], is_error=not result.ok, _meta=meta)

    async def state(context: Context, _params: types.RequestParams) -> dict[str, Any]:
        with _refusals():
            return {"state": await context.lifespan_context.state(_handle(context))}

    async def close(context: Context, _params: types.RequestParams) -> dict[str, Any]:
        return {"closed": context.lifespan_context.close(_handle(context))}

    def schema(name: str) -> dict[str, Any] | None:
        return tools[name].spec.parameters if name in tools else None

    server: Server[EnvironmentPool] = Server(
        NAME, lifespan=lifespan, on_list_tools=list_tools, on_call_tool=call_tool, get_tool_input_schema=schema
    )
    server.add_request_handler(STATE_METHOD, types.RequestParams, state)
    server.add_request_handler(CLOSE_METHOD, types.RequestParams, close)
    return server


def _listed(tool: Tool) -> types.Tool:
    spec = tool.spec
    meta = {TOOLSET_META: tool.toolset}
    return types.Tool(name=spec.name, description=spec.description, input_schema=spec.parameters, _meta=meta)


def _read_cursor(cursor: str | None, count: int) -> int:
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) < 9 and int(cursor) < count):
        raise MCPError(code=types.INVALID_PARAMS, message=f"cursor {shorten(cursor)}: not one that tools/list gave")
    return int(cursor)


def _handle(context: Context) -> str:
    """The environment handle of a request: ``_meta`` first, then the HTTP header, else that of the process."""
    handle = (context.meta or {}).get(ENV_META)
    if handle is None and context.request is not None:
        handle = context.request.headers.get(ENV_HEADER)
    if handle is None:
        return PROCESS_HANDLE
    if not isinstance(handle, str) or not handle:
        message = f"{ENV_META}: expected a handle such as seed:17/id:a, got {shorten(handle)}"
        raise MCPError(code=types.INVALID_PARAMS, message=message)
    return handle


@contextlib.contextmanager
def _refusals() -> Any:
    try:
        yield
    except DataError as error:
        raise MCPError(code=types.INVALID_PARAMS, message=str(error)) from None


def serve_stdio(pool: EnvironmentPool) -> None:
    """Serve one client over standard input and output until it closes them, or SIGTERM or SIGINT."""

    async def serve() -> None:
        server = build_server(lambda: pool, pool.settings)
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
