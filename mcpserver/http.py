"""Plain HTTP beside MCP: the same tools, environments and dispatcher for programs without an MCP client.

``GET /tools``, ``POST /environments {"seed": 17}`` gives an id, ``POST /environments/{id}/call {"name": …,
"arguments": {…}}``, ``GET /environments/{id}/state``, ``DELETE /environments/{id}``; MCP itself is at ``/mcp``.
"""

import asyncio
import re
import socket
import sys
import uuid
from typing import Any

import uvicorn
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, ConfigDict, Field
from starlette.middleware.trustedhost import TrustedHostMiddleware

from mcpserver.environment import offered_tools
from mcpserver.pool import EnvironmentPool
from mcpserver.server import build_server
from toolwright.errors import ConfigError, DataError
from toolwright.records import ToolCall
from toolwright.words import shorten

LOOPBACK = ("127.0.0.1", "localhost", "::1")


class NewEnvironment(BaseModel):
    """The body of ``POST /environments``."""

    model_config = ConfigDict(extra="forbid")
    seed: int = Field(default=17, ge=-(10**18) + 1, lt=10**18)


class NewCall(BaseModel):
    """The body of ``POST /environments/{id}/call``."""

    model_config = ConfigDict(extra="forbid")
    name: str
    arguments: dict[str, Any] = Field(default_factory=dict)


def build_app(pool: EnvironmentPool, *, host: str = "127.0.0.1") -> FastAPI:
    """The web application: plain HTTP and MCP over one pool of environments.

    On a loopback address other host names are refused, so that no web page reaches it by DNS rebinding.
    """
    mcp_app = build_server(lambda: pool, pool.settings).streamable_http_app(json_response=True, host=host)
    app = FastAPI(title="toolwright tools", lifespan=mcp_app.router.lifespan_context)
    if host in LOOPBACK:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", "[::1]"])

    @app.get("/tools")
    async def tools() -> list[dict[str, Any]]:
        return [tool.spec.to_openai() for tool in offered_tools(pool.settings).values()]

    @app.post("/environments", status_code=201)
    async def create(body: NewEnvironment) -> dict[str, str]:
        name = f"{body.seed}.{uuid.uuid4().hex}"
        return {"id": name, "state": await _state(pool, _handle(name))}

    @app.post("/environments/{name}/call")
    async def call(name: str, body: NewCall) -> dict[str, Any]:
        result = await pool.call(_existing(pool, name), ToolCall(name=body.name, arguments=body.arguments))
        return {"content": result.content, "error": result.error}

    @app.get("/environments/{name}/state")
    async def state(name: str) -> dict[str, str]:
        return {"state": await _state(pool, _existing(pool, name))}

    @app.delete("/environments/{name}", status_code=204)
    async def close(name: str) -> None:
        pool.close(_existing(pool, name))

    app.mount("/", mcp_app)
    return app


def _handle(name: str) -> str:
    match = re.fullmatch(r"(-?\d{1,18})\.([0-9a-f]{32})", name)
    return f"seed:{match[1]}/id:{match[2]}" if match else ""


def _existing(pool: EnvironmentPool, name: str) -> str:
    handle = _handle(name)
    if not handle or handle not in pool:
        raise HTTPException(404, f"no environment {shorten(name)}: never opened, closed, or idle too long")
    return handle


async def _state(pool: EnvironmentPool, handle: str) -> str:
    try:
        return await pool.state(handle)
    except DataError as error:
        raise HTTPException(503, str(error)) from None


def serve_http(pool: EnvironmentPool, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT; port 0 picks a free one, shown on stderr.

    Raises:
        ConfigError: the address cannot be used.
    """
    with _listen(host, port) as listener:
        url = f"http://{host}:{listener.getsockname()[1]}/mcp"
        print(f"toolwright MCP server: {url}", file=sys.stderr, flush=True)
        app = build_app(pool, host=host)
        config = uvicorn.Config(app, log_level="warning", lifespan="on", timeout_graceful_shutdown=2)
        asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=512)
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError(
            f"--host {host} --port {port}: {reason}; choose another --port, or 0 for a free one"
        ) from None
