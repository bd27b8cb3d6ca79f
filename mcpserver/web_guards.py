"""What stands before both HTTP faces: who may ask, from where, how much, and whether it is JSON at all.

An ASGI middleware, so that MCP and plain HTTP refuse the same requests in the same way: 401 without the token, 400 for
a foreign host name or what is not strict JSON (NaN, deep nesting, half a surrogate pair), 403 for a foreign web page,
413 for a body over 4 MiB.
"""

import hmac
import ipaddress
import os
import re
from typing import Any

from pydantic_core import from_json
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from toolwright.errors import ConfigError
from toolwright.words import cut, shorten

MAX_BODY_BYTES = 4 * 1024 * 1024
MAX_DRAINED_BYTES = 16 * MAX_BODY_BYTES
TOKEN_VARIABLE = "TOOLWRIGHT_TOKEN"
OPEN_PATH = "/health"
_LOOPBACK_HOST = re.compile(r"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?", re.IGNORECASE)
_PARSE_ERROR = -32700


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address to listen at."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def read_token(given: str | None, host: str) -> str | None:
    """The token that clients must show: the one given, else that of ``TOOLWRIGHT_TOKEN``; None for none.

    Raises:
        ConfigError: one that no header can carry, or none for an address that other machines reach.
    """
    token = os.environ.get(TOKEN_VARIABLE) or None if given is None else given
    if token is not None and not re.fullmatch(r"[!-~]{1,4096}", token):
        raise ConfigError(f"--token or {TOKEN_VARIABLE}: expected visible ASCII characters without spaces")
    if token is None and not is_loopback(host):
        raise ConfigError(
            f"--host {host}: other machines reach it, and it needs a token; set {TOKEN_VARIABLE} or --token, or listen"
            " at 127.0.0.1"
        )
    return token


class Guard:
    """The middleware.

    Args:
        app: what it stands before.
        token: that each request but for ``/health`` shows; None for none.
        loopback: whether the server is for this machine, so that no web page may reach it by a name of its own.
    """

    def __init__(self, app: ASGIApp, *, token: str | None = None, loopback: bool = True) -> None:
        self._app = app
        self._token = None if token is None else f"Bearer {token}".encode()
        self._loopback = loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or pass it on with its body read."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is None and scope["method"] in ("POST", "PUT", "PATCH"):
            body = await _read_body(receive)
            if body is None:
                return
            refusal = _against_body(body, scope["path"])
            receive = _replay(body, receive)
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if self._loopback:
            host, origin = headers.get("host", ""), headers.get("origin")
            if not _LOOPBACK_HOST.fullmatch(host):
                return _answer(400, f"host {shorten(host, 60)}: this server is for its own machine; ask 127.0.0.1")
            if origin is not None and not _LOOPBACK_HOST.fullmatch(origin.partition("://")[2]):
                return _answer(403, f"origin {shorten(origin, 60)}: no web page may use this server")
        if self._token is not None and scope["path"] != OPEN_PATH:
            shown = headers.get("authorization", "").encode("latin-1", "replace")
            if not hmac.compare_digest(shown, self._token):
                return _answer(
                    401, "show the token as the header Authorization: Bearer …", {"WWW-Authenticate": "Bearer"}
                )
        return None


def _answer(status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"detail": detail}, status, headers)


async def _read_body(receive: Receive) -> bytes | None:
    """The body of a request, at most one byte more than is allowed; None when the client left."""
    body, drained = bytearray(), 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        chunk = message.get("body", b"")
        drained += len(chunk)
        body += chunk[: MAX_BODY_BYTES + 1 - len(body)]
        # What is too long is read all the same, within reason: a client that still sends does not see an answer.
        if not message.get("more_body") or drained > MAX_DRAINED_BYTES:
            return bytes(body)


def _against_body(body: bytes, path: str) -> Response | None:
    if len(body) > MAX_BODY_BYTES:
        return _answer(413, f"the request has more than {MAX_BODY_BYTES} bytes")
    try:
        if body:
            from_json(body, allow_inf_nan=False)
    except ValueError as error:
        detail = f"the request is not JSON: {cut(str(error))}"
        if path != "/mcp":
            return _answer(400, detail)
        content: dict[str, Any] = {"code": _PARSE_ERROR, "message": detail}
        return JSONResponse({"jsonrpc": "2.0", "id": None, "error": content}, 400)
    return None


def _replay(body: bytes, receive: Receive) -> Receive:
    """Give the body once more, then what comes after it."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return messages.pop() if messages else await receive()

    return again
