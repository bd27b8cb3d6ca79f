"""``python -m merge``: of a run and of any directories; what it says, writes, refuses and continues."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from merging import convert, differing, make_adapter, merged, tensors_of

from merge import engine, output
from merge.__main__ import main
from merge.parity import main as measure
from toolwright.artifacts import read_manifest
from toolwright.config_file import load_config
from toolwright.model import load_model, load_tokenizer
from toolwright.stage import Job


def finished_run(tmp_path: Path, base: Path, **lora: Any) -> list[str]:
    """A run whose SFT stage is finished; the words that point ``merge`` to it."""
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


@pytest.fixture(scope="module")
def bfloat16(tmp_path_factory: pytest.TempPathFactory, small_model_dir: Path) -> Path:
    return convert(small_model_dir, tmp_path_factory.mktemp("bf16") / "model", "bfloat16")


def test_a_run_is_merged_into_a_standalone_model_with_proof(
    tmp_path: Path, small_model_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = finished_run(tmp_path, small_model_dir)
    assert main(words) == 0
    run = tmp_path / "runs/t"
    result, adapter = run / "merged", run / "sft/adapter"
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (result / name).read_bytes() == (adapter / name).read_bytes()
    assert not (result / "adapter_config.json").exists()
    parity = json.loads((run / "parity.json").read_text())
    assert parity["passed"]
    assert parity["greedy_identical"]
    assert parity["max_abs_logit_diff"] < 1e-4
    applied = parity["applied"]
    assert (applied["engine"], applied["adapter_tensors"], applied["weights_changed"]) == ("stream", 28, 14)
    names = applied["adapters"][0]["tensors"]
    assert names["base_model.model.model.layers.1.mlp.up_proj.lora_A.weight"] == ["model.layers.1.mlp.up_proj.weight"]
    manifest = read_manifest(result)
    assert manifest is not None
    assert manifest.inputs.keys() == {"model", "adapter"}
    assert "merge: 28 tensors into 14 weights" in capsys.readouterr().out
    assert main(words) == 0
    assert "up to date" in capsys.readouterr().out


def test_any_directories_are_merged(tmp_path: Path, bfloat16: Path, capsys: pytest.CaptureFixture[str]) -> None:
    adapter = make_adapter(bfloat16, tmp_path / "adapter")
    target = tmp_path / "deep/out"
    words = ["--base", str(bfloat16), "--adapter", str(adapter), "--out", str(target), "merge.dtype=base"]
    assert main(words) == 0
    merged(bfloat16, tmp_path / "expected", adapter)
    assert differing(target, tmp_path / "expected") == {}
    assert json.loads((tmp_path / "deep/out.parity.json").read_text())["passed"]
    assert (target / "README.md").read_text().startswith("---")
    capsys.readouterr()
    assert main(words) == 0
    assert "up to date" in capsys.readouterr().out


def test_an_adapter_elsewhere_names_its_own_base(tmp_path: Path, bfloat16: Path) -> None:
    adapter = make_adapter(bfloat16, tmp_path / "adapter")
    assert main(["--adapter", str(adapter), "--out", str(tmp_path / "out"), "merge.dtype=base"]) == 0
    merged(bfloat16, tmp_path / "expected", adapter)
    assert differing(tmp_path / "out", tmp_path / "expected") == {}


def test_adapters_in_a_row_can_be_named_in_a_word(tmp_path: Path, bfloat16: Path) -> None:
    first = make_adapter(bfloat16, tmp_path / "first")
    second = make_adapter(bfloat16, tmp_path / "second", seed=2)
    words = ["--adapter", f"{first},{second}:0.5", "--out", str(tmp_path / "out"), "merge.dtype=base"]
    assert main(words) == 0
    parity = json.loads((tmp_path / "out.parity.json").read_text())
    assert [one["weight"] for one in parity["applied"]["adapters"]] == [1.0, 0.5]
    assert parity["applied"]["adapter_tensors"] == 56


def test_parity_in_bfloat16_stays_within_the_default_tolerance(tmp_path: Path, bfloat16: Path) -> None:
    assert main(finished_run(tmp_path, bfloat16)) == 0
    parity = json.loads((tmp_path / "runs/t/parity.json").read_text())
    assert 0 < parity["max_abs_logit_diff"] <= 0.25
    assert load_model(tmp_path / "runs/t/merged").dtype == torch.bfloat16


def test_failed_parity_is_exit_code_one_and_leaves_no_model(
    tmp_path: Path, bfloat16: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = finished_run(tmp_path, bfloat16)
    assert main([*words, "merge.tolerance=1.0e-7"]) == 1
    assert "parity failed: largest logit difference" in capsys.readouterr().err
    run = tmp_path / "runs/t"
    assert not (run / "merged").exists()
    assert not (run / "merged.manifest.json").exists()
    assert json.loads((run / "parity.json").read_text())["passed"] is False
    assert main(words) == 0


def test_a_merge_that_changed_a_weight_wrongly_does_not_pass(
    tmp_path: Path, small_model_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The proof is not made of the same arithmetic as the merge."""
    words = finished_run(tmp_path, small_model_dir)
    right = engine.make_plan

    def without_one(*arguments: Any) -> Any:
        plan = right(*arguments)
        plan.edits.pop("model.layers.1.mlp.down_proj.weight")
        return plan

    monkeypatch.setattr(engine, "make_plan", without_one)
    assert main([*words, "merge.tolerance=1.0e-3"]) == 1
    assert "parity failed" in capsys.readouterr().err
    assert not (tmp_path / "runs/t/merged").exists()


@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_peft_is_the_fallback_for_what_streaming_refuses(
    tmp_path: Path, small_model_dir: Path, start: str, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = make_adapter(small_model_dir, tmp_path / "adapter", init_lora_weights=start)
    words = ["--adapter", str(adapter), "--out", str(tmp_path / "out"), "merge.dtype=base"]
    assert main(words) == 2
    assert "use --engine peft" in capsys.readouterr().err
    assert main([*words, "--engine", "peft"]) == 0
    assert json.loads((tmp_path / "out.parity.json").read_text())["applied"]["engine"] == "peft"
    assert differing(tmp_path / "out", small_model_dir)


def test_peft_and_streaming_write_the_same_weights(tmp_path: Path, bfloat16: Path) -> None:
    adapter = make_adapter(bfloat16, tmp_path / "adapter")
    for name in ("stream", "peft"):
        words = ["--adapter", str(adapter), "--out", str(tmp_path / name), "--engine", name, "merge.dtype=base"]
        assert main(words) == 0
    assert differing(tmp_path / "stream", tmp_path / "peft") == {}


def test_peft_refuses_tied_embeddings_too(
    tmp_path: Path, small_model_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = make_adapter(small_model_dir, tmp_path / "adapter", target_modules=["q_proj", "lm_head"])
    words = ["--adapter", str(adapter), "--out", str(tmp_path / "out"), "--engine", "peft"]
    assert main(words) == 2
    assert "ties to another layer" in capsys.readouterr().err


def test_a_directory_that_no_merge_made_is_not_replaced(
    tmp_path: Path, bfloat16: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = make_adapter(bfloat16, tmp_path / "adapter")
    target = tmp_path / "out"
    target.mkdir()
    (target / "precious").write_text("x")
    words = ["--adapter", str(adapter), "--out", str(target), "merge.dtype=base"]
    assert main(words) == 2
    assert "no merge made it; name another --out, or add --replace" in capsys.readouterr().err
    assert (target / "precious").read_text() == "x"
    assert main([*words, "--replace"]) == 0
    assert not (target / "precious").exists()


def test_an_adapter_that_is_not_finished_is_refused(
    tmp_path: Path, small_model_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = finished_run(tmp_path, small_model_dir)
    (tmp_path / "runs/t/sft/adapter.manifest.json").unlink()
    assert main(words) == 2
    assert "has no manifest, so its stage did not finish; run again: python -m sft.train" in capsys.readouterr().err
    assert main([*words, "merge.adapter=rl"]) == 2
    assert "python -m rl.train" in capsys.readouterr().err


def test_an_adapter_of_another_base_is_refused_before_anything_is_written(
    tmp_path: Path, small_model_dir: Path, make_model: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = finished_run(tmp_path, small_model_dir)
    other = make_model(tmp_path / "other", initializer_range=0.5)
    assert main([*words, f"model={other}"]) == 2
    assert f"made for another base: {small_model_dir}" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "runs/t").iterdir() if "merged" in path.name] == []


def test_an_adapter_of_a_quantised_base_goes_onto_the_original(
    tmp_path: Path, bfloat16: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quantised = Path(shutil.copytree(bfloat16, tmp_path / "quantised"))
    adapter = make_adapter(quantised, tmp_path / "adapter")
    config = json.loads((quantised / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (quantised / "config.json").write_text(json.dumps(config))
    words = ["--adapter", str(adapter), "--out", str(tmp_path / "out"), "merge.dtype=base"]
    assert main(words) == 2
    assert "name the 16-bit model that it was made from: --base DIR" in capsys.readouterr().err
    assert main([*words, "--base", str(bfloat16)]) == 0


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--adapter", "nowhere"], "nowhere: not an adapter directory"),
        (["merge.adapter=[]"], "name at least one adapter"),
        (["--adapter", "sft:much"], "'much' after the colon is no weight"),
        (["--max-shard-size", "big"], "merge.max_shard_size: expected a size such as 5GB, got 'big'"),
        (["--dtype", "int4"], "merge.dtype"),
        (["--engine", "magic"], "merge.engine"),
        (["--base", "/nowhere/base"], "/nowhere/base: not a model directory"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path, small_model_dir: Path, words: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished_run(tmp_path, small_model_dir)
    assert main([*run, *words]) == 2
    error = capsys.readouterr().err
    assert reason in error
    assert error.count("\n") == 1


def test_a_command_killed_in_the_middle_is_finished_by_the_same_command(tmp_path: Path, bfloat16: Path) -> None:
    words = finished_run(tmp_path, bfloat16)
    command = [sys.executable, "-m", "merge", *words]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    partial = tmp_path / "runs/t/.merged.partial"
    deadline = time.monotonic() + 60
    while not list(partial.glob("*.safetensors")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "runs/t/merged").exists()
    assert main(words) == 0
    assert json.loads((tmp_path / "runs/t/parity.json").read_text())["passed"]
    assert not partial.exists()


def test_two_at_once_do_not_meet(tmp_path: Path, small_model_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = finished_run(tmp_path, small_model_dir)
    config = load_config(None, words)
    job = Job.of(config, "merge", output="merged", command="c", settings={})
    with job._lock():
        assert main(words) == 2
    assert f"is being made by process {os.getpid()}" in capsys.readouterr().err


# What a user may get wrong

LAYERS_LIE = '{"model_type": "qwen3", "num_hidden_layers": 3, "layer_types": ["full_attention"]}'


def elsewhere(tmp_path: Path, base: Path, **lora: Any) -> tuple[Path, list[str]]:
    """An adapter that is no run's, and the words that merge it into ``tmp_path/out``."""
    adapter = make_adapter(base, tmp_path / "adapter", **lora)
    return adapter, ["--base", str(base), "--adapter", str(adapter), "--out", str(tmp_path / "out"), "threads=1"]


def edit(adapter: Path, **settings: Any) -> None:
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def test_a_base_keeps_its_type_whatever_the_default_configuration_says(tmp_path: Path, bfloat16: Path) -> None:
    _, words = elsewhere(tmp_path, bfloat16)
    assert main(words) == 0
    assert {tensor.dtype for tensor in tensors_of(tmp_path / "out").values()} == {torch.bfloat16}
    assert main([*words, "--dtype", "float32"]) == 0
    assert {tensor.dtype for tensor in tensors_of(tmp_path / "out").values()} == {torch.float32}


def test_an_adapter_from_elsewhere_does_not_take_the_place_of_the_tiny_run(
    tmp_path: Path, bfloat16: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, words = elsewhere(tmp_path, bfloat16)
    assert main([*words[:4], f"runs_dir={tmp_path}/runs"]) == 2
    assert "add --out DIR" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("place", [".", "merged", ".."])
@pytest.mark.parametrize("which", ["base", "adapter"])
def test_what_is_merged_is_never_written_over(
    tmp_path: Path, bfloat16: Path, place: str, which: str, capsys: pytest.CaptureFixture[str]
) -> None:
    base = Path(shutil.copytree(bfloat16, tmp_path / "in/base"))
    adapter = make_adapter(base, tmp_path / "in/adapter")
    out = Path(os.path.normpath(tmp_path / "in" / which / place))
    assert main(["--base", str(base), "--adapter", str(adapter), "--out", str(out), "--replace"]) == 2
    assert "which is merged; name a directory beside it" in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "in").iterdir()) == ["adapter", "base"]
    assert not [path for path in (tmp_path / "in").rglob("*merged*") if path.name != "merged"]


@pytest.mark.parametrize(
    ("out", "reason"),
    [
        ("file/merged", "(File exists); name another place: --out PATH"),
        ("x" * 250, "File name too long"),
        ("/proc/1/merged", "cannot be made"),
        ("/proc", "name /proc/NAME"),
        (".", "is no name for a directory"),
        ("/", "is no name for a directory"),
        ("~/merged", "is no name for a directory"),
    ],
)
def test_a_place_that_cannot_be_written_is_one_line(
    tmp_path: Path,
    bfloat16: Path,
    out: str,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, words = elsewhere(tmp_path, bfloat16)
    (tmp_path / "file").write_text("x")
    monkeypatch.chdir(tmp_path)
    assert main([*words, "--out", out]) == 2
    error = capsys.readouterr().err
    assert reason in error
    assert error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter", "file"]


def test_a_link_to_a_directory_elsewhere_is_filled(tmp_path: Path, bfloat16: Path) -> None:
    _, words = elsewhere(tmp_path, bfloat16)
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk/model")
    for dtype in ("bfloat16", "float16"):
        assert main([*words, "--dtype", dtype]) == 0
        assert (tmp_path / "out").is_symlink()
        assert load_model(tmp_path / "disk/model").dtype == getattr(torch, dtype)
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["model"]


def test_a_file_in_the_place_is_replaced_when_asked(tmp_path: Path, bfloat16: Path) -> None:
    _, words = elsewhere(tmp_path, bfloat16)
    (tmp_path / "out").write_text("x")
    assert main([*words, "--replace"]) == 0
    assert main([*words, "--dtype", "float32"]) == 0
    assert not list(tmp_path.glob(".out.replaced"))


def test_a_measurement_does_not_make_a_directory_ours(
    tmp_path: Path, bfloat16: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter, words = elsewhere(tmp_path, bfloat16)
    merged(bfloat16, tmp_path / "out", adapter)
    assert measure(words) == 0
    assert main(words) == 2
    assert "no merge made it" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["a:2", "a,b", "mein Modell ü"])
def test_a_directory_is_an_adapter_whatever_its_name(tmp_path: Path, bfloat16: Path, name: str) -> None:
    make_adapter(bfloat16, tmp_path / "a", seed=5)  # what a:2 would be read as
    adapter, words = elsewhere(tmp_path, bfloat16)
    adapter.rename(tmp_path / name)
    words[3] = str(tmp_path / name)
    assert main(words) == 0
    merged(bfloat16, tmp_path / "expected", tmp_path / name)
    assert differing(tmp_path / "out", tmp_path / "expected") == {}


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        ("{0},{0}:0.5", "is named twice"),
        ("{0}:nan", "is nan, expected"),
        ("{0}:0", "is 0, expected"),
        ("{0}:-1", "is -1, expected"),
    ],
)
def test_weights_that_make_no_sense_are_refused(
    tmp_path: Path, bfloat16: Path, weights: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter, words = elsewhere(tmp_path, bfloat16)
    assert main([*words, "--adapter", weights.format(adapter)]) == 2
    assert reason in capsys.readouterr().err


def test_an_adapter_is_not_merged_with_the_one_that_it_was_trained_on_from(
    tmp_path: Path, small_model_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = finished_run(tmp_path, small_model_dir)
    run = tmp_path / "runs/t"
    inputs = {"model": small_model_dir, "start": run / "sft/adapter"}
    job = Job.of(load_config(None, words), "rl", output="rl/adapter", command="c", settings={}, inputs=inputs)
    with job.running():
        make_adapter(small_model_dir, job.output, seed=3)
    for both in ("sft,rl", "rl,sft"):
        assert main([*words, "--adapter", both]) == 2
        assert "rl/adapter was trained on from" in capsys.readouterr().err
    assert main([*words, "--adapter", "rl"]) == 0


@pytest.mark.parametrize("saved", [{"modules_to_save": ["lm_head"]}, {"trainable_token_indices": [3, 5]}])
def test_a_weight_on_what_is_replaced_is_refused(
    tmp_path: Path, bfloat16: Path, saved: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    adapter, words = elsewhere(tmp_path, bfloat16, target_modules=["q_proj"], **saved)
    assert main([*words, "--adapter", f"{adapter}:0.5"]) == 2
    assert "so the weight 0.5 has no meaning for it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"r": 0}, "a rank (r, rank_pattern) is 0, expected a whole number above 0"),
        ({"r": None}, "is None, expected a whole number"),
        ({"rank_pattern": {"q_proj": "four"}}, "is 'four', expected a whole number"),
        ({"lora_alpha": None}, "is None, expected a number"),
        ({"lora_alpha": float("nan")}, "is nan, expected a number"),
        ({"rank_pattern": ["q_proj"]}, "rank_pattern is ['q_proj'], expected dict"),
        ({"alpha_pattern": {"(q": 4}}, "is '(q', expected a regular expression"),
        ({"use_rslora": "no"}, "use_rslora is 'no', expected bool"),
        ({"modules_to_save": 5}, "modules_to_save is 5, expected list"),
        ({"trainable_token_indices": ["a"]}, "expected whole numbers"),
        ({"base_model_name_or_path": 5}, "base_model_name_or_path is 5, expected the name of a model"),
    ],
)
@pytest.mark.parametrize("engine", ["stream", "peft"])
def test_a_setting_of_a_wrong_kind_is_named(
    tmp_path: Path,
    bfloat16: Path,
    settings: dict[str, Any],
    reason: str,
    engine: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    adapter, words = elsewhere(tmp_path, bfloat16)
    edit(adapter, **settings)
    assert main([*words, "--engine", engine]) == 2
    error = capsys.readouterr().err
    assert f"{adapter}/adapter_config.json: " in error
    assert reason in error


def test_a_base_that_is_not_there_is_said_to_be_the_adapters(
    tmp_path: Path, bfloat16: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter, words = elsewhere(tmp_path, bfloat16)
    edit(adapter, base_model_name_or_path="/nowhere/base")
    assert main(words[2:]) == 2
    assert "was trained on /nowhere/base, says its adapter_config.json" in capsys.readouterr().err
    assert main(words) == 0


@pytest.mark.parametrize("engine", ["stream", "peft"])
def test_weights_of_an_adapter_in_an_old_form_are_named(
    tmp_path: Path, bfloat16: Path, engine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter, words = elsewhere(tmp_path, bfloat16)
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    assert main([*words, "--engine", engine]) == 2
    assert "it has adapter_model.bin, an old form" in capsys.readouterr().err


def test_a_broken_base_is_told_before_another_base(
    tmp_path: Path, bfloat16: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = Path(shutil.copytree(bfloat16, tmp_path / "base"))
    words = finished_run(tmp_path, base)
    next(base.glob("*.safetensors")).unlink()
    assert main(words) == 2
    assert "files of weights are missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"config.json": "[]"}, "config.json: expected an object, got []"),
        ({"config.json": '{"model_type": "strange"}'}, "transformers cannot read its config.json"),
        (
            {"config.json": '{"model_type": "strange", "auto_map": {"AutoConfig": "mine.Mine"}}', "mine.py": "1 / 0"},
            "it names code of its own (auto_map), which is not run",
        ),
        ({"config.json": LAYERS_LIE}, "transformers cannot read its config.json: Class validation error"),
        ({"adapter_config.json": "{}"}, "holds an adapter beside the model"),
        ({"model.safetensors.index.json": '{"weight_map": {}}'}, "names no weights"),
        ({"chat_template.jinja": "{{ messages[0].content }}"}, "chat template"),
        ({"chat_template.jinja": "{{ messages"}, "chat template"),
    ],
)
def test_a_base_that_cannot_be_merged_into_is_refused_before_anything_is_written(
    tmp_path: Path, bfloat16: Path, files: dict[str, str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter, words = elsewhere(tmp_path, bfloat16)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (adapter / name).unlink()
    edit(adapter, base_model_name_or_path=None)
    words[1] = str(shutil.copytree(bfloat16, tmp_path / "base"))
    for name, text in files.items():
        (tmp_path / "base" / name).write_text(text)
    assert main(words) == 2
    said = capsys.readouterr()
    assert reason in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""
    assert not list(tmp_path.glob(".out.partial"))


def test_a_template_with_tokens_that_the_model_lacks_is_told(
    tmp_path: Path, bfloat16: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter, words = elsewhere(tmp_path, bfloat16)
    tokenizer = load_tokenizer(adapter)
    tokenizer.add_tokens([f"<|more{number}|>" for number in range(4000)])
    tokenizer.chat_template = tokenizer.chat_template.replace("<|im_start|>", "<|more3999|>")
    tokenizer.save_pretrained(adapter)
    assert main(words) == 2
    assert "the model has embeddings of" in capsys.readouterr().err


def test_peft_looks_at_the_disk_as_well(
    tmp_path: Path, bfloat16: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, words = elsewhere(tmp_path, bfloat16)
    monkeypatch.setattr(output, "_SPARE", 1 << 60)
    assert main([*words, "--engine", "peft"]) == 2
    assert "the disk has" in capsys.readouterr().err


def test_several_adapters_are_not_rounded_several_times_by_peft(
    tmp_path: Path, bfloat16: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter, words = elsewhere(tmp_path, bfloat16)
    words[3] = f"{adapter},{make_adapter(bfloat16, tmp_path / 'second', seed=2)}"
    assert main([*words, "--engine", "peft"]) == 2
    assert "PEFT rounds after each" in capsys.readouterr().err
    assert main([*words, "--engine", "peft", "--dtype", "float32", "--max-shard-size", "20KiB"]) == 0
    files = [file.stat().st_size for file in (tmp_path / "out").glob("*.safetensors")]
    assert len(files) > 3
