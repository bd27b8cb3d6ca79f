"""The proof at start against a scripted server: tokens, answers to fixed prompts, receipt, and what to paste."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from serve.ask import Answer, ask_streamed, ask_whole
from serve.fidelity import Turn, choose_turns, compare_answers, compare_templates
from serve.smoke import prove, smoke_request
from serve.snippets import curl, python
from serve.target import Target, find_target
from toolwright.artifacts import Manifest, fingerprint, manifest_path, write_text
from toolwright.config import RunConfig, ServeConfig
from toolwright.dialect import render_prompt
from toolwright.errors import ArtifactError
from toolwright.records import Message, ToolSpec

WEATHER = {
    "type": "function",
    "function": {"name": "get_weather", "description": "d", "parameters": {"type": "object"}},
}
CALL = {"index": 0, "id": "c", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'}}
Answerer = Callable[[str, dict[str, Any], str], Any]


@contextmanager
def server(answer: Answerer) -> Iterator[str]:
    """A server on loopback; ``answer`` gets path, body and key, and gives JSON, or the bytes of a stream."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            said = answer(self.path, body, self.headers["Authorization"])
            data = said if isinstance(said, bytes) else json.dumps(said).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.server_port}"
    finally:
        listening.shutdown()
        listening.server_close()


def tokens_of(tokenizer: Any, body: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    messages = [Message.from_openai(message) for message in body["messages"]]
    tools = [ToolSpec.from_openai(tool) for tool in body.get("tools") or ()]
    text = render_prompt(tokenizer, messages, tools, **kwargs, **(body.get("chat_template_kwargs") or {}))
    return {"tokens": tokenizer(text, add_special_tokens=False)["input_ids"]}


def reply(**message: Any) -> dict[str, Any]:
    return {"choices": [{"message": message, "finish_reason": "stop"}]}


def stream(*deltas: dict[str, Any]) -> bytes:
    events = [json.dumps({"choices": [{"index": 0, "delta": delta}]}) for delta in deltas]
    return "".join(f"data: {event}\n\n" for event in [*events, "[DONE]"]).encode()


def test_the_servers_tokens_are_compared_with_those_of_training(tokenizer: Any, tmp_path: Path) -> None:
    turns = choose_turns(tmp_path)
    assert [len(turn.messages) for turn in turns] == [1, 1, 3]
    target = Target("m", "")
    with server(lambda _, body, __: tokens_of(tokenizer, body)) as url:
        same = compare_templates(url, target, tokenizer, turns, {})
    assert (same.conversations, same.identical, same.passed) == (3, 3, True)
    with server(lambda _, body, __: tokens_of(tokenizer, {**body, "tools": None})) as url:
        other = compare_templates(url, target, tokenizer, turns, {})
    assert (other.conversations, other.identical, other.passed) == (3, 1, False)
    assert other.first_difference
    assert other.first_difference.startswith("user: ")
    assert "tokens in training" in other.first_difference
    with server(lambda *_: {"error": "no"}) as url:
        failed = compare_templates(url, target, tokenizer, turns, {})
    assert failed.first_difference == "/tokenize failed: KeyError: 'tokens'"


def test_keywords_of_training_must_be_the_servers_own(tokenizer: Any) -> None:
    turn = Turn((Message(role="user", content="Hi"),), (), {"own": 1})
    marked = type(tokenizer).from_pretrained(tokenizer.name_or_path)
    marked.chat_template = "{{ deep }}{{ own }}{{ messages[0].content }}"
    with server(lambda _, body, __: tokens_of(marked, body, deep="yes")) as url:
        assert compare_templates(url, Target("m", ""), marked, [turn], {"deep": "yes"}).passed
        assert not compare_templates(url, Target("m", ""), marked, [turn], {"deep": "no"}).passed


def write_train(run: Path, *roles: str) -> None:
    run.mkdir(exist_ok=True)
    with (run / "train.jsonl").open("w") as lines:
        for number, names in enumerate(roles):
            messages = [{"role": name, "content": f"{name} {number}"} for name in names.split()]
            lines.write(json.dumps({"id": str(number), "mode": "single", "messages": messages, "tools": "[]"}) + "\n")


def test_turns_of_every_kind_are_chosen_from_the_run(tmp_path: Path) -> None:
    write_train(tmp_path, *["user assistant"] * 20, "system user assistant", "user assistant user assistant")
    turns = choose_turns(tmp_path)
    assert [[message.role for message in turn.messages] for turn in turns[:4]] == [
        ["user"],
        ["system", "user"],
        ["user", "assistant", "user"],
        ["user"],
    ]
    assert len(turns) == 8
    (tmp_path / "train.jsonl").write_text("{broken\n")
    assert len(choose_turns(tmp_path)) == 3


def continuation(text: str, margin: float, ids: int = 9) -> dict[str, Any]:
    messages = [{"role": "user", "content": "Weather in Oslo?"}]
    return {"messages": messages, "tools": [WEATHER], "text": text, "calls": [], "ids": [1] * ids, "margin": margin}


OSLO = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>'


@pytest.mark.parametrize(
    ("text", "margin", "message", "identical", "passed"),
    [
        (OSLO, 0.0, {"content": None, "tool_calls": [CALL]}, 1, True),
        (f"Let me look.\n{OSLO}", 0.0, {"content": "Let me look.", "tool_calls": [CALL]}, 1, True),
        ("It is cold.", 5.0, {"content": "It is cold."}, 1, True),
        ("It is cold.", 5.0, {"content": "It is warm."}, 0, False),
        ("It is cold.", 0.01, {"content": "It is warm."}, 0, True),
        (OSLO, 5.0, {"content": OSLO}, 0, False),
        (OSLO.replace("Oslo", "Rome"), 5.0, {"content": None, "tool_calls": [CALL]}, 0, False),
        ("It is cold.", 5.0, {"content": None, "reasoning": "It is cold."}, 0, False),
    ],
)
def test_answers_are_those_of_base_and_adapter(
    tokenizer: Any, tmp_path: Path, text: str, margin: float, message: dict[str, Any], identical: int, passed: bool
) -> None:
    parity = tmp_path / "parity.json"
    parity.write_text(json.dumps({"tolerance": 0.25, "continuations": [continuation(text, margin)]}))
    asked: list[dict[str, Any]] = []

    def answer(_: str, body: dict[str, Any], __: str) -> Any:
        asked.append(body)
        return reply(**message)

    with server(answer) as url:
        served = compare_answers(url, Target("m", ""), tokenizer, "hermes", parity, {})
    assert (served.prompts, served.identical, served.passed) == (1, identical, passed)
    assert (asked[0]["temperature"], asked[0]["max_tokens"], asked[0]["tools"]) == (0, 9, [WEATHER])
    assert len(served.differences) == 1 - identical


def test_answers_that_cannot_be_compared_are_said(tokenizer: Any, tmp_path: Path) -> None:
    parity = tmp_path / "parity.json"
    absent = compare_answers("", Target("m", ""), tokenizer, "hermes", parity, {})
    assert absent.passed
    assert absent.why.endswith("is not there; `python -m merge` writes it")
    parity.write_text("{}")
    assert "holds no continuations" in compare_answers("", Target("m", ""), tokenizer, "hermes", parity, {}).why
    parity.write_text(json.dumps({"tolerance": 0.25, "continuations": [continuation("Hi", 0.0)]}))
    with server(lambda *_: {"choices": []}) as url:
        failed = compare_answers(url, Target("m", ""), tokenizer, "hermes", parity, {})
    assert not failed.passed
    assert failed.differences[0]["error"].startswith("IndexError")


def test_answers_are_put_together_from_either_form() -> None:
    half = [{"index": 0, "function": {"name": "get_weather", "arguments": '{"city": '}}]
    rest = [{"index": 0, "function": {"arguments": '"Oslo"}'}}]
    events = stream(
        {"reasoning": "Hm."}, {"content": "So"}, {"tool_calls": half}, {"tool_calls": rest}, {"content": None}
    )
    whole = reply(content="So", reasoning_content="Hm.", tool_calls=[CALL])
    expected = Answer((("get_weather", '{"city": "Oslo"}'),), "So", "Hm.")
    with server(lambda _, body, __: events if body.get("stream") else whole) as url:
        assert ask_whole(url, Target("m", ""), {}) == expected
        assert ask_streamed(url, Target("m", ""), {}) == expected


@pytest.mark.parametrize("key", [None, "MY_KEY"])
def test_what_is_shown_to_paste_works(tmp_path: Path, key: str | None) -> None:
    request = smoke_request(RunConfig(runs_dir=str(tmp_path)), Target("it's $m", ""))
    seen: list[tuple[dict[str, Any], str]] = []

    def answer(path: str, body: dict[str, Any], authorization: str) -> Any:
        assert path == "/v1/chat/completions"
        seen.append((body, authorization))
        return {"id": "1", "object": "chat.completion", "created": 1, "model": "m"} | {
            "choices": [{"index": 0, "message": {"role": "assistant", "tool_calls": [CALL]}, "finish_reason": "stop"}]
        }

    environment = {**os.environ, "MY_KEY": "sesame", "NO_PROXY": "*", "no_proxy": "*"}
    with server(answer) as url:
        program = [sys.executable, "-c", python(url, request, key)]
        for command in (["sh", "-c", curl(url, request, key)], program):
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
            assert "get_weather" in done.stdout
    for body, authorization in seen:
        assert body == request
        assert authorization == ("Bearer sesame" if key else authorization)
    assert len(seen) == 2


def test_the_receipt_says_what_was_served(
    small_model_dir: Path, tokenizer: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    receipt = tmp_path / "deep/receipt.json"
    config = RunConfig(runs_dir=str(tmp_path), serve=ServeConfig(receipt=str(receipt), check=True))
    target = Target("model", str(small_model_dir), api_key="sesame")

    def answer(path: str, body: dict[str, Any], authorization: str) -> Any:
        assert authorization == "Bearer sesame"
        if path == "/tokenize":
            return tokens_of(tokenizer, body)
        return stream({"tool_calls": [CALL]}) if body.get("stream") else reply(tool_calls=[CALL])

    with server(answer) as url:
        assert prove(config, target, url)
    written = json.loads(receipt.read_text())
    assert written["passed"]
    assert (written["model"], written["source_sha256"]) == ("model", fingerprint(small_model_dir))
    assert written["template"] | {"why": ""} == {
        "passed": True,
        "conversations": 3,
        "identical": 3,
        "first_difference": None,
        "why": "",
    }
    assert written["served"]["prompts"] == 0
    assert "sesame" not in receipt.read_text() + capsys.readouterr().out


def finish(path: Path) -> None:
    """Write the manifest that makes an artifact finished."""
    empty: dict[str, Any] = {"settings": {}, "inputs": {}, "packages": {}, "counts": {}}
    numbers: dict[str, Any] = {"seed": 0, "wall_s": 0.0, "peak_rss_mib": 0.0}
    manifest = Manifest(stage="s", command="c", sha256=fingerprint(path), created="now", **empty, **numbers)
    write_text(manifest_path(path), manifest.model_dump_json())


def test_a_run_is_served_by_its_directory(small_model_dir: Path, tmp_path: Path) -> None:
    import shutil

    run = tmp_path / "fine"
    shutil.copytree(small_model_dir, run / "merged")
    config = RunConfig(runs_dir=str(tmp_path), serve=ServeConfig(engine="transformers", model=str(run)))
    with pytest.raises(ArtifactError, match="did not finish"):
        find_target(config)
    finish(run / "merged")
    target = find_target(config)
    assert (target.name, target.source, target.run, target.parity) == ("fine", str(run / "merged"), run, None)
    (run / "parity.json").write_text("{}")
    assert target.parity == run / "parity.json"
    by_path = find_target(config.model_copy(update={"serve": ServeConfig(engine="transformers", model=target.source)}))
    assert (by_path.name, by_path.run, by_path.parity) == ("merged", run, run / "parity.json")
    shutil.copytree(small_model_dir, tmp_path / "alone")
    (tmp_path / "alone.parity.json").write_text("{}")
    alone = find_target(
        config.model_copy(update={"serve": ServeConfig(engine="transformers", model=str(tmp_path / "alone"))})
    )
    assert (alone.run, alone.parity) == (None, tmp_path / "alone.parity.json")
