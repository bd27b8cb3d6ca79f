"""The stdio transport of our MCP client: a server as a child process in a process group of its own.

Why not the SDK's: it does not tell the process id, so that what a server leaves behind cannot be killed, and reading a
message costs the square of its length.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
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
async def run_child(config: ServerConfig, errors: IO[bytes]) -> AsyncIterator[tuple[Incoming, Outgoing]]:
    """Start a server, give the streams of messages from and to it, and end its whole process group.

    Args:
        config: a server with a command.
        errors: file for its standard error.

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
            tasks.start_soon(_read, process, to_session)
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
    process: asyncio.subprocess.Process, to_session: MemoryObjectSendStream[SessionMessage | Exception]
) -> None:
    """Pass on each line of output as a message; at the end of the output the session is told."""
    assert process.stdout is not None
    async with to_session:
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, ConnectionError, ValueError):
            # a ValueError here is a line longer than MAX_MESSAGE_BYTES: the stream cannot be trusted any more
            while line := await process.stdout.readline():
                if line.strip():
                    await to_session.send(_parse(line))


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
    """Close the input, as the protocol wants; whatever of the group is still there is then killed."""
    assert process.stdin is not None
    process.stdin.close()
    if not await _left(process, LEAVE_TIMEOUT_S):
        _signal_group(process, signal.SIGTERM)
        await _left(process, TERMINATE_TIMEOUT_S)
    _signal_group(process, signal.SIGKILL)
    await _left(process, TERMINATE_TIMEOUT_S)
    # otherwise the pipes stay open for as long as a process outside the group holds them
    transport = getattr(process, "_transport", None)
    if transport is not None:
        with suppress(ProcessLookupError, PermissionError):
            transport.close()


async def _left(process: asyncio.subprocess.Process, timeout_s: float) -> bool:
    """Whether the process ended in time; not ``process.wait``, which also waits for its children's pipes."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while process.returncode is None and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(0.01)
    return process.returncode is not None


def _signal_group(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
