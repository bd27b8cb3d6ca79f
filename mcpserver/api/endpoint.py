"""Requests to real endpoints: with deadlines, retries, a limit on the reply, and only to addresses that were checked.

A reply of 2xx or 4xx is an answer. Network failures, 5xx and 429 are ``UnavailableError`` after the retries, and the
caller finds another reply. Redirects are followed on the same host only.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import httpx2

from mcpserver.api.addresses import Target, find_target
from mcpserver.api.request import Request
from mcpserver.rendering import MAX_RESULT_BYTES
from mcpserver.tool_error import ToolError
from toolwright.words import cut, shorten

MAX_REDIRECTS = 5
MAX_PAUSE_S = 5.0
FIRST_PAUSE_S = 0.25
_ROOM = 200
_TRY_AGAIN = (429, 500, 502, 503, 504)
_NOT_DONE = (429, 503)
_SAFE = ("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE")


class UnavailableError(Exception):
    """No answer came from the endpoint; says why."""


@dataclass(frozen=True)
class Answer:
    """What an endpoint answered: the status and the text, cut at the limit."""

    status: int
    text: str
    whole: bool = True

    @property
    def good(self) -> bool:
        """Whether it is a result and no refusal."""
        return self.status < 400


class Endpoint:
    """Connections to the endpoints of one environment; close it with ``aclose``."""

    def __init__(self, timeout_s: float, retries: int, allow_private: bool) -> None:
        self._timeout_s, self._retries, self._allow_private = timeout_s, retries, allow_private
        self._clients: dict[tuple[str, str, int], httpx2.AsyncClient] = {}

    async def aclose(self) -> None:
        """Close all connections."""
        clients = list(self._clients.values())
        self._clients.clear()
        for client in clients:
            await client.aclose()

    async def ask(self, base_url: str, request: Request, headers: Mapping[str, str]) -> Answer:
        """Send a request, again where that may help.

        Raises:
            ToolError: ``denied``, an address that may not be called.
            UnavailableError: no answer.
        """
        reason = ""
        for attempt in range(self._retries + 1):
            pause_s = FIRST_PAUSE_S * 2**attempt
            try:
                async with asyncio.timeout(self._timeout_s):
                    answer, wait_s = await self._follow(base_url, request, headers)
                if answer.status not in _TRY_AGAIN:
                    return answer
                reason = f"HTTP {answer.status}: {cut(answer.text, 80)}"
                pause_s = pause_s if wait_s is None else wait_s
                again = request.method in _SAFE or answer.status in _NOT_DONE
            except TimeoutError:
                reason, again = f"no answer within {self._timeout_s:g} s", request.method in _SAFE
            except (httpx2.ConnectError, OSError) as error:
                reason, again = f"no connection ({shorten(str(error), 80)})", True
            except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, ValueError) as error:
                reason, again = f"{type(error).__name__}: {shorten(str(error), 80)}", request.method in _SAFE
            if not again:
                break
            if attempt < self._retries:
                await asyncio.sleep(min(pause_s, MAX_PAUSE_S))
        raise UnavailableError(reason)

    async def _follow(self, base_url: str, request: Request, headers: Mapping[str, str]) -> tuple[Answer, float | None]:
        url = f"{base_url.rstrip('/')}{request.target}"
        method, body, sent = request.method, request.body, {**request.headers, **headers}
        for _ in range(MAX_REDIRECTS + 1):
            response = await self._send(method, url, body, sent)
            try:
                location = response.headers.get("location")
                if response.status_code not in (301, 302, 303, 307, 308) or not location:
                    return await _read(response), _retry_after(response)
            finally:
                await response.aclose()
            url = _redirected(url, location)
            if response.status_code in (301, 302, 303) and method != "HEAD":
                method, body = "GET", b""
                sent = {name: value for name, value in sent.items() if name != "Content-Type"}
        raise UnavailableError(f"more than {MAX_REDIRECTS} redirects")

    async def _send(self, method: str, url: str, body: bytes, headers: Mapping[str, str]) -> httpx2.Response:
        parts = urlsplit(url)
        host = parts.hostname or ""
        target = await find_target(parts.scheme, host, parts.port, allow_private=self._allow_private)
        client = self._client(parts.scheme, target)
        address = f"[{target.address}]" if ":" in target.address else target.address
        pinned = parts._replace(netloc=f"{address}:{target.port}", fragment="").geturl()
        named = {**headers, "Host": parts.netloc.rpartition("@")[2], "Accept-Encoding": "identity"}
        sent = client.build_request(
            method, pinned, content=body or None, headers=named, extensions={"sni_hostname": target.host}
        )
        return await client.send(sent, stream=True)

    def _client(self, scheme: str, target: Target) -> httpx2.AsyncClient:
        """The connections to one host: those to another name on the same address have another certificate."""
        key = scheme, target.host, target.port
        if key not in self._clients:
            self._clients[key] = httpx2.AsyncClient(trust_env=False, follow_redirects=False, timeout=self._timeout_s)
        return self._clients[key]


def _redirected(url: str, location: str) -> str:
    """Where a redirect leads, if that is the same host, and no step from https to http.

    Raises:
        ToolError: ``denied``.
    """
    new = urljoin(url, location)
    old, parts = urlsplit(url), urlsplit(new)
    usual = {"http": 80, "https": 443}
    same_port = (old.port or usual.get(old.scheme)) == (parts.port or usual.get(parts.scheme))
    upgrade = (old.scheme, parts.scheme) == ("http", "https") and parts.port in (None, 443)
    same = old.hostname == parts.hostname and ((old.scheme == parts.scheme and same_port) or upgrade)
    if not same:
        raise ToolError("denied", f"the endpoint redirects to another host ({shorten(new, 80)}), which is not followed")
    return new


async def _read(response: httpx2.Response) -> Answer:
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > MAX_RESULT_BYTES:
            break
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not _is_text(kind, bytes(content[:512])):
        return Answer(response.status_code, f"[{kind or 'binary data'}: not shown]", whole=False)
    encoding = response.charset_encoding or "utf-8"
    whole = len(content) <= MAX_RESULT_BYTES
    shown = bytes(content) if whole else bytes(content[: MAX_RESULT_BYTES - _ROOM])
    try:
        text = shown.decode(encoding, errors="replace" if whole else "ignore")
    except LookupError:
        text = shown.decode(errors="replace")
    if not whole:
        text += (
            f" … [cut: the reply has more than {MAX_RESULT_BYTES} bytes; ask for less, or for a page, where there are"
            " parameters for that]"
        )
    return Answer(response.status_code, text, whole)


def _is_text(kind: str, start: bytes) -> bool:
    if kind.startswith("text/") or any(
        word in kind for word in ("json", "xml", "yaml", "javascript", "form-urlencoded")
    ):
        return True
    return not kind.startswith(("image/", "audio/", "video/", "font/")) and b"\0" not in start and _decodes(start)


def _decodes(start: bytes) -> bool:
    try:
        start.decode()
    except UnicodeDecodeError as error:
        return error.start > len(start) - 4
    return True


def _retry_after(response: httpx2.Response) -> float | None:
    text = response.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else None
