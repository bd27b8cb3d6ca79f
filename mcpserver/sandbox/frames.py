"""Messages over a stream socket between server and sandbox: four bytes of length, then JSON."""

import json
import socket
import struct
from typing import Any

HEADER = struct.Struct(">I")
MAX_FRAME_BYTES = 32 * 1024 * 1024


def pack(message: Any) -> bytes:
    """One message as bytes."""
    body = json.dumps(message, allow_nan=False).encode()
    return HEADER.pack(len(body)) + body


def send(connection: socket.socket, message: Any) -> None:
    """Send one message, blocking."""
    connection.sendall(pack(message))


def receive(connection: socket.socket) -> Any:
    """Wait for one message.

    Raises:
        EOFError: the other side is gone.
    """
    (length,) = HEADER.unpack(_read(connection, HEADER.size))
    if length > MAX_FRAME_BYTES:
        raise EOFError(f"a message of {length} bytes")
    return json.loads(_read(connection, length))


def _read(connection: socket.socket, length: int) -> bytes:
    parts = bytearray()
    while len(parts) < length:
        part = connection.recv(min(1 << 20, length - len(parts)))
        if not part:
            raise EOFError("the other side is gone")
        parts += part
    return bytes(parts)
