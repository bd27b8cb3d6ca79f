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
from merging import convert, differing, make_adapter, merged

from merge import engine
from merge.__main__ import main
from toolwright.artifacts import read_manifest
from toolwright.config_file import load_config
from toolwright.model import load_model
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
