"""Messages over a stream socket between server and sandbox: four bytes of length, then the message.

Inside, a socket is a bare descriptor, and nothing is imported before it is needed: what a keeper holds in memory is
held once for each environment.
"""

import json
import os

LENGTH_BYTES = 4
MAX_FRAME_BYTES = 32 * 1024 * 1024


def pack(message: object) -> bytes:
    """One message as bytes of JSON."""
    return frame(json.dumps(message, allow_nan=False).encode())


def frame(body: bytes) -> bytes:
    """The bytes of one message, with their length."""
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def write(descriptor: int, data: bytes) -> None:
    """Write all bytes, blocking.

    Raises:
        OSError: the other side is gone.
    """
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def read(descriptor: int) -> bytes:
    """Wait for one message.

    Raises:
        EOFError: the other side is gone.
    """
    length = int.from_bytes(_read(descriptor, LENGTH_BYTES), "big")
    if length > MAX_FRAME_BYTES:
        raise EOFError(f"a message of {length} bytes")
    return _read(descriptor, length)


def _read(descriptor: int, length: int) -> bytes:
    parts = bytearray()
    while len(parts) < length:
        try:
            part = os.read(descriptor, min(1 << 20, length - len(parts)))
        except ConnectionResetError:
            part = b""
        if not part:
            raise EOFError("the other side is gone")
        parts += part
    return bytes(parts)
