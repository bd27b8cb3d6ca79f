"""Which model a name means, and an endpoint for it: a directory is served by a child process for the time."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from toolwright.artifacts import fingerprint, hash_of, require
from toolwright.config import RunConfig
from toolwright.config_file import find_file
from toolwright.errors import ArtifactError, ConfigError, ModelError
from toolwright.serving_process import list_models, serve_configured
from toolwright.stage import run_dir


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
    names = list_models(
        base_url, api_key, model_setting="eval.model_name", key_setting="eval.api_key_env", timeout_s=timeout_s
    )
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
    # What the file says about serving is for others: an adapter there would come on top of the base too.
    adapter = str(candidate.adapter) if candidate.adapter else None
    serve = config.serve.model_copy(update={"model": candidate.model, "adapter": adapter})
    with serve_configured(config.model_copy(update={"serve": serve}), timeout_s=section.serve_timeout_s) as served:
        yield Endpoint(*served, ours=True)
