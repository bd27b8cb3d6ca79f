"""Bodies of requests: read within limits of size and time, and strictly as one JSON object."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from starlette.requests import Request

from serve.failures import BusyError, TooLargeError, TooSlowError
from toolwright.errors import DataError
from toolwright.words import shorten

BODY_S = 60.0
"""How long a body may take to arrive."""
MOST_HELD = 8
"""Bodies of the largest size that may be held at once, all clients together."""
MAX_DEPTH = 64
"""Deeper JSON is refused: nothing needs it, and it would exhaust the stack of templates and encoders after us."""

_SURROGATE = re.compile("[\ud800-\udfff]")


class Bodies:
    """Reads bodies; knows how many bytes are held in all.

    Args:
        limit: largest body (bytes).
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.held = 0

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytes]:
        """The body, which counts as held inside the block.

        Raises:
            TooLargeError: it is too large; told before the rest is read.
            TooSlowError: it did not arrive in time.
            BusyError: too many large bodies at once.
            ClientDisconnect: the client has gone.
        """
        announced = request.headers.get("content-length", "")
        if announced.isdigit() and int(announced[:20]) > self._limit:
            raise self._too_large(f"{int(announced[:20])} bytes")
        body = bytearray()
        try:
            await self._receive(request, body)
            yield bytes(body)
        finally:
            self.held -= len(body)

    async def _receive(self, request: Request, body: bytearray) -> None:
        try:
            async with asyncio.timeout(BODY_S):
                async for piece in request.stream():
                    body += piece
                    self.held += len(piece)
                    self._check(len(body))
        except TimeoutError:
            raise TooSlowError(f"the body did not arrive within {BODY_S:g} s") from None

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise self._too_large(f"more than {self._limit} bytes")
        if self.held > MOST_HELD * self._limit:
            raise BusyError("too many large requests at once; try again later")

    def _too_large(self, size: str) -> TooLargeError:
        return TooLargeError(f"body of {size}: the limit is {self._limit} bytes (serve.max_body_mib)")


def parse_body(body: bytes) -> dict[str, Any]:
    """Read a body as a JSON object: strict UTF-8, finite numbers, every key once, no lone surrogates.

    Raises:
        DataError: says what is wrong.
    """
    try:
        text = body.decode()
        value = _STRICT.decode(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"body: not JSON ({shorten(str(error), 300)[1:-1]})") from None
    if not isinstance(value, dict):
        raise DataError(f"body: expected a JSON object, got {shorten(value)}")
    _check_values(value, escapes="\\u" in text)
    return value


def _check_values(value: dict[str, Any], escapes: bool) -> None:
    """Refuse deep nesting, and lone surrogates, which only an escape can bring."""
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        inner: list[Any] = []
        for item in level:
            parts: Iterable[Any] = item.values() if isinstance(item, dict) else item
            inner += [part for part in parts if isinstance(part, dict | list)]
            if escapes:
                texts = [part for part in (*item, *parts) if isinstance(part, str)]
                if any(map(_SURROGATE.search, texts)):
                    raise DataError("body: half of a surrogate pair in a text, which is no character")
        if not inner:
            return
        level = inner
    raise DataError(f"body: nested deeper than {MAX_DEPTH} levels")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {shorten(twice, 60)} comes twice in one object")
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _finite(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"the number {shorten(digits, 40)} is too large")
    return number


_STRICT = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite)
