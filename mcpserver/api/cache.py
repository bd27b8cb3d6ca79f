"""Replies kept between conversations, by tool and canonical arguments: real ones as examples, a model's to give again.

One SQLite file in WAL mode: an entry is there whole or not at all, several processes may write at once, and the first
one's entry stays, so all of them give the same.
"""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from mcpserver.tool_error import ToolError

FILE = "replies.sqlite3"
MAX_EXAMPLES = 10
MAX_REPLY = 16_000
BUSY_S = 10.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS real (tool TEXT, arguments TEXT, reply TEXT, PRIMARY KEY (tool, arguments)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS virtual (key TEXT PRIMARY KEY, tool TEXT, arguments TEXT, reply TEXT) WITHOUT ROWID;
"""


class Example(NamedTuple):
    """A real reply: the canonical arguments, and the text."""

    arguments: str
    reply: str


def default_folder() -> Path:
    """Where replies are kept unless the settings say otherwise."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "toolwright" / "apis"


class ReplyCache:
    """The replies in one folder; the file is made at the first write."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self._connection: sqlite3.Connection | None = None

    def examples(self, tool: str, arguments: str, count: int) -> list[Example]:
        """Up to ``count`` real replies of a tool: that to the same arguments first, the others in a fixed order."""
        with self._open(make=False) as connection:
            if connection is None:
                return []
            query = "SELECT arguments, reply FROM real WHERE tool = ? ORDER BY arguments != ?, arguments LIMIT ?"
            return [Example(*row) for row in connection.execute(query, (tool, arguments, count))]

    def add_real(self, tool: str, arguments: str, reply: str) -> None:
        """Keep a real reply: the newest to the same arguments, and at most ten for a tool."""
        if len(reply) > MAX_REPLY:
            return
        with self._open(make=True) as connection:
            assert connection is not None
            connection.execute(
                "INSERT INTO real SELECT ?, ?, ? WHERE (SELECT count(*) FROM real WHERE tool = ?) < ?"
                " OR EXISTS (SELECT 1 FROM real WHERE tool = ? AND arguments = ?)"
                " ON CONFLICT (tool, arguments) DO UPDATE SET reply = excluded.reply",
                (tool, arguments, reply, tool, MAX_EXAMPLES, tool, arguments),
            )

    def virtual(self, key: str) -> str | None:
        """The reply that a model wrote before, for the same key."""
        with self._open(make=False) as connection:
            row = connection and connection.execute("SELECT reply FROM virtual WHERE key = ?", (key,)).fetchone()
            return row[0] if row else None

    def add_virtual(self, key: str, tool: str, arguments: str, reply: str) -> str:
        """Keep what a model wrote, and give what is kept: another process may have been first."""
        with self._open(make=True) as connection:
            assert connection is not None
            connection.execute("INSERT OR IGNORE INTO virtual VALUES (?, ?, ?, ?)", (key, tool, arguments, reply))
            kept: str = connection.execute("SELECT reply FROM virtual WHERE key = ?", (key,)).fetchone()[0]
            return kept

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def _open(self, *, make: bool) -> Iterator[sqlite3.Connection | None]:
        try:
            if self._connection is None and (make or self.path.exists()):
                self._connection = _connect(self.path)
            yield self._connection
        except (sqlite3.Error, OSError) as error:
            raise ToolError("tool_error", f"the kept replies in {self.path} cannot be used ({error})") from None


def _connect(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.executescript(_SCHEMA)
    return connection


def read_value(reply: str) -> Any:
    """The JSON value of a reply; None when it is other text."""
    try:
        return json.loads(reply)
    except (ValueError, RecursionError):
        return None
