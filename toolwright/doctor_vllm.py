"""Where vLLM is, in which version, and whether it is in the way of the trainer."""

import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from toolwright.doctor_packages import Finding, spec_exists

INSTALL = "python -m venv vllm-env && vllm-env/bin/pip install vllm; export VLLM_BIN=$PWD/vllm-env/bin/vllm"


def find_vllm() -> Iterator[Finding]:
    """vLLM's command and version. In the trainer's environment its pins would move torch and transformers."""
    named = os.environ.get("VLLM_BIN")
    command = shutil.which(named) if named else shutil.which("vllm")
    if named and command is None:
        yield Finding("vllm", f"VLLM_BIN is {named}, which is no command", INSTALL)
    elif command is None:
        yield Finding("vllm", "not found (optional): our own server is used", INSTALL)
    else:
        version = installed_version(Path(command)) or "version unknown"
        yield Finding("vllm", f"{version}, {command}")
    if (command and _is_ours(Path(command))) or spec_exists("vllm"):
        yield Finding(
            "vllm's place",
            "in the trainer's environment, where its pins move torch and transformers",
            f"pip uninstall vllm; {INSTALL}",
        )


def _is_ours(command: Path) -> bool:
    return command.resolve().parent == Path(sys.prefix).resolve() / "bin"


def installed_version(command: Path) -> str | None:
    """The version of the environment that a command is in, read from its metadata: ``vllm --version`` takes long."""
    for place in (command, command.resolve()):
        for found in place.parent.parent.glob("lib/python*/site-packages/vllm*.dist-info"):
            match = re.match(r"vllm(?:_\w+)?-(.+)\.dist-info", found.name)
            if match:
                return match[1]
    return None
