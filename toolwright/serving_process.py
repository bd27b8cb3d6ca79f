"""A model server for a while: ``python -m serve`` as a child process, and what an endpoint says that it serves.

The child is in a process group of its own; it is ended when the block ends, also by an exception, and by the kernel
(Linux) should this process be killed.
"""

import ctypes
import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import yaml

from toolwright.config import RunConfig
from toolwright.errors import EndpointError, ModelError

STOP_S = 15.0
_READY = re.compile(r"serving (.+) on (https?://\S+)\s*")
"""The line of ``python -m serve``, and no other: vLLM itself says early that it is "Starting … on http://…"."""
_PR_SET_PDEATHSIG = 1


def list_models(
    base_url: str, api_key: str, *, model_setting: str, key_setting: str, timeout_s: float = 30.0
) -> list[str]:
    """The models that an endpoint lists, at least one.

    Args:
        base_url: ends in ``/v1``.
        api_key: what is sent.
        model_setting: the setting that names a model, for advice in errors.
        key_setting: the setting that names the variable with the key, likewise.
        timeout_s: deadline of one attempt (s).

    Raises:
        EndpointError: it does not answer, refuses, or lists none.
    """
    import openai  # takes a second, which a command that ends with an earlier error should not pay

    try:
        with openai.OpenAI(base_url=base_url, api_key=api_key, timeout=timeout_s, max_retries=2) as client:
            names = [str(model.id) for model in client.models.list().data or ()]
    except openai.APIStatusError as error:
        text = " ".join(error.response.text.split())[:120]
        raise EndpointError(
            f"{base_url}/models: HTTP {error.status_code}: {text!r}; correct the URL (it ends in /v1) or the key "
            f"({key_setting}), or name the model with {model_setting}"
        ) from None
    except (openai.OpenAIError, AttributeError, TypeError, ValueError) as error:
        reason = error.__cause__ or error
        raise EndpointError(
            f"{base_url}/models: {type(reason).__name__}: {reason}; is the server up (`python -m serve --model merged` "
            f"starts one), does the URL end in /v1? {model_setting} names a model without asking"
        ) from None
    if not names:
        raise EndpointError(f"{base_url}/models: the endpoint lists no model; name one with {model_setting}")
    return names


@contextmanager
def serve_configured(config: RunConfig, *, timeout_s: float) -> Iterator[tuple[str, str, str]]:
    """Serve what section ``serve`` names, for this machine only, on a free port.

    Args:
        config: a child process reads it from a file.
        timeout_s: deadline for the server to be ready (s).

    Yields:
        The base URL (``…/v1``), the name to ask for, and the key to send.

    Raises:
        ModelError: the server ended or was not ready in time; shows its last lines.
    """
    with tempfile.TemporaryDirectory(prefix="toolwright-serve-") as folder:
        settings = Path(folder) / "config.yaml"
        serve = config.serve.model_copy(update={"host": "127.0.0.1", "port": 0, "check": False, "receipt": None})
        content = config.model_copy(update={"serve": serve}).model_dump(mode="json")
        settings.write_text(yaml.safe_dump(content), encoding="utf-8")
        key = os.environ.get(serve.api_key_env or "") or "EMPTY"
        words = ["--model", serve.model, *(["--adapter", serve.adapter] if serve.adapter else [])]
        command = [sys.executable, "-m", "serve", str(settings), *words]
        with serving(command, timeout_s=timeout_s, shown=f"python -m serve {' '.join(words)}") as (model, url):
            yield f"{url}/v1", model, key


@contextmanager
def serving(
    command: Sequence[str], *, timeout_s: float, stop_s: float = STOP_S, shown: str | None = None
) -> Iterator[tuple[str, str]]:
    """Run a server for the time of the block; yields name and address from its line ``serving NAME on http://…``.

    The list of models would not do: vLLM puts the base before the adapter on top of it.

    Args:
        command: what starts it.
        timeout_s: deadline for that line (s).
        stop_s: how long it may take to end when asked to, before it is killed (s).
        shown: the command as errors name it; None: as it is.

    Raises:
        ModelError: it ended, at the start or later, or was not ready in time; shows its last lines.
    """
    name = shown or " ".join(["python", *command[1:]])
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
            preexec_fn=end_with_parent(),
        )
        try:
            ready = _wait_until_ready(process, timeout_s)
            if ready is None:
                ended = process.poll()
                what = f"ended with code {ended}" if ended is not None else f"was not ready after {timeout_s:g} s"
                raise _server_error(name, what, log)
            try:
                yield ready
            except EndpointError:
                if process.poll() is None:
                    raise
                raise _server_error(name, f"ended with code {process.returncode} while in use", log) from None
        finally:
            _stop(process, stop_s)


def _server_error(name: str, what: str, log: IO[str]) -> ModelError:
    return ModelError(f"`{name}` {what}; its last words: {_tail(log)}")


def end_with_parent() -> Callable[[], None] | None:
    """For a child between fork and exec (``preexec_fn``): the kernel asks it to end when this process is gone."""
    if not sys.platform.startswith("linux"):
        return None
    libc, parent = ctypes.CDLL(None), os.getpid()  # loaded here: in the child only the system call itself is safe

    def ask() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before it could be asked for
            os._exit(1)

    return ask


def _wait_until_ready(process: "subprocess.Popen[str]", timeout_s: float) -> tuple[str, str] | None:
    found: queue.Queue[tuple[str, str] | None] = queue.Queue()

    def read() -> None:
        # Reads on after the address came, so that a talkative server never blocks on a full pipe.
        for line in process.stdout or ():
            if line_read := _READY.fullmatch(line):
                found.put((line_read[1], line_read[2].rstrip("/").removesuffix("/v1")))
        found.put(None)

    threading.Thread(target=read, daemon=True).start()
    try:
        ready = found.get(timeout=timeout_s)
    except queue.Empty:
        return None
    if ready is None:
        process.wait(STOP_S)
    return ready


def _tail(log: IO[str], lines: int = 3, limit: int = 600) -> str:
    log.seek(0)
    text = [line.strip() for line in log.read().splitlines() if line.strip()]
    return " | ".join(text[-lines:])[-limit:] or "none"


def _stop(process: "subprocess.Popen[str]", stop_s: float) -> None:
    """End the whole process group, first politely; what outlives the leader is killed too."""
    _signal_group(process.pid, signal.SIGTERM)
    try:
        process.wait(stop_s)
    except subprocess.TimeoutExpired:
        pass
    finally:
        _signal_group(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout:
            process.stdout.close()


def _signal_group(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return
