"""What a sandbox takes while it runs, and what it leaves behind when it is closed; both seen from the host."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil

from mcpserver.environment import Environment

EVERY_S = 0.05


class Watch:
    """The most that an environment's processes took together.

    Attributes:
        peak_bytes: of memory, shared pages counted once where the kernel tells.
        peak_processes: at a time.
    """

    def __init__(self) -> None:
        self.peak_bytes = 0
        self.peak_processes = 0

    @asynccontextmanager
    async def of(self, environment: Environment) -> AsyncIterator[None]:
        """Watch meanwhile."""
        task = asyncio.create_task(self._watch(environment))
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _watch(self, environment: Environment) -> None:
        while True:
            processes = processes_of(environment)
            self.peak_processes = max(self.peak_processes, len(processes))
            self.peak_bytes = max(self.peak_bytes, sum(map(_memory, processes)))
            await asyncio.sleep(EVERY_S)


class Leftovers:
    """What an environment must not leave; made before it is closed.

    A process is known by its number and its start; others of the same user id are found as well.
    """

    def __init__(self, environment: Environment) -> None:
        self._processes = processes_of(environment)
        self._folder, self._user = _place(environment)

    async def find(self, timeout_s: float = 5.0) -> list[str]:
        """What is left after the environment was closed, in words."""
        deadline = time.monotonic() + timeout_s
        while (left := self._left()) and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        return left

    def _left(self) -> list[str]:
        alive = [process for process in self._processes if runs(process)]
        if self._user is not None:
            alive += [process for process in psutil.process_iter() if _user_of(process) == self._user]
        words = [f"process {process.pid} ({_name(process)}) is left" for process in alive]
        return words + ([f"the folder {self._folder} is left"] if self._folder and Path(self._folder).exists() else [])


def processes_of(environment: Environment) -> list[psutil.Process]:
    """The processes of an environment, the one that was started first."""
    worker = environment._worker
    if worker is None:
        return []
    with suppress(psutil.Error):
        first = psutil.Process(worker._process.pid)
        return [first, *first.children(recursive=True)]
    return []


def _place(environment: Environment) -> tuple[str, int | None]:
    """Where an environment's files lie on the host, and the user that only it has."""
    worker = environment._worker
    if worker is None:
        return "", None
    config = worker._launch.config
    return config["root"] if config["remove"] else "", config["user"]


def keeper_root(environment: Environment) -> str:
    """The folder of an environment's files as the host may reach it."""
    worker = environment._worker
    assert worker is not None
    config = worker._launch.config
    inside = f"{config['root']}/files"
    return inside if config["remove"] else f"/proc/{worker._keeper}/root{inside}"


def runs(process: psutil.Process) -> bool:
    """Whether it has not ended; one that only waits to be collected has."""
    with suppress(psutil.Error):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def _user_of(process: psutil.Process) -> int | None:
    with suppress(psutil.Error):
        if process.status() != psutil.STATUS_ZOMBIE:
            return int(process.uids().real)
    return None


def _name(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return " ".join(process.cmdline())[:80] or process.name()
    return "?"


def _memory(process: psutil.Process) -> int:
    """What a process takes: its share, or all that it touches where the kernel does not tell the share."""
    with suppress(OSError):
        for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    with suppress(OSError, IndexError):
        words = Path(f"/proc/{process.pid}/statm").read_text().split()
        return (int(words[1]) - int(words[2])) * os.sysconf("SC_PAGESIZE")
    return 0
