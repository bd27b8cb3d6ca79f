"""Plain HTTP beside MCP: the same tools, environments and dispatcher for programs without an MCP client.

``GET /tools``, ``POST /environments {"seed": 17}`` gives an id, ``POST /environments/{id}/call {"name": …,
"arguments": {…}}``, ``GET /environments/{id}/state``, ``DELETE /environments/{id}``, ``GET /health``; documentation is
at ``/docs``, MCP at ``/mcp``, where the id is the handle.
"""

import asyncio
import socket
import sys
from typing import Any

import uvicorn
from fastapi import Depends, FastAPI, HTTPException
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from mcpserver.environment import offered_tools
from mcpserver.mcp_results import result_row
from mcpserver.pool import EnvironmentPool
from mcpserver.rendering import error_text
from mcpserver.server import build_server
from mcpserver.tool_error import ToolError
from mcpserver.web_guards import Guard, is_loopback, read_token
from toolwright import __version__
from toolwright.errors import ConfigError
from toolwright.records import ToolCall
from toolwright.words import shorten


class NewEnvironment(BaseModel):
    """The body of ``POST /environments``."""

    model_config = ConfigDict(extra="forbid", strict=True)
    seed: int | None = Field(default=None, ge=-(10**18) + 1, lt=10**18, description="none: that of the server")


class NewCall(BaseModel):
    """The body of ``POST /environments/{id}/call``."""

    model_config = ConfigDict(extra="forbid", strict=True)
    name: str
    arguments: dict[str, Any] = Field(default_factory=dict)


def build_app(pool: EnvironmentPool, *, host: str = "127.0.0.1", token: str | None = None) -> FastAPI:
    """The web application: plain HTTP and MCP over one pool of environments.

    Args:
        pool: of environments; the application closes them at its end.
        host: where it listens. On a loopback address other host names are refused, so that no web page reaches it by
            DNS rebinding.
        token: that clients must show; None for none.

    Raises:
        ConfigError, DataError: the pool's settings name tools that are not there or wrong.
        SandboxError: the sandbox that they ask for does not work here.
    """
    mcp_app = build_server(lambda: pool, pool.settings).streamable_http_app(json_response=True, host=host)
    app = FastAPI(
        title="toolwright tools",
        version=__version__,
        lifespan=mcp_app.router.lifespan_context,
        dependencies=[Depends(HTTPBearer(auto_error=False))] if token else None,
    )
    app.add_middleware(Guard, token=token, loopback=is_loopback(host))
    app.add_exception_handler(RequestValidationError, _refuse_fields)
    app.add_exception_handler(ToolError, _refuse)
    _add_routes(app, pool)
    app.mount("/", mcp_app)
    return app


def _add_routes(app: FastAPI, pool: EnvironmentPool) -> None:
    listed = [tool.spec.to_openai() for tool in offered_tools(pool.settings).values()]

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/tools")
    async def tools() -> list[dict[str, Any]]:
        return listed

    @app.post("/environments", status_code=201)
    async def create(body: NewEnvironment) -> dict[str, str]:
        handle = pool.open(body.seed)
        return {"id": handle, "state": await pool.state(handle), "sandbox": pool.sandbox(handle)}

    @app.post("/environments/{name}/call")
    async def call(name: str, body: NewCall) -> dict[str, Any]:
        return result_row(await pool.call(_existing(pool, name), ToolCall(name=body.name, arguments=body.arguments)))

    @app.get("/environments/{name}/state")
    async def state(name: str) -> dict[str, str]:
        return {"state": await pool.state(_existing(pool, name))}

    @app.delete("/environments/{name}", status_code=204)
    async def close(name: str) -> None:
        await pool.close(_existing(pool, name))


def _existing(pool: EnvironmentPool, name: str) -> str:
    if name not in pool:
        raise HTTPException(404, f"no environment {shorten(name, 60)}: never opened, closed, or idle too long")
    return name


async def _refuse(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ToolError)
    return JSONResponse({"detail": error_text(error), "error": error.kind}, 503)


async def _refuse_fields(_request: Request, error: Exception) -> JSONResponse:
    """Which fields are wrong; not their values, which may be large, or more than JSON can say."""
    assert isinstance(error, RequestValidationError)
    faults = [{name: fault[name] for name in ("type", "loc", "msg")} for fault in error.errors()]
    return JSONResponse({"detail": faults}, 422)


def serve_http(pool: EnvironmentPool, host: str, port: int, token: str | None = None) -> None:
    """Serve until SIGTERM or SIGINT; port 0 picks a free one, shown on stderr.

    Raises:
        ConfigError: the address cannot be used, or needs a token.
    """
    token = read_token(token, host)
    app = build_app(pool, host=host, token=token)
    with _listen(host, port) as listener:
        shown = f"[{host}]" if ":" in host else host
        print(f"toolwright MCP server: http://{shown}:{listener.getsockname()[1]}/mcp", file=sys.stderr, flush=True)
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
