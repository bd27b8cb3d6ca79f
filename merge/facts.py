"""What files say about a merged model: its base, the adapters in it, how they were trained, what they scored.

Reads model and adapter directories, manifests, ``train.jsonl`` and ``eval/report.json``; a file about something else
(other hashes) counts as absent. Writes nothing.
"""

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from merge.adapter import Source
from merge.weights import read_weights
from toolwright.artifacts import Manifest, fingerprint, hash_of, read_manifest, read_rows
from toolwright.config import RunConfig
from toolwright.config_file import find_file
from toolwright.errors import DataError
from toolwright.stage import run_dir


@dataclass(frozen=True)
class Ingredient:
    """An adapter that went into the model; ``stage`` trained it, where its manifest says so."""

    name: str
    weight: float
    sha256: str
    stage: str


@dataclass(frozen=True)
class Made:
    """What a merged model was made of.

    Attributes:
        shown: the base's name for people: a hub id, or a directory's path within its repository.
        hub_id: the base's name on the Hub; empty: a directory that came from elsewhere.
        stages: manifests of the trainings, first to last.
        license: the base's, where its own card names one.
    """

    run: str
    shown: str
    hub_id: str
    license: str
    base_sha256: str
    of: tuple[Ingredient, ...]
    stages: tuple[Manifest, ...]


@dataclass(frozen=True)
class Tool:
    """A tool in the training conversations, and how many of them offered it."""

    name: str
    description: str
    conversations: int


def made_from(base: str, sources: Sequence[Source], run: Path | None) -> Made:
    """What went into a merge; ``run`` is the run's directory, where earlier trainings may be."""
    path = find_file(Path(base))
    local = path.is_dir()
    of = tuple(_ingredient(source, run) for source in sources)
    return Made(
        run=run.name if run else "",
        shown=(_snapshot_of(path) or _short(path)) if local else base,
        hub_id=_snapshot_of(path) if local else base,
        license=_license(path) if local else "",
        base_sha256=fingerprint(path) if local else hash_of(base),
        of=of,
        stages=tuple(_stages(sources, run)),
    )


def _ingredient(source: Source, run: Path | None) -> Ingredient:
    manifest = read_manifest(source.directory)
    inside = run is not None and source.directory.resolve().is_relative_to(run.resolve())
    name = str(source.directory.resolve().relative_to(run.resolve())) if run and inside else _short(source.directory)
    return Ingredient(name, source.weight, fingerprint(source.directory), manifest.stage if manifest else "")


def _short(path: Path) -> str:
    """A relative path as it is; of an absolute one, which others do not have, the last part."""
    return path.name if path.is_absolute() else path.as_posix()


def _snapshot_of(path: Path) -> str:
    """The hub id of a directory in the Hub's cache (``models--ORG--NAME/snapshots/REVISION``), else nothing."""
    if path.resolve().parent.name != "snapshots":
        return ""
    kind, *parts = path.resolve().parents[1].name.split("--")
    return "/".join(parts) if kind == "models" else ""


def _license(base: Path) -> str:
    """The license in the front matter of the base's own card."""
    card = base / "README.md"
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    if not text.startswith("---\n"):
        return ""
    try:
        head = yaml.safe_load(text.split("---\n")[1])
    except yaml.YAMLError:
        return ""
    found = head.get("license") if isinstance(head, dict) else None
    return found if isinstance(found, str) else ""


def _stages(sources: Sequence[Source], run: Path | None) -> Iterator[Manifest]:
    """Manifests of the adapters, each after that of the run's adapter which its training started from."""
    told: set[str] = set()
    for source in sources:
        manifest = read_manifest(source.directory)
        before = read_manifest(run / "sft/adapter") if run else None
        if manifest and before and manifest.inputs.get("start") == before.sha256 and before.sha256 not in told:
            told.add(before.sha256)
            yield before
        if manifest and manifest.sha256 not in told:
            told.add(manifest.sha256)
            yield manifest


def describe_weights(output: Path) -> dict[str, str]:
    """Architecture, size and types of a model directory, from its configuration and its files' headers."""
    settings = json.loads((output / "config.json").read_text(encoding="utf-8"))
    counts: Counter[str] = Counter()
    for tensor in read_weights(output).tensors.values():
        counts[tensor.dtype] += math.prod(tensor.shape)
    total = sum(counts.values())
    types = ", ".join(f"{dtype}" if len(counts) == 1 else f"{dtype} {n / total:.1%}" for dtype, n in counts.items())
    return {
        "Architecture": ", ".join(settings.get("architectures") or []) or str(settings.get("model_type")),
        "Weights": f"{total:,} numbers, {types}",
    }


def tools_of(config: RunConfig, made: Made) -> list[Tool]:
    """Tools in the run's ``train.jsonl``, the most offered first; none if the adapters were trained on other rows."""
    path = run_dir(config) / "train.jsonl"
    trained_on = {stage.inputs.get("train") for stage in made.stages}
    if not path.is_file() or fingerprint(path) not in trained_on:
        return []
    offers: Counter[str] = Counter()
    try:
        offers.update(str(row.get("tools") or "[]") for _, row in read_rows(path))
        return _count_tools(offers)
    except (DataError, ValueError, TypeError, KeyError):
        return []  # whether the file is right is the business of the stages that read it


def _count_tools(offers: Mapping[str, int]) -> list[Tool]:
    descriptions: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for text, number in offers.items():
        for tool in json.loads(text):
            function = tool["function"]
            descriptions.setdefault(function["name"], function.get("description") or "")
            counts[function["name"]] += number
    return [Tool(name, descriptions[name], number) for name, number in counts.most_common()]


def evaluation_of(run: Path, output: Path, made: Made) -> dict[str, Any] | None:
    """The run's ``eval/report.json`` with the name of this model's row as ``this``; none if it has no such row."""
    try:
        report: dict[str, Any] = json.loads((run / "eval/report.json").read_text(encoding="utf-8"))
        hashes = report["receipt"]["hashes"]
        merged = fingerprint(output)
        for row in report["models"]:
            adapter, model = hashes.get(f"{row['name']}: adapter"), hashes.get(f"{row['name']}: model")
            same = adapter is None and model == merged
            if len(made.of) == 1 and made.of[0].weight == 1.0:
                same = same or (adapter == made.of[0].sha256 and model in (made.base_sha256, made.hub_id))
            if same:
                return {**report, "this": row["name"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return None
