"""A sandbox seen from the server: start it, have tools and Python run in it, stop what takes too long, end it.

One request at a time goes to each of the two processes inside. When one is late or dies it is replaced; the files stay.
"""

import asyncio
import base64
import json
import os
import secrets
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import IO, Any, cast, get_args

from mcpserver.context import Picture
from mcpserver.sandbox import frames
from mcpserver.sandbox.launch import Launch
from mcpserver.tool_error import ToolError
from toolwright.errors import SandboxError
from toolwright.records import ErrorType

START_TIMEOUT_S = 20.0
PATIENCE_S = 0.05
"""A call that takes longer is watched."""
GRACE_S = 0.7
"""Between an interrupt, which leaves variables alone, and the kill."""
CONTROL_TIMEOUT_S = 5.0
_REASONS = {
    "memory": ("limit", "the environment's memory is used up"),
    "processes": ("limit", "too many processes"),
    "disk": ("limit", "the environment's disk is full"),
    "files": ("limit", "too many files"),
}


class _Channel(asyncio.Protocol):
    """One socket into the sandbox: messages out, and a queue of messages in."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[Any] = asyncio.Queue()
        self.transport: asyncio.Transport | None = None
        self._data = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._data += data
        while len(self._data) >= frames.HEADER.size:
            (length,) = frames.HEADER.unpack_from(self._data)
            end = frames.HEADER.size + length
            if length > frames.MAX_FRAME_BYTES:
                self.forget()
                return
            if len(self._data) < end:
                return
            with suppress(ValueError, RecursionError):  # code that found this socket may write anything
                self.messages.put_nowait(json.loads(bytes(self._data[frames.HEADER.size : end])))
            del self._data[:end]

    def connection_lost(self, exc: Exception | None) -> None:
        self.messages.put_nowait(None)

    def send(self, message: Any) -> None:
        assert self.transport is not None
        self.transport.write(frames.pack(message))

    def forget(self) -> None:
        """Drop what came and was not asked for."""
        self._data.clear()
        while not self.messages.empty():
            self.messages.get_nowait()


class Worker:
    """A running sandbox; make it with ``start``."""

    def __init__(self, process: subprocess.Popen[bytes], errors: IO[bytes], channels: Mapping[str, _Channel]) -> None:
        self._process = process
        self._errors = errors
        self._control, self._channels = channels["control"], channels
        self._kernel: set[int] = set()
        self._has_python = False
        self.closed = False

    @classmethod
    async def start(cls, launch: Launch) -> "Worker":
        """Start a sandbox and wait until its files are in place.

        Raises:
            SandboxError: it does not start; says what it wrote.
        """
        pairs = {name: socket.socketpair() for name in ("control", "tools", "python")}
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the worker
        try:
            process = _spawn(launch, [pair[1] for pair in pairs.values()], errors)
        except OSError as error:
            for pair in pairs.values():
                pair[0].close()
            raise SandboxError(f"the sandbox cannot be started: {error}") from None
        finally:
            for pair in pairs.values():
                pair[1].close()
        loop = asyncio.get_running_loop()
        channels = {}
        for name, (outside, _) in pairs.items():
            outside.setblocking(False)
            channels[name] = (await loop.create_connection(_Channel, sock=outside))[1]
        worker = cls(process, errors, channels)
        try:
            worker._control.send(launch.config)
            answer = await asyncio.wait_for(worker._control.messages.get(), START_TIMEOUT_S)
            if not isinstance(answer, dict) or "ready" not in answer:
                raise SandboxError(f"the sandbox did not start: {worker._last_words(answer)}")
        except TimeoutError:
            worker.close()
            raise SandboxError(f"the sandbox did not start within {START_TIMEOUT_S:g} s") from None
        except BaseException:
            worker.close()
            raise
        return worker

    def _last_words(self, answer: object) -> str:
        if isinstance(answer, dict):
            return str(answer.get("failed"))
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else f"exit code {self._process.poll()}"

    async def run_tool(self, request: Mapping[str, Any], timeout_s: float) -> tuple[Any, list[Picture]]:
        """Run a tool of the catalogue; see ``hands`` for the request.

        Raises:
            ToolError: the tool's own, ``timeout``, or ``limit``.
        """
        answer = await self._ask("tools", {**request, "left_s": timeout_s}, timeout_s)
        if "error" in answer:
            raise _tool_error(answer["error"])
        return answer.get("value"), _pictures(answer)

    async def snapshot(self, timeout_s: float = 30.0) -> dict[str, str]:
        """The hash of each file and table: ``file:…``, ``table:…``.

        Raises:
            ToolError: the environment is broken.
        """
        answer = await self._ask("tools", {"snapshot": True}, timeout_s)
        if "error" in answer:
            raise _tool_error(answer["error"])
        return dict(answer["value"])

    async def run_python(self, code: str, timeout_s: float, *, shell: bool = False) -> tuple[str, list[Picture]]:
        """Run a cell of code, or a command of the shell; gives what it wrote, and its pictures.

        Raises:
            ToolError: what the code raised, ``timeout``, or ``limit``.
        """
        if self._has_python:
            await self._command("wake", "python")
        else:
            await self._start_python()
        try:
            answer = await self._ask("python", {"code": code, "shell": shell}, timeout_s)
        finally:
            ended = await self._rest()
        output, error = str(answer.get("output", "")), answer.get("error")
        if ended:
            output += f"\n[{ended} processes that it had started were ended with the call]"
        if error:
            failure = _tool_error(error)
            raise ToolError(failure.kind, f"{output.rstrip()}\n{failure.message}".strip())
        return output, _pictures(answer)

    async def restart_python(self) -> bool:
        """Forget all variables; whether there was a Python to restart."""
        had = self._has_python
        await self._start_python()
        await self._rest()
        return had

    async def _start_python(self) -> None:
        """Start Python and wait until it answers; the time that a kernel takes to start is no cell's."""
        await self._command("start", "python")
        answer = await self._ask("python", {"code": "", "shell": False}, START_TIMEOUT_S)
        if answer.get("error"):
            raise ToolError("tool_error", "Python does not start in the sandbox")
        kernel = answer.get("kernel")
        self._kernel = {pid for pid in kernel if isinstance(pid, int)} if isinstance(kernel, list) else set()
        self._has_python = True

    async def _rest(self) -> int:
        if self.closed or not self._has_python:
            return 0
        with suppress(ToolError):
            return int((await self._command("rest", "python")).get("ended", 0))
        return 0

    async def _ask(self, name: str, request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """Send a request and wait for its answer, an interrupt, a kill, or the end of the process inside."""
        self._check_open()
        channel = self._channels[name]
        channel.forget()
        request["id"] = secrets.token_hex(8)
        start = time.monotonic()
        try:
            channel.send(request)
            answer = await self._answer(channel, request["id"], min(PATIENCE_S, timeout_s))
            if answer is not None:
                return answer
            self._control.send({"do": "watch", "worker": name})
            answer = await self._race(channel, request["id"], start + timeout_s - time.monotonic())
            if isinstance(answer, dict) and "event" not in answer:
                return answer
        except asyncio.CancelledError:
            await asyncio.shield(self._replace(name))
            raise
        return await self._stop(name, channel, request["id"], answer, timeout_s)

    async def _stop(
        self, name: str, channel: _Channel, number: str, event: dict[str, Any] | None, timeout_s: float
    ) -> dict[str, Any]:
        """A call that went wrong: interrupt code, so that its variables live on, else replace the process."""
        if name == "python" and (event is None or event["event"] in _REASONS):
            await self._command("interrupt", name)
            answer = await self._answer(channel, number, GRACE_S)
            if answer is not None:
                kind, text = _REASONS.get(event["event"] if event else "", _late(timeout_s))
                if event is None and not _was_interrupted(answer):
                    return answer
                return {**answer, "error": [kind, f"{text}; the code was stopped, its variables are kept"]}
        await self._replace(name)
        lost = "; Python was started again, and its variables are lost" if name == "python" else ""
        if event is None:
            kind, text = _late(timeout_s)
        else:
            kind, text = _REASONS.get(event["event"], ("tool_error", "the process ended"))
        return {"error": [kind, f"{text}; the code was stopped{lost}" if lost else f"{text}; the call was stopped"]}

    async def _replace(self, name: str) -> None:
        if name == "python":
            self._has_python = False  # the next cell starts it again
            await self._command("stop", name)
        else:
            await self._command("start", name)
        self._channels[name].forget()

    async def _answer(self, channel: _Channel, number: str, timeout_s: float) -> dict[str, Any] | None:
        """The answer with the number that was asked for; None when time is up."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                    message = await channel.messages.get()
            except TimeoutError:
                return None
            if message is None:
                self.closed = True
                raise ToolError("tool_error", "the environment's sandbox ended; the conversation cannot go on")
            if isinstance(message, dict) and message.get("id") == number:
                return message

    async def _race(self, channel: _Channel, number: str, timeout_s: float) -> dict[str, Any] | None:
        """The answer, or the keeper's event, or None when time is up."""
        answer = asyncio.ensure_future(self._answer(channel, number, timeout_s))
        event = asyncio.ensure_future(self._control.messages.get())
        try:
            await asyncio.wait({answer, event}, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()
            message: dict[str, Any] | None = event.result()
            return message or await answer
        finally:
            for task in (answer, event):
                task.cancel()
            await asyncio.gather(answer, event, return_exceptions=True)

    async def _command(self, action: str, name: str) -> dict[str, Any]:
        """Have the keeper do something, and wait until it is done; events that crossed are out of date."""
        self._check_open()
        self._control.send({"do": action, "worker": name, "keep": sorted(self._kernel)})
        try:
            async with asyncio.timeout(CONTROL_TIMEOUT_S):
                while (answer := await self._control.messages.get()) is not None:
                    if answer.get("done") == action:
                        return dict(answer)
        except TimeoutError:
            pass
        self.close()
        raise ToolError("tool_error", "the environment's sandbox does not answer; the conversation cannot go on")

    def _check_open(self) -> None:
        if self.closed:
            raise ToolError("tool_error", "this environment is closed")

    def close(self) -> None:
        """End everything inside, at once; what is left to collect is collected by ``wait_closed`` or later."""
        self.closed = True
        for channel in self._channels.values():
            if channel.transport is not None:
                channel.transport.abort()
        if cast(list[str], self._process.args)[0] == "bwrap":  # without it the keeper ends its children first
            self._process.kill()
        if not self._errors.closed:
            self._errors.close()
        _dying.append(self._process)
        _collect()

    async def wait_closed(self, timeout_s: float = 2.0) -> None:
        """Wait until the sandbox is gone; kill the keeper if it is not in time."""
        deadline = time.monotonic() + timeout_s
        while self._process.poll() is None:
            if time.monotonic() > deadline:
                self._process.send_signal(signal.SIGKILL)
            await asyncio.sleep(0.002)
        _collect()


_dying: list[subprocess.Popen[bytes]] = []


def _collect() -> None:
    """Collect the processes that have ended."""
    _dying[:] = [process for process in _dying if process.poll() is None]


def _late(timeout_s: float) -> tuple[ErrorType, str]:
    return "timeout", f"it took longer than {timeout_s:g} s"


def _was_interrupted(answer: Mapping[str, Any]) -> bool:
    error = answer.get("error")
    return isinstance(error, list) and "KeyboardInterrupt" in str(error)


def _tool_error(error: object) -> ToolError:
    """The error of an answer; the process inside may say anything."""
    if isinstance(error, list) and len(error) == 2 and error[0] in get_args(ErrorType):
        return ToolError(error[0], str(error[1]))
    return ToolError("tool_error", "the process inside gave a strange answer")


def _pictures(answer: Mapping[str, Any]) -> list[Picture]:
    found = answer.get("pictures")
    pictures = []
    for item in found[:4] if isinstance(found, list) else ():
        with suppress(ValueError, TypeError):
            kind, content = item
            pictures.append(Picture(str(kind), base64.b64decode(content, validate=True)))
    return pictures


def _spawn(launch: Launch, inside: list[socket.socket], errors: IO[bytes]) -> subprocess.Popen[bytes]:
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
