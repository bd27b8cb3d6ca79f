"""A sandbox seen from the server: start it, have tools and Python run in it, stop what takes too long, end it.

One request at a time goes to each of the two processes inside. When one is late or dies it is replaced; the files stay.
"""

import asyncio
import base64
import json
import marshal
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import IO, Any, cast, get_args

from mcpserver.context import Picture
from mcpserver.sandbox.channel import Channel
from mcpserver.sandbox.launch import Launch
from mcpserver.sandbox.processes import allow_many_files, collect, is_alive, last_descendant, memory_bytes, spawn
from mcpserver.tool_error import ToolError
from toolwright.errors import SandboxError
from toolwright.records import ErrorType

START_TIMEOUT_S = 20.0
PATIENCE_S = 0.05
"""A call that takes longer is watched."""
GRACE_S = 0.7
"""Between an interrupt, which leaves variables alone, and the kill."""
CONTROL_TIMEOUT_S = 5.0
_REASONS: dict[str, tuple[ErrorType, str]] = {
    "memory": ("limit", "the environment's memory is used up"),
    "processes": ("limit", "too many processes"),
    "disk": ("limit", "the environment's disk is full"),
    "files": ("limit", "too many files"),
}


class Worker:
    """A running sandbox; make it with ``start``.

    Attributes:
        has_run_code: whether code that a model wrote ever ran in it.
    """

    def __init__(
        self, launch: Launch, process: subprocess.Popen[bytes], errors: IO[bytes], channels: Mapping[str, Channel]
    ) -> None:
        self._launch = launch
        self._process = process
        self._errors = errors
        self._control, self._channels = channels["control"], channels
        self._keeper = 0
        self._kernel: set[int] = set()
        self._has_python = False
        self.has_run_code = False
        self.closed = False

    @classmethod
    async def start(cls, launch: Launch) -> "Worker":
        """Start a sandbox and wait until its files are in place.

        Raises:
            SandboxError: it does not start; says what it wrote.
        """
        allow_many_files()
        pairs = {name: socket.socketpair() for name in ("control", "tools", "python")}
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the worker
        try:
            process = spawn(launch, [pair[1] for pair in pairs.values()], errors)
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
            read = bytes.decode if name == "control" else json.loads
            channels[name] = (await loop.create_connection(partial(Channel, read), sock=outside))[1]
        worker = cls(launch, process, errors, channels)
        try:
            await worker._configure(launch.config)
        except BaseException:
            worker.close()
            raise
        return worker

    async def _configure(self, config: Mapping[str, Any]) -> None:
        """Tell a keeper that has just started what it needs, and wait until it serves.

        Raises:
            SandboxError: it does not.
        """
        self._control.send(marshal.dumps(dict(config)))
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                answer = await self._control.messages.get()
        except TimeoutError:
            raise SandboxError(f"the sandbox did not start within {START_TIMEOUT_S:g} s") from None
        if answer != "ready":
            raise SandboxError(f"the sandbox did not start: {answer or self._last_words()}")
        self._keeper = last_descendant(self._process.pid)

    def _last_words(self) -> str:
        """The last line that the keeper wrote, for what went wrong with the sandbox itself."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        if self._errors.closed:
            return "it was closed"
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else f"exit code {self._process.poll()}"

    async def run_tool(self, request: Mapping[str, Any], timeout_s: float) -> tuple[Any, list[Picture]]:
        """Run a tool of the catalogue; see ``hands`` for the request.

        Raises:
            ToolError: the tool's own, ``timeout``, or ``limit``.
        """
        answer = await self._ask_tools({**request, "left_s": timeout_s}, timeout_s)
        if "error" in answer:
            raise _tool_error(answer["error"])
        return answer.get("value"), _pictures(answer)

    @property
    def is_usable(self) -> bool:
        """Whether it is open and its keeper lives."""
        return not self.closed and is_alive(self._keeper)

    async def snapshot(self, timeout_s: float = 30.0) -> dict[str, str]:
        """The hash of each file and table: ``file:…``, ``table:…``.

        Raises:
            ToolError: the environment is broken.
        """
        answer = await self._ask_tools({"snapshot": True}, timeout_s)
        if "error" in answer:
            raise _tool_error(answer["error"])
        return dict(answer["value"])

    async def _ask_tools(self, request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """Have the keeper answer; one that is late, dies or takes too much is replaced, and the files stay."""
        channel, number, start = self._channels["tools"], self._send_request("tools", request), time.monotonic()
        failure: tuple[ErrorType, str] = _late(timeout_s)
        try:
            while (left := timeout_s - (time.monotonic() - start)) > 0:
                answer = await self._answer(channel, number, min(PATIENCE_S, left))
                if answer is not None:
                    return answer
                if not is_alive(self._keeper):
                    failure = ("tool_error", "the process that ran the tool ended")
                    break
                if memory_bytes(self._keeper) > self._launch.config["memory_bytes"]:
                    failure = _REASONS["memory"]
                    break
        except asyncio.CancelledError:
            await asyncio.shield(self._replace_keeper())
            raise
        lost = "; Python was ended with it, and its variables are lost" if self._has_python else ""
        await self._replace_keeper()
        return {"error": [failure[0], f"{failure[1]}; the call was stopped{lost}"]}

    async def _replace_keeper(self) -> None:
        """Kill the keeper; the shell above it starts another one on the same files.

        Raises:
            ToolError: none starts.
        """
        with suppress(ProcessLookupError):
            os.kill(self._keeper, signal.SIGKILL)
        self._has_python = False
        self._kernel = set()
        try:
            await self._configure(self._launch.config)
        except SandboxError as error:
            self.close()
            raise ToolError("tool_error", f"{error}; the conversation cannot go on") from None
        for channel in self._channels.values():
            channel.forget()

    async def run_python(self, code: str, timeout_s: float, *, shell: bool = False) -> tuple[str, list[Picture]]:
        """Run a cell of code, or a command of the shell; gives what it wrote, and its pictures.

        Raises:
            ToolError: what the code raised, ``timeout``, or ``limit``.
        """
        if self._has_python:
            await self._command("wake")
        else:
            await self._start_python()
        try:
            answer = await self._ask_python({"code": code, "shell": shell}, timeout_s)
        finally:
            ended = await self._rest()
        output, error = str(answer.get("output", "")), answer.get("error")
        if ended:
            noun = "process that it had started was" if ended == 1 else "processes that it had started were"
            output += f"\n[{ended} {noun} ended with the call]"
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

    async def reset(self) -> None:
        """Make the environment as it was at first; Python is stopped.

        Raises:
            ToolError: the environment is broken.
        """
        await self._command("reset")
        self._has_python = False
        self._kernel = set()

    async def _start_python(self) -> None:
        """Start Python and wait until it answers; the time that a kernel takes to start is no cell's."""
        self.has_run_code = True
        await self._command("start")
        answer = await self._ask_python({"code": "", "shell": False}, START_TIMEOUT_S)
        if answer.get("error"):
            raise ToolError("tool_error", f"Python does not start in the sandbox ({self._last_words()}; {answer})")
        kernel = answer.get("kernel")
        self._kernel = {pid for pid in kernel if isinstance(pid, int)} if isinstance(kernel, list) else set()
        self._has_python = True

    async def _rest(self) -> int:
        if self.closed or not self._has_python:
            return 0
        with suppress(ToolError):
            return await self._command("rest")
        return 0

    async def _ask_python(self, request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """Have Python answer; what is late is interrupted, so that variables live on, or else ended."""
        channel, number, start = self._channels["python"], self._send_request("python", request), time.monotonic()
        try:
            answer = await self._answer(channel, number, min(PATIENCE_S, timeout_s))
            if answer is not None:
                return answer
            self._send("watch")
            outcome = await self._race(channel, number, start + timeout_s - time.monotonic())
            if isinstance(outcome, dict):
                return outcome
        except asyncio.CancelledError:
            await asyncio.shield(self._end_python())
            raise
        kind, text = _late(timeout_s) if outcome is None else _REASONS.get(outcome, ("tool_error", "the process ended"))
        if outcome != "died":
            await self._command("interrupt")
            answer = await self._answer(channel, number, GRACE_S)
            if answer is not None:
                if outcome is None and not _was_interrupted(answer):
                    return answer
                return {**answer, "error": [kind, f"{text}; the code was stopped, its variables are kept"]}
        await self._end_python()
        return {"error": [kind, f"{text}; Python was ended, its variables are lost, and the next call starts it again"]}

    async def _end_python(self) -> None:
        self._has_python = False  # the next cell starts it again
        await self._command("stop")
        self._channels["python"].forget()

    def _send_request(self, name: str, request: dict[str, Any]) -> str:
        """Send a request under a number of its own, which is given."""
        self._check_open()
        channel, number = self._channels[name], secrets.token_hex(8)
        channel.forget()
        channel.send(json.dumps({**request, "id": number}).encode())
        return number

    async def _answer(self, channel: Channel, number: str, timeout_s: float) -> dict[str, Any] | None:
        """The answer with the number that was asked for; None when time is up."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                    message = await channel.messages.get()
            except TimeoutError:
                return None
            if message is None:
                words = "it was closed" if self.closed else self._last_words()
                self.close()
                raise ToolError(
                    "tool_error", f"the environment's sandbox ended ({words}); the conversation cannot go on"
                )
            if isinstance(message, dict) and message.get("id") == number:
                return message

    async def _race(self, channel: Channel, number: str, timeout_s: float) -> dict[str, Any] | str | None:
        """The answer, or the reason of the keeper's event, or None when time is up."""
        answer = asyncio.ensure_future(self._answer(channel, number, timeout_s))
        event = asyncio.ensure_future(self._control.messages.get())
        try:
            await asyncio.wait({answer, event}, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()
            words = event.result()
            return str(words).removeprefix("event ") if words else await answer
        finally:
            for task in (answer, event):
                task.cancel()
            await asyncio.gather(answer, event, return_exceptions=True)

    async def _command(self, action: str) -> int:
        """Have the keeper do something, and wait until it is done; events that crossed are out of date."""
        self._check_open()
        self._send(action)
        try:
            async with asyncio.timeout(CONTROL_TIMEOUT_S):
                while (words := await self._control.messages.get()) is not None:
                    if words.startswith(f"done {action} "):
                        return int(words.split()[2])
        except TimeoutError:
            pass
        self.close()
        raise ToolError("tool_error", "the environment's sandbox does not answer; the conversation cannot go on")

    def _send(self, action: str) -> None:
        self._control.send(marshal.dumps({"do": action, "keep": sorted(self._kernel)}))

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
        collect(self._process)

    async def wait_closed(self, timeout_s: float = 2.0) -> None:
        """Wait until the sandbox is gone; kill the keeper if it is not in time."""
        deadline = time.monotonic() + timeout_s
        while self._process.poll() is None:
            if time.monotonic() > deadline:
                with suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
            await asyncio.sleep(0.002)
        collect()
        if self._launch.config["remove"]:  # the keeper has done so, unless it had to be killed
            shutil.rmtree(self._launch.config["root"], ignore_errors=True)


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
