import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from sft_runs import adapter_of, rows_of, words, write_conversations

from sft.assemble import batch_shape, lora_model, training_arguments
from sft.batches import LengthGrouped, collate
from sft.encode import Encoded, encode_many
from sft.train import main
from sft.trainer import SftTrainer, token_losses
from toolwright.artifacts import read_manifest
from toolwright.config import LoraSection, RunConfig
from toolwright.config_file import load_config
from toolwright.errors import ConfigError
from toolwright.model import load_model
from toolwright.training import lora_config

CONFIGS = Path(__file__).resolve().parents[1] / "configs"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_conversations(tmp_path / "train.jsonl")


def config_of(tmp_path: Path, model: Path, data: Path, *more: str) -> RunConfig:
    return load_config(None, words(tmp_path, model, data, *more))


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
