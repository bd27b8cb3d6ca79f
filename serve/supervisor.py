"""A server of another program as our child: waited for, watched, started again when it dies, and ended without a rest.

It is in a process group of its own, so that nothing of it outlives it, and the kernel ends it when we are killed.
Alive is a process that runs; ready is one whose ``/health`` answers 200.
"""

import os
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from serve.notices import warn
from toolwright.errors import EndpointError
from toolwright.serving_process import end_with_parent

LOOK_S = 0.2
HEALTH_S = 5.0
"""How often a server that was ready is asked for its health."""
SICK_S = 30.0
"""A server that says for so long that it is not healthy, is started again."""
WINDOW_S = 600.0
"""Restarts are counted within this time."""
LONGEST_PAUSE_S = 30.0
KILL_S = 10.0
"""What a server may take to end after the time for replies under way."""


@dataclass(frozen=True)
class Limits:
    """How patient the supervisor is: deadline to be ready (s), restarts within ten minutes, time for replies (s)."""

    start_timeout_s: float
    restarts: int
    drain_s: float


def stop_signals() -> tuple[signal.Signals, ...]:
    """Signals that ask a server to end; that of a closed terminal only where ``nohup`` does not have it ignored."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return (signal.SIGTERM, signal.SIGINT) if ignored else (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass
class Stop:
    """Set by signals: ``asked`` by the first, ``hurry`` by the second."""

    asked: threading.Event = field(default_factory=threading.Event)
    hurry: threading.Event = field(default_factory=threading.Event)

    def on_signals(self) -> None:
        """Let signals set it."""
        for number in stop_signals():
            signal.signal(number, self._take)

    def _take(self, *_: object) -> None:
        if self.asked.is_set():
            self.hurry.set()
        self.asked.set()


class CrashError(Exception):
    """The server has ended, or has said for too long that it is not healthy; says how."""


def supervise(
    name: str,
    argv: Sequence[str],
    env: Mapping[str, str],
    url: str,
    limits: Limits,
    stop: Stop,
    on_ready: Callable[[bool], int | None],
) -> int:
    """Run a server until a signal ends it; gives the exit code.

    Args:
        name: what it is called in messages.
        argv: its command.
        env: its environment.
        url: where ``/health`` answers.
        limits: how patient to be.
        stop: set by signals.
        on_ready: called in a thread each time that it is ready, with whether it is so for the first time; a code ends
            everything with it.

    Raises:
        EndpointError: it never became ready, or died more often than allowed.
    """
    crashes: deque[float] = deque()
    was_ready = False
    while True:
        process = start(argv, env)
        ready = partial(on_ready, not was_ready)
        try:
            if not _wait_until_ready(name, process, url, limits, stop):
                return 0
            was_ready = True
            code = _attend(process, url, stop, ready)
            if code is not None:
                return code
        except CrashError as crash:
            if not was_ready:
                raise EndpointError(f"{name} {crash}; its own messages are above") from None
            _count(name, crash, crashes, limits)
        finally:
            end(process, limits.drain_s if stop.asked.is_set() else 0.0, stop)
        pause = min(LONGEST_PAUSE_S, 2.0 ** (len(crashes) - 1))
        warn(f"{name}: starting again in {pause:g} s")
        if stop.asked.wait(pause):
            return 0


def _count(name: str, crash: CrashError, crashes: deque[float], limits: Limits) -> None:
    now = time.monotonic()
    crashes.append(now)
    while now - crashes[0] > WINDOW_S:
        crashes.popleft()
    if len(crashes) > limits.restarts:
        raise EndpointError(
            f"{name} {crash}, and has been started again {limits.restarts} times within ten minutes "
            "(serve.restarts); its own messages are above"
        )
    warn(f"{name} {crash}")


def start(argv: Sequence[str], env: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    """Start a process that leads a group of its own, and that the kernel asks to end when this process is gone.

    Raises:
        EndpointError: it cannot be started.
    """
    try:
        return subprocess.Popen(
            list(argv),
            env=dict(env),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=end_with_parent(),
        )
    except OSError as error:
        raise EndpointError(f"{argv[0]}: cannot be started ({error.strerror})") from None


def end(process: "subprocess.Popen[bytes]", drain_s: float, stop: Stop) -> None:
    """End a process and its whole group: asked first, and killed when its time is over or a second signal comes."""
    try:
        if process.poll() is None:
            process.terminate()
        deadline = time.monotonic() + drain_s + KILL_S
        while process.poll() is None and time.monotonic() < deadline and not stop.hurry.is_set():
            time.sleep(0.05)
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def healthy(url: str, timeout_s: float = 5.0) -> bool | None:
    """Whether ``/health`` answers 200; none where nothing answers, which a busy or starting server may do."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/health", timeout=timeout_s) as reply:
            return bool(reply.status == 200)
    except urllib.error.HTTPError:
        return False
    except OSError:
        return None


def _wait_until_ready(name: str, process: "subprocess.Popen[bytes]", url: str, limits: Limits, stop: Stop) -> bool:
    """Wait as long as it takes, which can be minutes; false when told to stop meanwhile."""
    deadline = time.monotonic() + limits.start_timeout_s
    while not stop.asked.wait(LOOK_S):
        _require_alive(process)
        if healthy(url):
            return True
        if time.monotonic() > deadline:
            raise EndpointError(
                f"{name} was not ready after {limits.start_timeout_s:g} s; see its messages above, or raise "
                "serve.start_timeout_s"
            )
    return False


def _attend(process: "subprocess.Popen[bytes]", url: str, stop: Stop, on_ready: Callable[[], int | None]) -> int | None:
    """Watch a server that is ready; gives the exit code when told to stop or when ``on_ready`` gave one."""
    told: Future[int | None] = Future()
    thread = threading.Thread(target=_fulfil, args=(told, on_ready), daemon=True)
    thread.start()
    last_look = well = time.monotonic()
    while not stop.asked.wait(LOOK_S):
        if told.done() and (code := told.result()) is not None:
            return code
        try:
            _require_alive(process)
        except CrashError:
            thread.join(KILL_S)  # its requests break off with the server, and its words come before ours
            raise
        now = time.monotonic()
        if now - last_look >= HEALTH_S:
            last_look = now
            well = well if healthy(url) is False else now
            if now - well > SICK_S:
                raise CrashError(f"has not been healthy for {SICK_S:g} s")
    return 0


def _fulfil(told: "Future[int | None]", on_ready: Callable[[], int | None]) -> None:
    try:
        told.set_result(on_ready())
    except BaseException as error:  # noqa: BLE001  # whoever waits for it raises it
        told.set_exception(error)


def _require_alive(process: "subprocess.Popen[bytes]") -> None:
    code = process.poll()
    if code is not None:
        how = f"was ended by signal {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        raise CrashError(how)
