"""Runs the small server: address first, then the model, then requests, then the proof that calls come back parsed."""

import asyncio
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Any

from serve.smoke import report, smoke_request, smoke_test
from serve.target import Target
from toolwright.config import RunConfig
from toolwright.errors import ConfigError

GRACE_S = 3.0
"""How long replies under way may take when the server is told to stop."""
LONGEST = 8192
"""Prompt and reply together where nobody says, in tokens: the cache of a CPU is not for the 128k of a model card."""


def serve_transformers(config: RunConfig, target: Target, further: Sequence[str]) -> int:
    """Serve until SIGTERM or Ctrl-C; with ``serve.check`` until the smoke test is over.

    Raises:
        ConfigError: flags for vLLM, or an address that cannot be listened on.
        ModelError: the model does not suit the engine.
    """
    if further:
        raise ConfigError(f"{' '.join(further)}: flags after -- are for vLLM, and serve.engine is transformers here")
    with listen(config.serve.host, config.serve.port) as listener:
        url = address(listener)
        return asyncio.run(_serve(config, target, listener, url))


def listen(host: str, port: int) -> socket.socket:
    """A socket on an address; port 0 takes a free port.

    Raises:
        ConfigError: the port is in use, or the address is not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(512)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"serve.port: cannot listen on {host}:{port} ({error.strerror or error}); stop what runs there, or use "
            "--port 0 for a free one"
        ) from None
    return listener


def address(listener: socket.socket) -> str:
    """The URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


async def _serve(config: RunConfig, target: Target, listener: socket.socket, url: str) -> int:
    import uvicorn

    from serve.app import build_app
    from toolwright.engine import Engine
    from toolwright.model import quiet_libraries

    quiet_libraries()
    engine = Engine.load(
        target.source,
        target.adapter,
        config.serve.dtype,
        config.threads,
        max_batch=config.serve.max_batch,
        max_tokens_total=config.serve.max_model_len or LONGEST,
        prefill_tokens=1024,
    )
    app = build_app(engine, target.name, target.api_key)
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=30, lifespan="on", access_log=False)
    )
    # uvicorn stops on these signals, and then raises them again for whoever was there before: nobody.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started and not serving.done():
        await asyncio.sleep(0.02)
    code = 0
    if server.started:
        announce(config, target, url)
        code = await _prove(config, target, url, serving)
    if config.serve.check:
        server.should_exit = True
    await _finish(server, serving, app)
    return code


async def _finish(server: Any, serving: asyncio.Task[None], app: Any) -> None:
    """Wait for the end; replies under way get a little time, then their clients are told that there is no more."""
    while not server.should_exit and not serving.done():
        await asyncio.sleep(0.1)
    await asyncio.wait({serving}, timeout=GRACE_S)
    app.state.serving.batch.end_all("the server was stopped")
    await serving


def announce(config: RunConfig, target: Target, url: str) -> None:
    """Say that requests are answered, and where; warn when strangers may ask too."""
    print(f"serving {target.name} on {url}", flush=True)
    if config.serve.host not in ("127.0.0.1", "::1", "localhost") and target.api_key is None:
        print(
            f"warning: {config.serve.host} can be reached from other machines without a key; set serve.api_key_env",
            file=sys.stderr,
        )


async def _prove(config: RunConfig, target: Target, url: str, serving: asyncio.Task[None]) -> int:
    if not (config.serve.smoke or config.serve.check):
        return 0
    request = smoke_request(config, target)
    proof = asyncio.create_task(asyncio.to_thread(smoke_test, url, target, request))
    await asyncio.wait({proof, serving}, return_when=asyncio.FIRST_COMPLETED)
    if not proof.done():
        return 0  # told to stop meanwhile
    passed = report(proof.result())
    return 0 if passed or not config.serve.check else 1
