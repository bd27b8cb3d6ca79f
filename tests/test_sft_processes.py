"""Several processes: the launchers, the same losses as one process, and weights that are sharded over them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from sft_runs import adapter_of, metrics_of, words, write_conversations

from sft.train import main
from toolwright.artifacts import read_manifest

REPOSITORY = Path(__file__).resolve().parents[1]
TWO = ["torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
PACKED = ["sft.packing=shared_prefix", "sft.pack_tokens=250", "sft.batch_size=4", "sft.micro_batch_size=1"]
FSDP2 = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
    "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "true",
    "FSDP_SYNC_MODULE_STATES": "true",
}


def launch(module: list[str], script: Path, argv: list[str], where: Path, **environment: str) -> str:
    command = [sys.executable, "-m", *module, str(script), *argv]
    done = subprocess.run(
        command,
        cwd=where,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def compare(together: Path, alone: Path, processes: int) -> None:
    """The same curve of losses, the same counts, and an adapter that is whole.

    Adam divides by the size of gradients, so that where they are nearly nothing rounding shows in the weights.
    """
    for one, other in zip(metrics_of(together), metrics_of(alone), strict=True):
        assert one.keys() == other.keys()
        assert all(one[name] == pytest.approx(other[name], abs=1e-4) for name in one)
    counts = []
    for side in (together, alone):
        manifest = read_manifest(side / "runs/t/sft/adapter")
        assert manifest is not None
        counts.append(manifest.counts)
    assert counts[0]["processes"] == processes
    assert counts[0]["dev_loss"] == pytest.approx(counts[1]["dev_loss"], abs=1e-4)
    one, other = adapter_of(together), adapter_of(alone)
    assert one.keys() == other.keys()
    assert all(torch.allclose(one[name], other[name], atol=1e-4) for name in other)
    assert any(tensor.abs().max() > 0.01 for name, tensor in other.items() if "lora_B" in name)


@pytest.mark.slow
@pytest.mark.parametrize("packed", [False, True])
def test_two_processes_train_as_one_does_on_the_same_batches(
    tmp_path: Path, small_model_dir: Path, packed: bool
) -> None:
    data = write_conversations(tmp_path / "train.jsonl")
    more = [f"sft.dev_data={data}", "sft.logging_steps=1", "sft.lr=1.0e-2", "sft.eval_steps=2"]
    more += PACKED if packed else []
    together = words(tmp_path / "together", small_model_dir, data, *more)
    out = launch(TWO, REPOSITORY / "sft/train.py", together, tmp_path)
    assert out.count(" trained, ") == 1, "one process speaks, and writes"
    assert main(words(tmp_path / "alone", small_model_dir, data, *more)) == 0
    compare(tmp_path / "together", tmp_path / "alone", 2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["padded", "packed", "full"])
def test_fsdp2_shards_the_weights_and_saves_them_whole(tmp_path: Path, small_model_dir: Path, kind: str) -> None:
    """accelerate's own FSDP2 path; see ``sft_sharded.py`` for what it takes to have it on CPUs."""
    data = write_conversations(tmp_path / "train.jsonl")
    more = [f"sft.dev_data={data}", "sft.logging_steps=1", "sft.lr=1.0e-2", "sft.save_steps=2", "sft.eval_steps=2"]
    more += {"padded": ["sft.gradient_checkpointing=true"], "packed": PACKED, "full": ["sft.method=full"]}[kind]
    together = words(tmp_path / "together", small_model_dir, data, *more)
    launch(TWO, REPOSITORY / "tests/sft_sharded.py", together, tmp_path, **FSDP2)
    assert main(words(tmp_path / "alone", small_model_dir, data, *more)) == 0
    if kind != "full":
        return compare(tmp_path / "together", tmp_path / "alone", 2)
    from safetensors.torch import load_file

    one, other = (load_file(tmp_path / side / "runs/t/sft/model/model.safetensors") for side in ("together", "alone"))
    assert one.keys() == other.keys()
    assert all(torch.allclose(one[name], other[name], atol=1e-3) for name in other)


@pytest.mark.slow
def test_accelerate_starts_the_file_itself(tmp_path: Path, small_model_dir: Path) -> None:
    """``accelerate launch sft/train.py`` puts ``sft/`` on the path first, where modules could shadow libraries."""
    data = write_conversations(tmp_path / "train.jsonl", 8)
    module = ["accelerate.commands.launch", "--cpu", "--num_processes", "1"]
    more = ["sft.epochs=1"]
    launch(module, REPOSITORY / "sft/train.py", words(tmp_path, small_model_dir, data, *more), tmp_path)
    assert read_manifest(tmp_path / "runs/t/sft/adapter") is not None
    planned = launch(
        module, REPOSITORY / "sft/train.py", [*words(tmp_path, small_model_dir, data), "--dry-run"], tmp_path
    )
    assert "sft dry run of t: 1 device" in planned
