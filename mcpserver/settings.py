"""What an environment is made of, the same for every face: tools, world, sandbox, deadline."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from toolwright.errors import ConfigError
from toolwright.words import nearest, shorten

SANDBOX_VARIABLE = "TOOLWRIGHT_SANDBOX"
Choice = Literal["auto", "bwrap", "landlock", "none"]
PythonKind = Literal["light", "jupyter"]


@dataclass(frozen=True)
class ApiSettings:
    """How the tools of APIs are answered: by their endpoint, else by a virtual reply, which is always flagged.

    Attributes:
        base_url: the endpoint of all of them; empty means that of their catalogue file, if it was imported with one;
            ``document`` means the servers that the OpenAPI document names.
        headers: sent to ``base_url``; ``${VAR}`` stands for variables of our environment.
        timeout_s: of one attempt to get an answer.
        retries: attempts after the first one.
        allow_private: whether endpoints on this machine and in private networks may be called.
        cache_dir: where replies are kept; empty means the user's cache.
        llm_url: an OpenAI-compatible endpoint that writes virtual replies; empty means seeded documents.
        llm_model: the model there.
        llm_key: its key; ``${VAR}`` as in headers.
        llm_timeout_s: of a model's virtual reply, attempts together; a seeded document takes its place then.
    """

    base_url: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    timeout_s: float = 10.0
    retries: int = 2
    allow_private: bool = False
    cache_dir: str = ""
    llm_url: str = ""
    llm_model: str = ""
    llm_key: str = "EMPTY"
    llm_timeout_s: float = 60.0


@dataclass(frozen=True)
class Settings:
    """How environments are opened.

    Attributes:
        toolsets: names of toolsets, categories or tools on offer; None means all.
        sources: further tools of the user's: folders, packages, ``module:function``, ``module:All``, ``x.api.jsonl``.
        world: the base: ``desk`` (small), ``company``, or a folder with ``files/`` and ``databases/``.
        n_files: how many files of the world each environment gets, drawn by its seed; None means all.
        sandbox: ``auto`` (the safest level that works here), or a level.
        python: the interpreter behind ``run_python``.
        call_timeout_s: deadline of one call.
        apis: how the tools of APIs are answered.
    """

    toolsets: tuple[str, ...] | None = None
    sources: tuple[str, ...] = ()
    world: str = "company"
    n_files: int | None = None
    sandbox: Choice = "auto"
    python: PythonKind = "light"
    call_timeout_s: float = 10.0
    apis: ApiSettings = ApiSettings()


def read_apis(text: str) -> ApiSettings:
    """The settings in a JSON object, or in the JSON file of that name.

    Raises:
        ConfigError: as ``make_apis``; or neither JSON nor a file.
    """
    try:
        if text.lstrip()[:1] != "{":
            with open(text, encoding="utf-8") as stream:
                text = stream.read()
        values = json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"apis: {shorten(text, 60)} is no JSON object and no file with one ({error})") from None
    return make_apis(values)


def make_apis(values: object) -> ApiSettings:
    """The settings in a mapping of the names of ``ApiSettings``; headers are an object of texts.

    Raises:
        ConfigError: a key that does not exist, or a value of another type.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"apis: expected an object, got {shorten(values)}")
    known = {field.name: field.default for field in fields(ApiSettings)}
    given: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            raise ConfigError(f"apis.{key}: unknown key{nearest(key, list(known))}")
        given[key] = _typed(f"apis.{key}", value, known[key])
    return ApiSettings(**given)


def _typed(where: str, value: object, default: object) -> object:
    if isinstance(default, tuple):
        if isinstance(value, Mapping) and all(isinstance(text, str) for pair in value.items() for text in pair):
            return tuple(value.items())
        wanted = "an object of texts"
    elif isinstance(default, bool | str):
        if type(value) is type(default):
            return value
        wanted = "true or false" if isinstance(default, bool) else "a text"
    else:
        if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
            return int(value) if isinstance(default, int) else float(value)
        wanted = "a number that is 0 or more"
    raise ConfigError(f"{where}: expected {wanted}, got {shorten(value)}")


def variables_of(apis: ApiSettings) -> list[str]:
    """The variables of the environment that headers and keys ask for, as ``${VAR}``."""
    return re.findall(r"\$\{(\w+)", " ".join((apis.llm_key, *(text for pair in apis.headers for text in pair))))


def flags_of(settings: Settings) -> list[str]:
    """The flags of ``python -m mcpserver`` that mean these settings."""
    flags = [word for name in settings.toolsets or () for word in ("--toolset", name)]
    flags += [word for name in settings.sources for word in ("--tools", name)]
    flags += ["--world", settings.world, "--sandbox", settings.sandbox, "--python", settings.python]
    flags += [] if settings.n_files is None else ["--n-files", str(settings.n_files)]
    if settings.apis != ApiSettings():
        flags += ["--apis", json.dumps(asdict(settings.apis) | {"headers": dict(settings.apis.headers)})]
    return [*flags, "--call-timeout-s", f"{settings.call_timeout_s:g}"]
