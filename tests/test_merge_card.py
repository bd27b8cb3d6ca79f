import json
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard

from merge.adapter import Source
from merge.card import foreign_files, upload_command, write_card
from toolwright.artifacts import fingerprint, manifest_path, read_manifest, write_rows
from toolwright.config import RunConfig
from toolwright.config_file import load_config
from toolwright.stage import Job

PARITY = {
    "passed": True,
    "max_abs_logit_diff": 0.0123,
    "mean_abs_logit_diff": 0.001,
    "tolerance": 0.25,
    "greedy_identical": True,
    "flips": 0,
    "prompts": 9,
    "positions": 100,
    "computed_in": "float32",
    "files_identical": True,
    "weights": {"weights": 12, "elements": 3456, "wrong": 0},
    "applied": {"adapters": [{"tensors": {"a": ["x"], "b": ["x"]}}]},
    "warnings": ["the template ends turns\notherwise"],
}


def make_run(tmp_path: Path, model: Path) -> RunConfig:
    """A run with rows that an SFT stage trained on, and an adapter directory without weights."""
    words = [
        f"model={model}",
        f"runs_dir={tmp_path}/runs",
        "name=shop",
        "tools.apis={headers: {Authorization: secret}}",
    ]
    config = load_config(None, words)
    tools = [
        {"type": "function", "function": {"name": name, "description": text, "parameters": {"type": "object"}}}
        for name, text in (("add", "Add | numbers\n<b>now</b>"), ("greet", ""))
    ]
    rows = Job.of(config, "split", output="train.jsonl", command="c", settings={})
    with rows.running():
        write_rows(rows.output, [{"tools": json.dumps(tools[:count])} for count in (1, 2, 1)])
    settings = {"lora": {"rank": 4}, "tools": {"apis": {"headers": "secret"}}, "data": "/home/me/rows.jsonl"}
    inputs: dict[str, Path | str] = {"model": model, "train": rows.output}
    sft = Job.of(config, "sft", output="sft/adapter", command="python -m sft.train", settings=settings, inputs=inputs)
    with sft.running():
        sft.output.mkdir(parents=True)
        (sft.output / "adapter_config.json").write_text("{}")
    return config


def write(output: Path, config: RunConfig | None, base: str, adapter: Path, **more: Any) -> str:
    write_card(output, base=base, sources=[Source(adapter)], parity=PARITY, config=config, **more)
    return (output / "README.md").read_text()


def test_a_card_says_what_the_files_of_the_run_say(tmp_path: Path, small_model_dir: Path, make_model: Any) -> None:
    config, output = make_run(tmp_path, small_model_dir), make_model(tmp_path / "merged")
    before = fingerprint(output)
    adapter = tmp_path / "runs/shop/sft/adapter"
    text = write(output, config, str(small_model_dir), adapter)
    assert fingerprint(output) == before
    assert text.startswith("---\n")
    assert "# shop\n" in text
    assert "with one LoRA adapter merged into its weights: `sft/adapter` (sft)" in text
    assert "| `add` | Add \\| numbers &lt;b>now&lt;/b> | 3 |" in text
    assert "| `greet` |  | 1 |" in text
    for sha256 in (fingerprint(small_model_dir), fingerprint(adapter), fingerprint(output / "chat_template.jinja")):
        assert sha256 in text
    assert "| sft | `python -m sft.train` | 17 |" in text
    assert "peft 0." in text
    assert "0.0123 (accepted: 0.25)" in text
    assert "| 12 weights with 3,456 elements, further away: 0 |" in text
    assert "| tensors of the adapters, each applied once | 2 |\n\n- the template ends turns otherwise\n" in text
    assert "vllm serve DIR --enable-auto-tool-choice --tool-call-parser hermes" in text
    assert "## Evaluation" not in text
    assert "## Verification" not in text
    assert "secret" not in text
    assert "/home/me" not in text
    assert str(tmp_path) not in text


def test_the_hub_reads_the_metadata(tmp_path: Path, small_model_dir: Path, make_model: Any) -> None:
    config, output = make_run(tmp_path, small_model_dir), make_model(tmp_path / "merged")
    write(output, config, "Qwen/Qwen3-4B", tmp_path / "runs/shop/sft/adapter")
    data = ModelCard.load(output / "README.md").data
    assert data.base_model == "Qwen/Qwen3-4B"
    assert data.base_model_relation == "finetune"
    assert data.library_name == "transformers"
    assert data.pipeline_tag == "text-generation"
    assert {"function-calling", "sft", "lora"} <= set(data.tags)
    assert data.to_dict().keys() <= {
        "base_model", "base_model_relation", "license", "library_name", "model_name", "pipeline_tag", "tags",
    }  # fmt: skip


def test_a_directory_is_no_name_on_the_hub_unless_it_is_in_its_cache(
    tmp_path: Path, small_model_dir: Path, make_model: Any
) -> None:
    config, output = make_run(tmp_path, small_model_dir), make_model(tmp_path / "merged")
    adapter = tmp_path / "runs/shop/sft/adapter"
    write(output, config, str(small_model_dir), adapter)
    assert ModelCard.load(output / "README.md").data.base_model is None
    snapshot = tmp_path / "hub/models--Qwen--Qwen3-4B/snapshots/0123abc"
    snapshot.parent.mkdir(parents=True)
    make_model(snapshot)
    (snapshot / "README.md").write_text("---\nlicense: apache-2.0\n---\nx")
    write(output, config, str(snapshot), adapter)
    data = ModelCard.load(output / "README.md").data
    assert data.base_model == "Qwen/Qwen3-4B"
    assert data.license == "apache-2.0"
    assert "| Base model | `Qwen/Qwen3-4B` |" in (output / "README.md").read_text()


def test_tools_of_other_rows_are_left_out(tmp_path: Path, small_model_dir: Path, make_model: Any) -> None:
    config, output = make_run(tmp_path, small_model_dir), make_model(tmp_path / "merged")
    with (tmp_path / "runs/shop/train.jsonl").open("a") as stream:
        stream.write(json.dumps({"tools": "[]"}) + "\n")
    assert "Tools in its training" not in write(
        output, config, str(small_model_dir), tmp_path / "runs/shop/sft/adapter"
    )


def report(name: str, **hashes: str) -> dict[str, Any]:
    score = {"n": 40, "passed": 30, "score": 0.75, "interval": [0.6, 0.86]}
    return {
        "tasks": 40,
        "seed": 17,
        "created": "2027-01-02T00:00:00",
        "models": [{"name": name, **score, "by_mode": {"single": score}}],
        "receipt": {"hashes": {f"{name}: {kind}": value for kind, value in hashes.items()}},
    }


def test_only_an_evaluation_of_this_model_is_shown(tmp_path: Path, small_model_dir: Path, make_model: Any) -> None:
    config, output = make_run(tmp_path, small_model_dir), make_model(tmp_path / "merged", initializer_range=0.5)
    adapter, path = tmp_path / "runs/shop/sft/adapter", tmp_path / "runs/shop/eval/report.json"
    path.parent.mkdir()
    base = fingerprint(small_model_dir)
    for content, shown in (
        (report("sft", model=base, adapter=fingerprint(adapter)), True),
        (report("merged", model=fingerprint(output)), True),
        (report("base", model=base), False),
        (report("sft", model=base, adapter="0" * 64), False),
        ({"models": 3}, False),
    ):
        path.write_text(json.dumps(content))
        text = write(output, config, str(small_model_dir), adapter)
        assert ("** (this model) | 30 of 40 | 75.0% | 60.0% to 86.0% |" in text) == shown


def test_only_a_receipt_about_these_weights_is_shown(tmp_path: Path, small_model_dir: Path, make_model: Any) -> None:
    output = make_model(tmp_path / "merged")
    (tmp_path / "adapter").mkdir()
    checks = [{"name": "adapter and merged model agree", "passed": True, "found": "difference 0.01", "next": ""}]
    for sha256, shown in ((fingerprint(output), True), ("0" * 64, False)):
        receipt = {"passed": True, "created": "2027-01-02", "checks": checks, "sha256": {"merged": sha256}}
        text = write(output, None, str(small_model_dir), tmp_path / "adapter", receipt=receipt)
        assert ("| adapter and merged model agree | yes | difference 0.01 |" in text) == shown


def test_what_is_no_part_of_a_model_is_not_published(tmp_path: Path, make_model: Any) -> None:
    output = make_model(tmp_path / "merged")
    assert foreign_files(output) == []
    assert upload_command(output) == f"hf upload YOUR_NAME/{tmp_path.name} {output}"
    for name in ("optimizer.pt", "a b.log", ".key"):
        (output / name).write_text("x")
    assert upload_command(output).endswith("--exclude .key --exclude 'a b.log' --exclude optimizer.pt")


def test_a_line_to_publish_names_what_the_hub_takes(tmp_path: Path, make_model: Any) -> None:
    output = make_model(tmp_path / "mein Modell ü")
    assert upload_command(output) == f"hf upload YOUR_NAME/mein-Modell '{output}'"


def test_a_directory_that_has_not_its_name_yet_is_called_by_it(
    tmp_path: Path, small_model_dir: Path, make_model: Any
) -> None:
    output = make_model(tmp_path / ".cat.partial")
    (tmp_path / "adapter").mkdir()
    text = write(output, None, str(small_model_dir), tmp_path / "adapter")
    assert "\n# cat\n" in text


def test_settings_and_versions_are_those_of_the_trainings_and_of_the_merge(
    tmp_path: Path, small_model_dir: Path, make_model: Any
) -> None:
    config, output = make_run(tmp_path, small_model_dir), make_model(tmp_path / "runs/shop/merged")
    rl = Job.of(
        config,
        "rl",
        output="rl/adapter",
        command="python -m rl.train",
        settings={"rl": {"steps": 7}, "tools": {"apis": {"headers": "secret"}}},
        inputs={"model": small_model_dir, "start": tmp_path / "runs/shop/sft/adapter"},
    )
    with rl.running():
        rl.output.mkdir(parents=True)
        (rl.output / "adapter_config.json").write_text("{ }")
    adapter = tmp_path / "runs/shop/rl/adapter"
    manifest = read_manifest(adapter)
    assert manifest is not None
    merged = manifest.model_copy(update={"packages": {"peft": "0.0.77"}, "settings": {"tolerance": 0.75}})
    manifest_path(output).write_text(merged.model_dump_json())
    text = write(output, config, str(small_model_dir), adapter)
    settings = json.loads(text.split("```json\n")[1].split("\n```")[0])
    assert settings["sft"]["lora"] == {"rank": 4}
    assert settings["rl"] == {"steps": 7}
    assert (settings["merge"]["tolerance"], settings["merge"]["engine"]) == (0.75, config.merge.engine)
    assert "secret" not in text
    assert "Merged with peft 0.0.77." in text
