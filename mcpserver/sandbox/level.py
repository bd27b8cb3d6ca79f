"""Which sandbox this machine can run: each level is tried for real, once, from the safest down.

``bwrap`` hides everything but the environment; ``landlock`` (with seccomp) forbids what is not hidden; ``none`` limits
amounts only and must be asked for. The variable ``TOOLWRIGHT_SANDBOX`` names a level where no option does.
"""

import asyncio
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Coroutine
from functools import lru_cache
from pathlib import Path
from typing import Any, cast, get_args

from mcpserver.sandbox.launch import Content, Level, plan, root_only_folder
from mcpserver.sandbox.limits import Limits
from mcpserver.sandbox.worker import Worker
from mcpserver.settings import SANDBOX_VARIABLE, Choice
from toolwright.errors import ConfigError, SandboxError
from toolwright.words import nearest


def choose_level(choice: Choice = "auto") -> Level | None:
    """The level to run at; None where ``auto`` finds none that works.

    Raises:
        ConfigError: an unknown level in the variable.
        SandboxError: a level was asked for by name that does not work here; says why.
    """
    if choice == "auto":
        named = os.environ.get(SANDBOX_VARIABLE, "auto")
        if named not in get_args(Choice):
            raise ConfigError(f"{SANDBOX_VARIABLE}={named}: unknown level{nearest(named, get_args(Choice))}")
        choice = cast(Choice, named)
    if choice == "none":
        return "none"
    if choice != "auto":
        if reason := reason_against(choice):
            raise SandboxError(f"sandbox {choice} does not work here: {reason}")
        return choice
    return next((level for level in ("bwrap", "landlock") if not reason_against(level)), None)


@lru_cache(maxsize=4)
def reason_against(level: Level) -> str:
    """Why a level does not work here, and what to do about it; empty when it does."""
    if sys.platform != "linux":
        return "it needs Linux; use a container, or --sandbox=none and only code that you trust"
    if level == "bwrap" and shutil.which("bwrap") is None:
        return "bubblewrap is not installed; `apt install bubblewrap` (or dnf, pacman, apk)"
    if level == "landlock" and (closed := root_only_folder()):
        return f"root gives its rights up there, and only root can read {closed}; run as an ordinary user"
    folder = tempfile.mkdtemp(prefix="toolwright-probe-")
    try:
        os.chmod(folder, 0o755)
        _run(_probe(level, Path(folder)))
    except (SandboxError, OSError) as error:
        return f"{error}{_advice(level, str(error))}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return ""


async def _probe(level: Level, folder: Path) -> None:
    worker = await Worker.start(plan(level, Content(folder, ()), Limits()))
    try:
        await worker.snapshot(10.0)
        await worker.run_python("1 + 1", 10.0)
    except Exception as error:  # noqa: BLE001 - whatever stands against a level is its reason
        raise SandboxError(str(error)) from None
    finally:
        worker.close()
        await worker.wait_closed()


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Run to the end in a loop of its own, also below a running one."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(work)
        except BaseException as error:  # noqa: BLE001 - handed to the caller's thread
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


def _advice(level: Level, text: str) -> str:
    if level != "bwrap":
        return ""
    if "ermission" in text or "not permitted" in text:
        return (
            "; allow user namespaces: `sysctl kernel.unprivileged_userns_clone=1`, on Ubuntu an AppArmor profile for"
            " bwrap, in Docker `--security-opt seccomp=unconfined`"
        )
    return ""


def refusal() -> str:
    """One line on why code tools are refused here, and the cure."""
    return f"no sandbox runs on this machine: {reason_against('bwrap')}; to run code without one, say --sandbox=none"


def describe() -> str:
    """Which level this machine has, and why not a better one; for people."""
    chosen = choose_level()
    lines = [f"sandbox: {chosen or 'none works; code tools are refused'}"]
    notes = {
        "bwrap": "own file system, processes and network; memory, disk, processes and time limited",
        "landlock": "paths, network and system calls forbidden; memory, disk, processes and time limited",
    }
    for level, note in notes.items():
        reason = reason_against(cast(Level, level))
        lines.append(f"  {level:9} {'works: ' + note if not reason else 'does not work: ' + reason}")
    lines.append("  none      only amounts are limited; never chosen by itself (--sandbox=none)")
    return "\n".join(lines)
