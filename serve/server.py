"""Runs the small server: address first, then the model, then requests, then the proof that calls come back parsed.

The first SIGTERM or Ctrl-C lets replies under way end within ``serve.drain_s``, the second ends them.
"""

import asyncio
import contextlib
import errno
import os
import resource
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from serve.notices import say, warn
from serve.smoke import prove
from serve.supervisor import stop_signals
from serve.target import Target
from toolwright.config import RunConfig
from toolwright.errors import ConfigError

if TYPE_CHECKING:
    from serve.gate import Gate
    from toolwright.engine import Engine

CLOSE_S = 5.0
"""How long clients get at the end to read what was written."""
LONGEST = 8192
"""Prompt and reply together where nobody says, in tokens: the cache of a CPU is not for the 128k of a model card."""


def serve_transformers(config: RunConfig, target: Target, further: Sequence[str]) -> int:
    """Serve until a signal ends it; with ``serve.check`` until the smoke test is over.

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
    # asyncio sends without delay only where the protocol is named: otherwise a whole answer waits 40 ms for its end.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(512)
    except OSError as error:
        listener.close()
        taken = error.errno == errno.EADDRINUSE
        advice = "stop what runs there, or use --port 0 for a free one" if taken else "choose another --host or --port"
        raise ConfigError(
            f"serve.{'port' if taken else 'host'}: cannot listen on {host}:{port} ({error.strerror or error}); {advice}"
        ) from None
    return listener


def address(listener: socket.socket) -> str:
    """The URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


class Stop:
    """Set by signals: ``asked`` by the first, ``hurry`` by the second; a third ends the process as it is."""

    def __init__(self) -> None:
        self.asked, self.hurry = asyncio.Event(), asyncio.Event()

    def on_signals(self) -> None:
        """Let signals set it."""
        for number in stop_signals():
            asyncio.get_running_loop().add_signal_handler(number, self._take)

    def _take(self) -> None:
        if self.hurry.is_set():
            os._exit(1)
        (self.hurry if self.asked.is_set() else self.asked).set()


async def _serve(config: RunConfig, target: Target, listener: socket.socket, url: str) -> int:
    import uvicorn

    from serve.connections import Connection
    from serve.gate import Gate

    class Server(uvicorn.Server):
        def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]  # ours: Stop
            return contextlib.nullcontext()

    _allow_many_connections()
    stop, gate = Stop(), Gate(api_key=target.api_key)
    stop.on_signals()
    settings = uvicorn.Config(
        gate,
        http=Connection,
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=int(CLOSE_S),
    )
    server = Server(settings)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        return await _open(config, target, url, gate, stop)
    finally:
        server.should_exit = True
        await serving


async def _open(config: RunConfig, target: Target, url: str, gate: "Gate", stop: Stop) -> int:
    """Load the model, answer requests until the end, and drain."""
    engine = await _load(config, target, stop)
    from serve.app import open_gate

    app = open_gate(gate, engine, target.name, config.serve, config.sft.template_kwargs)
    async with app.router.lifespan_context(app):
        announce(config, target, url)
        code = await _prove(config, target, url, stop)
        if not config.serve.check:
            await stop.asked.wait()
        gate.draining = True
        await _drain(gate, stop, config.serve.drain_s)
        app.state.serving.stop()
    return code


async def _load(config: RunConfig, target: Target, stop: Stop) -> "Engine":
    """Load the model in a thread: meanwhile the server says that it is loading."""

    def load() -> "Engine":
        from toolwright.engine import Engine
        from toolwright.model import quiet_libraries

        quiet_libraries()
        return Engine.load(
            target.source,
            target.adapter,
            config.serve.dtype,
            config.threads,
            max_batch=config.serve.max_batch,
            max_tokens_total=config.serve.max_model_len or LONGEST,
            prefill_tokens=1024,
        )

    loading, asked = asyncio.create_task(asyncio.to_thread(load)), asyncio.create_task(stop.asked.wait())
    await asyncio.wait({loading, asked}, return_when=asyncio.FIRST_COMPLETED)
    if not loading.done():
        os._exit(int(config.serve.check))  # nobody has been answered yet, and a thread that loads cannot be stopped
    asked.cancel()
    return loading.result()


async def _drain(gate: "Gate", stop: Stop, seconds: float) -> None:
    """Wait until all requests are answered, for so long, or until there is a hurry."""
    if gate.open:
        warn(f"stopping: replies under way get {seconds:g} s; a second signal ends them")
    deadline = asyncio.get_running_loop().time() + seconds
    while gate.open and not stop.hurry.is_set() and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(0.05)


def _allow_many_connections() -> None:
    """Use as many file descriptors as we may: each connection is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if most == resource.RLIM_INFINITY else min(most, 65536)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def announce(config: RunConfig, target: Target, url: str) -> None:
    """Say that requests are answered, and where; warn when strangers may ask too."""
    say(f"serving {target.name} on {url}")
    if config.serve.host not in ("127.0.0.1", "::1", "localhost") and target.api_key is None:
        warn(f"warning: {config.serve.host} can be reached from other machines without a key; set serve.api_key_env")


async def _prove(config: RunConfig, target: Target, url: str, stop: Stop) -> int:
    if not (config.serve.smoke or config.serve.check):
        return 0
    proof = asyncio.create_task(asyncio.to_thread(prove, config, target, url, stopped=stop.asked.is_set))
    asked = asyncio.create_task(stop.asked.wait())
    await asyncio.wait({proof, asked}, return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    if not proof.done():
        return int(config.serve.check)  # told to stop meanwhile, so nothing is proven
    return int(config.serve.check and not proof.result())
