"""What SFT and RL share around the transformers Trainer: metrics, checkpoints of one job, arguments, LoRA."""

import dataclasses
import difflib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from toolwright.artifacts import write_text
from toolwright.config import LoraSection
from toolwright.errors import ConfigError

JOB_KEY = "job_key"
_LORA_NAMES = {"r": "rank", "lora_alpha": "alpha", "lora_dropout": "dropout"}
_NEED_DATA = ("eva", "corda", "lora_ga")  # these initialisations look at activations or gradients first


class MetricsWriter(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Appends one JSON object per logging step to ``metrics.jsonl``; lines after a resumed step are rewritten.

    Args:
        path: the file.
        names: trainer's name of a metric -> name in the file; other numbers are dropped.
    """

    def __init__(self, path: Path, names: Mapping[str, str]) -> None:
        self.path = path
        self.names = names

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Keep only the lines up to the step that training starts from."""
        keep_lines(self.path, state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any) -> None:
        """Write the metrics of this step that have a name."""
        row = {self.names[name]: value for name, value in (logs or {}).items() if name in self.names}
        if row.keys() - {"epoch"}:
            with self.path.open("a") as stream:
                stream.write(json.dumps({"step": state.global_step, **row}) + "\n")


def keep_lines(path: Path, last_step: int) -> None:
    """Keep the lines of a log up to ``last_step``; later ones, and one that a kill cut short, are written anew."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    write_text(path, "".join(line + "\n" for line in text.split("\n") if _step(line) <= last_step))


def _step(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


def open_checkpoints(directory: Path, key: str) -> str | None:
    """The newest whole checkpoint that this job left in ``directory``; those of any other job are removed.

    A checkpoint is whole when its ``trainer_state.json`` is there: the trainer writes that file last.
    """
    note = directory / JOB_KEY
    if directory.exists() and (not note.exists() or note.read_text() != key):
        print(f"discarding {directory}: it belongs to other settings or other data", flush=True)
        shutil.rmtree(directory)
    if not note.exists():
        write_text(note, key)
    whole = [path for path in directory.glob("checkpoint-*") if _is_whole(path)]
    newest = max(whole, key=lambda path: int(path.name.rsplit("-", 1)[1]), default=None)
    for path in directory.glob("checkpoint-*"):
        if path not in whole:
            shutil.rmtree(path)
    if newest is not None:
        print(f"continuing from {newest}", flush=True)
    return str(newest) if newest else None


def _is_whole(checkpoint: Path) -> bool:
    try:
        json.loads((checkpoint / "trainer_state.json").read_bytes())
    except (OSError, ValueError):
        return False
    return True


def build_arguments(kind: type, ours: Mapping[str, Any], passed: Mapping[str, Any], section: str) -> Any:
    """``kind(**ours, **passed)``; what the user passed wins.

    Raises:
        ConfigError: ``passed`` has a name that ``kind`` does not know; names the nearest.
    """
    known = [field.name for field in dataclasses.fields(kind) if field.init]
    for name in passed:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise ConfigError(f"{section}.{name}: {kind.__name__} has no such field{hint}")
    try:
        return kind(**{**ours, **passed})
    except (TypeError, ValueError, ImportError) as error:
        raise ConfigError(f"{section}: {kind.__name__} refuses these values: {error}") from None


def lora_config(section: LoraSection, name: str) -> Any:
    """PEFT's configuration from the section called ``name``; further fields pass through.

    Raises:
        ConfigError: a field that ``LoraConfig`` does not have, that we name otherwise, or a value that it refuses.
    """
    from peft import LoraConfig

    passed = dict(section.model_extra or {})
    for field in passed:
        if field in _LORA_NAMES:
            raise ConfigError(f"{name}.{field}: set {name}.{_LORA_NAMES[field]} instead")
    if str(passed.get("init_lora_weights")).lower() in _NEED_DATA:
        raise ConfigError(
            f"{name}.init_lora_weights: {passed['init_lora_weights']} starts from statistics of the data, which are "
            "not gathered here; use pissa, olora, orthogonal, gaussian or loftq"
        )
    ours = {
        "r": section.rank,
        "lora_alpha": section.alpha,
        "lora_dropout": section.dropout,
        "target_modules": section.target_modules,
        "task_type": "CAUSAL_LM",
    }
    return build_arguments(LoraConfig, ours, passed, name)
