"""What a run was made of: as its directory tells, for commands that get no configuration, and as one names it.

Reads the manifests of ``merged`` and of the adapters, an adapter's ``adapter_config.json``, and the names of the files
in ``configs/``; writes nothing.
"""

import json
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from toolwright.artifacts import Manifest, fingerprint, hash_of, read_manifest, require
from toolwright.config import MergeConfig, RunConfig
from toolwright.config_file import find_file
from toolwright.errors import ArtifactError, ConfigError
from toolwright.stage import run_dir

MADE_BY = {"rl": "python -m rl.train", "sft": "python -m sft.train"}


def recall_run(run: Path, given: Collection[str] = ()) -> list[str]:
    """A configuration file, if one has the run's name, and overrides that make a configuration the run's own.

    ``given`` are keys that the user names himself, so that they are not looked for.

    Raises:
        ArtifactError: no finished ``merged`` in it.
        ConfigError: it was merged from what is not there; says what to name.
    """
    words = [f"name={run.resolve().name}", f"runs_dir={run.resolve().parent}"]
    file = _configuration(run.resolve().name)
    merged = require(run / "merged", made_by=made_by("merge", [str(file), *words] if file else words))
    if "merge.adapter" not in given:
        adapters = list(_adapters(run, merged))
        words += [
            f"merge.adapter={','.join(f'{name}:{weight:g}' if weight != 1 else name for name, weight in adapters)}"
        ]
        words += [f"model={_base(run, adapters[0][0], merged)}"] if "model" not in given else []
    known = MergeConfig.model_fields.keys() - {"adapter", "base", "out"}
    settings = {key: value for key, value in merged.settings.items() if key in known}
    words += [
        f"merge.{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in settings.items()
    ]
    return [str(file), *words] if file else words


def made_by(stage: str, words: Sequence[str]) -> str:
    """The command that makes something anew, with the words that name its run."""
    return f"python -m {stage} {shlex.join(words)} merge.replace=true".replace("  ", " ")


def named_adapters(config: RunConfig) -> list[tuple[str, Path]]:
    """Name and directory of each adapter that a configuration merges.

    Raises:
        ArtifactError: one is not there.
    """
    wanted = config.merge.adapter
    if isinstance(wanted, str):
        words = (word.strip() for word in wanted.split(","))
        names = [word.rpartition(":")[0] or word for word in words if word]
    else:
        names = [one.path for one in wanted]
    found = []
    for name in names:
        path = run_dir(config) / name / "adapter" if name in MADE_BY else find_file(Path(name))
        if not (path / "adapter_config.json").is_file():
            raise ArtifactError(f"{path}: no adapter there; make it with: {MADE_BY.get(name, 'its training')}")
        found.append((name, path))
    return found


def named_base(config: RunConfig, adapters: Sequence[tuple[str, Path]]) -> str:
    """The base that a configuration merges into: with adapters from elsewhere only, the one that the first names."""
    foreign = all(name not in MADE_BY for name, _ in adapters)
    return config.merge.base or (foreign and adapters and _named_by(adapters[0][1])) or config.model


def _named_by(adapter: Path) -> str:
    path = adapter / "adapter_config.json"
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"{path}: cannot be read: {error}; train the adapter again, or name the base: model=DIR"
        ) from None
    return (isinstance(settings, dict) and settings.get("base_model_name_or_path")) or ""


def adapter_inputs(inputs: Mapping[str, str]) -> dict[str, str]:
    """Of a merge's inputs the adapters, in the order in which they were applied."""
    return {name: value for name, value in inputs.items() if name.startswith("adapter")}


def base_hash(base: str) -> str:
    """What a manifest lists for a base model: the hash of a directory's content, or of a hub id."""
    path = find_file(Path(base))
    return fingerprint(path) if path.is_dir() else hash_of(base)


def _adapters(run: Path, merged: Manifest) -> Iterator[tuple[str, float]]:
    """The run's adapters that were merged, by their hashes, each with its weight."""
    there = {name: manifest.sha256 for name in MADE_BY if (manifest := read_manifest(run / name / "adapter"))}
    wanted = list(adapter_inputs(merged.inputs).values())
    weights: list[Any] = merged.settings.get("weights") or [1.0] * len(wanted)
    for sha256, weight in zip(wanted, weights, strict=True):
        name = next((name for name, found in there.items() if found == sha256), None)
        if name is None:
            raise ConfigError(
                f"{run}: merged was made from an adapter (SHA-256 {sha256[:12]}…) that is neither its rl nor its sft; "
                "merge again, or name it: merge.adapter=DIR model=DIR"
            )
        yield name, float(weight)


def _base(run: Path, adapter: str, merged: Manifest) -> str:
    named = _named_by(run / adapter / "adapter")
    if base_hash(named) != merged.inputs.get("model"):
        raise ConfigError(
            f"{run}: the base that its adapter names ({named or 'none'}) is not the one that was merged into; name "
            f"that: toolwright verify {run} model=DIR"
        )
    return named


def _configuration(name: str) -> Path | None:
    """The one file in ``configs/`` whose run has this name."""
    found = []
    for path in sorted(find_file(Path("configs")).glob("*.yaml")):
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError):
            continue
        if isinstance(content, dict) and content.get("name") == name:
            found.append(path)
    return found[0] if len(found) == 1 else None
