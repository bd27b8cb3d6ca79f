"""``python -m eval`` against a loopback endpoint, with the real tools: report, failures, and going on after a kill."""

import asyncio
import json
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from eval.__main__ import main
from mcpserver.world import open_world
from toolwright.artifacts import read_rows, write_rows
from toolwright.config import RunConfig
from toolwright.records import Conversation, Message, Plan, Step, ToolCall
from toolwright.stage import Job

N_TASKS = 12


class Endpoint(ThreadingHTTPServer):
    """A model that adds up; from request ``fails_from`` on it answers ``status``."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str] = []
        self.fails_from, self.status = 10**6, 400

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Endpoint
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.reply(200, {"object": "list", "data": [{"id": "adder", "object": "model"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append(body["messages"][0]["content"])
        if len(self.server.asked) >= self.server.fails_from:
            self.reply(self.server.status, {"error": {"message": "out of order"}})
            return
        last = body["messages"][-1]
        message: dict = {"role": "assistant", "content": f"It is {last['content']}."}
        if last["role"] == "user":
            values = [float(n) for n in re.findall(r"\d+", last["content"])]
            function = {"name": "sum_values", "arguments": json.dumps({"values": values})}
            calls = [{"id": "c1", "type": "function", "function": function}]
            message = {"role": "assistant", "content": None, "tool_calls": calls}
        self.reply(200, {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})

    def reply(self, status: int, content: dict) -> None:
        payload = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def server() -> Iterator[Endpoint]:
    with Endpoint() as endpoint:
        Thread(target=endpoint.serve_forever, daemon=True).start()
        yield endpoint
        endpoint.shutdown()


async def conversations() -> list[Conversation]:
    async with open_world() as worlds, worlds.environment(5) as world:
        tools = tuple(tool for tool in worlds.tools if tool.name in ("sum_values", "read_file"))
        state = await world.state()
        rows = []
        for n in range(N_TASKS):
            call = ToolCall(name="sum_values", arguments={"values": [n, 2 * n + 1]})
            plan = Plan(mode="single", steps=(Step(calls=(call,)),), state=state)
            messages = (Message(role="user", content=f"Add {n} and {2 * n + 1}."),)
            rows.append(Conversation(id=f"q{n}", messages=messages, tools=tools, seed=5, mode="single", plan=plan))
        no_tool = Plan(mode="no_tool", state=state)
        greeting = (Message(role="user", content="Hello"),)
        rows.append(Conversation(id="hello", messages=greeting, tools=tools, seed=5, mode="no_tool", plan=no_tool))
        return rows


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    """A run with held-out tasks; the words that name it on the command line."""
    config = RunConfig(runs_dir=str(tmp_path / "runs"))
    rows = [row.to_row() for row in asyncio.run(conversations())]
    for name in ("heldout", "train"):
        job = Job.of(config, "split", output=f"{name}.jsonl", command="x", settings={})
        with job.running():
            write_rows(job.output, rows)
    (tmp_path / "my.yaml").write_text(f"runs_dir: {tmp_path}/runs\nmodel: {tmp_path}/base\n")
    return [str(tmp_path / "my.yaml")]


def test_an_endpoint_is_scored_and_the_report_written(server, arguments, tmp_path, capsys):
    assert main([*arguments, "--base-url", server.url]) == 0
    folder = tmp_path / "runs/tiny/eval"
    report = json.loads((folder / "report.json").read_text())
    (model,) = report["models"]
    assert (model["name"], model["n"], model["passed"], model["failed"]) == (server.url, N_TASKS + 1, N_TASKS, 0)
    assert model["by_mode"]["no_tool"]["passed"] == 0
    assert model["components"]["state"] == 1.0
    (rows_file,) = folder.glob("http*.jsonl")
    rows = [row for _, row in read_rows(rows_file)]
    assert [row["id"] for row in rows] == [*(f"q{n}" for n in range(N_TASKS)), "hello"]
    assert rows[-1]["verdict"]["reason"] == "called sum_values where no call was due"
    assert (folder / "report.json.manifest.json").exists()
    assert "Add 3 and 7." in (folder / "report.html").read_text()
    out = capsys.readouterr().out
    assert "92.3%" in out
    assert "report.html" in out


def test_fewer_tasks_can_be_asked_for(server, arguments, tmp_path):
    assert main([*arguments, "--base-url", server.url, "--n-tasks", "4"]) == 0
    assert json.loads((tmp_path / "runs/tiny/eval/report.json").read_text())["models"][0]["n"] == 4
    assert len(set(server.asked)) == 4


def test_a_run_that_broke_off_goes_on_without_playing_finished_tasks_again(server, arguments, tmp_path, capsys):
    server.fails_from = 10
    words = [*arguments, "--base-url", server.url, "eval.concurrency=1"]
    assert main(words) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: the model's endpoint failed for 1 of 13 tasks, more than 1 %")
    assert "HTTP 400" in error
    assert not (tmp_path / "runs/tiny/eval/report.json").exists()
    finished = set(server.asked[:8])
    assert len(finished) == 4
    server.asked.clear()
    server.fails_from = 10**6
    assert main(words) == 0
    assert finished.isdisjoint(server.asked)
    assert len(set(server.asked)) == N_TASKS + 1 - 4
    assert json.loads((tmp_path / "runs/tiny/eval/report.json").read_text())["models"][0]["passed"] == N_TASKS


def test_rows_of_other_settings_are_not_continued(server, arguments):
    server.fails_from = 10
    words = [*arguments, "--base-url", server.url, "eval.concurrency=1"]
    assert main(words) == 2
    server.asked.clear()
    server.fails_from = 10**6
    assert main([*words, "eval.max_tokens=77"]) == 0
    assert len(set(server.asked)) == N_TASKS + 1


@pytest.mark.parametrize(("status", "said"), [(401, "HTTP 401"), (404, "HTTP 404")])
def test_an_endpoint_that_refuses_is_one_line_and_exit_code_two(server, arguments, status, said, capsys):
    server.fails_from, server.status = 1, status
    assert main([*arguments, "--base-url", server.url]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert said in last


def test_tasks_that_are_not_there_or_were_changed_name_their_command(server, arguments, tmp_path, capsys):
    heldout = tmp_path / "runs/tiny/heldout.jsonl"
    heldout.write_text(heldout.read_text()[:-20])
    assert main([*arguments, "--base-url", server.url]) == 2
    assert f"python -m data_gen.split {arguments[0]}" in capsys.readouterr().err
    heldout.unlink()
    assert main([*arguments, "--base-url", server.url]) == 2
    assert "heldout.jsonl does not exist" in capsys.readouterr().err


def test_a_model_that_is_not_there_yet_names_its_command(arguments, tmp_path, capsys):
    (tmp_path / "base").mkdir()
    (tmp_path / "base/config.json").write_text("{}")
    assert main([*arguments, "--models", "base,sft"]) == 2
    assert "accelerate launch sft/train.py" in capsys.readouterr().err


def test_a_tool_server_that_is_not_there_is_no_score(server, arguments, tmp_path, capsys):
    servers = {"mcpServers": {"gone": {"command": "/nowhere/at/all"}}}
    (tmp_path / "mcp.json").write_text(json.dumps(servers))
    words = [*arguments, "--base-url", server.url, f"tools.mcp_config={tmp_path}/mcp.json"]
    assert main(words) == 2
    assert "gone" in capsys.readouterr().err
