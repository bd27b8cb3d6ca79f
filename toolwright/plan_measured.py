"""What stages of a run measured when they ran: time and memory from their manifests, lengths from RL's metrics."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from toolwright.artifacts import Manifest, read_manifest, read_rows
from toolwright.config import RunConfig
from toolwright.errors import DataError
from toolwright.stage import run_dir

MIB = 2**20
_FREE = {
    "sft": {"data", "dev_data", "logging_steps", "save_steps", "encode_processes", "trackers"},
    "rl": {"save_steps"},
    "merge": {"adapter", "out", "replace", "threads"},
    "eval": {"models", "concurrency", "timeout_s", "retries"},
}
"""Settings of a section that hardly change what its stage takes."""


class Measured(NamedTuple):
    """Wall time, and the largest resident memory of the process (bytes)."""

    wall_s: float
    peak_bytes: float

    def note(self, estimated: float | None) -> str:
        """For the reader: what was measured, and how far the estimate of memory is from it."""
        if not estimated:
            return "measured by an earlier run"
        return f"measured by an earlier run; memory was estimated at {estimated / self.peak_bytes:.2f} of that"


def measured_stages(config: RunConfig) -> Mapping[str, Measured]:
    """Stages of the run that finished with these settings; ``data`` is questions, conversations and split together."""
    run = run_dir(config)
    data = [read_manifest(run / name) for name in ("questions.jsonl", "conversations.jsonl", "train.jsonl")]
    found: dict[str, Measured] = {}
    if all(data):
        found["data"] = _sum(manifest for manifest in data if manifest is not None)
    files = {"sft": "sft/adapter", "rl": "rl/adapter", "merge": "merged", "eval": "eval/report.json"}
    if config.sft.method == "full":
        files["sft"] = "sft/model"
    for stage, name in files.items():
        manifest = read_manifest(run / name)
        if manifest is not None and _same(manifest, stage, config):
            found[stage] = _sum([manifest])
    return found


def _sum(manifests: Iterable[Manifest]) -> Measured:
    listed = list(manifests)
    return Measured(sum(m.wall_s for m in listed), max(m.peak_rss_mib for m in listed) * MIB)


def _same(manifest: Manifest, stage: str, config: RunConfig) -> bool:
    """Whether the stage ran with what the configuration says now, as far as its manifest tells."""
    section: dict[str, Any] = json.loads(getattr(config, stage).model_dump_json())
    then: Mapping[str, Any] = manifest.settings.get(stage, manifest.settings)
    shared = section.keys() & then.keys() - _FREE[stage]
    return all(section[key] == then[key] for key in shared)


def rollout_tokens(config: RunConfig) -> float | None:
    """Mean tokens of a rollout after its prompt, as RL's metrics have it; none if it has not run."""
    path: Path = run_dir(config) / "rl" / "metrics.jsonl"
    if not path.is_file():
        return None
    try:
        found = [row.get("completion_tokens") for _, row in read_rows(path)]
    except DataError:  # a line that a kill cut short
        return None
    lengths = [length for length in found if isinstance(length, int | float)]
    return sum(lengths) / len(lengths) if lengths else None
