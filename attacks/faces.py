"""The ways by which a call arrives: the text of a model, plain HTTP, and MCP over HTTP with a handle or none."""

import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

from mcpserver.environment import Environment
from mcpserver.http import build_app
from mcpserver.pool import EnvironmentPool
from mcpserver.protocol import ENV_META, ERROR_META
from mcpserver.settings import Settings
from toolwright.dialect import parse
from toolwright.records import ToolCall

_MCP = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "attacks", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
MAX_NAME = 400


@dataclass(frozen=True)
class Reply:
    """What a call gave.

    Attributes:
        content: what the model reads.
        error: the type of the error; None when the call went well.
        seconds: by the clock.
    """

    content: str
    error: str | None
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether the call went well."""
        return self.error is None


def as_text(name: str, arguments: object) -> str:
    """A call as a model writes it."""
    return json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)


async def call_text(environment: Environment, text: str) -> Reply:
    """Read a call in the text of a model, and run it."""
    start = time.monotonic()
    try:
        content = text.encode("utf-8", "surrogatepass").decode("utf-8", "surrogatepass")
        parsed = parse(f"<tool_call>\n{content}\n</tool_call>")
    except Exception as error:  # noqa: BLE001 - reading never fails: that it did is the finding
        return Reply(f"the parser raised {type(error).__name__}: {error}", "crash", time.monotonic() - start)
    if parsed.problems or len(parsed.calls) != 1:
        words = "; ".join(problem.detail for problem in parsed.problems) or f"{len(parsed.calls)} calls were read"
        return Reply(words, "bad_arguments", time.monotonic() - start)
    return await call(environment, parsed.calls[0])


async def call(environment: Environment, tool_call: ToolCall) -> Reply:
    """Run a call; an exception, which there must never be, is the error ``crash``."""
    start = time.monotonic()
    try:
        result = await environment.call(tool_call)
        json.dumps([result.content]).encode()
    except Exception as error:  # noqa: BLE001 - a call never raises: that it did is the finding
        return Reply(f"the call raised {type(error).__name__}: {error}", "crash", time.monotonic() - start)
    return Reply(result.content, result.error, time.monotonic() - start)


@asynccontextmanager
async def web(settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of our web application, which serves plain HTTP and MCP."""
    app = build_app(EnvironmentPool(1, settings))
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://127.0.0.1:8000") as client,
    ):
        yield client


async def call_http(settings: Settings, text: str) -> Reply:
    """Send the body ``{"name", "arguments"}`` to a new environment over plain HTTP."""
    start = time.monotonic()
    async with web(settings) as client:
        made = (await client.post("/environments", json={"seed": 1})).json()
        answer = await client.post(f"/environments/{made['id']}/call", content=text.encode("utf-8", "replace"))
    if answer.status_code != 200:
        kind = "bad_arguments" if 400 <= answer.status_code < 500 else "crash"
        return Reply(f"HTTP {answer.status_code}: {answer.text}", kind, time.monotonic() - start)
    body = answer.json()
    return Reply(str(body["content"]), body["error"], time.monotonic() - start)


async def call_mcp(settings: Settings, name: str, arguments: object, meta: Mapping[str, Any]) -> Reply:
    """Call a tool over MCP on HTTP, with the environment handle of a case's ``meta``: ``env`` or our own key for it."""
    start = time.monotonic()
    own = {ENV_META if key in ("env", "environment", "env_id", "handle") else key: value for key, value in meta.items()}
    params = {"name": name, "arguments": arguments, "_meta": _MCP | own}
    request = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    headers = {"accept": "application/json, text/event-stream", "mcp-protocol-version": "2026-07-28"}
    headers |= {"mcp-method": "tools/call", "mcp-name": name[:MAX_NAME].encode("ascii", "replace").decode()}
    async with web(settings) as client:
        answer = await client.post("/mcp", json=request, headers=headers)
    seconds = time.monotonic() - start
    try:
        body = answer.json()
    except ValueError:
        return Reply(f"HTTP {answer.status_code}: {answer.text}", "crash", seconds)
    if "error" in body:
        return Reply(str(body["error"].get("message")), "denied", seconds)
    result = body["result"]
    content = "".join(part.get("text", "") for part in result["content"])
    error = (result.get("_meta") or {}).get(ERROR_META, "tool_error") if result.get("isError") else None
    return Reply(content, error, seconds)
