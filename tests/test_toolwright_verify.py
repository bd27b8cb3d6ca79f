import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ended import wait_until_dead

from toolwright import verify
from toolwright.artifacts import fingerprint, manifest_path, write_rows
from toolwright.config_file import REPOSITORY, load_config
from toolwright.recall import named_adapters, named_base
from toolwright.stage import Job
from toolwright.verify import judge_parity, judge_served, main

ANSWERS = {"prompts": 9, "identical": 9, "differences": [], "why": ""}
PARITY = {
    "passed": True,
    "max_abs_logit_diff": 0.01,
    "tolerance": 0.25,
    "flips": 0,
    "positions": 90,
    "sha256": {},
    "continuations": [{}] * 9,
}
SERVED: dict[str, Any] = {
    "passed": True,
    "source": "merged",
    "source_sha256": "m" * 64,
    "engine": "transformers",
    "engine_version": "1",
    "smoke": {"passed": True, "calls": [{"name": "add", "arguments": "{}"}], "why": ""},
    "template": {"conversations": 8, "identical": 8, "first_difference": None},
    "served": ANSWERS,
}
COMMAND = '''
"""Stands in for a stage: {what}"""
import json, os, sys, time
from pathlib import Path

words = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
run = Path(words["runs_dir"]) / words["name"]
{body}
'''
WRITE_PARITY = "(run / 'parity.json').write_text({parity!r})"
WRITE_RECEIPT = """
receipt = json.loads({served!r})
if receipt["source_sha256"] == "m" * 64:
    from toolwright.artifacts import fingerprint
    receipt["source_sha256"] = fingerprint(Path(words["serve.model"]))
Path(words["serve.receipt"]).write_text(json.dumps(receipt))
sys.exit(0 if receipt["passed"] else 1)
"""


def make_run(tmp_path: Path, base: Path) -> Path:
    """A run whose SFT and merge are finished, made by hand; its directory."""
    words = [f"model={base}", f"runs_dir={tmp_path}/runs", "name=t"]
    config = load_config(None, words)
    sft = Job.of(config, "sft", output="sft/adapter", command="c", settings={}, inputs={"model": base})
    with sft.running():
        sft.output.mkdir(parents=True)
        (sft.output / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base)}))
        (sft.output / "chat_template.jinja").write_text("x")
    settings = {"tolerance": 0.125, "weights": [1.0]}
    inputs: dict[str, Path | str] = {"model": base, "adapter": sft.output}
    merge = Job.of(config, "merge", output="merged", command="python -m merge", settings=settings, inputs=inputs)
    with merge.running():
        merge.output.mkdir()
        (merge.output / "chat_template.jinja").write_text("x")
    return tmp_path / "runs/t"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text("{}")
    return make_run(tmp_path, base)


@pytest.fixture
def stages(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Stages":
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    found = Stages(tmp_path, monkeypatch)
    template = fingerprint(run / "merged/chat_template.jinja")
    found.parity = {**PARITY, "sha256": {"chat_template.jinja": {"trained": template, "merged": template}}}
    found.set()
    return found


class Stages:
    """Programs in the place of the three commands that are started."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.monkeypatch = folder, monkeypatch
        self.parity: dict[str, Any] = {}
        self.served = SERVED

    def set(self, **bodies: str) -> None:
        """Write the programs; ``bodies`` are other ones than those that agree."""
        bodies = {
            "measure": WRITE_PARITY.format(parity=json.dumps(self.parity)),
            "serve": WRITE_RECEIPT.format(served=json.dumps(self.served)),
            "card": "(run / 'carded').write_text((run / 'verify.json').read_text())",
        } | bodies
        for name, body in bodies.items():
            path = self.folder / f"{name}.py"
            path.write_text(COMMAND.format(what=name, body=body))
            self.monkeypatch.setattr(verify, name.upper(), (str(path),))


def test_a_run_that_agrees_gets_one_receipt_and_it_goes_into_the_card(
    run: Path, stages: Stages, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([str(run)]) == 0
    receipt = json.loads((run / "verify.json").read_text())
    assert receipt["passed"]
    assert receipt["sha256"]["merged"] == fingerprint(run / "merged")
    assert receipt["sha256"]["adapter"] == fingerprint(run / "sft/adapter")
    assert receipt["sha256"].keys() == {"base", "adapter", "merged", "chat_template.jinja"}
    assert [check["passed"] for check in receipt["checks"]] == [True] * 9
    assert "continuations" not in receipt["parity"]
    assert str(run) not in json.dumps(receipt["checks"])
    assert json.loads((run / "carded").read_text()) == receipt
    shown = capfd.readouterr().out
    assert shown.count("ok  ") == 9
    assert f"verify: passed -> {run / 'verify.json'}" in shown


def test_a_run_directory_says_how_it_was_made(run: Path, stages: Stages) -> None:
    stages.set(measure="Path(run / 'words').write_text(json.dumps(sys.argv[1:])); " + WRITE_PARITY.format(
        parity=json.dumps(stages.parity)))  # fmt: skip
    assert main([str(run), "merge.tolerance=0.5"]) == 0
    words = json.loads((run / "words").read_text())
    config = load_config(None, words)
    assert (config.name, config.runs_dir, config.merge.adapter) == ("t", str(run.parent), "sft")
    assert config.model == str(run.parents[1] / "base")
    assert config.merge.tolerance == 0.5
    assert "merge.tolerance=0.125" in words


def test_a_configuration_is_taken_as_it_is(run: Path, stages: Stages, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(f"name: t\nruns_dir: {run.parent}\nmodel: {tmp_path}/base\nmerge: {{adapter: sft}}\n")
    stages.set(measure="run = Path(sys.argv[1]).parent / 'runs/t'; " + WRITE_PARITY.format(
        parity=json.dumps(stages.parity)), card="")  # fmt: skip
    assert main([str(path), f"runs_dir={run.parent}", "name=t"]) == 0


def test_adapters_from_elsewhere_bring_their_base(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": f"org/{name}"}))
    config = load_config(None, [f"merge.adapter={tmp_path}/one, {tmp_path}/two:0.5", "model=org/mine"])
    adapters = named_adapters(config)
    assert [path.name for _, path in adapters] == ["one", "two"]
    assert named_base(config, adapters) == "org/one"
    assert named_base(config, [("sft", tmp_path / "one"), *adapters]) == "org/mine"
    several = load_config(None, [f"merge.adapter=[{{path: {tmp_path}/two, weight: 0.5}}]", "merge.base=org/big"])
    assert named_adapters(several) == [(f"{tmp_path}/two", tmp_path / "two")]
    assert named_base(several, named_adapters(several)) == "org/big"


CHANGES: dict[str, tuple[str, str, str]] = {
    "base": ("../../base/config.json", "base is the one merged into", "python -m merge"),
    "adapter": ("sft/adapter/adapter_config.json", "sft as trained", "python -m sft.train"),
}


@pytest.mark.parametrize("what", list(CHANGES))
def test_a_broken_chain_is_found_before_anything_is_measured(
    run: Path, stages: Stages, tmp_path: Path, capfd: pytest.CaptureFixture[str], what: str
) -> None:
    file, check, following = CHANGES[what]
    with (run / file).open("a") as stream:
        stream.write(" ")
    stages.set(measure="raise SystemExit('measured')", serve="raise SystemExit('served')")
    assert main([str(run), f"model={tmp_path}/base", "merge.adapter=sft"]) == 1
    shown = capfd.readouterr()
    assert f"FAIL  {check}" in shown.out
    assert f"next: {following}" in shown.out
    assert "measured" not in shown.err
    assert not json.loads((run / "verify.json").read_text())["passed"]


def test_another_adapter_than_was_merged_is_found(run: Path, stages: Stages, capfd: pytest.CaptureFixture[str]) -> None:
    path = manifest_path(run / "merged")
    path.write_text(path.read_text().replace(fingerprint(run / "sft/adapter"), "0" * 64))
    assert main([str(run)]) == 2
    assert "neither its rl nor its sft" in capfd.readouterr().err
    assert main([str(run), "merge.adapter=sft", f"model={run.parents[1] / 'base'}"]) == 1
    assert "FAIL  sft is the adapter merged" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("file", "says"),
    [("merged/chat_template.jinja", "was changed after its stage finished"), ("merged", "no manifest")],
)
def test_a_merged_model_that_is_not_whole_is_refused(
    run: Path, stages: Stages, capfd: pytest.CaptureFixture[str], file: str, says: str
) -> None:
    if file == "merged":
        manifest_path(run / "merged").unlink()
    else:
        (run / file).write_text("y")
    assert main([str(run)]) == 2
    error = capfd.readouterr().err
    assert says in error
    assert f"python -m merge name=t runs_dir={run.parent} merge.replace=true" in error


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["{run}/none"], "none: neither a run's directory nor a configuration file"),
        (["{run}", "{run}"], "one run or configuration at a time"),
        (["{run}", "configs/tiny.yaml"], "one run or configuration at a time"),
    ],
)
def test_what_names_no_run_is_one_line(
    run: Path, stages: Stages, capfd: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    assert main([word.format(run=run) for word in words]) == 2
    error = capfd.readouterr().err
    assert says in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "adapter_config.json: cannot be read"),
        (None, "adapter_config.json: cannot be read"),
        ("{}", "names (none) is not the one"),
        ("[]", "names (none) is not the one"),
    ],
)
def test_an_adapter_that_does_not_say_its_base_is_one_line(
    run: Path, stages: Stages, capfd: pytest.CaptureFixture[str], content: str | None, says: str
) -> None:
    path = run / "sft/adapter/adapter_config.json"
    path.unlink() if content is None else path.write_text(content)
    assert main([str(run)]) == 2
    error = capfd.readouterr().err
    assert says in error
    assert "model=DIR" in error
    assert len(error.splitlines()) == 1


def test_our_own_server_is_not_called_by_another_projects_name() -> None:
    assert judge_served(SERVED, "m" * 64, True)[0].found.startswith("toolwright's own server 1,")
    assert judge_served({**SERVED, "engine": "vllm"}, "m" * 64, True)[0].found.startswith("vllm 1,")


def test_disagreement_is_exit_code_one(run: Path, stages: Stages, capfd: pytest.CaptureFixture[str]) -> None:
    stages.parity = {**stages.parity, "passed": False}
    stages.served = {**SERVED, "passed": False, "served": {**ANSWERS, "identical": 8}}
    stages.set()
    assert main([str(run)]) == 1
    shown = capfd.readouterr().out
    assert "FAIL  adapter and merged model agree" in shown
    assert "FAIL  merged and served model agree" in shown
    assert shown.count("FAIL  ") == 2
    assert (run / "carded").exists()


@pytest.mark.parametrize(
    "bodies",
    [
        {"measure": "sys.exit(2)"},
        {"measure": ""},  # ends well and writes nothing: what is there is old
        {"serve": "sys.exit(2)"},
        {"serve": ""},
        {"serve": "os.kill(os.getpid(), 9)"},
    ],
)
def test_what_cannot_be_measured_is_a_mistake_and_not_a_result(
    run: Path, stages: Stages, capfd: pytest.CaptureFixture[str], bodies: dict[str, str]
) -> None:
    (run / "parity.json").write_text(json.dumps(stages.parity))
    stages.set(**bodies)
    assert main([str(run)]) == 2
    assert capfd.readouterr().err.splitlines()[-1].startswith("error: ")
    assert not (run / "verify.json").exists()


def test_a_card_that_cannot_be_written_is_a_mistake(
    run: Path, stages: Stages, capfd: pytest.CaptureFixture[str]
) -> None:
    stages.set(card="sys.exit(2)")
    assert main([str(run)]) == 2
    assert "its card could not be written" in capfd.readouterr().err
    assert json.loads((run / "verify.json").read_text())["passed"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_told_to_end_it_ends_what_it_started(run: Path, stages: Stages, tmp_path: Path, number: signal.Signals) -> None:
    stages.set(measure="(run / 'pid').write_text(str(os.getpid())); time.sleep(60)")
    code = (
        "import sys; from toolwright import verify; "
        f"verify.MEASURE = ({str(tmp_path / 'measure.py')!r},); sys.exit(verify.main([{str(run)!r}]))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while not (run / "pid").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.1)
    child = int((run / "pid").read_text())
    process.send_signal(number)
    assert process.wait(30) == (-number if number == signal.SIGKILL else 128 + number)
    assert wait_until_dead(child, 10)


def passed(checks: Sequence[verify.Check]) -> list[bool]:
    return [check.passed for check in checks]


@pytest.mark.parametrize(
    ("change", "comparable", "expected"),
    [
        ({}, True, [True] * 4),
        ({"source_sha256": "0" * 64}, True, [False, True, True, True]),
        ({"source_sha256": None}, True, [False, True, True, True]),
        ({"smoke": {"passed": False, "calls": [], "why": "text came back"}}, True, [True, False, True, True]),
        ({"template": {"conversations": 8, "identical": 7}}, True, [True, True, False, True]),
        ({"template": {"conversations": 0, "identical": 0, "why": "no tokens"}}, True, [True, True, False, True]),
        ({"served": {**ANSWERS, "identical": 8}}, True, [True, True, True, False]),
        ({"served": {**ANSWERS, "identical": 8, "differences": [{"forgiven": True}]}}, True, [True] * 4),
        ({"served": {**ANSWERS, "identical": 8, "differences": [{"forgiven": False}]}}, True, [True] * 3 + [False]),
        ({"served": {**ANSWERS, "prompts": 0, "identical": 0}}, True, [True, True, True, False]),
        ({"served": {**ANSWERS, "prompts": 0, "identical": 0}}, False, [True] * 4),
    ],
)
def test_what_a_server_gave_is_judged(change: dict[str, Any], comparable: bool, expected: list[bool]) -> None:
    assert passed(judge_served({**SERVED, **change}, "m" * 64, comparable)) == expected


def test_a_template_that_changed_on_either_side_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text("x")
    now = fingerprint(tmp_path / "chat_template.jinja")
    for trained, merged, agree in ((now, now, True), ("0" * 64, now, False), ("0" * 64, "0" * 64, False)):
        parity = {**PARITY, "sha256": {"chat_template.jinja": {"trained": trained, "merged": merged}}}
        assert passed(judge_parity(parity, tmp_path)) == [True, agree]
    assert passed(judge_parity(PARITY, tmp_path)) == [True, False]


CALL = {"name": "get_weather", "arguments": {"city": "Oslo"}, "id": "call_0"}
TOOL = {
    "name": "get_weather",
    "description": "Current weather of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
QUESTION = {
    "id": "q1",
    "mode": "single",
    "messages": [
        {"role": "user", "content": "What is the weather in Oslo?"},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "call_0", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'}}
        ]},
    ],
    "tools": json.dumps([{"type": "function", "function": TOOL}]),
    "plan": json.dumps({"mode": "single", "steps": [{"calls": [CALL], "results": ["{}"]}]}),
}  # fmt: skip


@pytest.mark.slow
def test_the_real_stages_agree_on_a_model_that_calls_tools(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Adapter, merge, measurement and server as users have them; the base is the one that this repository ships."""
    import torch
    from peft import LoraConfig, get_peft_model

    from merge.__main__ import main as merge
    from toolwright.model import load_model, load_tokenizer

    base = REPOSITORY / "models/tiny"
    words = [f"model={base}", f"runs_dir={tmp_path}/runs", "name=t", "merge.adapter=sft", "threads=1"]
    job = Job.of(
        load_config(None, words), "sft", output="sft/adapter", command="c", settings={}, inputs={"model": base}
    )
    with job.running():
        lora = LoraConfig(r=4, lora_alpha=4, target_modules="all-linear", task_type="CAUSAL_LM")
        model = get_peft_model(load_model(base), lora)
        torch.manual_seed(0)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=1e-3)
        model.save_pretrained(str(job.output))
        load_tokenizer(base).save_pretrained(str(job.output))
    assert merge(words) == 0
    run = tmp_path / "runs/t"
    write_rows(run / "train.jsonl", [QUESTION])
    assert main([str(run)]) == 0, capfd.readouterr()
    assert "verify: passed" in capfd.readouterr().out
    receipt = json.loads((run / "verify.json").read_text())
    assert receipt["served"]["served"]["prompts"] == receipt["parity"]["prompts"] == 9
    card = (run / "merged/README.md").read_text()
    assert "| merged and served model agree | yes | 9 of 9 prompts answered as by base and adapter" in card
    assert str(tmp_path) not in card
    with (run / "merged/chat_template.jinja").open("a") as stream:
        stream.write("{# another #}")
    assert main([str(run)]) == 2
