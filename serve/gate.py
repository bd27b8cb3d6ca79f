"""What every request passes first: liveness, readiness and metrics; key and drain; a count and an answer to any error.

``/health`` says that the process lives, ``/ready`` that it takes requests. Neither waits for the model.
"""

import hmac
import logging
import time
from typing import Literal

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.failures import GONE, error_response, unavailable
from serve.metrics import Metrics

PATHS = frozenset(
    (
        "/health",
        "/ready",
        "/metrics",
        "/v1/models",
        "/v1/chat/completions",
        "/v1/completions",
        "/tokenize",
        "/detokenize",
    )
)
"""Paths that are counted under their own names; a stranger's inventions are not kept."""

_LOG = logging.getLogger(__name__)


class Gate:
    """The outermost application: ``app`` comes behind it once the model is loaded.

    Args:
        app: what answers; none: still loading.
        api_key: key that clients must send; none: anyone may ask.
        metrics: where responses are counted.
        slots: how many choices are generated together, for the metrics.

    Attributes:
        open: requests that are being answered.
    """

    def __init__(
        self, app: ASGIApp | None = None, api_key: str | None = None, metrics: Metrics | None = None, slots: int = 1
    ) -> None:
        self.app = app
        self.metrics = metrics or Metrics()
        self.slots = slots
        self.draining = False
        self.open = 0
        self._key = api_key

    @property
    def phase(self) -> Literal["loading", "ready", "draining"]:
        """What the server is about."""
        return "draining" if self.draining else "loading" if self.app is None else "ready"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, refuse, or pass on."""
        if scope["type"] != "http":
            if self.app is not None:
                await self.app(scope, receive, send)
            return
        status, started = 0, time.perf_counter()

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self.open += 1
        try:
            await (self._own(scope) or self.app or _never)(scope, receive, noting)
        except Exception as error:
            _LOG.exception("%s %s failed", scope["method"], scope["path"])
            if status:
                raise
            await error_response(500, f"{type(error).__name__}: {error}")(scope, receive, noting)
        finally:
            self.open -= 1
            path = scope["path"] if scope["path"] in PATHS else "other"
            self.metrics.responses[path, status or GONE] += 1
            if path in ("/v1/chat/completions", "/v1/completions") and status == 200:
                self.metrics.whole.observe(time.perf_counter() - started)

    def _own(self, scope: Scope) -> Response | None:
        """The answer to what is not for the application, or not now."""
        path, phase = scope["path"], self.phase
        if path == "/health":
            return JSONResponse({"status": "ok", "phase": phase, **self.metrics.summary()})
        if path == "/ready":
            return JSONResponse({"status": phase}) if phase == "ready" else unavailable(f"the server is {phase}")
        if path == "/metrics":
            return PlainTextResponse(self.metrics.text(self.slots), media_type="text/plain; version=0.0.4")
        if not self._knows(Headers(scope=scope).get("authorization", "")):
            return error_response(401, "wrong or missing API key; send it as `Authorization: Bearer KEY`")
        return None if phase == "ready" else unavailable(f"the server is {phase}; try again later")

    def _knows(self, header: str) -> bool:
        kind, _, given = header.partition(" ")
        if self._key is None or kind.lower() != "bearer":
            return self._key is None
        return hmac.compare_digest(given.strip().encode("latin-1"), self._key.encode())


async def _never(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("without an application every request is answered before")
