"""Every file under ``configs/`` is loaded and planned; no weights, no network."""

from pathlib import Path

import pytest
from accelerate.commands.config.config_args import ClusterConfig, load_config_from_file
from huggingface_hub import constants
from sft_runs import words, write_conversations

from serve.capacity import Devices
from serve.placement import Gpu
from serve.target import Target
from serve.vllm import build_argv
from sft.dry_run import plan_lines
from sft.train import main
from toolwright import footprint
from toolwright.config import RunConfig
from toolwright.config_file import load_config
from toolwright.errors import ModelError

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
RUNS = sorted(CONFIGS.glob("*.yaml"))
LAUNCHERS = sorted((CONFIGS / "accelerate").glob("*.yaml"))
# Parameters as the models' own cards have them, devices that the header promises, and the largest card that may be
# needed on each.
PROMISES = {
    "qwen7b_lora": (7_615_616_512, 1, False, 24),
    "llama8b_lora": (8_030_261_248, 1, False, 48),
    "qwen32b_lora": (32_763_876_352, 8, True, 80),
    "qwen32b_qlora_1gpu": (32_763_876_352, 1, False, 80),
}


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def test_no_file_is_left_out() -> None:
    assert {*RUNS, *LAUNCHERS} == set(CONFIGS.rglob("*.*"))
    assert PROMISES.keys() == {path.stem for path in RUNS} - {"tiny", "serve_2nodes"}


def test_replicas_on_two_machines_are_placed_by_the_flags_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "qwen2"}')
    config = load_config(CONFIGS / "serve_2nodes.yaml", [])
    here = Devices((Gpu("H100", 80 * 10**9, 80 * 10**9),) * 8)
    line = build_argv(config, Target("merged", str(tmp_path), vllm="vllm"), 8000, devices=here)
    assert line[-5:] == config.serve.vllm_args
    flags = [word.partition("=")[0] for word in line]
    assert flags.count("--data-parallel-size") == flags.count("--tensor-parallel-size") == 1


def card(lines: list[str]) -> int:
    return int(lines[-1].partition("a GPU of ")[2].partition(" GB")[0])


@pytest.mark.parametrize("name", PROMISES)
def test_a_run_for_gpus_is_planned_and_fits_where_it_says(name: str, tmp_path: Path) -> None:
    total, devices, sharded, largest = PROMISES[name]
    config = load_config(CONFIGS / f"{name}.yaml", [f"runs_dir={tmp_path}"])
    assert config.name == name
    assert config.sft.packing != "none"
    lines = plan_lines(config, devices, sharded)
    assert lines == plan_lines(config, devices, sharded)
    assert f"({total:,})" in lines[1]
    assert "python -m data_gen.split" in lines[3]
    assert card(lines) <= largest
    if sharded:
        assert card(plan_lines(config, devices)) > largest


@pytest.mark.parametrize("path", LAUNCHERS, ids=lambda path: path.name)
def test_a_launcher_is_read_by_accelerate_and_saves_whole_weights(path: Path) -> None:
    found = load_config_from_file(str(path))
    assert isinstance(found, ClusterConfig)
    assert found.mixed_precision == "bf16"
    if path.stem == "fsdp2":
        assert found.fsdp_config["fsdp_version"] == 2
        assert found.fsdp_config["fsdp_state_dict_type"] == "FULL_STATE_DICT"
    else:
        assert found.deepspeed_config["zero_stage"] == 3
        assert found.deepspeed_config["zero3_save_16bit_model"] is True


def test_steps_and_tokens_are_those_of_the_run_itself(
    tmp_path: Path, small_model_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_conversations(tmp_path / "train.jsonl")
    for packing in ("none", "documents"):
        argv = words(tmp_path / packing, small_model_dir, data, f"sft.packing={packing}", "sft.max_tokens=300")
        assert main([*argv, "--dry-run"]) == 0
        planned = capsys.readouterr().out
        assert not (tmp_path / packing / "runs/t/sft/adapter").exists()
        assert main(argv) == 0
        summary = capsys.readouterr().out.splitlines()[-1]
        tokens = int(summary.partition(" rows, ")[2].partition(" tokens")[0])
        steps = int(summary.partition(" trained, ")[2].partition(" steps")[0])
        assert f"  steps     {steps} (" in planned
        assert f"24 rows{'' if packing == 'none' else ' in '}" in planned
        assert f"{tokens:,} tokens, 19.9% of them trained" in planned


def test_a_model_that_is_nowhere_is_an_error() -> None:
    with pytest.raises(ModelError, match="neither a directory, nor reachable on the hub"):
        footprint.architecture("nobody/nothing")


def test_a_plan_counts_what_autograd_really_keeps(small_model_dir: Path) -> None:
    """Bytes of the same forward pass on the CPU, with attention that keeps queries, keys, values and its result."""
    import torch

    from toolwright.model import load_model

    shape, origin = footprint.architecture(str(small_model_dir))
    assert origin == "directory"
    model = footprint.empty_model(shape, "float32")
    assert all(parameter.is_meta for parameter in model.parameters())
    real = load_model(small_model_dir, "float32", attn_implementation="sdpa")
    assert footprint.parameters(model)[0] == sum(parameter.numel() for parameter in real.parameters())
    own = {parameter.untyped_storage().data_ptr() for parameter in real.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        real.base_model(input_ids=torch.zeros(1, 256, dtype=torch.long), use_cache=False)
    counted = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    assert footprint.kept_bytes(model, 256, autocast=False) == pytest.approx(counted, rel=0.1)


@pytest.mark.parametrize(
    ("change", "part", "factor"),
    [({"quantize_4bit": True}, "weights", 0.4), ({"trainer": {"optim": "adamw_8bit"}}, "optimizer", 0.25)],
)
def test_settings_that_save_memory_are_seen(change: dict[str, object], part: str, factor: float) -> None:
    sizes = []
    for settings in ({}, change):
        sft = {
            "dtype": "bfloat16",
            "gradient_checkpointing": True,
            "micro_batch_size": 1,
            "lora": {"rank": 256},
            **settings,
        }
        model = "Qwen/Qwen2.5-7B-Instruct"
        lines = plan_lines(RunConfig.model_validate({"name": "nothing", "model": model, "sft": sft}))
        sizes.append(next(float(line.split()[1]) for line in lines if line.startswith(f"    {part}")))
    assert sizes[1] == pytest.approx(sizes[0] * factor, rel=0.15)
