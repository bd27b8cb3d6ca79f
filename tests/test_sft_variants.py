"""What is trained: adapters of every kind, 4-bit bases, all weights; and that what is saved is what was trained."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from sft_runs import adapter_of, rows_of, words, write_conversations

from sft.assemble import lora_model, trained_model, training_arguments
from sft.batches import collate
from sft.encode import encode_many
from sft.train import main
from sft.trainer import token_losses
from toolwright.artifacts import read_manifest
from toolwright.config import LoraSection
from toolwright.config_file import load_config
from toolwright.errors import ConfigError
from toolwright.model import load_adapter, load_model, load_tokenizer
from toolwright.training import lora_config

FALLING = ["sft.lr=2.0e-2", "sft.logging_steps=1"]


def mean_loss(model: Any, directory: Path) -> float:
    """Mean loss per trained token of the conversations that the runs here train on."""
    tokenizer = load_tokenizer(directory)
    batch = collate(encode_many(rows_of(24), tokenizer), tokenizer.pad_token_id)
    with torch.no_grad():
        return float(token_losses(model, model.get_output_embeddings(), batch)[0].mean())


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_conversations(tmp_path / "train.jsonl")


VARIANTS = {
    "rslora": ["use_rslora=true"],
    "dora": ["use_dora=true"],
    "pissa": ["init_lora_weights=pissa"],
    "pissa_rslora": ["init_lora_weights=pissa_niter_4", "use_rslora=true"],
    "olora": ["init_lora_weights=olora"],
    "orthogonal": ["init_lora_weights=orthogonal"],
    "pattern": ["rank_pattern={q_proj: 2}", "alpha_pattern={q_proj: 8}"],
    "head": ["target_modules=[q_proj]", "modules_to_save=[lm_head]"],
    "parameters": ["target_modules=[q_proj]", "target_parameters=[mlp.up_proj.weight]"],
    "tokens": ["target_modules=[q_proj]", "trainable_token_indices=[5, 6, 7]"],
}


@pytest.mark.parametrize("kind", VARIANTS)
def test_an_adapter_of_any_kind_learns_and_does_on_the_base_what_it_did_in_training(
    tmp_path: Path, make_model: Any, data: Path, kind: str
) -> None:
    model = make_model(tmp_path / "base", tie_word_embeddings=False)
    lora = [f"sft.lora.{word}" for word in VARIANTS[kind]]
    assert main(words(tmp_path, model, data, f"sft.dev_data={data}", *FALLING, *lora)) == 0
    adapter = tmp_path / "runs/t/sft/adapter"
    manifest = read_manifest(adapter)
    assert manifest is not None
    assert manifest.counts["loss_last"] < manifest.counts["loss_first"] - 0.04
    loaded = load_adapter(load_model(model, "float32"), adapter, model)
    assert mean_loss(loaded.eval(), model) == pytest.approx(manifest.counts["dev_loss"], abs=1e-4)


def test_a_four_bit_base_is_trained_under_an_adapter(
    tmp_path: Path, make_model: Any, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("bitsandbytes")
    model = make_model(tmp_path / "wide", hidden_size=64, intermediate_size=128, head_dim=32)
    argv = words(tmp_path, model, data, f"sft.dev_data={data}", "sft.quantize_4bit=true", *FALLING)
    assert main([*argv, "sft.gradient_checkpointing=true"]) == 0
    manifest = read_manifest(tmp_path / "runs/t/sft/adapter")
    assert manifest is not None
    assert manifest.counts["loss_last"] < manifest.counts["loss_first"] - 0.1
    quantized = lora_model(load_config(None, argv)).get_base_model()
    kinds = {type(module).__name__ for module in quantized.modules()}
    assert "Linear4bit" in kinds
    assert quantized.get_output_embeddings().weight.dtype == torch.float32
    loaded = load_adapter(load_model(model, "float32"), tmp_path / "runs/t/sft/adapter", model)
    assert mean_loss(loaded, model) == pytest.approx(manifest.counts["dev_loss"], abs=0.2)
    assert mean_loss(loaded, model) < mean_loss(load_model(model, "float32"), model) - 0.1


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_all_weights_are_trained_into_a_model_directory(
    tmp_path: Path, small_model_dir: Path, data: Path, capsys: pytest.CaptureFixture[str], dtype: str
) -> None:
    argv = words(tmp_path, small_model_dir, data, f"sft.dev_data={data}", "sft.method=full", "sft.lr=1.0e-2")
    assert main([*argv, f"sft.dtype={dtype}"]) == 0
    directory = tmp_path / "runs/t/sft/model"
    assert f"python -m serve --model {directory}" in capsys.readouterr().out
    manifest = read_manifest(directory)
    assert manifest is not None
    model = load_model(directory)
    assert {parameter.dtype for parameter in model.parameters()} == {getattr(torch, dtype)}
    close = {"float32": 1e-4, "bfloat16": 0.05}[dtype]
    assert mean_loss(model.float(), directory) == pytest.approx(manifest.counts["dev_loss"], abs=close)
    assert manifest.counts["loss_last"] < manifest.counts["loss_first"] - 0.1
    assert load_tokenizer(directory).chat_template == load_tokenizer(small_model_dir).chat_template
    assert main([*argv, f"sft.dtype={dtype}"]) == 0
    assert "up to date" in capsys.readouterr().out


def test_trained_weights_are_float32_whatever_the_base_is_computed_in(
    tmp_path: Path, small_model_dir: Path, data: Path
) -> None:
    for method in ("lora", "full"):
        config = load_config(None, words(tmp_path, small_model_dir, data, "sft.dtype=bfloat16", f"sft.method={method}"))
        trained = [p for p in trained_model(config).parameters() if p.requires_grad]
        assert {parameter.dtype for parameter in trained} == {torch.float32}
        assert training_arguments(config, tmp_path, 1).bf16


@pytest.mark.parametrize(
    ("word", "complaint"),
    [
        ("sft.liger=true", "sft.liger: its kernels run on a GPU only"),
        ("sft.attention=flash_attention_2", "sft.attention=flash_attention_2: needs CUDA and flash-attn 2; install it"),
        ("sft.lora.init_lora_weights=loftq", "set sft.quantize_4bit=true"),
        ("sft.lora.init_lora_weights=eva", "statistics of the data"),
        ("sft.lora.init_lora_weights=nothing", "sft.lora: "),
        ("sft.early_stopping=2", "sft.early_stopping: needs dev losses while training; set sft.eval_steps"),
        ("sft.eval_steps=2", "sft.eval_steps: there are no dev conversations; set sft.dev_share=0.05"),
        ("sft.trackers=[trackio]", "sft.trackers: trackio is not installed; install it: pip install trackio"),
        ("sft.trainer.eval_steps=2", "sft.trainer.eval_steps: set sft.eval_steps instead"),
    ],
)
def test_what_cannot_be_trained_here_is_refused_in_one_line(
    tmp_path: Path, small_model_dir: Path, data: Path, capsys: pytest.CaptureFixture[str], word: str, complaint: str
) -> None:
    if torch.cuda.is_available() and ("liger" in word or "flash" in word):
        pytest.skip("there is a GPU")
    if "trackio" in word and importlib.util.find_spec("trackio"):
        pytest.skip("trackio is installed")
    assert main(words(tmp_path, small_model_dir, data, word)) == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (["sft.method=full", "sft.quantize_4bit=true"], "weights of 4 bit are not trained"),
        (["sft.lora.init_lora_weights=pissa", "sft.lora.use_dora=true"], "drop one of the two"),
    ],
)
def test_settings_that_exclude_each_other_are_refused(
    tmp_path: Path, small_model_dir: Path, data: Path, more: list[str], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        trained_model(load_config(None, words(tmp_path, small_model_dir, data, *more)))


def test_tables_of_lora_become_the_records_that_peft_wants() -> None:
    section = LoraSection.model_validate({"use_bdlora": {"target_modules_bd_a": ["q_proj"], "nblocks": 2}})
    assert lora_config(section, "rl.lora").use_bdlora.nblocks == 2
    with pytest.raises(ConfigError, match=r"rl\.lora\.r: set rl\.lora\.rank instead"):
        lora_config(LoraSection.model_validate({"r": 2}), "rl.lora")


def test_what_an_adapter_says_about_its_start_does_not_change_the_base_again(
    tmp_path: Path, small_model_dir: Path, data: Path
) -> None:
    argv = words(tmp_path, small_model_dir, data, "sft.epochs=1", "sft.lora.init_lora_weights=pissa")
    assert main(argv) == 0
    settings = json.loads((tmp_path / "runs/t/sft/adapter/adapter_config.json").read_text())
    assert (settings["init_lora_weights"], settings["r"], settings["lora_alpha"]) == (True, 8, 128)
    assert adapter_of(tmp_path)["base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"].shape == (8, 32)


def test_a_run_is_tracked_by_wandb_without_a_network(
    tmp_path: Path, small_model_dir: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    for name in ("WANDB_DIR", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert main(words(tmp_path, small_model_dir, data, "sft.trackers=[wandb]", "sft.logging_steps=1")) == 0
    assert list((tmp_path / "runs/t/sft/wandb").glob("offline-run-*/run-*.wandb"))
