"""The processes of a sandbox, as the server sees them: how they are started, found, measured and collected."""

import os
import resource
import socket
import subprocess
from contextlib import suppress
from functools import lru_cache
from typing import IO

import psutil

from mcpserver.sandbox.launch import Launch

_dying: list[subprocess.Popen[bytes]] = []


@lru_cache(maxsize=1)
def allow_many_files() -> None:
    """An environment takes five descriptors, and many systems allow 1,024 unless a process asks for more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def collect(*ending: subprocess.Popen[bytes]) -> None:
    """Collect the processes that have ended: these, and those of earlier calls that had not."""
    _dying.extend(ending)
    _dying[:] = [process for process in _dying if process.poll() is None]


def last_descendant(pid: int) -> int:
    """The keeper: below the process that was started there are only bwrap, its first process, and the shell."""
    while children := _children(pid):
        pid = children[-1]
    return pid


def _children(pid: int) -> list[int]:
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(word) for word in file.read().split()]
    except OSError:  # no Linux, or ended
        with suppress(psutil.Error):
            return [child.pid for child in psutil.Process(pid).children()]
        return []


def is_alive(pid: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def memory_bytes(pid: int) -> int:
    """The resident memory of a process; 0 when it has ended."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def spawn(launch: Launch, inside: list[socket.socket], errors: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start the keeper, which is told the numbers of its sockets."""
    numbers = [connection.fileno() for connection in inside]
    command, passed = [*launch.command, *map(str, numbers)], list(numbers)
    if launch.arguments:
        reader, writer = os.pipe()
        os.write(writer, b"".join(os.fsencode(argument) + b"\0" for argument in launch.arguments))
        os.close(writer)
        command[1:1] = ["--args", str(reader)]
        passed.append(reader)
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env=dict(launch.variables),
            cwd="/",
            pass_fds=passed,
            start_new_session=True,
        )
    finally:
        if launch.arguments:
            os.close(reader)
