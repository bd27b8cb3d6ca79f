"""One socket into a sandbox, as the server holds it: messages out, and a queue of messages in."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

from mcpserver.sandbox import frames


class Channel(asyncio.Protocol):
    """One socket into the sandbox: messages out, and a queue of messages in."""

    def __init__(self, read: Callable[[bytes], Any]) -> None:
        self._read = read
        self.messages: asyncio.Queue[Any] = asyncio.Queue()
        self.transport: asyncio.Transport | None = None
        self._data = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._data += data
        while len(self._data) >= frames.LENGTH_BYTES:
            length = int.from_bytes(self._data[: frames.LENGTH_BYTES], "big")
            end = frames.LENGTH_BYTES + length
            if length > frames.MAX_FRAME_BYTES:
                self.forget()
                return
            if len(self._data) < end:
                return
            with suppress(ValueError, RecursionError):  # code that found this socket may write anything
                self.messages.put_nowait(self._read(bytes(self._data[frames.LENGTH_BYTES : end])))
            del self._data[:end]

    def connection_lost(self, exc: Exception | None) -> None:
        self.messages.put_nowait(None)

    def send(self, message: bytes) -> None:
        assert self.transport is not None
        self.transport.write(frames.frame(message))

    def forget(self) -> None:
        """Drop what came and was not asked for."""
        self._data.clear()
        while not self.messages.empty():
            self.messages.get_nowait()
