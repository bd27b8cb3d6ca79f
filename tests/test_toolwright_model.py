import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from toolwright.errors import ModelError
from toolwright.model import (
    choose_dtype,
    load_adapter,
    load_model,
    load_tokenizer,
    model_source,
    seed_everything,
    set_threads,
)


def copy_of(model: Path, directory: Path) -> Path:
    shutil.copytree(model, directory)
    return directory


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_model_directory_loads_in_the_type_that_is_asked_for(small_model_dir: Path) -> None:
    assert load_model(small_model_dir).dtype == torch.float32
    assert load_model(small_model_dir, "bfloat16").dtype == torch.bfloat16
    assert not load_model(small_model_dir).training


@pytest.mark.parametrize("path", ["./missing", "/missing", "a/b/c", "configs/tiny.yaml"])
def test_a_path_that_is_no_directory_is_named(path: str) -> None:
    with pytest.raises(ModelError, match="not a model directory"):
        model_source(path)


def test_a_hub_id_stays_as_it_is() -> None:
    assert model_source("Qwen/Qwen2.5-7B-Instruct") == "Qwen/Qwen2.5-7B-Instruct"


def test_a_directory_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no config.json"):
        load_model(tmp_path)
    with pytest.raises(ModelError, match=r"no tokenizer.json"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("load", [load_model, load_tokenizer])
def test_code_that_a_model_brings_along_is_never_run_nor_asked_about(
    load: Callable[[Path], Any], tmp_path: Path, small_model_dir: Path
) -> None:
    directory = copy_of(small_model_dir, tmp_path / "m")
    edit(directory / "config.json", model_type="own", auto_map={"AutoConfig": "a.C", "AutoModelForCausalLM": "a.M"})
    edit(directory / "tokenizer_config.json", tokenizer_class="T", auto_map={"AutoTokenizer": [None, "a.T"]})
    (directory / "a.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ModelError, match="contains custom code"):
        load(directory)
    assert not (tmp_path / "ran").exists()


def test_a_tokenizer_without_a_chat_template_is_refused(tmp_path: Path, small_model_dir: Path) -> None:
    directory = copy_of(small_model_dir, tmp_path / "m")
    (directory / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match="has no chat template"):
        load_tokenizer(directory)


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ("{% for m in messages %}{{ m.content }}{% endfor %}", "drops the tools"),
        ("{{ raise_exception('no tools here') }}", "no tools here"),
        ("{{ tools | tojson }}", "drops"),
    ],
)
def test_a_chat_template_that_loses_something_is_refused(
    tmp_path: Path, small_model_dir: Path, template: str, complaint: str
) -> None:
    directory = copy_of(small_model_dir, tmp_path / "m")
    (directory / "chat_template.jinja").write_text(template)
    with pytest.raises(ModelError, match=complaint) as caught:
        load_tokenizer(directory)
    assert str(directory) in str(caught.value)


def test_weights_that_are_missing_or_cut_short_are_refused(tmp_path: Path, small_model_dir: Path) -> None:
    directory = copy_of(small_model_dir, tmp_path / "m")
    weights = load_file(directory / "model.safetensors")
    weights.pop("model.layers.1.mlp.up_proj.weight")
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"1 weights are missing .*up_proj"):
        load_model(directory)
    (directory / "model.safetensors").write_bytes(b"\x00" * 10)
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_model(directory)


def test_weights_of_another_shape_are_refused(tmp_path: Path, small_model_dir: Path) -> None:
    directory = copy_of(small_model_dir, tmp_path / "m")
    edit(directory / "config.json", intermediate_size=96)
    with pytest.raises(ModelError, match=f"{directory}: "):
        load_model(directory)


def adapter_on(base: Path, directory: Path) -> Path:
    model = get_peft_model(load_model(base), LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM"))
    model.save_pretrained(str(directory))
    return directory


def test_an_adapter_is_trainable_only_when_asked_and_in_float32(tmp_path: Path, small_model_dir: Path) -> None:
    adapter = adapter_on(small_model_dir, tmp_path / "a")
    for trainable in (False, True):
        model = load_adapter(load_model(small_model_dir, "bfloat16"), adapter, small_model_dir, trainable=trainable)
        lora = [parameter for name, parameter in model.named_parameters() if "lora_" in name]
        assert {parameter.requires_grad for parameter in lora} == {trainable}
        assert {parameter.dtype for parameter in lora} == {torch.float32}


def test_an_adapter_of_another_base_is_refused_but_not_of_a_copy(
    tmp_path: Path, small_model_dir: Path, make_model: Callable[..., Path]
) -> None:
    adapter = adapter_on(small_model_dir, tmp_path / "a")
    copy = copy_of(small_model_dir, tmp_path / "copy")
    load_adapter(load_model(copy), adapter, copy)
    other = make_model(tmp_path / "other", initializer_range=0.5)
    with pytest.raises(ModelError, match=rf"another base: {small_model_dir} \(hash \w+\), not {other} \(hash \w+\)"):
        load_adapter(load_model(other), adapter, other)


def test_an_adapter_of_another_shape_is_refused(
    tmp_path: Path, small_model_dir: Path, make_model: Callable[..., Path]
) -> None:
    adapter = adapter_on(small_model_dir, tmp_path / "a")
    edit(adapter / "adapter_config.json", base_model_name_or_path=str(tmp_path / "gone"))
    other = make_model(tmp_path / "other", intermediate_size=96)
    with pytest.raises(ModelError, match="does not fit the base model"):
        load_adapter(load_model(other), adapter, other)


def test_a_directory_without_an_adapter_is_named(tmp_path: Path, small_model_dir: Path) -> None:
    with pytest.raises(ModelError, match=r"no adapter_config.json\); train one"):
        load_adapter(None, tmp_path, small_model_dir)
    (tmp_path / "adapter_config.json").write_text("[]")
    with pytest.raises(ModelError, match="expected an object"):
        load_adapter(None, tmp_path, small_model_dir)


def test_the_same_seed_draws_the_same_numbers() -> None:
    import random

    import numpy

    drawn = []
    for _ in range(2):
        seed_everything(5)
        drawn.append((random.random(), numpy.random.rand(), torch.rand(1).item()))
    assert drawn[0] == drawn[1]


def test_threads_follow_the_setting_then_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    try:
        set_threads(2)
        assert torch.get_num_threads() == 2
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        set_threads(None)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_auto_takes_a_type_that_training_knows() -> None:
    assert choose_dtype("auto") in ("float32", "bfloat16")
    assert choose_dtype("float32") == "float32"
