"""Sandboxes to use again: a reset takes a thirtieth of the time of a start.

Only those in which no code of a model ever ran are kept; their files are laid out anew from the base.
"""

from collections.abc import Hashable

from mcpserver.sandbox.worker import Worker
from mcpserver.tool_error import ToolError

MOST = 16


class Spares:
    """Idle sandboxes of one event loop, by what they were made for."""

    def __init__(self) -> None:
        self._idle: dict[Hashable, list[Worker]] = {}
        self._closed = False

    def take(self, key: Hashable) -> Worker | None:
        """A sandbox made for ``key``, as new; None when there is none."""
        idle = self._idle.get(key, [])
        while idle:
            worker = idle.pop()
            if worker.is_usable:
                return worker
            worker.close()
        return None

    async def give(self, key: Hashable, worker: Worker) -> None:
        """Keep a sandbox for later, or end it: when code ran in it, when it is broken, when there are enough."""
        idle = self._idle.setdefault(key, [])
        if worker.is_usable and not worker.has_run_code and len(idle) < MOST and not self._closed:
            try:
                await worker.reset()
            except ToolError:
                pass
            else:
                idle.append(worker)
                return
        worker.close()
        await worker.wait_closed()

    def close(self) -> None:
        """End all of them, and whatever is given from now on."""
        self._closed = True
        for worker in (worker for idle in self._idle.values() for worker in idle):
            worker.close()
        self._idle.clear()
