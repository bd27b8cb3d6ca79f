"""``python -m serve`` as users start it: names of models, the ready line, concurrent clients, signals, exit codes."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from serve.server import address, listen
from serve.smoke import Outcome, explain, smoke_request
from serve.target import Target, find_target
from toolwright.artifacts import Manifest, fingerprint, manifest_path, write_text
from toolwright.config import RunConfig, ServeConfig
from toolwright.errors import ArtifactError, ConfigError, ModelError, ToolwrightError

REPOSITORY = Path(__file__).resolve().parents[1]


class Served:
    """A server process with what it has printed so far."""

    def __init__(self, words: Sequence[str], env: dict[str, str] | None = None, close_after: int | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "serve", *words],
            cwd=REPOSITORY,
            env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._close_after = close_after
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            if len(self.lines) == self._close_after:
                self.process.stdout.close()
                break

    def wait_for(self, pattern: str, timeout_s: float = 120) -> re.Match[str]:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            for line in list(self.lines):
                if match := re.search(pattern, line):
                    return match
            assert self.process.poll() is None or self._reader.is_alive(), self.lines
            time.sleep(0.05)
        raise AssertionError(f"no {pattern!r} in {self.lines}")

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(120)


@contextmanager
def served(*words: str, env: dict[str, str] | None = None, close_after: int | None = None) -> Iterator[Served]:
    """A server; ``close_after``: after so many lines nobody reads what it prints."""
    server = Served(words, env, close_after)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()


def run(*words: str, env: dict[str, str] | None = None) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "serve", *words],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_32_clients_at_once_get_what_each_gets_alone(small_model_dir: Path) -> None:
    words = ("--model", str(small_model_dir), "--port", "0", "--engine", "transformers", "serve.dtype=float32")
    with served(*words, "serve.smoke=false", "serve.max_batch=12") as server:
        url = server.wait_for(r"^serving model on (http://127\.0\.0\.1:\d+)$")[1]
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)

        def ask(number: int) -> Any:
            messages: Any = [{"role": "user", "content": f"{'again ' * (number % 5 * 20)}question {number % 7}"}]
            fields: dict[str, Any] = {"temperature": number % 3 * 0.6, "seed": number, "max_tokens": 8 + number % 9}
            if number % 4:
                return (
                    client.chat.completions.create(model="model", messages=messages, **fields)
                    .choices[0]
                    .message.content
                )
            stream = client.chat.completions.create(model="model", messages=messages, stream=True, **fields)
            return "".join(chunk.choices[0].delta.content or "" for chunk in stream)

        alone = [ask(number) for number in range(32)]
        with ThreadPoolExecutor(32) as pool:
            together = list(pool.map(ask, reversed(range(32))))[::-1]
        assert together == alone
        assert len(set(alone)) > 16
        assert server.stop() == 0


def test_a_model_that_calls_nothing_is_served_with_a_warning_and_fails_the_check(small_model_dir: Path) -> None:
    code, output = run("--model", str(small_model_dir), "--port", "0", "--engine", "transformers", "--check")
    assert code == 1
    assert re.search(r"^serving model on http://127\.0\.0\.1:\d+$", output, re.MULTILINE)
    assert re.search(r"^smoke: warning: no call came back parsed; the model wrote '", output, re.MULTILINE)
    assert "Traceback" not in output


def test_a_port_in_use_is_one_line_and_exit_code_2(small_model_dir: Path) -> None:
    with listen("127.0.0.1", 0) as listener:
        port = address(listener).rpartition(":")[2]
        code, output = run("--model", str(small_model_dir), "--port", port, "--engine", "transformers")
    assert code == 2
    assert re.fullmatch(rf"error: serve.port: cannot listen on 127.0.0.1:{port} \(Address already in use\).*\n", output)
    with pytest.raises(
        ConfigError, match=r"^serve\.host: cannot listen on nowhere\.invalid:80 .* choose another --host"
    ):
        listen("nowhere.invalid", 80)


def test_ctrl_c_while_a_reply_is_streamed_ends_the_server_with_0(small_model_dir: Path) -> None:
    with served(
        "--model", str(small_model_dir), "--port", "0", "--engine", "transformers", "serve.smoke=false"
    ) as server:
        url = server.wait_for(r"^serving model on (\S+)$")[1]
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        stream = client.chat.completions.create(
            model="model", messages=[{"role": "user", "content": "hello"}], stream=True, max_tokens=4000
        )
        next(iter(stream))
        started = time.monotonic()
        assert server.stop(signal.SIGINT) == 0
        assert time.monotonic() - started < 20
        assert not any("Traceback" in line for line in server.lines), server.lines


def make_config(tmp_path: Path, **serve: Any) -> RunConfig:
    return RunConfig(runs_dir=str(tmp_path), name="r", serve=ServeConfig(engine="transformers", **serve))


def finish(path: Path) -> None:
    """Write the manifest that makes an artifact finished."""
    manifest = Manifest(
        stage="s",
        command="c",
        sha256=fingerprint(path),
        settings={},
        inputs={},
        packages={},
        seed=0,
        counts={},
        wall_s=0.0,
        peak_rss_mib=0.0,
        created="now",
    )
    write_text(manifest_path(path), manifest.model_dump_json())


def test_merged_means_the_path_else_the_run(
    small_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArtifactError, match=r"r/merged does not exist; make it with: python -m merge"):
        find_target(make_config(tmp_path))
    shutil.copytree(small_model_dir, tmp_path / "r/merged")
    with pytest.raises(ArtifactError, match="did not finish"):
        find_target(make_config(tmp_path))
    finish(tmp_path / "r/merged")
    assert find_target(make_config(tmp_path)) == Target("merged", str(tmp_path / "r/merged"))
    shutil.copytree(small_model_dir, tmp_path / "merged")
    assert find_target(make_config(tmp_path)) == Target("merged", "merged")


def test_names_of_models_and_adapters(small_model_dir: Path, tmp_path: Path) -> None:
    assert find_target(make_config(tmp_path, model="Qwen/Qwen3-4B")).name == "Qwen/Qwen3-4B"
    assert find_target(make_config(tmp_path, model="base")).source.endswith("models/tiny")
    adapter = tmp_path / "r/sft/adapter"
    adapter.mkdir(parents=True)
    (adapter / "adapter_config.json").write_text("{}")
    finish(adapter)
    target = find_target(make_config(tmp_path, model=str(small_model_dir), adapter="sft"))
    assert (target.name, target.adapter) == ("model+sft", adapter)
    target = find_target(make_config(tmp_path, model=str(small_model_dir), adapter=str(adapter)))
    assert target.name == "model+adapter"
    target = find_target(make_config(tmp_path, adapter="sft"))  # before any merge, with nothing said about the model
    assert (target.name, target.source.endswith("models/tiny")) == ("base+sft", True)


def test_an_adapter_for_another_base_never_reaches_vllm(
    small_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_BIN", sys.executable)
    (tmp_path / "adapter").mkdir()
    named = json.dumps({"base_model_name_or_path": str(small_model_dir)})
    (tmp_path / "adapter/adapter_config.json").write_text(named)
    serve = ServeConfig(adapter=str(tmp_path / "adapter"), model=str(small_model_dir))
    assert find_target(RunConfig(serve=serve)).engine == "vllm"
    with pytest.raises(ModelError, match=r"made for .*, not .*models/tiny.*; name its own base model"):
        find_target(RunConfig(serve=serve.model_copy(update={"model": "base"})))


@pytest.mark.parametrize(
    ("serve", "error", "message"),
    [
        ({"model": "/no/such/model"}, ModelError, "/no/such/model: not a model directory"),
        ({"model": "tests"}, ModelError, "no config.json"),
        ({"model": "base", "adapter": "tests"}, ModelError, "tests: not an adapter directory"),
        ({"model": "base", "adapter": "rl"}, ArtifactError, r"rl/adapter does not exist; .*python -m rl.train"),
        ({"model": "base", "api_key_env": "NO_SUCH_VARIABLE"}, ConfigError, "NO_SUCH_VARIABLE is not set"),
    ],
)
def test_what_cannot_be_served_is_named(
    tmp_path: Path, serve: dict[str, Any], error: type[ToolwrightError], message: str
) -> None:
    with pytest.raises(error, match=message):
        find_target(make_config(tmp_path, **serve))


def test_vllm_that_is_asked_for_and_not_found_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("VLLM_BIN", raising=False)
    config = RunConfig(serve=ServeConfig(model="base", engine="vllm"))
    with pytest.raises(ConfigError, match="`vllm` command is not on PATH; install vLLM"):
        find_target(config)
    assert find_target(RunConfig(serve=ServeConfig(model="base"))).engine == "transformers"
    monkeypatch.setenv("VLLM_BIN", "/no/vllm")
    with pytest.raises(ConfigError, match="VLLM_BIN=/no/vllm is not a command"):
        find_target(RunConfig(serve=ServeConfig(model="base")))


def test_the_smoke_request_is_a_question_of_the_run(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    assert smoke_request(config, Target("m", ""))["tools"][0]["function"]["name"] == "get_weather"
    call = {"name": "add", "arguments": {"a": 1}, "id": ""}
    row = {
        "id": "q",
        "mode": "single",
        "seed": 0,
        "group": None,
        "messages": [
            {"role": "user", "content": "1 + 2?", "loss_weight": 0.5},
            {"role": "assistant", "content": "3"},
        ],
        "tools": json.dumps([{"type": "function", "function": {"name": name}} for name in ("sub", "add")]),
        "plan": json.dumps({"mode": "single", "steps": [{"calls": [call], "results": ["3"]}]}),
    }
    (tmp_path / "r").mkdir(exist_ok=True)
    (tmp_path / "r/train.jsonl").write_text(json.dumps(row) + "\n")
    request = smoke_request(config, Target("m", ""))
    assert [tool["function"]["name"] for tool in request["tools"]] == ["add"]
    assert request["messages"] == [{"role": "user", "content": "1 + 2?"}]
    (tmp_path / "r/train.jsonl").write_text("{broken\n")
    assert smoke_request(config, Target("m", ""))["messages"][0]["content"].startswith("What is the weather")


CALLS = (("add", '{"a": 1}'),)


@pytest.mark.parametrize(
    ("outcome", "passed", "message"),
    [
        (Outcome(CALLS, (("add", '{"a":1}'),)), True, ""),
        (Outcome(CALLS, (), "", "<tool_call>"), False, "streamed it was '<tool_call>' instead of"),
        (Outcome((), (), "I cannot"), False, "the model wrote 'I cannot'. A base"),
        (Outcome((), (), "Hm", cut=True), False, "the model wrote 'Hm' and had not ended when its tokens were used up"),
        (Outcome(error="HTTP 500: no\nmemory"), False, "the request failed: HTTP 500: no memory"),
    ],
)
def test_the_smoke_test_says_what_came_back(outcome: Outcome, passed: bool, message: str) -> None:
    assert outcome.passed == passed
    assert message in explain(outcome)
