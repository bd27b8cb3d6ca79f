"""The standard ``mcpServers`` JSON file: which MCP servers to use, and how to start or reach them.

A server has ``command`` with ``args``, ``env`` and ``cwd``, or ``url`` with ``headers``; ``type`` may say ``stdio`` or
``http``. ``timeout`` is the deadline of a call in seconds; a server with ``"disabled": true`` is left out. ``${VAR}``
and ``${VAR:-default}`` are replaced from our environment. Other keys of a server are refused, since a misspelt one
would be ignored in silence; keys beside ``mcpServers`` belong to other programs.
"""

import json
import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolwright.errors import ConfigError
from toolwright.words import nearest, shorten

_COMMON_KEYS = ("type", "timeout", "disabled")
_COMMAND_KEYS = ("command", "args", "env", "cwd", *_COMMON_KEYS)
_URL_KEYS = ("url", "headers", *_COMMON_KEYS)
MAX_TIMEOUT_S = 3600
_TYPES = {"stdio": "command", "http": "url", "streamable-http": "url"}
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


@dataclass(frozen=True)
class ServerConfig:
    """How to start (``command``) or reach (``url``) one MCP server."""

    name: str
    command: str = ""
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str | None = None
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float | None = None
    disabled: bool = False

    @property
    def address(self) -> str:
        """The command line or the URL, for messages; never the variables or headers, which hold secrets."""
        return self.url or shlex.join((self.command, *self.args))


def read_mcp_config(path: Path, variables: Mapping[str, str] = os.environ) -> list[ServerConfig]:
    """Read the servers of an ``mcpServers`` file that are not disabled.

    Raises:
        ConfigError: names the file, the server, the key, and the nearest key that exists.
    """
    servers = [read_server(path, name, server, variables) for name, server in _read_file(path).items()]
    enabled = [server for server in servers if not server.disabled]
    if not enabled:
        raise ConfigError(f"{path}: all servers are disabled; enable one, or leave the file out to use our own tools")
    return enabled


def server_names(path: Path) -> list[str]:
    """The names of the servers that are not disabled; no variable need be set.

    Raises:
        ConfigError: the file cannot be read.
    """
    servers = _read_file(path).items()
    return [name for name, server in servers if not (isinstance(server, dict) and server.get("disabled") is True)]


def _read_file(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError, RecursionError) as error:
        where = f":{error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{path}{where}: cannot read the list of MCP servers ({reason})") from None
    if not isinstance(content, dict) or not isinstance(content.get("mcpServers"), dict):
        hint = nearest("mcpServers", list(content)) if isinstance(content, dict) else ""
        raise ConfigError(f"{path}: expected an object with mcpServers, got {shorten(content)}{hint}")
    if not content["mcpServers"]:
        raise ConfigError(f"{path}: mcpServers names no server; add one, or leave the file out to use our own tools")
    servers: dict[str, Any] = content["mcpServers"]
    return servers


def read_server(path: Path, name: str, server: object, variables: Mapping[str, str] = os.environ) -> ServerConfig:
    """One server of an ``mcpServers`` file; the path is for messages.

    Raises:
        ConfigError: as ``read_mcp_config``.
    """
    where = f"{path}: mcpServers.{name}"
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name) or "__" in name:
        raise ConfigError(f"{where}: a server's name has letters, digits, '_', '.' and '-', and no '__'")
    if not isinstance(server, dict):
        raise ConfigError(f"{where}: expected an object with command or url, got {shorten(server)}")
    kind = _kind(where, server)
    known = _COMMAND_KEYS if kind == "command" else _URL_KEYS
    for key in server:
        if key not in known:
            raise ConfigError(f"{where}.{key}: unknown key for a server with {kind}{nearest(key, list(known))}")
    values: dict[str, Any] = {"disabled": _typed(f"{where}.disabled", "disabled", server.get("disabled", False))}
    if values["disabled"]:  # its variables need not be set
        return ServerConfig(name, disabled=True)
    for key in known:
        if key in server and key not in values and key != "type":
            value = _typed(f"{where}.{key}", key, expand(f"{where}.{key}", server[key], variables))
            values["timeout_s" if key == "timeout" else key] = value
    if kind == "url" and not re.match(r"https?://[^/]", values["url"]):
        raise ConfigError(f"{where}.url: expected http://… or https://…, got {shorten(values['url'])}")
    return ServerConfig(name, **values)


def _kind(where: str, server: Mapping[str, Any]) -> str:
    """``command`` or ``url``."""
    given = [key for key in ("command", "url") if key in server]
    if len(given) != 1:
        hint = nearest("command", [key for key in server if key not in given])
        raise ConfigError(f"{where}: expected either command or url, got {shorten(list(server))}{hint}")
    kind = server.get("type", "stdio" if given == ["command"] else "http")
    if kind == "sse":
        raise ConfigError(
            f"{where}.type: 'sse' is no longer a transport of MCP; ask the server for streamable HTTP: http"
        )
    if kind not in _TYPES or _TYPES[kind] != given[0]:
        raise ConfigError(
            f"{where}.type: {shorten(kind)} does not go with {given[0]}; use stdio or http, or leave it out"
        )
    return given[0]


def _typed(where: str, key: str, value: object) -> Any:
    if key == "args":
        wanted, good = "a list of strings", isinstance(value, list) and all(isinstance(item, str) for item in value)
    elif key in ("env", "headers"):
        wanted = "an object of strings"
        good = isinstance(value, dict) and all(isinstance(item, str) for item in value.values())
    elif key == "disabled":
        wanted, good = "true or false", isinstance(value, bool)
    elif key == "timeout":
        wanted = f"seconds, more than 0 and at most {MAX_TIMEOUT_S}"
        good = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= MAX_TIMEOUT_S
    else:
        wanted, good = "a string that is not empty", isinstance(value, str) and bool(value.strip())
    if not good:
        raise ConfigError(f"{where}: expected {wanted}, got {shorten(value)}")
    return tuple(value) if isinstance(value, list) else value


def expand(where: str, value: Any, variables: Mapping[str, str] = os.environ) -> Any:
    """A JSON value with ``${VAR}`` and ``${VAR:-default}`` in its texts replaced.

    Raises:
        ConfigError: a variable is not set; ``where`` says who wants it.
    """
    if isinstance(value, list):
        return [expand(f"{where}[{index}]", item, variables) for index, item in enumerate(value)]
    if isinstance(value, dict):
        return {key: expand(f"{where}.{key}", item, variables) for key, item in value.items()}
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        found = variables.get(match[1])
        if found or (found == "" and match[2] is None):
            return found
        if match[2] is None:
            raise ConfigError(
                f"{where}: the variable {match[1]} is not set; export it, or write ${{{match[1]}:-default}}"
            )
        return match[2]

    return _VARIABLE.sub(replace, value)
