"""HTTP connections that cannot be held open for nothing: uvicorn's own, with deadlines that it does not have."""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADERS_S = 20.0
"""How long a new connection may take until its first request is there, and later ones from their first byte on."""
STALL_S = 60.0
"""How long a client may leave an answer unread once the buffers are full."""
LINGER_S = 15.0
"""How long what a client still sends is thrown away after its answer; closed at once, it might not read that."""


class Connection(H11Protocol):
    """A connection that is ended when its client sends nothing, reads nothing, or sends on and on."""

    _timers: dict[str, asyncio.TimerHandle]

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._timers = {}
        self._abort_after("headers", HEADERS_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all clocks."""
        for name in list(self._timers):
            self._stop(name)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Wait on for the rest of a request, or no longer."""
        super().data_received(data)
        if self.conn.their_state is not h11.SEND_BODY:
            self._stop("linger")
        if self.conn.their_state is not h11.IDLE:
            self._stop("headers")
        elif "headers" not in self._timers:
            self._abort_after("headers", HEADERS_S)

    def on_response_complete(self) -> None:
        """Give a client that has been answered early a little time to notice."""
        if self.conn.their_state is h11.SEND_BODY:
            self._abort_after("linger", LINGER_S)
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Called when the buffers are full."""
        super().pause_writing()
        self._abort_after("stall", STALL_S)

    def resume_writing(self) -> None:
        """Called when there is room again."""
        super().resume_writing()
        self._stop("stall")

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: some clients offer HTTP/2 with each request, and are answered as others are."""

    def _abort_after(self, name: str, seconds: float) -> None:
        self._stop(name)
        self._timers[name] = self.loop.call_later(seconds, self.transport.abort)

    def _stop(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()
