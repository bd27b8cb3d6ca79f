"""Runs other people's converters as processes: their output passes through, and its end becomes a one-line error.

Reads and writes nothing itself.
"""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

from toolwright.config_file import find_file
from toolwright.errors import ConfigError, ModelError
from toolwright.words import cut

_KEPT = 65536


def run_child(argv: Sequence[str], hints: Mapping[str, str]) -> None:
    """Run a command to its end; what it prints goes to stderr.

    Args:
        argv: the command.
        hints: text that its output may hold -> what to do then.

    Raises:
        ModelError: it failed; holds the last line that it printed, and the hint for it.
    """
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "PYTHONPATH")}
    # The model is a directory: what is not in it must not be fetched from elsewhere.
    environment["HF_HUB_OFFLINE"] = "1"
    before = signal.signal(signal.SIGTERM, _end)
    process = subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        output = _pass_on(process)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        signal.signal(signal.SIGTERM, before)
    if process.returncode:
        lines = [line.strip() for line in output.replace("\r", "\n").splitlines() if line.strip()]
        hint = next((f"; {hint}" for text, hint in hints.items() if text in output), "; see its output above")
        raise ModelError(
            f"{shlex.join(argv[:2])}: exit code {process.returncode}: {cut(lines[-1] if lines else 'no output')}{hint}"
        )


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _pass_on(process: "subprocess.Popen[bytes]") -> str:
    """Hand on what it prints as it comes, and return the end of it."""
    assert process.stdout is not None
    kept = b""
    while chunk := process.stdout.read1(_KEPT):  # type: ignore[attr-defined]
        sys.stderr.write(chunk.decode(errors="replace"))
        sys.stderr.flush()
        kept = (kept + chunk)[-_KEPT:]
    process.wait()
    return kept.decode(errors="replace")


def child_python(named: str | None) -> str:
    """The Python that ``export.python`` names, else this one.

    Raises:
        ConfigError: there is none.
    """
    if named is None:
        return sys.executable
    path = find_file(Path(named).expanduser())
    if not os.access(path, os.X_OK) or path.is_dir():
        raise ConfigError(f"export.python: {named} is no program; name the bin/python of an environment")
    return str(path.absolute())  # not resolved: an environment's Python is a link, and its place is what counts


def has_module(python: str, name: str) -> bool:
    """Whether a Python finds a module, without importing it."""
    if python == sys.executable:
        import importlib.util

        return importlib.util.find_spec(name) is not None
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({name!r}) is None)"
    return subprocess.run([python, "-c", code], capture_output=True, check=False).returncode == 0
