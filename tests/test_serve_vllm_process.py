"""vLLM as a process: found, waited for, proven, started again when it dies, and ended without a rest.

The process is a stand-in that speaks vLLM's API; with ``VLLM_BIN`` set the last test runs that vLLM.
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ended import wait_until_dead
from vllm_stand_in import install, starts

from serve.server import address, listen
from serve.supervisor import Limits, Stop, supervise
from toolwright.errors import ModelError

REPOSITORY = Path(__file__).resolve().parents[1]


class Served:
    """A server process with what it has printed so far."""

    def __init__(self, words: Sequence[str], env: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "serve", "--port", "0", *words],
            cwd=REPOSITORY,
            env={**os.environ, "OMP_NUM_THREADS": "1", **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())

    def wait_for(self, pattern: str, times: int = 1, timeout_s: float = 60) -> list[re.Match[str]]:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            found = [match for line in list(self.lines) if (match := re.search(pattern, line))]
            if len(found) >= times:
                return found
            assert self.process.poll() is None or self._reader.is_alive(), self.lines
            time.sleep(0.05)
        raise AssertionError(f"no {pattern!r} in {self.lines}")

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


@contextmanager
def served(*words: str, env: dict[str, str]) -> Iterator[Served]:
    server = Served(words, env)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()


def run(*words: str, env: dict[str, str]) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "serve", *words],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1", **env},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_vllm_is_found_proven_and_written_into_the_receipt(small_model_dir: Path, tmp_path: Path) -> None:
    env, seen = install(tmp_path / "bin", start_s=1)
    receipt = tmp_path / "receipt.json"
    words = ("--model", str(small_model_dir), "--port", "0", "--check", f"serve.receipt={receipt}")
    code, output = run(*words, "--", "--seed", "3", env=env)
    assert code == 0, output
    assert 'smoke: ok, parsed whole and streamed: get_weather({"city": "Paris"})' in output
    assert re.search(r"^template: ok, \d conversations are the tokens of training$", output, re.MULTILINE)
    (start,) = starts(seen)
    assert start["argv"][:2] == ["serve", str(small_model_dir)]
    assert start["argv"][-2:] == ["--seed", "3"]
    assert "--enforce-eager" in start["argv"]
    assert int(start["env"]["VLLM_CPU_KVCACHE_SPACE"]) >= 1
    assert "VLLM_API_KEY" not in start["env"]
    assert wait_until_dead(start["pid"], 15)
    assert wait_until_dead(start["worker"], 15)
    written = json.loads(receipt.read_text())
    assert (written["passed"], written["engine"], written["engine_version"]) == (True, "vllm", "0.32.0")
    assert written["smoke"]["calls"] == [{"name": "get_weather", "arguments": '{"city": "Paris"}'}]
    assert written["template"]["conversations"] == written["template"]["identical"] > 0
    assert len(written["source_sha256"]) == 64


@pytest.mark.parametrize(
    ("behaviour", "complaint"),
    [
        (
            {"wrong_tokens": True},
            r"template: warning: .* conversations are other tokens than in training: user: \d+ to",
        ),
        ({"answer": "I cannot."}, r"smoke: warning: no call came back parsed; the model wrote 'I cannot\.'"),
    ],
)
def test_what_is_not_as_trained_fails_the_check(
    small_model_dir: Path, tmp_path: Path, behaviour: dict[str, Any], complaint: str
) -> None:
    env, _ = install(tmp_path / "bin", **behaviour)
    code, output = run("--model", str(small_model_dir), "--port", "0", "--check", env=env)
    assert code == 1, output
    assert re.search(complaint, output), output


def test_a_receipt_that_cannot_be_written_fails_the_check(small_model_dir: Path, tmp_path: Path) -> None:
    env, _ = install(tmp_path / "bin")
    receipt = tmp_path / "bin/vllm/receipt.json"  # a file is no folder
    code, output = run("--model", str(small_model_dir), "--port", "0", "--check", f"serve.receipt={receipt}", env=env)
    assert code == 1, output
    assert f"receipt: warning: {receipt}: cannot be written" in output
    assert "Traceback" not in output


def test_a_proof_that_fails_itself_ends_everything(
    small_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env, seen = install(tmp_path / "bin")
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    with listen("127.0.0.1", 0) as listener:
        url = address(listener)
    argv = [str(tmp_path / "bin/vllm"), "serve", str(small_model_dir), "--port", url.rpartition(":")[2]]

    def fails(first: bool) -> None:
        raise ModelError("no proof")

    with pytest.raises(ModelError, match="no proof"):
        supervise("vllm", argv, os.environ, url, Limits(30, 0, 0), Stop(), fails)
    assert wait_until_dead(starts(seen)[0]["pid"], 15)


@pytest.mark.parametrize("start_s", [0, 600])
def test_a_check_that_was_told_to_stop_has_proven_nothing(
    small_model_dir: Path, tmp_path: Path, start_s: float
) -> None:
    env, _ = install(tmp_path / "bin", start_s=start_s)
    with served("--model", str(small_model_dir), "--check", env=env) as server:
        server.wait_for(r"^starting:" if start_s else r"^serving model on")
        assert server.stop() == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_vllm_and_all_its_processes(small_model_dir: Path, tmp_path: Path, number: int) -> None:
    env, seen = install(tmp_path / "bin")
    with served("--model", str(small_model_dir), "--api-key-env", "SECRET", env=env | {"SECRET": "sesame"}) as server:
        server.wait_for(r"^template: ok")
        (start,) = starts(seen)
        assert start["env"]["VLLM_API_KEY"] == "sesame"
        assert "sesame" not in " ".join(start["argv"])
        assert server.stop(number) == 0
    assert wait_until_dead(start["pid"], 15)
    assert wait_until_dead(start["worker"], 15)
    assert not any("sesame" in line or "Traceback" in line for line in server.lines), server.lines


def test_a_vllm_that_was_killed_is_started_again_and_proven_again(small_model_dir: Path, tmp_path: Path) -> None:
    env, seen = install(tmp_path / "bin")
    with served("--model", str(small_model_dir), env=env) as server:
        (ready,) = server.wait_for(r"^serving model on (\S+)$")
        server.wait_for(r"^template: ok")
        (first,) = starts(seen)
        os.kill(first["pid"], signal.SIGKILL)
        again = server.wait_for(r"^serving model on (\S+)$", times=2)
        server.wait_for(r"^smoke: ok", times=2)
        assert [match[1] for match in again] == [ready[1]] * 2
        assert wait_until_dead(first["worker"], 15)
        assert any("vllm serve was ended by signal SIGKILL" in line for line in server.lines)
        assert sum("try it with curl" in line for line in server.lines) == 1
        assert server.stop() == 0
    assert all(wait_until_dead(start["pid"], 15) and wait_until_dead(start["worker"], 15) for start in starts(seen))


def test_a_vllm_that_dies_too_often_is_given_up(small_model_dir: Path, tmp_path: Path) -> None:
    env, seen = install(tmp_path / "bin", die_ready=0.5)
    words = ("--model", str(small_model_dir), "--port", "0", "serve.smoke=false", "serve.restarts=1")
    code, output = run(*words, env=env)
    assert code == 2
    assert "error: vllm serve ended with code 3, and has been started again 1 times within ten minutes" in output
    assert len(starts(seen)) == 2


def test_a_vllm_that_never_starts_is_not_tried_again(small_model_dir: Path, tmp_path: Path) -> None:
    env, seen = install(tmp_path / "bin", die="CUDA out of memory")
    code, output = run("--model", str(small_model_dir), "--port", "0", env=env)
    assert code == 2
    assert "CUDA out of memory" in output
    assert "error: vllm serve ended with code 1; its own messages are above" in output
    assert len(starts(seen)) == 1


def test_a_vllm_that_takes_too_long_is_ended(small_model_dir: Path, tmp_path: Path) -> None:
    env, seen = install(tmp_path / "bin", start_s=600)
    code, output = run("--model", str(small_model_dir), "--port", "0", "serve.start_timeout_s=1", env=env)
    assert code == 2
    assert "error: vllm serve was not ready after 1 s" in output
    assert wait_until_dead(starts(seen)[0]["pid"], 15)
    assert wait_until_dead(starts(seen)[0]["worker"], 15)


def test_no_process_is_left_when_we_are_killed(small_model_dir: Path, tmp_path: Path) -> None:
    env, seen = install(tmp_path / "bin")
    with served("--model", str(small_model_dir), "serve.smoke=false", env=env) as server:
        server.wait_for(r"^serving model on")
        server.stop(signal.SIGKILL)
    assert wait_until_dead(starts(seen)[0]["pid"], 15)
    assert wait_until_dead(starts(seen)[0]["worker"], 15)


def test_a_second_signal_does_not_wait_for_a_vllm_that_is_stuck(small_model_dir: Path, tmp_path: Path) -> None:
    env, seen = install(tmp_path / "bin", stuck=True)
    with served("--model", str(small_model_dir), "serve.smoke=false", env=env) as server:
        server.wait_for(r"^serving model on")
        server.process.terminate()
        server.wait_for("^stuck")
        started = time.monotonic()
        assert server.stop(signal.SIGINT) == 0
        assert time.monotonic() - started < 5
    assert wait_until_dead(starts(seen)[0]["pid"], 15)
    assert wait_until_dead(starts(seen)[0]["worker"], 15)


def test_what_cannot_work_is_said_before_vllm_starts(small_model_dir: Path, tmp_path: Path) -> None:
    env, seen = install(tmp_path / "bin")
    with listen("127.0.0.1", 0) as listener:
        port = address(listener).rpartition(":")[2]
        code, output = run("--model", str(small_model_dir), "--port", port, env=env)
    assert code == 2
    assert output.startswith(f"error: serve.port: cannot listen on 127.0.0.1:{port} (Address already in use)")
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"):
        (bare / name).write_bytes((small_model_dir / name).read_bytes())
    code, output = run("--model", str(bare), "--port", "0", env=env)
    assert (code, len(output.splitlines())) == (2, 1)
    assert "the tokenizer has no chat template; use an instruct model whose template supports tools" in output
    assert not starts(seen)


@pytest.mark.skipif(not os.environ.get("VLLM_BIN"), reason="VLLM_BIN does not name a vLLM")
def test_the_real_vllm_loads_what_we_tell_it(tmp_path: Path) -> None:
    receipt = tmp_path / "receipt.json"
    words = ("--model", "base", "--engine", "vllm", "--port", "0", "--check", f"serve.receipt={receipt}")
    code, output = run(*words, env={})
    assert code in (0, 1), output  # whether the base calls the tool is not the matter
    written = json.loads(receipt.read_text())
    assert not written["smoke"]["why"].startswith("the request failed"), output
    assert written["template"]["conversations"] == written["template"]["identical"] > 0
