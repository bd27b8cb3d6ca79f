"""An append-only journal of finished work, so that a killed run continues without repeating anything.

A JSONL file: first the key of what it belongs to, then one entry for each finished item. A line that was cut short by
a kill, and whatever follows it, is dropped; a journal of other settings or inputs is begun anew.
"""

import json
import os
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

Entry = dict[str, Any]


class Journal:
    """Entries by id; use it as a context manager."""

    def __init__(self, path: Path, key: str) -> None:
        self._path, self._key = path, key
        self._stream: IO[str] | None = None
        self.entries: dict[str, Entry] = {}

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        good = self._read()
        self._stream = self._path.open("r+" if good else "w", encoding="utf-8")
        self._stream.seek(good)
        self._stream.truncate()
        if not good:
            self._write({"key": self._key})
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._stream is not None:
            self._stream.flush()
            os.fsync(self._stream.fileno())
            self._stream.close()
            self._stream = None

    def _read(self) -> int:
        """Load the whole lines; returns the bytes that are good, 0 for none or another key."""
        data = self._path.read_bytes() if self._path.exists() else b""
        good = 0
        for line in data.splitlines(keepends=True):
            try:
                entry = json.loads(line)
            except ValueError:
                break
            if not line.endswith(b"\n") or not isinstance(entry, dict):
                break
            if good == 0 and entry.get("key") != self._key:
                return 0
            if good:
                self.entries[str(entry.get("id"))] = entry
            good += len(line)
        return good

    def _write(self, row: Entry) -> None:
        if self._stream is None:
            raise ValueError("the journal is not open")
        self._stream.write(json.dumps(row, ensure_ascii=False) + "\n")
        self._stream.flush()  # to the kernel, so that it survives the end of this process

    def add(self, entry: Entry) -> None:
        """Note a finished item; ``entry["id"]`` names it."""
        self._write(entry)
        self.entries[str(entry["id"])] = entry
