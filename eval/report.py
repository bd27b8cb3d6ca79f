"""What the report says, gathered from the rows of the models and from the manifests of the run.

Reads manifests, ``questions.jsonl``, ``conversations.jsonl``, ``train.jsonl`` (counts) and the ``metrics.jsonl`` of SFT
and RL; writes ``eval/report.json``, ``eval/report.html`` and ``eval/reward_curve.png``.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from eval.charts import draw_reward_curve
from eval.heldout import HeldoutTask
from eval.page import Curves, build_page
from eval.serving import Candidate
from eval.summary import TaskRow, consecutive_pairs, summarise
from toolwright.artifacts import fingerprint, read_manifest, read_rows, write_text
from toolwright.chain import artifact_paths
from toolwright.config import RunConfig
from toolwright.stage import package_versions, run_dir

TEMPLATE = "chat_template.jinja"


def build_report(
    config: RunConfig,
    candidates: Sequence[Candidate],
    tasks: Sequence[HeldoutTask],
    rows_by_model: Mapping[str, Sequence[TaskRow]],
) -> dict[str, Any]:
    """The content of ``report.json``."""
    return {
        "run": config.name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": config.seed,
        "tasks": len(tasks),
        "models": [summarise(name, rows) for name, rows in rows_by_model.items()],
        "paired": consecutive_pairs(rows_by_model),
        "funnel": funnel(config),
        "versions": package_versions(),
        "receipt": {"hashes": hashes(candidates), "stages": stages(config)},
    }


def funnel(config: RunConfig) -> list[dict[str, Any]]:
    """How many are left at each step of the data, as far as the run has them."""
    run = run_dir(config)
    questions = read_manifest(run / "questions.jsonl")
    sft = read_manifest(run / "sft/adapter")
    steps: list[tuple[str, int | None]] = [
        ("blueprints", questions.counts.get("drawn") if questions else None),
        ("questions", _count_rows(run / "questions.jsonl")),
        ("kept", _count_rows(run / "conversations.jsonl")),
        ("trained", sft.counts.get("rows") if sft else _count_rows(run / "train.jsonl")),
    ]
    return [{"step": step, "n": n} for step, n in steps if n is not None]


def _count_rows(path: Path) -> int | None:
    return sum(1 for _ in read_rows(path)) if path.exists() else None


def hashes(candidates: Sequence[Candidate]) -> dict[str, str]:
    """SHA-256 of what each model was made of, with its chat template; URLs stand for themselves."""
    found: dict[str, str] = {}
    for candidate in candidates:
        for name, source in candidate.inputs.items():
            found[f"{candidate.name}: {name}"] = fingerprint(source) if isinstance(source, Path) else source
        template = (candidate.adapter or Path(candidate.model)) / TEMPLATE
        if not candidate.url and template.is_file():
            found[f"{candidate.name}: chat template"] = hashlib.sha256(template.read_bytes()).hexdigest()
    return {name: value for name, value in found.items() if value}


def stages(config: RunConfig) -> list[dict[str, Any]]:
    """What made the run, from the manifests: command, time and memory of each finished stage."""
    return [
        {"name": name, **manifest.model_dump(include={"command", "wall_s", "peak_rss_mib", "sha256", "created"})}
        for name, path in artifact_paths(config).items()
        if name != "eval" and (manifest := read_manifest(path)) is not None
    ]


def read_curves(path: Path, fields: Mapping[str, str]) -> Curves:
    """Curves of a ``metrics.jsonl``; absent file or field: no curve.

    Args:
        path: the file; each row has ``step`` and some of the fields.
        fields: field -> name of the curve.
    """
    if not path.exists():
        return {}
    rows = [row for _, row in read_rows(path)]
    curves = {
        name: [(float(row["step"]), float(row[key])) for row in rows if _is_number(row.get(key)) and "step" in row]
        for key, name in fields.items()
    }
    return {name: points for name, points in curves.items() if points}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def write_report(
    config: RunConfig,
    report: Mapping[str, Any],
    tasks: Sequence[HeldoutTask],
    rows_by_model: Mapping[str, Sequence[TaskRow]],
) -> None:
    """Write picture, page and, last, ``report.json``."""
    run = run_dir(config)
    parts = {"reward": "reward", "reward_format": "format", "reward_correctness": "correctness"}
    reward = read_curves(run / "rl/metrics.jsonl", parts)
    loss = read_curves(run / "sft/metrics.jsonl", {"loss": "loss"})
    if reward:
        draw_reward_curve(run / "eval/reward_curve.png", reward)
    page = build_page(report, tasks, rows_by_model, reward=reward, loss=loss)
    write_text(run / "eval/report.html", page)
    write_text(run / "eval/report.json", json.dumps(report, indent=2, ensure_ascii=False) + "\n")
