"""The stdio transport of our MCP client: a server as a child process in a process group of its own.

Why not the SDK's: it does not tell the process id, so that what a server leaves behind cannot be killed, and reading a
message costs the square of its length.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO

import anyio
import mcp_types as types
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.client.stdio import get_default_environment
from mcp.shared.message import SessionMessage

from mcpserver.mcp_config import ServerConfig

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
LEAVE_TIMEOUT_S = 2.0
TERMINATE_TIMEOUT_S = 1.0

Incoming = MemoryObjectReceiveStream[SessionMessage | Exception]
Outgoing = MemoryObjectSendStream[SessionMessage]


@asynccontextmanager
async def run_child(
    config: ServerConfig, errors: IO[bytes], ended: asyncio.Event
) -> AsyncIterator[tuple[Incoming, Outgoing]]:
    """Start a server, give the streams of messages from and to it, and end it with all its descendants.

    Args:
        config: a server with a command.
        errors: file for its standard error.
        ended: set when its output ends.

    Raises:
        OSError: the command cannot be started.
    """
    process = await asyncio.create_subprocess_exec(
        config.command,
        *config.args,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=errors,
        env=_child_variables(config.env),
        cwd=config.cwd,
        start_new_session=True,
        limit=MAX_MESSAGE_BYTES,
    )
    to_session, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    outgoing, from_session = anyio.create_memory_object_stream[SessionMessage](0)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_read, process, to_session, ended)
            tasks.start_soon(_write, process, from_session, to_session)
            try:
                yield incoming, outgoing
            finally:
                incoming.close()
                outgoing.close()
                tasks.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            await _stop(process)
        for stream in (to_session, incoming, outgoing, from_session):
            stream.close()


def _child_variables(extra: Mapping[str, str]) -> dict[str, str]:
    """What a server may see of our environment: the paths it needs to run, no keys."""
    return get_default_environment() | dict(extra)


async def _read(
    process: asyncio.subprocess.Process,
    to_session: MemoryObjectSendStream[SessionMessage | Exception],
    ended: asyncio.Event,
) -> None:
    """Pass on each line of output as a message; at the end of the output the session is told."""
    assert process.stdout is not None
    async with to_session:
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, ConnectionError, ValueError):
            # a ValueError here is a line longer than MAX_MESSAGE_BYTES: the stream cannot be trusted any more
            while line := await process.stdout.readline():
                if line.strip():
                    await to_session.send(_parse(line))
        ended.set()


def _parse(line: bytes) -> SessionMessage | Exception:
    try:
        return SessionMessage(types.jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValueError as error:
        return error


async def _write(
    process: asyncio.subprocess.Process,
    from_session: MemoryObjectReceiveStream[SessionMessage],
    to_session: MemoryObjectSendStream[SessionMessage | Exception],
) -> None:
    assert process.stdin is not None
    try:
        async with from_session:
            async for message in from_session:
                process.stdin.write(message.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n")
                await process.stdin.drain()
    except (OSError, anyio.ClosedResourceError):
        to_session.close()  # so that no request waits for an answer that cannot come


async def _stop(process: asyncio.subprocess.Process) -> None:
    """Close the input, as the protocol wants; whatever of the group and the family is still there is then killed."""
    assert process.stdin is not None
    family = _descendants(process.pid)
    process.stdin.close()
    if not await _left(process, LEAVE_TIMEOUT_S):
        family |= _descendants(process.pid)
        _signal_group(process, signal.SIGTERM)
        await _left(process, TERMINATE_TIMEOUT_S)
    _signal_group(process, signal.SIGKILL)
    for pid, began in family.items():
        if _begin(pid) == began:  # and not another process with the same number
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
    await _left(process, TERMINATE_TIMEOUT_S)
    # otherwise the pipes stay open for as long as a process outside the group holds them
    transport = getattr(process, "_transport", None)
    if transport is not None:
        with suppress(ProcessLookupError, PermissionError):
            transport.close()


def _descendants(pid: int) -> dict[int, str]:
    """The processes below one, also those that left its group, and when each began; empty where ``/proc`` is not."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        if fields := _stat(path):
            children.setdefault(int(fields[1]), []).append(int(path.parent.name))
    found: dict[int, str] = {}
    todo = [pid]
    while todo:
        below = children.get(todo.pop(), [])
        todo += below
        found |= {child: _begin(child) for child in below}
    return found


def _begin(pid: int) -> str:
    fields = _stat(Path(f"/proc/{pid}/stat"))
    return fields[19] if fields else ""


def _stat(path: Path) -> list[str]:
    """What the kernel tells of a process, from its state on."""
    try:
        return path.read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


async def _left(process: asyncio.subprocess.Process, timeout_s: float) -> bool:
    """Whether the process ended in time; not ``process.wait``, which also waits for its children's pipes."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while process.returncode is None and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(0.01)
    return process.returncode is not None


def _signal_group(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
