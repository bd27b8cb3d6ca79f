"""What a configuration asks merge for: the base, the adapters with their weights, and where the result goes."""

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path

from merge.adapter import Source
from toolwright.artifacts import read_manifest, require
from toolwright.config import RunConfig
from toolwright.config_file import find_file
from toolwright.errors import ArtifactError, ConfigError, ModelError
from toolwright.model import adapter_base, model_source
from toolwright.stage import Job, run_dir

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
        ConfigError: no adapter, or a weight that is no number.
    """
    wanted = config.merge.adapter
    named = _words(wanted) if isinstance(wanted, str) else [(one.path, one.weight) for one in wanted]
    if not named:
        raise ConfigError("merge.adapter: name at least one adapter")
    sources = tuple(Source(_adapter(config, name), weight) for name, weight in named)
    foreign = all(name not in STAGES for name, _ in named)
    base = config.merge.base or (foreign and adapter_base(sources[0].directory)) or config.model
    of_run = config.merge.out is None
    output = run_dir(config) / "merged" if config.merge.out is None else Path(config.merge.out)
    return Order(model_source(base), sources, output, of_run)


def _words(text: str) -> list[tuple[str, float]]:
    """``sft`` or ``a,b:0.5``."""
    found = []
    for word in filter(None, (part.strip() for part in text.split(","))):
        name, colon, weight = word.rpartition(":")
        try:
            found.append((name, float(weight)) if colon else (word, 1.0))
        except ValueError:
            raise ConfigError(
                f"merge.adapter: {weight!r} after the colon is no weight; write PATH or PATH:0.5"
            ) from None
    return found


def _adapter(config: RunConfig, name: str) -> Path:
    if name in STAGES:
        path = run_dir(config) / name / "adapter"
        require(path, made_by=STAGES[name])
        return path
    path = find_file(Path(name))
    if not (path / "adapter_config.json").is_file():
        raise ModelError(f"{name}: not an adapter directory (no adapter_config.json); use sft, rl, or a directory")
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


def require_ours(order: Order, replace: bool) -> None:
    """Refuse to write over a directory that no merge made.

    Raises:
        ArtifactError: names what to do.
    """
    output = order.output
    if not output.exists() or replace or read_manifest(output) is not None or order.parity.exists():
        return
    if not output.is_dir() or any(output.iterdir()):
        raise ArtifactError(f"{output}: is there, and no merge made it; name another --out, or add --replace")


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
