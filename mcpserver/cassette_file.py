"""The file of a cassette: JSON lines, first the tools, then whatever was recorded; a record is written at once or not.

Lines: ``{"cassette": 1, "servers": […], "tools": [{"toolset", "function"}]}``, ``{"opened": conversation, "seed",
"sandbox"}``, ``{"called": tool, "toolset", "conversation", "seed", "arguments", "occurrence", "history", "result"}``
and ``{"state": hash, "conversation", "seed", "history"}``. ``arguments`` is canonical JSON text.
"""

import fcntl
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from toolwright.errors import DataError
from toolwright.records import ToolSpec
from toolwright.words import shorten

FORMAT = 1


def header(tools: Sequence[ToolSpec], toolsets: Sequence[str], servers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The first line of a cassette."""
    listed = [{"toolset": toolset, **tool.to_openai()} for tool, toolset in zip(tools, toolsets)]
    return {"cassette": FORMAT, "servers": list(servers), "tools": listed}


def header_tools(first: dict[str, Any]) -> dict[str, tuple[ToolSpec, str]]:
    """The tools of a first line with their toolsets, by name."""
    specs = ((ToolSpec.from_openai(tool), str(tool["toolset"])) for tool in first["tools"])
    return {spec.name: (spec, toolset) for spec, toolset in specs}


def read_cassette(path: Path) -> list[dict[str, Any]]:
    """All whole lines of a cassette; what a crash left of a last one is passed over. Empty for no or an empty file.

    Raises:
        DataError: not a cassette; names file and line.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DataError(f"{path}: cannot read the cassette ({error.strerror})") from None
    rows = []
    for number, line in enumerate(content.split(b"\n")[:-1], 1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict) or (number == 1 and row.get("cassette") != FORMAT):
            raise DataError(f"{path}:{number}: not a line of a cassette: {shorten(line)}; record another one")
        rows.append(row)
    return rows


class CassetteWriter:
    """A cassette that is recorded on; several processes may do so.

    Args:
        path: of the file, which need not exist.
        first: its first line, if it is new.

    Raises:
        DataError: the file cannot be written.
    """

    def __init__(self, path: Path, first: dict[str, Any]) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise DataError(f"{path}: cannot write the cassette ({error.strerror})") from None
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            self._drop_torn_line()
            if os.fstat(self._file).st_size == 0:
                self._append(first)
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def _drop_torn_line(self) -> None:
        """Cut what a crash left of a last line, or the next record would be lost with it."""
        end = os.fstat(self._file).st_size
        while end > 0:
            start = max(0, end - 65536)
            found = os.pread(self._file, end - start, start).rfind(b"\n")
            if found >= 0:
                end = start + found + 1
                break
            end = start
        os.ftruncate(self._file, end)

    def write(self, row: dict[str, Any]) -> None:
        """Add a record.

        Raises:
            DataError: the disk is full.
        """
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            self._append(row)
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def _append(self, row: dict[str, Any]) -> None:
        line = json.dumps(row, separators=(",", ":")).encode() + b"\n"
        end = os.fstat(self._file).st_size
        try:
            if os.write(self._file, line) != len(line):
                raise OSError(0, "the disk is full")
        except OSError as error:
            os.ftruncate(self._file, end)
            raise DataError(f"{self._path}: cannot write the cassette ({error.strerror})") from None

    def close(self) -> None:
        """Bring everything to the disk."""
        os.fsync(self._file)
        os.close(self._file)
