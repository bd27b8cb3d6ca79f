"""What a configuration asks merge for: the base, the adapters with their weights, and where the result goes."""

import dataclasses
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from merge.adapter import Source
from merge.output import require_writable
from toolwright.artifacts import fingerprint, read_manifest, require
from toolwright.config import RunConfig
from toolwright.config_file import find_file
from toolwright.errors import ArtifactError, ConfigError, ModelError
from toolwright.model import adapter_base, model_source
from toolwright.stage import Job, run_dir
from toolwright.words import shorten

COMMAND = "python -m merge"
STAGES = {"sft": "python -m sft.train", "rl": "python -m rl.train"}
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?I?)B?", re.IGNORECASE)


@dataclass(frozen=True)
class Order:
    """What is to be merged: ``base`` is a directory or a hub id."""

    base: Path | str
    sources: tuple[Source, ...]
    output: Path
    of_run: bool

    @property
    def parity(self) -> Path:
        """Where the measurement goes: beside the output, ``parity.json`` in a run."""
        name = "parity.json" if self.output.name == "merged" and self.of_run else f"{self.output.name}.parity.json"
        return self.output.with_name(name)


def read_order(config: RunConfig) -> Order:
    """Find what is to be merged.

    Raises:
        ArtifactError: an adapter of the run that is not there, unfinished or changed; names the command that makes it.
        ModelError: a directory that is no adapter, or no base.
        ConfigError: no adapter, one that counts twice, a weight that is no number, or no name for the result.
    """
    named = _named(config)
    if not named:
        raise ConfigError("merge.adapter: name at least one adapter")
    for name, weight in named:
        if not 0 < weight < math.inf:
            raise ConfigError(
                f"merge.adapter: the weight of {name} is {weight:g}, expected a number above 0, such as 0.5"
            )
    sources = tuple(Source(_adapter(config, name), weight) for name, weight in named)
    _require_once(sources)
    base = config.merge.base or (is_foreign(config) and _own_base(sources[0].directory)) or config.model
    return Order(model_source(base), sources, _output(config), config.merge.out is None)


def _named(config: RunConfig) -> list[tuple[str, float]]:
    """The adapters that are asked for, with their weights."""
    wanted = config.merge.adapter
    return _words(wanted) if isinstance(wanted, str) else [(one.path, one.weight) for one in wanted]


def is_foreign(config: RunConfig) -> bool:
    """Whether no adapter is the run's."""
    return all(name not in STAGES for name, _ in _named(config))


def _require_once(sources: Sequence[Source]) -> None:
    """Refuse adapters that would be added twice: by name, or within one that was trained on from it."""
    places = [source.directory.resolve() for source in sources]
    for source in sources:
        if places.count(source.directory.resolve()) > 1:
            raise ConfigError(
                f"merge.adapter: {source.directory} is named twice; name it once: PATH, or PATH:2 for double"
            )
        manifest = read_manifest(source.directory)
        start = manifest.inputs.get("start") if manifest else None
        held = next((other.directory for other in sources if start and fingerprint(other.directory) == start), None)
        if held:
            raise ConfigError(
                f"merge.adapter: {source.directory} was trained on from {held}, so it holds that one; name only it"
            )


def _own_base(adapter: Path) -> str | None:
    """The base that an adapter names, if that is there."""
    named = adapter_base(adapter)
    try:
        if named:
            model_source(named)
    except ModelError:
        raise ModelError(
            f"{adapter}: was trained on {named}, says its adapter_config.json, which is not there; name the base: "
            "--base DIR"
        ) from None
    return named


def _output(config: RunConfig) -> Path:
    if config.merge.out is None:
        return run_dir(config) / "merged"
    output = Path(config.merge.out)
    if output.name in ("", "..") or config.merge.out.startswith("~"):  # only a shell knows what ~ is
        raise ConfigError(f"merge.out: {config.merge.out!r} is no name for a directory; write --out PATH/NAME")
    return output


def _words(text: str) -> list[tuple[str, float]]:
    """``sft`` or ``a,b:0.5``; a directory is one, whatever its name."""
    if _is_adapter(text):
        return [(text, 1.0)]
    found: list[tuple[str, float]] = []
    for word in filter(None, (part.strip() for part in text.split(","))):
        name, colon, weight = word.rpartition(":")
        if _is_adapter(word):
            found.append((word, 1.0))
            continue
        try:
            found.append((name, float(weight)) if colon else (word, 1.0))
        except ValueError:
            raise ConfigError(
                f"merge.adapter: {weight!r} after the colon is no weight; write PATH or PATH:0.5"
            ) from None
    return found


def _is_adapter(name: str) -> bool:
    return (find_file(Path(name)) / "adapter_config.json").is_file()


def _adapter(config: RunConfig, name: str) -> Path:
    if name in STAGES:
        path = run_dir(config) / name / "adapter"
        require(path, made_by=STAGES[name])
        return path
    path = find_file(Path(name))
    if not _is_adapter(name):
        raise ModelError(f"{name}: not an adapter directory (no adapter_config.json); use sft, rl, or a directory")
    named: object = adapter_base(path)
    if not isinstance(named, str | None):
        raise ModelError(
            f"{path}/adapter_config.json: base_model_name_or_path is {shorten(named)}, expected the name of a model"
        )
    if read_manifest(path) is not None:
        require(path, made_by="the command that trained it")
    return path


def merge_job(config: RunConfig, order: Order) -> Job:
    """The job, with everything that its result depends on."""
    settings = config.merge.model_dump(exclude={"base", "adapter", "out", "replace", "threads"})
    settings |= {"weights": [source.weight for source in order.sources]}
    inputs: dict[str, Path | str] = {"model": order.base}
    for index, source in enumerate(order.sources):
        inputs["adapter" if index == 0 else f"adapter_{index + 1}"] = source.directory
    job = Job.of(config, "merge", output="merged", command=COMMAND, settings=settings, inputs=inputs)
    return dataclasses.replace(job, output=order.output)


def require_place(order: Order, replace: bool) -> None:
    """Refuse to write over a directory that no merge made, into what is merged, and where nothing can be written.

    Raises:
        ArtifactError: names what to do.
        ConfigError: the output is a base or an adapter of this merge, within one, or around one.
    """
    output = order.output
    place = output.resolve()
    for source in (order.base, *(source.directory for source in order.sources)):
        home = source.resolve() if isinstance(source, Path) else None
        if home and (place.is_relative_to(home) or home.is_relative_to(place)):
            raise ConfigError(
                f"merge.out: {output} is, holds or lies within {source}, which is merged; name a directory beside it"
            )
    if place.is_mount():
        raise ConfigError(f"merge.out: {output} is where a disk begins, which nothing can replace; name {output}/NAME")
    ours = replace or read_manifest(output) is not None or applied_before(order.parity)
    if output.exists() and not ours and (not output.is_dir() or any(output.iterdir())):
        raise ArtifactError(f"{output}: is there, and no merge made it; name another --out, or add --replace")
    require_writable(output)


def applied_before(parity: Path) -> dict[str, Any]:
    """What a merge wrote down of its own work, which a measurement cannot know; nothing where none did."""
    try:
        content = json.loads(parity.read_text(encoding="utf-8"))
        return {"applied": content["applied"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def shard_bytes(text: str | None) -> int | None:
    """``5GB`` or ``500MiB`` as bytes.

    Raises:
        ConfigError: not a size.
    """
    if text is None:
        return None
    found = _SIZE.fullmatch(text.strip())
    if found is None or float(found[1]) == 0:
        raise ConfigError(f"merge.max_shard_size: expected a size such as 5GB, got {text!r}")
    return int(float(found[1]) * _UNITS[found[2].upper()])
