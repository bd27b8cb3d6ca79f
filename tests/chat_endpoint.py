"""A real OpenAI-compatible endpoint on loopback whose words a test writes; streams when it is asked to."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Play = Callable[[dict[str, Any]], dict[str, Any] | int]
"""From a request to the assistant's message, or to the status of a refusal; ``pause_s`` in it is between its words."""


class Endpoint:
    """Where it is, and what it was asked."""

    def __init__(self, port: int) -> None:
        self.port, self.url = port, f"http://127.0.0.1:{port}/v1"
        self.requests: list[dict[str, Any]] = []
        self.dropped = threading.Event()


def called(name: str, **arguments: Any) -> dict[str, Any]:
    """A message that calls a tool."""
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"content": None, "tool_calls": [{"id": "c", "type": "function", "function": function}]}


def last(request: dict[str, Any]) -> dict[str, Any]:
    """The last message of a request."""
    message: dict[str, Any] = request["messages"][-1]
    return message


class Handler(BaseHTTPRequestHandler):
    """Answers for the endpoint, which ``playing`` sets in a subclass."""

    protocol_version = "HTTP/1.1"
    endpoint: "Endpoint"
    play: Play
    key: str | None

    def log_message(self, *_: object) -> None:
        return

    def _send(self, status: int, body: object) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        if self.key and self.path != "/health" and self.headers["Authorization"] != f"Bearer {self.key}":
            return self._send(401, {"error": {"message": "wrong key"}})
        self._send(200, {"data": [{"id": "m", "object": "model"}]})

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.endpoint.requests.append(request)
        message = type(self).play(request)
        if isinstance(message, int):
            return self._send(message, {"error": {"message": "refused"}})
        reason = message.pop("finish_reason", "tool_calls" if message.get("tool_calls") else "stop")
        if not request.get("stream"):
            return self._send(200, {"choices": [{"message": message, "finish_reason": reason}]})
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        try:
            self._stream(message, reason)
        except OSError:
            self.endpoint.dropped.set()

    def _stream(self, message: dict[str, Any], reason: str) -> None:
        for word in (message.get("content") or "").split(" "):
            self._event({"content": f"{word} "})
            time.sleep(message.get("pause_s", 0))
        for index, call in enumerate(message.get("tool_calls") or ()):
            self._event({"tool_calls": [call | {"index": index}]})
        self._event({}, reason)

    def _event(self, delta: dict[str, Any], reason: str | None = None) -> None:
        event = {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}
        self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
        self.wfile.flush()


@contextmanager
def playing(play: Play, key: str | None = None) -> Iterator[Endpoint]:
    """Serve the model ``m`` for the time of the block."""

    handler = type("Handler", (Handler,), {"play": staticmethod(play), "key": key})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    endpoint = handler.endpoint = Endpoint(server.server_port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield endpoint
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
