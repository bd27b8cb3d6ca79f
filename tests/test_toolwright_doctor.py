"""``toolwright doctor``: what it says about packages, vLLM, models and ports, on made-up machines."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from toolwright.cli import main
from toolwright.doctor import _devices, _disk, _model, _port, _sandbox
from toolwright.doctor_packages import EXTRAS, look_at, packages
from toolwright.doctor_vllm import find_vllm, installed_version


@pytest.mark.parametrize(
    ("line", "tested", "extra", "found", "fatal", "cured"),
    [
        ("rich>=1", {}, None, "", False, False),
        ("rich>=999", {}, None, "needs >=999", True, True),
        ("rich>=1", {"rich": "0.0.1"}, None, "tested with 0.0.1", False, True),
        ("no-such-package-here", {}, None, "not installed", True, True),
        ("no-such-package-here", {}, "wandb", "(optional)", False, True),
        ("rich>=999", {}, "wandb", "needs >=999", False, True),
    ],
)
def test_a_package_is_compared_with_what_is_asked_for(
    line: str, tested: dict[str, str], extra: str | None, found: str, fatal: bool, cured: bool
) -> None:
    finding = look_at(Requirement(line), tested, extra=extra)
    assert found in finding.found
    assert finding.fatal is fatal
    assert bool(finding.cure) is cured
    if cured:
        assert finding.cure.startswith("pip install -c constraints.txt ")


def test_the_line_that_installs_is_what_a_shell_takes_in_any_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, extra = Requirement("rich>=999"), Requirement("no-such-package-here")
    checkout = tmp_path / "a checkout"
    checkout.mkdir()
    (checkout / "pyproject.toml").write_text("")
    (checkout / "constraints.txt").write_text("")
    monkeypatch.chdir(checkout)
    assert look_at(old, {}, root=checkout).cure == "pip install -c constraints.txt 'rich>=999'"
    assert look_at(extra, {}, "wandb", checkout).cure == "pip install -c constraints.txt -e '.[wandb]'"
    monkeypatch.chdir(tmp_path)
    assert look_at(old, {}, root=checkout).cure == f"pip install -c '{checkout}/constraints.txt' 'rich>=999'"
    assert look_at(extra, {}, "wandb", checkout).cure.endswith(f"-e '{checkout}[wandb]'")
    installed = tmp_path / "site-packages"
    assert look_at(old, {}, root=installed).cure == "pip install 'rich>=999'"
    assert look_at(extra, {}, "wandb", installed).cure == "pip install 'toolwright[wandb]'"


def test_a_build_label_is_not_another_version() -> None:
    assert look_at(Requirement("torch>=2"), {"torch": _version("torch").partition("+")[0]}).cure == ""


def _version(name: str) -> str:
    import importlib.metadata

    return importlib.metadata.version(name)


def test_requirements_of_a_checkout_that_are_missing_are_named(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nrequires-python = ">=99"\ndependencies = ["rich", "no-such-thing>=1"]\n'
        '[project.optional-dependencies]\nqlora = ["not-this-either"]\n'
    )
    found = {finding.what: finding for finding in packages(tmp_path)}
    assert found["python"].fatal
    assert found["no-such-thing"].fatal
    assert found["packages"].found == "1 of 2 required ones as tested"
    assert not found[f"not-this-either ({EXTRAS['qlora']})"].fatal


def fake_vllm(environment: Path, version: str = "0.31.0") -> Path:
    (environment / "lib/python3.12/site-packages" / f"vllm-{version}.dist-info").mkdir(parents=True)
    command = environment / "bin" / "vllm"
    command.parent.mkdir()
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    return command


def test_vllm_in_an_environment_of_its_own_has_a_version_and_nothing_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = fake_vllm(tmp_path / "env", "0.32.0+cpu")
    monkeypatch.setenv("VLLM_BIN", str(command))
    assert installed_version(command) == "0.32.0+cpu"
    (finding,) = find_vllm()
    assert finding.found == f"0.32.0+cpu, {command}"
    assert not finding.cure


def test_vllm_in_the_trainers_environment_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = fake_vllm(tmp_path)
    monkeypatch.setenv("VLLM_BIN", str(command))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    place = list(find_vllm())[-1]
    assert "trainer's environment" in place.found
    assert place.cure.startswith("pip uninstall vllm")


def test_a_vllm_bin_that_is_no_command_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_BIN", str(tmp_path / "none"))
    assert "is no command" in next(find_vllm()).found


@pytest.mark.parametrize(
    ("name", "fatal"),
    [("models/tiny", False), ("./no/where", True), ("a/b/c", True), ("Qwen/Qwen2.5-7B-Instruct", False)],
)
def test_a_model_is_a_directory_or_a_hub_id(name: str, fatal: bool) -> None:
    assert _model(name).fatal is fatal


def test_a_model_directory_without_weights_is_no_model(tmp_path: Path) -> None:
    for file in ("config.json", "tokenizer.json"):
        assert _model(str(tmp_path)).found.endswith(f"has no {file}")
        (tmp_path / file).write_text("{}")
    assert _model(str(tmp_path)).found.endswith("has no *.safetensors")


def test_a_port_in_use_has_a_way_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert _port("127.0.0.1", port).cure == "serve.port=0 takes a free one"
    assert not _port("127.0.0.1", 0).cure


def test_a_host_that_is_not_here_is_no_matter_of_ports() -> None:
    assert _port("no.such.host.invalid", 8000).cure.startswith("serve.host=127.0.0.1")


def test_runs_cannot_go_into_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "runs"):
        finding = _disk(place)
        assert finding.fatal
        assert finding.found == f"{tmp_path / 'file'} is no directory"
    assert not _disk(tmp_path / "new" / "runs").fatal


def test_a_torch_that_cannot_be_imported_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "torch":
                raise OSError("libcudart.so.13: cannot open shared object file")

    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr("toolwright.doctor.spec_exists", lambda name: True)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    found = {finding.what: finding for finding in _devices()}
    assert found["torch"].fatal
    assert "libcudart" in found["torch"].found


def test_a_sandbox_that_does_not_work_has_the_line_that_mends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "sandbox: landlock\nbwrap does not work: no user namespaces; allow them: `sysctl x=1`\nlandlock works: some"
    done = subprocess.CompletedProcess([], 0, said, "")
    monkeypatch.setattr("toolwright.doctor.subprocess.run", lambda *_, **__: done)
    monkeypatch.setattr("toolwright.doctor.shutil.which", lambda name: f"/usr/bin/{name}")
    level, why = _sandbox()
    assert level.cure == "allow them: `sysctl x=1`"
    assert why.found.startswith("does not work: no user namespaces")
    monkeypatch.setattr("toolwright.doctor.shutil.which", lambda name: None)
    assert next(_sandbox()).cure == "apt-get install bubblewrap"


def test_a_package_that_the_command_itself_needs_is_named(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['pydantic'] = None\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    argv = [sys.executable, "-m", "toolwright.cli", "doctor"]
    done = subprocess.run(argv, capture_output=True, text=True, env=environment)
    assert done.returncode == 2
    assert done.stderr.startswith("error: the package pydantic is not installed; install")
    assert len(done.stderr.splitlines()) == 1


def test_the_command_prints_json_of_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["doctor", "--json"])
    found = {row["what"]: row for row in json.loads(capsys.readouterr().out)}
    assert found.keys() >= {
        "python",
        "torch",
        "packages",
        "machine",
        "cpu",
        "disk",
        "base model",
        "sandbox",
        "vllm",
        "port",
    }
    assert code == int(any(row["fatal"] for row in found.values()))


def test_something_required_that_is_missing_ends_with_1(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["doctor", f"model={tmp_path}"]) == 1
    assert "1 required thing is missing" in capsys.readouterr().out
