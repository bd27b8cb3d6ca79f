"""Files of foreign formats: what parsers raise becomes a ToolError, and one content always has the same bytes.

Nothing but the standard library, since it is imported by sandboxed workers.
"""

import io
import re
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath

from mcpserver.tool_error import ToolError
from toolwright.words import cut

FIRST_ZIP_MOMENT = (2025, 3, 17, 9, 0, 0)
MAX_UNPACKED_BYTES = 32 * 1024 * 1024


@contextmanager
def parsing(parameter: str, path: str, kind: str) -> Iterator[None]:
    """Give a reason that a model understands when the file of a parameter is not what it should be.

    Raises:
        ToolError: ``tool_error`` for anything that the parser raises, ``limit`` when it runs out of memory.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ToolError:
        raise
    except MemoryError:
        raise ToolError("limit", f"{parameter}: {path!r} needs more memory than there is") from None
    except Exception as error:  # noqa: BLE001 - parsers raise anything on broken files
        reason = re.sub(r" object at 0x[0-9a-f]+", "", str(error)) or type(error).__name__
        raise ToolError("tool_error", f"{parameter}: {path!r} is no {kind} or is broken ({cut(reason, 90)})") from None


def encode(text: str, parameter: str = "text") -> bytes:
    """A text as UTF-8.

    Raises:
        ToolError: ``bad_arguments`` when half a character (a lone surrogate) is in it.
    """
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ToolError("bad_arguments", f"{parameter}: character {error.start} is half a character") from None


def beside(path: str, ending: str, extension: str | None = None) -> str:
    """The name of a result that the caller did not name: ``images/logo.png`` gives ``images/logo-small.png``."""
    source = PurePosixPath(path)
    return str(source.with_name(f"{source.stem}{ending}{extension or source.suffix}")) if source.name else path


def check_zip(content: bytes, parameter: str, path: str, kind: str) -> None:
    """Refuse a zip-based document that would unpack to too much.

    Raises:
        ToolError: ``tool_error`` for what is no zip archive, ``limit`` for a bomb.
    """
    with parsing(parameter, path, kind), zipfile.ZipFile(io.BytesIO(content)) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > MAX_UNPACKED_BYTES:
        raise ToolError(
            "limit", f"{parameter}: {path!r} unpacks to {size} bytes, at most {MAX_UNPACKED_BYTES} are read"
        )


def same_zip(content: bytes) -> bytes:
    """The same archive with fixed times, so that one document always has the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            entry = zipfile.ZipInfo(name, FIRST_ZIP_MOMENT)
            entry.compress_type = zipfile.ZIP_DEFLATED
            new.writestr(entry, old.read(name))
    return buffer.getvalue()


def readable(text: str) -> str:
    """A text from a foreign file without half characters and control characters but line ends and tabs."""
    whole = text.encode("utf-8", "replace").decode()
    return "".join(letter for letter in whole if (" " <= letter < "\ufffe") or letter in "\n\t" or letter > "\uffff")
