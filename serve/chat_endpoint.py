"""Which endpoint the chat talks to: the one that is named, the one that runs here already, or one started for it."""

import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from serve.target import find_target
from toolwright.config import RunConfig, ServeConfig
from toolwright.serving_process import list_models, serve_configured

LOOK_S = 2.0
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


@dataclass(frozen=True)
class Endpoint:
    """A model that can be asked.

    Attributes:
        url: ends in ``/v1``.
        model: the name to ask for.
        api_key: the key to send.
        ours: whether ``python -m serve`` serves it, which takes messages as they are.
        origin: where it comes from, for people.
    """

    url: str
    model: str
    api_key: str
    ours: bool
    origin: str

    @property
    def is_alive(self) -> bool:
        """Whether it answers ``/health``."""
        return is_healthy(self.url.removesuffix("/v1"))


@contextmanager
def open_endpoint(config: RunConfig, say: Callable[[str], None]) -> Iterator[Endpoint]:
    """The endpoint of section ``chat``; a model that is started for it ends with the block.

    Raises:
        ArtifactError, ConfigError, ModelError: what ``serve.model`` names is not there or cannot be served.
        EndpointError: ``chat.url`` does not answer, refuses the key, or lists no model.
    """
    chat, key = config.chat, os.environ.get(config.chat.api_key_env)
    if chat.url:
        url = chat.url.rstrip("/")
        yield Endpoint(url, chat.model or _models(url, key or "EMPTY")[0], key or "EMPTY", False, url)
        return
    running = _find_running(config, os.environ.get(config.serve.api_key_env or "") or key or "EMPTY")
    if running:
        yield running
        return
    name = find_target(config).name  # a mistake is told before anything is said or started
    say(f"starting {name} …")
    with serve_configured(_without_smoke(config), timeout_s=config.serve.start_timeout_s) as (url, model, secret):
        yield Endpoint(url, chat.model or model, secret, True, "started for this chat")


def _without_smoke(config: RunConfig) -> RunConfig:
    return config.model_copy(update={"serve": config.serve.model_copy(update={"smoke": False})})


def _find_running(config: RunConfig, key: str) -> Endpoint | None:
    """The server on ``serve.port``, if it has the model that is asked for; any model will do if none is."""
    serve = config.serve
    host = _ANYWHERE.get(serve.host, serve.host)
    address = f"http://{f'[{host}]' if ':' in host else host}:{serve.port}"
    if serve.port == 0 or not is_healthy(address):
        return None
    names, wanted = _models(f"{address}/v1", key), config.chat.model or _wanted_name(config)
    if wanted is not None and wanted not in names:
        return None
    return Endpoint(f"{address}/v1", wanted or names[0], key, True, f"running already on {address}")


def _wanted_name(config: RunConfig) -> str | None:
    """The name under which the model of section ``serve`` is served; None where nobody named one."""
    default = ServeConfig()
    if (config.serve.model, config.serve.adapter) == (default.model, default.adapter):
        return None
    return find_target(config).name


def is_healthy(address: str) -> bool:
    """Whether a server answers ``/health``."""
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=LOOK_S) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError):  # URLError and HTTPError are OSErrors
        return False


def _models(url: str, key: str) -> list[str]:
    return list_models(url, key, model_setting="chat.model (--model)", key_setting="chat.api_key_env")
