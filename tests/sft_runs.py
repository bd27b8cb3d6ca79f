"""What tests of training share: conversations, a command line for a small run, and what a run leaves."""

import json
import random
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

TOOL = {"name": "get_weather", "description": "Weather.", "parameters": {"type": "object"}}


def rows_of(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Conversations of a call, its result and an answer, of various lengths."""
    draw = random.Random(seed)
    return [_row(number, draw) for number in range(count)]


def _row(number: int, draw: random.Random) -> dict[str, Any]:
    city = draw.choice(["Oslo", "Rome", "Bern", "Lima"])
    call = {"name": "get_weather", "arguments": json.dumps({"city": city})}
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": f"Weather in {city}" + " please" * draw.randint(0, 12) + "?"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "type": "function", "function": call}]},
        {"role": "tool", "content": "sun " * draw.randint(1, 5), "tool_call_id": "c1"},
        {"role": "assistant", "content": f"Sunny in {city}."},
    ]
    return {"id": f"c{number}", "messages": messages, "tools": [TOOL]}


def write_conversations(path: Path, count: int = 24, seed: int = 0) -> Path:
    """A JSONL file of conversations."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows_of(count, seed)))
    return path


def words(tmp_path: Path, model: Path, data: Path, *more: str) -> list[str]:
    """Words of the command for a run called t under ``tmp_path``; later words win."""
    settings = ["sft.epochs=2", "sft.batch_size=8", "sft.micro_batch_size=4", "sft.dtype=float32", "sft.lora.rank=4"]
    return [f"model={model}", f"runs_dir={tmp_path}/runs", "name=t", f"sft.data={data}", "threads=1", *settings, *more]


def adapter_of(tmp_path: Path) -> dict[str, torch.Tensor]:
    """The weights that the run left."""
    return load_file(tmp_path / "runs/t/sft/adapter/adapter_model.safetensors")


def metrics_of(tmp_path: Path) -> list[dict[str, Any]]:
    """The lines of its metrics, without speeds."""
    lines = [json.loads(line) for line in (tmp_path / "runs/t/sft/metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "tokens_per_s"} for line in lines]
