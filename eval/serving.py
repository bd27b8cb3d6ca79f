"""Which model a name means, and an endpoint for it: a directory is served by a child process for the time.

The child is ``python -m serve … --port 0`` in a process group of its own; it is ended when the block ends, also by an
exception, and by the kernel (Linux) should this process be killed.
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
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import yaml

from toolwright.artifacts import fingerprint, hash_of, require
from toolwright.config import RunConfig
from toolwright.config_file import find_file
from toolwright.errors import ArtifactError, ConfigError, EndpointError, ModelError
from toolwright.stage import run_dir

STOP_S = 15.0
_READY = re.compile(r"serving (.+) on (https?://\S+)\s*")
"""The line of ``python -m serve``, and no other: vLLM itself says early that it is "Starting … on http://…"."""
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Endpoint:
    """A model that can be asked: the base URL (``…/v1``), the name to ask for, the key, and whether we serve it."""

    url: str
    model: str
    api_key: str
    ours: bool


@dataclass(frozen=True)
class Candidate:
    """A model to score: an endpoint's URL, or weights to serve with an optional adapter on top.

    ``inputs`` are what its results depend on, for the manifest: paths by content, strings as they are.
    """

    name: str
    model: str = ""
    adapter: Path | None = None
    url: str | None = None
    inputs: dict[str, Path | str] = field(default_factory=dict)

    @property
    def file_name(self) -> str:
        """The name as part of a file name."""
        return re.sub(r"[^A-Za-z0-9._-]+", "_", self.name).strip("_.") or "model"


def find_candidates(config: RunConfig, arguments: str = "") -> list[Candidate]:
    """What each of ``eval.models`` means; ``arguments`` are the words after a command, for advice in errors.

    Raises:
        ArtifactError: a model of the run that is not there yet, stale or unfinished; names the command that makes it.
        ConfigError: no model, or one named twice.
        ModelError: a directory that does not exist.
    """
    candidates = [_candidate(config, name, arguments) for name in config.eval.models]
    names = [candidate.file_name for candidate in candidates]
    twice = next((name for name in names if names.count(name) > 1), None)
    if not names or twice:
        given = ", ".join(config.eval.models) or "nothing"
        raise ConfigError(f"eval.models: {'name each model once' if twice else 'name at least one model'}, got {given}")
    return candidates


def _candidate(config: RunConfig, name: str, arguments: str) -> Candidate:
    run = run_dir(config)
    after = f" {arguments}" if arguments else ""
    if name.startswith(("http://", "https://")):
        return Candidate(name, url=name.rstrip("/"), inputs={"url": name, "model": config.eval.model_name or ""})
    if name == "base":
        model = _weights(config.model)
        return Candidate(name, str(model), inputs={"model": model})
    if name == "sft":
        return _with_adapter(config, name, run / "sft/adapter", f"accelerate launch sft/train.py{after}")
    if name == "rl":
        adapter = run / "rl/adapter"
        manifest = require(adapter, made_by=f"python -m rl.train{after}")
        if merged_from(run / "merged") == manifest.sha256:
            return Candidate(name, str(run / "merged"), inputs={"model": run / "merged"})
        return _with_adapter(config, name, adapter, f"python -m rl.train{after}")
    if name == "merged":
        require(run / "merged", made_by=f"python -m merge{after}")
        return Candidate(name, str(run / "merged"), inputs={"model": run / "merged"})
    return _directory(config, name)


def _weights(model: str) -> Path | str:
    found = find_file(Path(model))
    return found if found.is_dir() else model


def _with_adapter(config: RunConfig, name: str, adapter: Path, made_by: str) -> Candidate:
    manifest = require(adapter, made_by=made_by)
    model = _weights(config.model)
    trained_on = manifest.inputs.get("model")
    if trained_on and trained_on != (fingerprint(model) if isinstance(model, Path) else hash_of(model)):
        raise ArtifactError(f"{adapter} was trained on another base than {config.model}; make it anew with: {made_by}")
    return Candidate(name, str(model), adapter, inputs={"model": model, "adapter": adapter})


def _directory(config: RunConfig, name: str) -> Candidate:
    path = find_file(Path(name))
    if (path / "adapter_config.json").is_file():
        return _foreign_adapter(config, path)
    if not (path / "config.json").is_file():
        what = "a directory without config.json or adapter_config.json" if path.is_dir() else "no such directory"
        raise ModelError(
            f"eval.models: {name!r} is {what}; use base, sft, rl, merged, a directory with a model or an adapter, or "
            "http://…/v1"
        )
    return Candidate(_short_name(config, path), str(path), inputs={"model": path})


def _foreign_adapter(config: RunConfig, adapter: Path) -> Candidate:
    """An adapter from anywhere, a checkpoint for one, on the base of the configuration."""
    from toolwright.model import require_same_base  # loads torch, which no other name needs

    model = _weights(config.model)
    require_same_base(adapter, model)
    return Candidate(_short_name(config, adapter), str(model), adapter, inputs={"model": model, "adapter": adapter})


def _short_name(config: RunConfig, path: Path) -> str:
    """The directory's own name; its path where another model of the list has that name too: each run has `adapter`."""
    own = path.resolve().name
    names = [Path(model).resolve().name for model in config.eval.models]
    return own if names.count(own) == 1 else str(path.resolve())


def merged_from(merged: Path) -> str | None:
    """The hash of the adapter that a finished ``merged/`` was made from; none if there is no such directory."""
    try:
        return require(merged, made_by="python -m merge").inputs.get("adapter")
    except ArtifactError:
        return None


def first_model(base_url: str, api_key: str, timeout_s: float = 30.0) -> str:
    """The first model that an endpoint lists.

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
            "(eval.api_key_env), or name the model with eval.model_name"
        ) from None
    except (openai.OpenAIError, AttributeError, TypeError, ValueError) as error:
        reason = error.__cause__ or error
        raise EndpointError(
            f"{base_url}/models: {type(reason).__name__}: {reason}; is the server up, does the URL end in /v1? "
            "eval.model_name names a model without asking"
        ) from None
    if not names:
        raise EndpointError(f"{base_url}/models: the endpoint lists no model; name one with eval.model_name")
    return names[0]


@contextmanager
def endpoint(config: RunConfig, candidate: Candidate) -> Iterator[Endpoint]:
    """The endpoint of a candidate; serves it for the time unless it has a URL already.

    Raises:
        EndpointError: a URL that does not answer, or lists no model.
        ModelError: the server ended or was not ready in ``eval.serve_timeout_s``; shows its last lines.
    """
    section = config.eval
    if candidate.url:
        key = os.environ.get(section.api_key_env) or "EMPTY"
        yield Endpoint(candidate.url, section.model_name or first_model(candidate.url, key), key, ours=False)
        return
    with tempfile.TemporaryDirectory(prefix="toolwright-eval-") as folder:
        settings = Path(folder) / "config.yaml"
        # What the file says about serving is for others: an adapter there would come on top of the base too.
        serve = config.serve.model_copy(update={"adapter": None, "host": "127.0.0.1", "check": False})
        content = config.model_copy(update={"serve": serve}).model_dump(mode="json")
        settings.write_text(yaml.safe_dump(content), encoding="utf-8")
        command = [sys.executable, "-m", "serve", str(settings), "--model", candidate.model, "--port", "0"]
        if candidate.adapter:
            command += ["--adapter", str(candidate.adapter)]
        key = os.environ.get(config.serve.api_key_env or "") or "EMPTY"
        with serving(command, timeout_s=section.serve_timeout_s) as (model, url):
            yield Endpoint(f"{url}/v1", model, key, ours=True)


@contextmanager
def serving(command: Sequence[str], *, timeout_s: float, stop_s: float = STOP_S) -> Iterator[tuple[str, str]]:
    """Run a server for the time of the block; yields name and address from its line ``serving NAME on http://…``.

    The list of models would not do: vLLM puts the base before the adapter on top of it.

    Args:
        command: what starts it.
        timeout_s: deadline for that line (s).
        stop_s: how long it may take to end when asked to, before it is killed (s).

    Raises:
        ModelError: it ended, at the start or later, or was not ready in time; shows its last lines.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
            preexec_fn=_end_with_parent(),
        )
        try:
            ready = _wait_until_ready(process, timeout_s)
            if ready is None:
                ended = process.poll()
                what = f"ended with code {ended}" if ended is not None else f"was not ready after {timeout_s:g} s"
                raise _server_error(command, what, log)
            try:
                yield ready
            except EndpointError:
                if process.poll() is None:
                    raise
                raise _server_error(command, f"ended with code {process.returncode} while in use", log) from None
        finally:
            _stop(process, stop_s)


def _server_error(command: Sequence[str], what: str, log: IO[str]) -> ModelError:
    return ModelError(f"`{' '.join(['python', *command[1:]])}` {what}; its last words: {_tail(log)}")


def _end_with_parent() -> Callable[[], None] | None:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)  # loaded here: between fork and exec only the system call itself is safe
    return lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


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
