"""What an environment is made of, the same for every face: tools, world, sandbox, deadline."""

from dataclasses import dataclass
from typing import Literal

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


def flags_of(settings: Settings) -> list[str]:
    """The flags of ``python -m mcpserver`` that mean these settings."""
    flags = [word for name in settings.toolsets or () for word in ("--toolset", name)]
    flags += [word for name in settings.sources for word in ("--tools", name)]
    flags += ["--world", settings.world, "--sandbox", settings.sandbox, "--python", settings.python]
    flags += [] if settings.n_files is None else ["--n-files", str(settings.n_files)]
    return [*flags, "--call-timeout-s", f"{settings.call_timeout_s:g}"]
