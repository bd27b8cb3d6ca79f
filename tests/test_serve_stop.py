"""The life of the server process: loading, ready, draining, gone."""

import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2 as httpx
import pytest
from test_serve_command import Served, served

from serve.server import address, listen
from serve.supervisor import stop_signals

ASK = [{"role": "user", "content": "hello"}]
LONG = {"messages": ASK, "stream": True, "ignore_eos": True, "seed": 3}


@contextmanager
def ready(model: Path, *words: str) -> Iterator[tuple[Served, str]]:
    more = ("--engine", "transformers", "serve.smoke=false", "serve.dtype=float32", *words)
    with served("--model", str(model), "--port", "0", *more) as server:
        yield server, server.wait_for(r"^serving model on (\S+)$")[1]


class Stream:
    """A long reply that is read in a thread."""

    def __init__(self, url: str, max_tokens: int) -> None:
        self.events: list[str] = []
        self.thread = threading.Thread(target=self._read, args=(url, max_tokens))
        self.thread.start()
        while len(self.events) < 3:
            time.sleep(0.01)

    def _read(self, url: str, max_tokens: int) -> None:
        body = {**LONG, "max_tokens": max_tokens}
        with httpx.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=60) as response:
            self.events += [line.removeprefix("data: ") for line in self._noted(response.iter_lines()) if line]

    def _noted(self, lines: Iterator[str]) -> Iterator[str]:
        for line in lines:
            if len(self.events) < 3:
                self.events.append(line)
            yield line


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_replies_under_way_end_before_the_server_does(small_model_dir: Path, number: int) -> None:
    with ready(small_model_dir) as (server, url):
        assert httpx.get(f"{url}/ready").status_code == 200
        stream = Stream(url, 1200)
        server.process.send_signal(number)
        server.wait_for("^stopping: replies under way get 30 s")
        assert httpx.get(f"{url}/ready").status_code == 503
        assert httpx.get(f"{url}/health").json()["phase"] == "draining"
        refused = httpx.post(f"{url}/v1/chat/completions", json={"messages": ASK})
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
        stream.thread.join()
        assert stream.events[-1] == "[DONE]"
        assert json.loads(stream.events[-2])["choices"][0]["finish_reason"] == "length"
        assert server.process.wait(20) == 0
    assert not any("Traceback" in line or "ERROR" in line for line in server.lines), server.lines


@pytest.mark.parametrize(("words", "signals"), [((), 2), (("serve.drain_s=0.3",), 1)])
def test_a_second_signal_or_the_end_of_the_time_cuts_replies_off(
    small_model_dir: Path, words: tuple[str, ...], signals: int
) -> None:
    with ready(small_model_dir, *words) as (server, url):
        stream = Stream(url, 4000)
        for _ in range(signals):
            server.process.send_signal(signal.SIGTERM)
            server.wait_for("^stopping")
        stream.thread.join(20)
        assert json.loads(stream.events[-2])["error"]["code"] == 503
        assert server.process.wait(20) == 0
    assert not any("Traceback" in line for line in server.lines), server.lines


def test_an_idle_server_stops_at_once_with_connections_open(small_model_dir: Path) -> None:
    with ready(small_model_dir) as (server, url), httpx.Client() as client:
        assert client.get(f"{url}/v1/models").status_code == 200
        started = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - started < 5
    assert not any("stopping" in line for line in server.lines)


def test_a_server_that_loads_is_alive_and_not_ready(small_model_dir: Path) -> None:
    with listen("127.0.0.1", 0) as listener:
        url = address(listener)
    port = url.rpartition(":")[2]
    with served("--model", str(small_model_dir), "--port", port, "--engine", "transformers") as server:
        seen = {}
        while not seen:
            try:
                seen = {path: httpx.get(f"{url}{path}", timeout=20) for path in ("/health", "/ready", "/v1/models")}
            except httpx.TransportError:
                time.sleep(0.05)
        assert [response.status_code for response in seen.values()] == [200, 503, 503]
        assert seen["/health"].json()["phase"] == "loading"
        assert server.stop() == 0
    assert not server.lines


def test_a_check_that_was_told_to_stop_has_proven_nothing(small_model_dir: Path) -> None:
    with served("--model", str(small_model_dir), "--port", "0", "--engine", "transformers", "--check") as server:
        server.wait_for(r"^serving model on")
        assert server.stop() == 1
    assert not any("Traceback" in line for line in server.lines), server.lines


def test_who_reads_no_more_does_not_end_the_server(small_model_dir: Path) -> None:
    with served("--model", str(small_model_dir), "--port", "0", "--engine", "transformers", close_after=1) as server:
        url = server.wait_for(r"^serving model on (\S+)$")[1]
        answer = httpx.post(f"{url}/v1/chat/completions", json={"messages": ASK, "max_tokens": 2}, timeout=60)
        assert answer.status_code == 200
        time.sleep(1)
        assert server.stop() == 0


def test_nohup_keeps_a_server_when_its_terminal_is_closed() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert signal.SIGHUP not in stop_signals()
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        assert signal.SIGHUP in stop_signals()
    finally:
        signal.signal(signal.SIGHUP, before)
