"""The rows of one model: a partial file while it is being scored, so that a killed run goes on where it was.

Writes ``eval/<model>.partial.jsonl`` (first line: the key of the job that it belongs to, then a row per task).
"""

import json
from pathlib import Path
from typing import IO, Any

from pydantic import ValidationError

from eval.summary import TaskRow


class PartialRows:
    """Rows that are kept as they come; use it as a context manager.

    Attributes:
        rows: task id -> row, of this run and of an earlier one under the same ``key``.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path = path
        self.key = key
        self.rows: dict[str, TaskRow] = {}
        self._stream: IO[str] | None = None

    def __enter__(self) -> "PartialRows":
        self.rows = _read(self.path, self.key)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Written anew, which drops a line that was cut short.
        self._stream = self.path.open("w", encoding="utf-8")
        self._write({"key": self.key})
        for row in self.rows.values():
            self._write(row.model_dump(mode="json"))
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._stream:
            self._stream.close()

    def add(self, row: TaskRow) -> None:
        """Keep a row; one whose endpoint failed is not kept, so the next run plays its task again."""
        self.rows[row.id] = row
        if row.failed is None:
            self._write(row.model_dump(mode="json"))

    def _write(self, row: dict[str, Any]) -> None:
        assert self._stream is not None
        self._stream.write(json.dumps(row, ensure_ascii=False) + "\n")
        self._stream.flush()


def _read(path: Path, key: str) -> dict[str, TaskRow]:
    """The rows of a partial file; none when it is absent, unreadable or another job's."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")  # texts may hold other ends of lines
    except FileNotFoundError:
        return {}
    rows: dict[str, TaskRow] = {}
    for number, line in enumerate(lines):
        try:
            content = json.loads(line)
            if number == 0:
                if content.get("key") != key:
                    return {}
                continue
            row = TaskRow.model_validate(content)
        except (ValueError, ValidationError, AttributeError):
            break  # cut short by the kill; what comes after cannot be trusted either
        rows[row.id] = row
    return rows
