"""Names of models, and servers that live only as long as they are needed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from ended import is_alive, wait_until_dead

from eval.serving import Candidate, endpoint, find_candidates, first_model
from toolwright.config import EvalConfig, RunConfig, ServeConfig
from toolwright.errors import ArtifactError, ConfigError, EndpointError, ModelError, ToolwrightError
from toolwright.serving_process import serving
from toolwright.stage import Job

# A server that has a child of its own and tells both numbers.
SERVER = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("loading", flush=True)
print(f"serving {child.pid} on http://127.0.0.1:8123", flush=True)
open(sys.argv[1], "w").write(str(child.pid))
time.sleep(600)
"""
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + (
    "print('serving m on http://127.0.0.1:1/v1', flush=True); time.sleep(600)"
)


# Like vLLM with an adapter: says early where it will listen, and lists the base before what is asked for.
FAKE_VLLM = """#!{python}
import json, os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
word = lambda flag: sys.argv[sys.argv.index(flag) + 1] if flag in sys.argv else None
adapter = (word("--lora-modules") or "").partition("=")[0]
names = [name for name in (word("--served-model-name"), adapter) if name]
class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_): pass
    def do_GET(self):
        self.send_response(200); self.end_headers()
        self.wfile.write(json.dumps({{"data": [{{"id": name}} for name in names]}}).encode())
    def do_POST(self):
        self.send_error(500)
port = int(word("--port"))
print(f"INFO serving soon: Starting vLLM server on http://127.0.0.1:{{port}}", flush=True)
ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


def wait_for(path: Path, timeout_s: float = 60.0) -> int:
    deadline = time.monotonic() + timeout_s
    while not (path.exists() and path.read_text()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return int(path.read_text())


def test_a_server_and_its_children_end_with_the_block(tmp_path: Path):
    with serving([sys.executable, "-c", SERVER, str(tmp_path / "pid")], timeout_s=60) as (name, url):
        child = wait_for(tmp_path / "pid")
        assert (name, url) == (str(child), "http://127.0.0.1:8123")
        assert is_alive(child)
    assert wait_until_dead(child)


def test_a_server_ends_when_the_block_fails(tmp_path: Path):
    server = serving([sys.executable, "-c", SERVER, str(tmp_path / "pid")], timeout_s=60)
    with pytest.raises(RuntimeError, match="mine"), server:
        child = wait_for(tmp_path / "pid")
        raise RuntimeError("mine")
    assert wait_until_dead(child)


def test_a_server_that_will_not_end_is_killed():
    started = time.monotonic()
    with serving([sys.executable, "-c", STUBBORN], timeout_s=60, stop_s=0.3) as ready:
        assert ready == ("m", "http://127.0.0.1:1")
    assert time.monotonic() - started < 60


def test_a_server_that_dies_is_shown_with_its_last_words():
    command = [sys.executable, "-c", "import sys; sys.exit('error: x/y: not a model directory (no config.json)')"]
    message = r"ended with code 1; its last words: error: x/y: not a model directory"
    with pytest.raises(ModelError, match=message), serving(command, timeout_s=60):
        pass


def test_a_server_that_dies_in_use_is_the_reason_and_not_the_lost_connection():
    said = "print(f'serving {os.getpid()} on http://127.0.0.1:1', flush=True)"
    script = f"import os, sys; {said}; sys.exit('out of memory')"
    server = serving([sys.executable, "-c", script], timeout_s=60)
    with (
        pytest.raises(ModelError, match=r"ended with code 1 while in use; its last words: out of memory"),
        server as ready,
    ):
        assert wait_until_dead(int(ready[0]))
        raise EndpointError("cannot connect")


def test_a_server_that_is_never_ready_is_given_up():
    command = ["sh", "-c", "echo slow >&2; exec sleep 600"]
    message = r"was not ready after 1 s; its last words: slow"
    with pytest.raises(ModelError, match=message), serving(command, timeout_s=1):
        pass


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs the parent-death signal of Linux")
def test_a_server_ends_even_when_this_process_is_killed(tmp_path: Path):
    script = (
        "import sys, time\nfrom toolwright.serving_process import serving\n"
        f"with serving([sys.executable, '-c', {STUBBORN.replace('SIG_IGN', 'SIG_DFL')!r}], timeout_s=60) as url:\n"
        "    import subprocess, os\n"
        "    kids = open(f'/proc/{os.getpid()}/task/{os.getpid()}/children').read().split()\n"
        f"    open({str(tmp_path / 'pid')!r}, 'w').write(kids[0])\n"
        "    time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script])
    child = wait_for(tmp_path / "pid")
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    assert wait_until_dead(child)


@pytest.fixture
def fake_vllm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "vllm"
    script.write_text(FAKE_VLLM.format(python=sys.executable))
    script.chmod(0o755)
    monkeypatch.setenv("VLLM_BIN", str(script))
    monkeypatch.setenv("SERVER_KEY", "sesame")


@pytest.mark.parametrize("with_adapter", [False, True])
def test_the_model_that_is_asked_is_the_one_that_is_served_and_not_the_first_of_the_list(
    fake_vllm: None, tmp_path: Path, with_adapter: bool
):
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    base.mkdir()
    (base / "config.json").write_text('{"model_type": "qwen3"}')
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(Path(__file__).parents[1] / "models/tiny" / name, base / name)
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"r": 8}')
    # What the run serves to others is no part of the score.
    serve = ServeConfig(adapter=str(adapter), check=True, api_key_env="SERVER_KEY")
    config = RunConfig(runs_dir=str(tmp_path), serve=serve, eval=EvalConfig(model_name="of an endpoint"))
    with endpoint(config, Candidate("m", str(base), adapter if with_adapter else None)) as asked:
        listed = [first_model(asked.url, asked.api_key), asked.model]
        assert listed == (["base+adapter/base", "base+adapter"] if with_adapter else ["base", "base"])
        assert asked.api_key == "sesame"


def make_artifact(config: RunConfig, output: str, **inputs: Path | str) -> Path:
    job = Job.of(config, output.split("/")[0], output=output, command="x", settings={}, inputs=inputs)
    with job.running():
        job.output.mkdir(parents=True)
        (job.output / "weights").write_text(output)
    return job.output


def make_run(tmp_path: Path, *models: str) -> RunConfig:
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text("{}")
    return RunConfig(runs_dir=str(tmp_path / "runs"), model=str(base), eval=EvalConfig(models=list(models)))


def test_names_mean_the_models_of_the_run(tmp_path: Path):
    config = make_run(tmp_path, "base", "sft", "rl", str(tmp_path / "base" / ".." / "base"), "http://x:1/v1/")
    base = tmp_path / "base"
    make_artifact(config, "sft/adapter", model=base)
    adapter = make_artifact(config, "rl/adapter", model=base)
    found = find_candidates(config.model_copy(update={"eval": EvalConfig(models=["base", "sft", "rl"])}))
    assert [(c.name, c.adapter and c.adapter.parent.name) for c in found] == [
        ("base", None),
        ("sft", "sft"),
        ("rl", "rl"),
    ]
    merged = make_artifact(config, "merged", model=base, adapter=adapter)
    (rl,) = find_candidates(config.model_copy(update={"eval": EvalConfig(models=["rl"])}))
    assert (rl.model, rl.adapter) == (str(merged), None)
    (url,) = find_candidates(config.model_copy(update={"eval": EvalConfig(models=["http://x:1/v1/"])}))
    assert (url.url, url.file_name) == ("http://x:1/v1", "http_x_1_v1")


def test_a_merged_model_of_another_adapter_is_not_the_rl_model(tmp_path: Path):
    config = make_run(tmp_path, "rl")
    adapter = make_artifact(config, "rl/adapter", model=tmp_path / "base")
    make_artifact(config, "merged", model=tmp_path / "base", adapter="of sft")
    (rl,) = find_candidates(config)
    assert rl.adapter == adapter


def make_adapter(path: Path, base: Path) -> str:
    path.mkdir(parents=True)
    (path / "adapter_config.json").write_text(json.dumps({"r": 8, "base_model_name_or_path": str(base)}))
    return str(path)


def test_an_adapter_from_anywhere_is_scored_on_the_base_of_the_run(tmp_path: Path):
    base = tmp_path / "base"
    checkpoint = make_adapter(tmp_path / "try/sft/checkpoints/checkpoint-25", base)
    one, other = (make_adapter(tmp_path / name / "sft/adapter", base) for name in ("one", "other"))
    found = find_candidates(make_run(tmp_path, checkpoint, one, other))
    assert [(c.name, c.model, str(c.adapter)) for c in found] == [
        ("checkpoint-25", str(base), checkpoint),
        (one, str(base), one),
        (other, str(base), other),
    ]
    assert found[1].inputs == {"model": base, "adapter": Path(one)}


def test_an_adapter_from_anywhere_of_another_base_is_refused(tmp_path: Path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text('{"hidden_size": 8}')
    with pytest.raises(ModelError, match=r"made for another base: .*/other \(.*\), not .*/base \("):
        find_candidates(make_run(tmp_path, make_adapter(tmp_path / "adapter", other)))


@pytest.mark.parametrize(
    ("models", "error", "message"),
    [
        (["base", "sft"], ArtifactError, r"sft/adapter does not exist.*accelerate launch sft/train.py my.yaml"),
        (["rl"], ArtifactError, r"rl/adapter does not exist.*python -m rl.train my.yaml"),
        (["merged"], ArtifactError, r"merged does not exist.*python -m merge my.yaml"),
        (["nowhere/x"], ModelError, r"'nowhere/x' is no such directory; use base, sft, rl, merged, a directory with"),
        (["tests"], ModelError, r"'tests' is a directory without config.json or adapter_config.json; use base"),
        (["base", "base"], ConfigError, r"name each model once, got base, base"),
        ([], ConfigError, r"name at least one model, got nothing"),
    ],
)
def test_a_model_that_is_not_there_is_named_with_its_command(tmp_path: Path, models, error, message):
    with pytest.raises(error, match=message):
        find_candidates(make_run(tmp_path, *models), "my.yaml")


def test_an_adapter_of_another_base_is_refused(tmp_path: Path):
    config = make_run(tmp_path, "sft")
    make_artifact(config, "sft/adapter", model=tmp_path / "base")
    (tmp_path / "base/config.json").write_text('{"hidden_size": 8}')
    with pytest.raises(ArtifactError, match=r"sft/adapter was trained on another base"):
        find_candidates(config)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, {"data": [{"id": "tiny", "object": "model"}]}, "tiny"),
        (200, {"data": []}, "lists no model"),
        (401, {"error": "bad key"}, "HTTP 401"),
        (404, {"detail": "Not Found"}, "HTTP 404"),
        (200, "<html>", "eval.model_name"),
    ],
)
def test_the_model_of_an_endpoint_is_the_first_it_lists(status, body, expected):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            payload = (body if isinstance(body, str) else json.dumps(body)).encode()
            self.send_response(status)
            self.send_header("content-type", "text/html" if isinstance(body, str) else "application/json")
            self.send_header("content-length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *_: object) -> None:
            return

    with ExitStack() as stack:
        server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        Thread(target=server.serve_forever, daemon=True).start()
        stack.callback(server.shutdown)
        url = f"http://127.0.0.1:{server.server_port}/v1"
        if expected == "tiny":
            assert first_model(url, "EMPTY") == "tiny"
        else:
            with pytest.raises(EndpointError, match=expected):
                first_model(url, "EMPTY")


def test_an_endpoint_that_is_not_there_is_one_line():
    with pytest.raises(ToolwrightError, match=r"http://127.0.0.1:9/v1/models: .*is the server up") as caught:
        first_model("http://127.0.0.1:9/v1", "EMPTY")
    assert "\n" not in str(caught.value)
