"""Runs that are killed, that run out of disk, that early stopping ends: what is left, and what the next run makes."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from sft_runs import adapter_of, metrics_of, words, write_conversations
from test_full_disk import can_mount, on_a_full_disk

from sft.train import main
from toolwright.artifacts import read_manifest
from toolwright.training import open_checkpoints

REPOSITORY = Path(__file__).resolve().parents[1]


# A process that watched the file from outside would come too late where it has to wait for a CPU.
KILLED = """
import os, signal, sys
import sft.train

class Kills(sft.train.MetricsWriter):
    def on_log(self, *words, **more):
        super().on_log(*words, **more)
        if self.path.read_text().count("\\n") >= int(sys.argv[1]):
            os.kill(os.getpid(), signal.SIGKILL)

sft.train.MetricsWriter = Kills
sft.train.main(sys.argv[2:])
"""


def run_and_kill(argv: list[str], lines: int) -> None:
    """Start a run that is killed as soon as it has written so many ``lines`` of metrics."""
    command = [sys.executable, "-c", KILLED, str(lines), *argv]
    done = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, check=False)
    assert done.returncode == -signal.SIGKILL


RUNS = {
    "padded": (["sft.lora.dropout=0.1"], 8),
    "packed": (["sft.packing=documents", "sft.pack_tokens=250", "sft.batch_size=2", "sft.micro_batch_size=1"], 4),
    "shared": (["sft.packing=shared_prefix", "sft.pack_tokens=250", "sft.batch_size=2", "sft.micro_batch_size=1"], 11),
    "whole_model": (["sft.method=full", "sft.lr=1.0e-3"], 7),
    "residual": (["sft.lora.init_lora_weights=pissa"], 6),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", RUNS)
def test_a_killed_run_on_several_datasets_ends_as_if_it_had_not_been_killed(
    tmp_path: Path, small_model_dir: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    more, step = RUNS[kind]
    first = write_conversations(tmp_path / "first.jsonl", 16)
    second = write_conversations(tmp_path / "second.jsonl", 8, seed=1)
    both = f"sft.data=[{{path: {first}, weight: 0.5}}, {{path: {second}, weight: 2.0}}]"
    more = [both, "sft.save_steps=3", "sft.epochs=5", "sft.logging_steps=1", f"sft.dev_data={second}", *more]
    killed = words(tmp_path / "killed", small_model_dir, first, *more)
    run_and_kill(killed, step)
    output = "model/model.safetensors" if kind == "whole_model" else "adapter/adapter_model.safetensors"
    assert not (tmp_path / "killed/runs/t/sft" / output).exists()
    assert main(killed) == 0
    assert "continuing from" in capsys.readouterr().out
    assert main(words(tmp_path / "whole", small_model_dir, first, *more)) == 0
    one, other = ((tmp_path / side / "runs/t/sft" / output).read_bytes() for side in ("killed", "whole"))
    assert one == other
    assert metrics_of(tmp_path / "killed") == metrics_of(tmp_path / "whole")


def test_early_stopping_keeps_the_best_weights_and_its_patience_survives_a_kill(
    tmp_path: Path, small_model_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = write_conversations(tmp_path / "train.jsonl")
    more = [f"sft.dev_data={train}", "sft.eval_steps=2", "sft.early_stopping=3", "sft.logging_steps=1"]
    more += ["sft.epochs=20", "sft.lr=10.0", "sft.warmup_share=0.0"]  # a rate that spoils the weights after a while
    whole = words(tmp_path / "whole", small_model_dir, train, *more)
    assert main(whole) == 0
    lines = metrics_of(tmp_path / "whole")
    losses = {line["step"]: line["dev_loss"] for line in lines if "dev_loss" in line}
    best = min(losses, key=lambda step: losses[step])
    manifest = read_manifest(tmp_path / "whole/runs/t/sft/adapter")
    assert manifest is not None
    assert list(losses) == list(range(2, manifest.counts["steps"] + 1, 2))
    assert manifest.counts["steps"] == best + 6 < 60
    assert manifest.counts["dev_loss"] == losses[best]
    killed = words(tmp_path / "killed", small_model_dir, train, *more)
    run_and_kill(killed, len([line for line in lines if line["step"] <= best + 2]) + 1)
    assert main(killed) == 0
    assert "continuing from" in capsys.readouterr().out
    one, other = adapter_of(tmp_path / "killed"), adapter_of(tmp_path / "whole")
    assert all(torch.equal(one[name], other[name]) for name in other)
    assert metrics_of(tmp_path / "killed") == lines


def test_a_checkpoint_that_a_kill_cut_short_is_not_continued(tmp_path: Path) -> None:
    assert open_checkpoints(tmp_path / "checkpoints", "key") is None
    for step, state in ((5, '{"global_step": 5}'), (10, '{"global_st'), (15, None)):
        directory = tmp_path / f"checkpoints/checkpoint-{step}"
        directory.mkdir()
        if state is not None:
            (directory / "trainer_state.json").write_text(state)
    assert open_checkpoints(tmp_path / "checkpoints", "key") == str(tmp_path / "checkpoints/checkpoint-5")
    assert [path.name for path in (tmp_path / "checkpoints").glob("checkpoint-*")] == ["checkpoint-5"]


@pytest.mark.skipif(not can_mount(), reason="no mount namespace for an ordinary user here")
def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path: Path, small_model_dir: Path) -> None:
    train = write_conversations(tmp_path / "train.jsonl", 8)
    disk = tmp_path / "disk"
    disk.mkdir()
    more = [f"runs_dir={disk}", "sft.save_steps=1", "sft.epochs=9", "sft.logging_steps=1"]
    argv = words(tmp_path, small_model_dir, train, *more)
    code, error, left = on_a_full_disk(disk, "260k", "-m", "sft.train", *argv)
    assert code == 2, error
    assert "No space left on device; free space" in error
    assert "Traceback" not in error
    files = left.split()
    good = [name for name in files if name.endswith("trainer_state.json")]
    assert good
    for state in good:
        directory = state.rsplit("/", 1)[0]
        kept = {name.rsplit("/", 1)[1] for name in files if name.startswith(directory + "/")}
        assert kept >= {"adapter_model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"}


def test_metrics_have_the_dev_losses_beside_the_losses(tmp_path: Path, small_model_dir: Path) -> None:
    train = write_conversations(tmp_path / "train.jsonl", 24)
    argv = words(tmp_path, small_model_dir, train, f"sft.dev_data={train}", "sft.eval_steps=2", "sft.logging_steps=3")
    assert main(argv) == 0
    lines = [json.loads(line) for line in (tmp_path / "runs/t/sft/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "dev_loss" in line] == [2, 4, 6]
    assert [line["step"] for line in lines if "loss" in line] == [1, 3, 6]
    assert {"loss", "lr", "grad_norm", "tokens_per_s", "epoch"} <= lines[0].keys()
