"""The arguments and the result of a call as text: JSON on one line, cut at a limit, errors as ``kind: message``."""

import json
from collections.abc import Mapping
from typing import Any

from mcpserver.binding import to_plain
from mcpserver.tool_error import ToolError
from toolwright.words import shorten

MAX_RESULT_BYTES = 64 * 1024
MAX_MESSAGE = 1000
MAX_CODE_MESSAGE = 8000
MAX_ARGUMENT_BYTES = 256 * 1024
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=to_plain).encode
_encode_arguments = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def argument_text(arguments: Mapping[str, Any]) -> str:
    """The arguments of a call as JSON text, which every tool's schema is checked on.

    Raises:
        ToolError: ``bad_arguments`` for what is not JSON in UTF-8, ``limit`` for too much of it.
    """
    try:
        text = _encode_arguments(arguments)
        size = len(text.encode())
    except (ValueError, TypeError, RecursionError) as error:
        raise ToolError("bad_arguments", f"arguments are not JSON text: {shorten(str(error), 80)}") from None
    if size > MAX_ARGUMENT_BYTES:
        raise ToolError("limit", f"arguments hold at most {MAX_ARGUMENT_BYTES} bytes, got {size}")
    return text


def render(value: Any) -> str:
    """A result as JSON text.

    Raises:
        ToolError: a number that is not finite, or a value that is no JSON.
    """
    try:
        text = _encode(_whole(value))
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value)
    except ValueError:
        raise ToolError("tool_error", "the result is not a finite number") from None
    except (TypeError, RecursionError) as error:
        raise ToolError("tool_error", f"the result is no JSON value ({error})") from None
    return text


def _whole(value: object) -> object:
    """Write whole floats as integers (900, not 900.0), as people and models do."""
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else value


def error_text(error: ToolError) -> str:
    """A failure as the model reads it; what is not UTF-8 is escaped (names of files may hold such bytes)."""
    message = error.message.encode("utf-8", "backslashreplace").decode()
    limit = MAX_CODE_MESSAGE if "\n" in message else MAX_MESSAGE  # a traceback says at its end what matters
    if len(message) > limit:
        message = (
            f"{message[: limit // 4]}\n…\n{message[-limit // 2 :]}" if "\n" in message else f"{message[: limit - 1]}…"
        )
    return f"{error.kind}: {message}"


def cap(text: str) -> str:
    """Cut a result at 64 KiB of UTF-8, and say so."""
    content = text.encode(errors="backslashreplace")
    if len(content) <= MAX_RESULT_BYTES:
        return text
    marker = (
        f" … [cut: the result has {len(content)} bytes, shown are the first {MAX_RESULT_BYTES - 200};"
        " ask for less, or page with offset and limit where the tool has them]"
    )
    return content[: MAX_RESULT_BYTES - 200].decode(errors="ignore") + marker
