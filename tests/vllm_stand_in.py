"""A server that behaves as ``vllm serve`` does, without a model: flags, health, tools, tokens, signals, a worker.

``install`` writes it as a command. The environment variable ``STAND_IN`` holds what it is to do, as JSON: ``seen`` (a
file that gets a line for each start), ``start_s``, ``die`` (words with which it ends at once), ``die_ready`` (it ends
so soon after it is ready), ``stuck`` (SIGTERM does not end it), ``wrong_tokens``, ``answer`` (what it says: no call).
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parent
CALL = {
    "index": 0,
    "id": "c",
    "type": "function",
    "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'},
}


def install(folder: Path, **behaviour: Any) -> tuple[dict[str, str], Path]:
    """Write the command; gives the environment in which it is found, and the file where it says how it was started."""
    folder.mkdir()
    script, seen = folder / "vllm", folder / "seen.jsonl"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__).resolve()} "$@"\n')
    script.chmod(0o755)
    given = json.dumps({"seen": str(seen), **behaviour})
    return {"PATH": f"{folder}:{os.environ['PATH']}", "STAND_IN": given, "VLLM_BIN": ""}, seen


def starts(seen: Path) -> list[dict[str, Any]]:
    """How it was started, each time: ``argv``, ``env``, ``pid`` and the ``worker``'s pid."""
    return [json.loads(line) for line in seen.read_text().splitlines()] if seen.exists() else []


def main() -> None:
    argv, how = sys.argv[1:], json.loads(os.environ["STAND_IN"])
    worker = subprocess.Popen(
        [sys.executable, "-c", "import signal, time; signal.signal(15, lambda *_: 0); time.sleep(600)"]
    )
    row = {"argv": argv, "env": dict(os.environ), "pid": os.getpid(), "worker": worker.pid}
    with open(how["seen"], "a") as stream:
        stream.write(json.dumps(row) + "\n")
    if how.get("die"):
        worker.kill()
        sys.exit(how["die"])
    server = ThreadingHTTPServer(("127.0.0.1", int(argv[argv.index("--port") + 1])), handler(argv, how))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    ended = threading.Event()
    if how.get("stuck"):
        signal.signal(signal.SIGTERM, lambda *_: print("stuck", flush=True))
    else:
        signal.signal(signal.SIGTERM, lambda *_: ended.set())
    if how.get("die_ready") is not None:
        time.sleep(how.get("start_s", 0) + how["die_ready"])
        os._exit(3)
    ended.wait()
    worker.kill()


def handler(argv: list[str], how: dict[str, Any]) -> type[BaseHTTPRequestHandler]:
    ready = time.monotonic() + how.get("start_s", 0)
    key = os.environ.get("VLLM_API_KEY")

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def reply(self, code: int, body: Any) -> None:
            data = json.dumps(body).encode() if not isinstance(body, bytes) else body
            self.send_response(code)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            if self.path == "/version":
                return self.reply(200, {"version": "0.32.0"})
            self.reply(200 if time.monotonic() > ready else 503, {})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if key and self.headers["Authorization"] != f"Bearer {key}":
                return self.reply(401, {"error": "Unauthorized"})
            if self.path == "/tokenize":
                ids = tokens(argv[1], body)
                return self.reply(200, {"tokens": ids[:-1] if how.get("wrong_tokens") else ids})
            said = {"content": how["answer"]} if how.get("answer") else {"content": None, "tool_calls": [CALL]}
            if body.get("stream"):
                chunk = {"choices": [{"index": 0, "delta": said}]}
                return self.reply(200, f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n".encode())
            self.reply(200, {"choices": [{"message": said, "finish_reason": "stop"}]})

    return Handler


def tokens(model: str, body: dict[str, Any]) -> list[int]:
    sys.path[:0] = [str(TESTS.parent)]
    from toolwright.dialect import render_prompt
    from toolwright.model import load_tokenizer
    from toolwright.records import Message, ToolSpec

    tokenizer = load_tokenizer(model)
    messages = [Message.from_openai(message) for message in body["messages"]]
    tools = [ToolSpec.from_openai(tool) for tool in body.get("tools") or ()]
    text = render_prompt(tokenizer, messages, tools, **(body.get("chat_template_kwargs") or {}))
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


if __name__ == "__main__":
    main()
