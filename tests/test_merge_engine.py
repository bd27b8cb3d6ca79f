import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from merge.__main__ import main
from merge.engine import merge
from merge.parity import compare
from toolwright.artifacts import read_manifest
from toolwright.errors import ModelError
from toolwright.model import load_adapter, load_model, load_tokenizer
from toolwright.stage import Job


def make_adapter(base: Path, adapter: Path, **lora: Any) -> Path:
    """A LoRA adapter with random weights on ``base``, as training leaves it, without a manifest."""
    torch.manual_seed(1)
    settings = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
    model = get_peft_model(load_model(base), LoraConfig(**(settings | lora)))
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn_like(parameter) * 0.05
    model.save_pretrained(str(adapter))
    load_tokenizer(base).save_pretrained(str(adapter))
    return adapter


def finished_run(tmp_path: Path, base: Path, **lora: Any) -> list[str]:
    """A run whose SFT stage is finished; the words that point ``merge`` to it."""
    from toolwright.config_file import load_config

    words = [
        f"model={base}",
        f"runs_dir={tmp_path}/runs",
        "name=t",
        "merge.adapter=sft",
        "merge.dtype=base",
        "threads=1",
    ]
    job = Job.of(
        load_config(None, words), "sft", output="sft/adapter", command="c", settings={}, inputs={"model": base}
    )
    with job.running():
        make_adapter(base, job.output, **lora)
    return words


@pytest.fixture(scope="session")
def bfloat16_model_dir(small_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("bf16") / "model"
    shutil.copytree(small_model_dir, directory)
    load_model(small_model_dir, "bfloat16").save_pretrained(directory)
    return directory


def test_a_run_is_merged_into_a_standalone_model_with_proof(
    tmp_path: Path, small_model_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = finished_run(tmp_path, small_model_dir)
    assert main(words) == 0
    run = tmp_path / "runs/t"
    merged, adapter = run / "merged", run / "sft/adapter"
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (merged / name).read_bytes() == (adapter / name).read_bytes()
    assert not (merged / "adapter_config.json").exists()
    parity = json.loads((run / "parity.json").read_text())
    assert parity["passed"]
    assert parity["greedy_identical"]
    assert parity["max_abs_logit_diff"] < 1e-4
    assert parity["applied"] == {"adapter_tensors": 28, "layers": 14, "weights_changed": 14, "dtype": "float32"}
    manifest = read_manifest(merged)
    assert manifest is not None
    assert manifest.inputs.keys() == {"model", "adapter"}
    assert "merge: 28 tensors into 14 layers" in capsys.readouterr().out
    assert main(words) == 0
    assert "up to date" in capsys.readouterr().out


def test_the_merged_weight_is_the_sum_rounded_once(tmp_path: Path, bfloat16_model_dir: Path) -> None:
    adapter = make_adapter(bfloat16_model_dir, tmp_path / "adapter")
    applied = merge(str(bfloat16_model_dir), adapter, tmp_path / "merged")
    assert applied.dtype == "bfloat16"
    base, lora = load_file(bfloat16_model_dir / "model.safetensors"), load_file(adapter / "adapter_model.safetensors")
    merged = load_file(tmp_path / "merged/model.safetensors")
    assert merged.keys() == base.keys()
    for name, weight in base.items():
        prefix = f"base_model.model.{name.removesuffix('.weight')}.lora_"
        if f"{prefix}A.weight" in lora:
            delta = lora[f"{prefix}B.weight"] @ lora[f"{prefix}A.weight"] * (8 / 4)
            assert torch.equal(merged[name], (weight.float() + delta).to(torch.bfloat16)), name
        else:
            assert torch.equal(merged[name], weight), name


def test_parity_in_bfloat16_stays_within_the_default_tolerance(tmp_path: Path, bfloat16_model_dir: Path) -> None:
    words = finished_run(tmp_path, bfloat16_model_dir)
    assert main(words) == 0
    parity = json.loads((tmp_path / "runs/t/parity.json").read_text())
    assert 0 < parity["max_abs_logit_diff"] <= 0.25
    assert load_model(tmp_path / "runs/t/merged").dtype == torch.bfloat16


def test_a_type_can_be_asked_for(tmp_path: Path, bfloat16_model_dir: Path) -> None:
    assert main([*finished_run(tmp_path, bfloat16_model_dir), "merge.dtype=float32"]) == 0
    assert load_model(tmp_path / "runs/t/merged").dtype == torch.float32


def test_failed_parity_is_exit_code_one_and_leaves_no_model(
    tmp_path: Path, bfloat16_model_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = finished_run(tmp_path, bfloat16_model_dir)
    assert main([*words, "merge.tolerance=1.0e-7"]) == 1
    assert "parity failed" in capsys.readouterr().err
    run = tmp_path / "runs/t"
    assert not (run / "merged").exists()
    assert not (run / "merged.manifest.json").exists()
    assert json.loads((run / "parity.json").read_text())["passed"] is False


def test_parity_notices_a_model_that_another_adapter_went_into(tmp_path: Path, small_model_dir: Path) -> None:
    adapter = make_adapter(small_model_dir, tmp_path / "adapter")
    other = make_adapter(small_model_dir, tmp_path / "other", target_modules=["q_proj"])
    merge(str(small_model_dir), other, tmp_path / "merged")
    assert not compare(str(small_model_dir), adapter, tmp_path / "merged", 1e-3).passed
    merge(str(small_model_dir), adapter, tmp_path / "right")
    assert compare(str(small_model_dir), adapter, tmp_path / "right", 1e-4).passed


def test_parity_notices_another_chat_template(tmp_path: Path, small_model_dir: Path) -> None:
    adapter = make_adapter(small_model_dir, tmp_path / "adapter")
    merge(str(small_model_dir), adapter, tmp_path / "merged")
    with (tmp_path / "merged/chat_template.jinja").open("a") as stream:
        stream.write("{# changed #}")
    parity = compare(str(small_model_dir), adapter, tmp_path / "merged", 0.25)
    assert not parity.passed
    assert not parity.files_identical


@pytest.mark.parametrize(
    "lora",
    [
        {"use_rslora": True},
        {"use_dora": True},
        {"rank_pattern": {"q_proj": 8}, "alpha_pattern": {"v_proj": 32}},
        {"target_modules": ["down_proj"]},
    ],
)
def test_variants_of_lora_are_merged_as_peft_computes_them(
    tmp_path: Path, small_model_dir: Path, lora: dict[str, Any]
) -> None:
    adapter = make_adapter(small_model_dir, tmp_path / "adapter", **lora)
    merge(str(small_model_dir), adapter, tmp_path / "merged")
    assert compare(str(small_model_dir), adapter, tmp_path / "merged", 1e-4).passed


@pytest.mark.parametrize("layer", ["embed_tokens", "lm_head"])
def test_lora_on_tied_embeddings_is_refused(tmp_path: Path, small_model_dir: Path, layer: str) -> None:
    adapter = make_adapter(small_model_dir, tmp_path / "adapter", target_modules=["q_proj", layer])
    with pytest.raises(ModelError, match="ties to another layer"):
        merge(str(small_model_dir), adapter, tmp_path / "merged")


def test_lora_on_a_head_of_its_own_is_merged(tmp_path: Path, make_model: Callable[..., Path]) -> None:
    base = make_model(tmp_path / "untied", tie_word_embeddings=False)
    adapter = make_adapter(base, tmp_path / "adapter", target_modules=["q_proj", "lm_head"])
    merge(str(base), adapter, tmp_path / "merged")
    assert compare(str(base), adapter, tmp_path / "merged", 1e-4).passed


def test_an_adapter_that_is_not_finished_is_refused(
    tmp_path: Path, small_model_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = finished_run(tmp_path, small_model_dir)
    (tmp_path / "runs/t/sft/adapter.manifest.json").unlink()
    assert main(words) == 2
    assert "has no manifest, so its stage did not finish; run again: python -m sft.train" in capsys.readouterr().err
    assert main([*words, "merge.adapter=rl"]) == 2
    assert "python -m rl.train" in capsys.readouterr().err


def test_an_adapter_of_another_base_is_refused(
    tmp_path: Path, small_model_dir: Path, make_model: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = finished_run(tmp_path, small_model_dir)
    other = make_model(tmp_path / "other", initializer_range=0.5)
    assert main([*words, f"model={other}"]) == 2
    assert "made for another base" in capsys.readouterr().err
    assert not (tmp_path / "runs/t/merged").exists()


def test_a_tensor_without_a_place_or_missing_is_refused(tmp_path: Path, small_model_dir: Path) -> None:
    adapter = make_adapter(small_model_dir, tmp_path / "adapter")
    path = adapter / "adapter_model.safetensors"
    weights = load_file(path)
    first = sorted(weights)[0]
    save_file({**weights, first.replace("layers.0", "layers.7"): weights[first].clone()}, path)
    with pytest.raises(ModelError, match="without a place in the model"):
        load_adapter(load_model(small_model_dir), adapter, small_model_dir)
    save_file({name: tensor for name, tensor in weights.items() if name != first}, path)
    with pytest.raises(ModelError, match="missing in the adapter"):
        load_adapter(load_model(small_model_dir), adapter, small_model_dir)


def test_an_adapter_that_is_not_finite_is_refused(tmp_path: Path, small_model_dir: Path) -> None:
    adapter = make_adapter(small_model_dir, tmp_path / "adapter")
    path = adapter / "adapter_model.safetensors"
    weights = load_file(path)
    weights[sorted(weights)[0]][0, 0] = float("inf")
    save_file(weights, path)
    with pytest.raises(ModelError, match="not finite"):
        merge(str(small_model_dir), adapter, tmp_path / "merged")
