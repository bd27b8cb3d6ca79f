"""What an environment is made of, the same for every face: tools, world, sandbox, deadline."""

from dataclasses import dataclass
from typing import Literal

SANDBOX_VARIABLE = "TOOLWRIGHT_SANDBOX"
Choice = Literal["auto", "bwrap", "landlock", "none"]
PythonKind = Literal["light", "jupyter"]


@dataclass(frozen=True)
class Settings:
    """How environments are opened.

    Attributes:
        toolsets: names of toolsets, categories or tools on offer; None means all.
        sources: further tools of the user's: folders, packages, ``module:function`` or ``module:All``.
        world: the base: ``desk`` (small), ``company``, or a folder with ``files/`` and ``databases/``.
        n_files: how many files of the world each environment gets, drawn by its seed; None means all.
        sandbox: ``auto`` (the safest level that works here), or a level.
        python: the interpreter behind ``run_python``.
        call_timeout_s: deadline of one call.
    """

    toolsets: tuple[str, ...] | None = None
    sources: tuple[str, ...] = ()
    world: str = "desk"
    n_files: int | None = None
    sandbox: Choice = "auto"
    python: PythonKind = "light"
    call_timeout_s: float = 10.0


def flags_of(settings: Settings) -> list[str]:
    """The flags of ``python -m mcpserver`` that mean these settings."""
    flags = [word for name in settings.toolsets or () for word in ("--toolset", name)]
    flags += [word for name in settings.sources for word in ("--tools", name)]
    flags += ["--world", settings.world, "--sandbox", settings.sandbox, "--python", settings.python]
    flags += [] if settings.n_files is None else ["--n-files", str(settings.n_files)]
    return [*flags, "--call-timeout-s", f"{settings.call_timeout_s:g}"]
