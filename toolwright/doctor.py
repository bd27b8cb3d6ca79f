"""Looks at the machine: versions, devices, what is missing and the line that installs it. Changes nothing."""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from toolwright.command import parse_command, run_command
from toolwright.config import RunConfig
from toolwright.config_file import find_file

REQUIRED = ("torch", "transformers", "peft", "trl", "datasets", "accelerate", "mcp", "openai", "fastapi", "jsonschema")
OPTIONAL = {"bitsandbytes": "qlora", "wandb": "wandb"}


class Finding(NamedTuple):
    """One line of the report; ``cure`` is empty when nothing is to be done."""

    what: str
    found: str
    cure: str = ""
    fatal: bool = False


def examine(config: RunConfig) -> Iterator[Finding]:
    """All findings, cheapest first."""
    yield Finding("python", platform.python_version())
    memory_gib = psutil.virtual_memory().total / 2**30
    yield Finding("machine", f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {memory_gib:.0f} GiB")
    for package in REQUIRED:
        yield _package(package, f"pip install -c constraints.txt {package}", fatal=True)
    for package, extra in OPTIONAL.items():
        yield _package(package, f"pip install -c constraints.txt -e '.[{extra}]'", fatal=False)
    yield _device()
    yield _vllm()
    yield _model(config.model)


def _package(package: str, cure: str, *, fatal: bool) -> Finding:
    try:
        return Finding(package, importlib.metadata.version(package))
    except importlib.metadata.PackageNotFoundError:
        return Finding(package, "not installed", cure, fatal)


def _device() -> Finding:
    if importlib.util.find_spec("torch") is None:
        return Finding("device", "unknown without torch")
    import torch

    if not torch.cuda.is_available():
        return Finding("device", "CPU only; the tiny configuration runs here, larger ones want a GPU")
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    free_gib = torch.cuda.mem_get_info()[0] / 2**30
    return Finding("device", f"{len(names)} x {names[0]}, {free_gib:.0f} GiB free on the first")


def _vllm() -> Finding:
    binary = os.environ.get("VLLM_BIN") or shutil.which("vllm")
    if binary:
        return Finding("vllm", binary)
    if importlib.util.find_spec("vllm") is not None:
        return Finding(
            "vllm", "in the trainer's environment", "move it: python -m venv vllm-env; VLLM_BIN=vllm-env/bin/vllm"
        )
    return Finding(
        "vllm", "not found; the CPU server is used", "python -m venv vllm-env && vllm-env/bin/pip install vllm"
    )


def _model(name: str) -> Finding:
    path = find_file(Path(name))
    if path.is_dir():
        ready = (path / "config.json").exists()
        return Finding(
            "base model", str(path) if ready else f"{path} has no config.json", "" if ready else "set model="
        )
    return Finding("base model", f"{name} is not a directory: it will be fetched from the hub")


def print_report(config: RunConfig) -> int:
    """Print the findings; returns 1 when something that is required is missing."""
    findings = list(examine(config))
    table = Table(title="toolwright doctor")
    for column in ("what", "found", "to do"):
        table.add_column(column, overflow="fold")
    for finding in findings:
        table.add_row(finding.what, escape(finding.found), escape(finding.cure))
    Console().print(table)
    return 1 if any(finding.fatal for finding in findings) else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``toolwright doctor``."""
    about = "Look at this machine."
    return run_command(lambda: print_report(parse_command(argv, prog="toolwright doctor", about=about, sections=())))
