import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from sft.assemble import batch_shape, lora_config, lora_model, training_arguments
from sft.batches import LengthGrouped, collate
from sft.encode import Encoded, encode_many
from sft.train import main
from sft.trainer import SftTrainer, token_losses
from toolwright.artifacts import read_manifest
from toolwright.config import LoraSection, RunConfig
from toolwright.config_file import load_config
from toolwright.errors import ConfigError
from toolwright.model import load_model

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
TOOL = {"name": "get_weather", "description": "Weather.", "parameters": {"type": "object"}}


def rows_of(count: int, seed: int = 0) -> list[dict[str, Any]]:
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


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows_of(24)))
    return path


def words(tmp_path: Path, model: Path, data: Path, *more: str) -> list[str]:
    settings = ["sft.epochs=2", "sft.batch_size=8", "sft.micro_batch_size=4", "sft.dtype=float32", "sft.lora.rank=4"]
    return [f"model={model}", f"runs_dir={tmp_path}/runs", "name=t", f"sft.data={data}", "threads=1", *settings, *more]


def config_of(tmp_path: Path, model: Path, data: Path, *more: str) -> RunConfig:
    return load_config(None, words(tmp_path, model, data, *more))


def adapter_of(tmp_path: Path) -> dict[str, torch.Tensor]:
    return load_file(tmp_path / "runs/t/sft/adapter/adapter_model.safetensors")


def test_a_run_leaves_an_adapter_its_tokenizer_metrics_and_a_manifest(
    tmp_path: Path, small_model_dir: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = words(tmp_path, small_model_dir, data, f"sft.dev_data={data}", "sft.logging_steps=2", "sft.lr=1.0e-2")
    assert main(argv) == 0
    adapter = tmp_path / "runs/t/sft/adapter"
    assert {file.name for file in adapter.iterdir()} >= {"adapter_config.json", "chat_template.jinja", "tokenizer.json"}
    assert (adapter / "chat_template.jinja").read_bytes() == (small_model_dir / "chat_template.jinja").read_bytes()
    assert json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"] == str(small_model_dir)
    weights = adapter_of(tmp_path)
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    assert any(tensor.abs().max() > 0 for name, tensor in weights.items() if "lora_B" in name)
    lines = [json.loads(line) for line in (tmp_path / "runs/t/sft/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 4, 6, 6]
    assert {"loss", "lr", "grad_norm", "tokens_per_s", "epoch"} <= lines[0].keys()
    manifest = read_manifest(adapter)
    assert manifest is not None
    assert manifest.counts["steps"] == 6
    assert manifest.counts["loss_last"] < manifest.counts["loss_first"]
    assert manifest.counts["dev_loss"] == lines[-1]["dev_loss"] < lines[0]["loss"]
    assert not (tmp_path / "runs/t/sft/checkpoints").exists()
    summary = capsys.readouterr().out.splitlines()[-1]
    assert summary.startswith("sft: 24 rows,")
    assert main(argv) == 0
    assert "up to date" in capsys.readouterr().out


def start(argv: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "sft.train", *argv], cwd=CONFIGS.parent, stdout=subprocess.DEVNULL)


def test_a_killed_run_continues_to_the_very_same_adapter(
    tmp_path: Path, small_model_dir: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["sft.save_steps=3", "sft.epochs=15", "sft.lora.dropout=0.1"]
    killed = words(tmp_path / "killed", small_model_dir, data, *more)
    process = start(killed)
    checkpoints = tmp_path / "killed/runs/t/sft/checkpoints"
    while not list(checkpoints.glob("checkpoint-*/trainer_state.json")):
        assert process.poll() is None, "training ended before its first checkpoint"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed/runs/t/sft/adapter").exists()
    seen = [
        json.loads(line)["step"] for line in (tmp_path / "killed/runs/t/sft/metrics.jsonl").read_text().splitlines()
    ]
    assert main(killed) == 0
    assert "continuing from" in capsys.readouterr().out
    assert main(words(tmp_path / "whole", small_model_dir, data, *more)) == 0
    one, other = adapter_of(tmp_path / "killed"), adapter_of(tmp_path / "whole")
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    steps = [
        [json.loads(line)["step"] for line in (tmp_path / side / "runs/t/sft/metrics.jsonl").open()]
        for side in ("killed", "whole")
    ]
    assert steps[0] == steps[1]
    assert seen[-1] < steps[0][-1]


def test_checkpoints_of_other_settings_are_discarded_with_a_message(
    tmp_path: Path, small_model_dir: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = tmp_path / "runs/t/sft/checkpoints/checkpoint-3"
    foreign.mkdir(parents=True)
    (foreign / "trainer_state.json").write_text("{}")
    assert main(words(tmp_path, small_model_dir, data, "sft.epochs=1")) == 0
    assert "discarding" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("word", "complaint"),
    [
        ("sft.trainer.max_grad_nrm=1.0", "TrainingArguments has no such field; did you mean max_grad_norm?"),
        ("sft.trainer.learning_rate=1.0", "sft.trainer.learning_rate: set sft.lr instead"),
        ("sft.lora.use_dorra=true", "sft.lora.use_dorra: LoraConfig has no such field; did you mean use_dora?"),
        ("sft.lora.r=3", "sft.lora.r: set sft.lora.rank instead"),
        ("sft.lora.target_modules=[nowhere]", "sft.lora: "),
        ("sft.data=missing.jsonl", "missing.jsonl: no such file"),
        ("sft.max_tokens=8", "train.jsonl:1: conversation 'c0': the first trained turn"),
        ("model=./missing", "./missing: not a model directory"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_and_exit_code_two(
    tmp_path: Path, small_model_dir: Path, data: Path, capsys: pytest.CaptureFixture[str], word: str, complaint: str
) -> None:
    assert main(words(tmp_path, small_model_dir, data, word)) == 2
    error = capsys.readouterr().err.strip()
    assert complaint in error
    assert "\n" not in error
    assert not (tmp_path / "runs/t/sft/adapter").exists()


def test_without_data_the_command_that_makes_it_is_named(
    tmp_path: Path, small_model_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([f"model={small_model_dir}", f"runs_dir={tmp_path}"]) == 2
    assert "python -m data_gen.split" in capsys.readouterr().err


def test_bad_conversations_are_skipped_and_counted_when_asked(
    tmp_path: Path, small_model_dir: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = {"id": "bad", "messages": [{"role": "user", "content": "no answer"}]}
    data.write_text(json.dumps(bad) + "\n" + data.read_text())
    assert main(words(tmp_path, small_model_dir, data, "sft.epochs=1")) == 2
    assert "train.jsonl:1: messages: no assistant among 1 messages" in capsys.readouterr().err
    assert main(words(tmp_path, small_model_dir, data, "sft.epochs=1", "sft.on_error=skip")) == 0
    assert "24 rows, 1 refused" in capsys.readouterr().out
    refused = json.loads((tmp_path / "runs/t/sft/refused.jsonl").read_text())
    assert (refused["file"], refused["line"]) == (str(data), 1)
    assert "no assistant" in refused["reason"]


def encoded(tokenizer: Any, count: int = 16) -> list[Encoded]:
    return encode_many(rows_of(count), tokenizer)


def test_the_loss_on_trained_positions_is_the_models_own_loss(small_model_dir: Path, tokenizer: Any) -> None:
    model = load_model(small_model_dir, "float32")
    batch = collate(encoded(tokenizer, 6), tokenizer.pad_token_id)
    mask = torch.arange(batch["input_ids"].shape[1])[None] < batch["lengths"][:, None]
    theirs = model(input_ids=batch["input_ids"], attention_mask=mask, labels=batch["labels"]).loss
    losses, weights = token_losses(model, model.get_output_embeddings(), batch)
    assert len(losses) == sum(row.trained for row in encoded(tokenizer, 6))
    assert torch.allclose(losses.mean(), theirs, atol=1e-6)
    assert set(weights.tolist()) == {1.0}


def test_attention_can_be_chosen_and_changes_no_loss(
    tmp_path: Path, small_model_dir: Path, data: Path, tokenizer: Any
) -> None:
    batch = collate(encoded(tokenizer, 6), tokenizer.pad_token_id)
    losses = []
    for name in ("eager", "sdpa"):
        model = lora_model(config_of(tmp_path, small_model_dir, data, f"sft.attention={name}"))
        assert model.config._attn_implementation == name
        losses.append(token_losses(model, model.get_output_embeddings(), batch)[0])
    assert torch.allclose(losses[0], losses[1], atol=1e-5)


def gradients(config: RunConfig, rows: list[Encoded], tokenizer: Any, tmp_path: Path) -> dict[str, torch.Tensor]:
    """The gradients that the optimizer sees in the first step."""
    torch.manual_seed(0)
    arguments = training_arguments(config, tmp_path / "c", 1)
    trainer = SftTrainer(lora_model(config), arguments, rows, None, tokenizer.pad_token_id, [])
    seen: dict[str, torch.Tensor] = {}

    def look(optimizer: Any, args: Any, kwargs: Any) -> None:
        names = {parameter: name for name, parameter in trainer.model.named_parameters()}
        seen.update({names[p]: p.grad.clone() for group in optimizer.param_groups for p in group["params"]})

    trainer.create_optimizer()
    trainer.optimizer.register_step_pre_hook(look)
    trainer.train()
    return seen


def test_gradients_do_not_depend_on_how_a_step_is_cut_into_micro_batches(
    tmp_path: Path, small_model_dir: Path, data: Path, tokenizer: Any
) -> None:
    rows = encoded(tokenizer)
    more = ["sft.batch_size=16", "sft.epochs=1", "sft.lora.init_lora_weights=gaussian", "sft.trainer.max_grad_norm=0.0"]
    found = [
        gradients(
            config_of(tmp_path, small_model_dir, data, *more, f"sft.micro_batch_size={size}"), rows, tokenizer, tmp_path
        )
        for size in (16, 4, 1)
    ]
    assert any(gradient.abs().max() > 1e-4 for gradient in found[0].values())
    for other in found[1:]:
        assert all(torch.allclose(found[0][name], other[name], atol=1e-6) for name in found[0])


def test_weights_scale_the_loss_of_their_turns(small_model_dir: Path, tokenizer: Any) -> None:
    from sft.encode import TrainPolicy

    rows = encode_many(rows_of(2), tokenizer, train=TrainPolicy(call_weight=3.0))
    model = load_model(small_model_dir, "float32")
    _, weights = token_losses(model, model.get_output_embeddings(), collate(rows, tokenizer.pad_token_id))
    calls = sum(row.spans[0].end - row.spans[0].start for row in rows)
    assert weights.tolist().count(3.0) == calls
    assert weights.tolist().count(1.0) == len(weights) - calls


def test_the_order_of_rows_is_fixed_by_seed_and_epoch_and_groups_lengths() -> None:
    lengths = [random.Random(n).randint(10, 500) for n in range(203)]
    sampler = LengthGrouped(lengths, 16, seed=3)
    first = list(sampler)
    torch.manual_seed(99)
    assert list(LengthGrouped(lengths, 16, seed=3)) == first
    sampler.set_epoch(1)
    assert list(sampler) != first
    assert sorted(first) == sorted(sampler) == list(range(203))
    assert lengths[first[0]] == max(lengths)
    padded = sum(16 * max(lengths[row] for row in first[at : at + 16]) for at in range(0, 192, 16))
    assert padded < 1.15 * sum(lengths[row] for row in first[:192])


@pytest.mark.parametrize(
    ("batch", "micro", "processes", "shape"), [(16, 16, 1, (16, 1)), (16, 4, 2, (4, 2)), (16, 16, 8, (2, 1))]
)
def test_a_step_is_shared_by_processes(batch: int, micro: int, processes: int, shape: tuple[int, int]) -> None:
    config = RunConfig.model_validate({"sft": {"batch_size": batch, "micro_batch_size": micro}})
    assert batch_shape(config.sft, processes) == shape


def test_a_step_that_does_not_divide_is_refused() -> None:
    config = RunConfig.model_validate({"sft": {"batch_size": 10, "micro_batch_size": 4}})
    with pytest.raises(ConfigError, match="choose a multiple of 4"):
        batch_shape(config.sft, 1)


def test_further_fields_of_lora_reach_peft() -> None:
    section = LoraSection.model_validate({"rank": 3, "use_rslora": True, "target_modules": ["q_proj"]})
    made = lora_config(section, "sft.lora")
    assert (made.r, made.use_rslora, made.target_modules) == (3, True, {"q_proj"})


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_configuration_file_is_accepted_by_peft_and_transformers(path: Path, tmp_path: Path) -> None:
    config = load_config(path)
    lora_config(config.sft.lora, "sft.lora")
    arguments = training_arguments(config, tmp_path, 1)
    assert arguments.per_device_train_batch_size * arguments.gradient_accumulation_steps == config.sft.batch_size


def test_four_bit_training_runs_or_says_what_is_missing(
    tmp_path: Path, make_model: Any, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = make_model(tmp_path / "wide", hidden_size=64, intermediate_size=128, head_dim=32)
    code = main(words(tmp_path, model, data, "sft.quantize_4bit=true", "sft.epochs=1"))
    try:
        import bitsandbytes  # noqa: F401
    except ImportError:
        assert code == 2
        assert "pip install 'toolwright[qlora]'" in capsys.readouterr().err
    else:
        assert code == 0
        assert any(tensor.abs().max() > 0 for name, tensor in adapter_of(tmp_path).items() if "lora_B" in name)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["accelerate", "torchrun"])
def test_launchers_start_the_file_itself_and_two_processes_give_the_same_loss(
    tmp_path: Path, small_model_dir: Path, data: Path, launcher: str
) -> None:
    """``accelerate launch sft/train.py`` puts ``sft/`` on the path first; two processes need torchrun on a CPU."""
    command = {
        "accelerate": ["accelerate.commands.launch", "--cpu", "--num_processes", "1"],
        "torchrun": ["torch.distributed.run", "--standalone", "--nproc_per_node", "2"],
    }[launcher]
    argv = words(tmp_path, small_model_dir, data, f"sft.dev_data={data}", "sft.logging_steps=1")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    script = str(CONFIGS.parent / "sft/train.py")
    subprocess.run([sys.executable, "-m", *command, script, *argv], cwd=tmp_path, env=environment, check=True)
    launched = read_manifest(tmp_path / "runs/t/sft/adapter")
    assert main([*argv, f"runs_dir={tmp_path}/alone"]) == 0
    alone = read_manifest(tmp_path / "alone/t/sft/adapter")
    assert launched is not None
    assert alone is not None
    assert launched.counts["processes"] == (2 if launcher == "torchrun" else 1)
    for name in ("loss_first", "loss_last", "dev_loss"):
        assert launched.counts[name] == pytest.approx(alone.counts[name], abs=2e-4)
