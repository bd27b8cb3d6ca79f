"""``toolwright doctor``: versions, devices, sandbox, servers; what is missing and the line that installs it.

Reads what is installed, ``pyproject.toml`` and ``constraints.txt``; changes nothing. Exit code 1 when something that is
required is missing or of a version that does not go.
"""

import errno
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from toolwright.command import Option, parse_with_options, run_command
from toolwright.config import RunConfig
from toolwright.config_file import find_file
from toolwright.devices import memory_here
from toolwright.doctor_packages import Finding, packages, spec_exists
from toolwright.doctor_vllm import find_vllm

GIB = 2**30
LEAST_DISK_GIB = 5
_OPTIONS = (Option("--json", "print JSON", switch=True),)
_SANDBOX_TIMEOUT_S = 60
_NEEDED = (("config.json",), ("tokenizer.json", "tokenizer.model", "vocab.json", "tokenizer_config.json"))
"""Of a model's directory one of each; tokenizers as toolwright/model.py loads them."""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``toolwright doctor``."""
    return run_command(lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int:
    config, options = parse_with_options(
        argv,
        prog="toolwright doctor",
        about=__doc__.split("\n\n")[0] if __doc__ else "",
        sections=("serve",),
        options=_OPTIONS,
    )
    findings = list(examine(config))
    if options["json"]:
        print(json.dumps([finding._asdict() for finding in findings], indent=2))
    else:
        print_findings(findings)
    return 1 if any(finding.fatal for finding in findings) else 0


def examine(config: RunConfig) -> Iterator[Finding]:
    """All findings; what is fatal keeps stages from running."""
    yield from packages()
    yield from _devices()
    yield _disk(Path(config.runs_dir))
    yield _model(config.model)
    yield from _sandbox()
    yield from find_vllm()
    yield from _exports()
    yield _git()
    yield _port(config.serve.host, config.serve.port)


def print_findings(findings: Sequence[Finding]) -> None:
    """A table, and how many findings want something done."""
    table = Table(title="toolwright doctor")
    for column in ("what", "found", "to do"):
        table.add_column(column, overflow="fold")
    for finding in findings:
        found = escape(finding.found)
        table.add_row(escape(finding.what), f"[red]{found}[/red]" if finding.fatal else found, escape(finding.cure))
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(table)
    fatal = sum(finding.fatal for finding in findings)
    console.print(
        "ready" if not fatal else f"[red]{fatal} required {'things are' if fatal > 1 else 'thing is'} missing[/red]"
    )


def _devices() -> Iterator[Finding]:
    memory = _memory()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding("machine", f"{platform.system()} {platform.machine()}, {cores} of {os.cpu_count()} cores, {memory}")
    if not spec_exists("torch"):
        yield Finding("device", "unknown without torch")
        return
    try:
        import torch
    except (ImportError, OSError, RuntimeError) as error:
        why = " ".join(str(error).split())[:200]
        yield Finding("torch", f"cannot be imported: {why}", "pip install --force-reinstall torch", fatal=True)
        return
    able: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    kinds = [label for key, label in (("amx_bf16", "AMX"), ("avx512_bf16", "AVX-512 BF16")) if able.get(key)]
    fast = f"bfloat16 by {' and '.join(kinds)}" if kinds else "no bfloat16 of its own: float32 is trained"
    yield Finding("cpu", fast)
    if not torch.cuda.is_available():
        yield Finding(
            "gpu", f"none that torch {torch.__version__} sees; the tiny configuration needs none", _gpu_cure()
        )
        return
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        name = f"{torch.cuda.get_device_name(index)}, {free / GIB:.0f} of {total / GIB:.0f} GiB free"
        yield Finding(f"gpu {index}", f"{name}, driver {_driver()}, CUDA {torch.version.cuda}")


def _memory() -> str:
    if not spec_exists("psutil"):
        return "memory unknown without psutil"
    import psutil

    memory = psutil.virtual_memory()
    most = memory_here()
    limit = f", of which a container may have {most / GIB:.1f}" if most < memory.total else ""
    return f"{memory.available / GIB:.0f} of {memory.total / GIB:.0f} GiB free{limit}"


def _gpu_cure() -> str:
    """A driver that torch does not see: torch is a CPU build."""
    return "a GPU is there, torch is a build for CPUs: pip install torch" if _driver() != "unknown" else ""


def _driver() -> str:
    command = shutil.which("nvidia-smi")
    if command is None:
        return "unknown"
    query = [command, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip().splitlines()[0] if done.stdout.strip() else "unknown"


def _disk(runs: Path) -> Finding:
    """Room and rights where runs go."""
    place = runs.absolute()
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent
    if not place.is_dir():
        return Finding("disk", f"{place} is no directory", "runs_dir=DIRECTORY", fatal=True)
    free = shutil.disk_usage(place).free / GIB
    if not os.access(place, os.W_OK):
        return Finding("disk", f"{place} cannot be written to", "runs_dir=DIRECTORY", fatal=True)
    cure = "free space, or runs_dir=DIRECTORY; `toolwright plan` says how much" if free < LEAST_DISK_GIB else ""
    return Finding("disk", f"{free:.0f} GiB free at {runs}/", cure)


def _model(name: str) -> Finding:
    path = find_file(Path(name))
    if path.is_dir():
        for files in _NEEDED:
            if not any((path / file).exists() for file in files):
                return Finding("base model", f"{path} has no {files[0]}", "model=DIRECTORY or a hub id", fatal=True)
        weights = sum(file.stat().st_size for file in path.glob("*.safetensors"))
        if not weights:
            return Finding("base model", f"{path} has no *.safetensors", "model=DIRECTORY or a hub id", fatal=True)
        return Finding("base model", f"{path}, {weights / 1e9:.2f} GB of weights")
    if path.exists() or name.startswith((".", "/", "~")) or name.count("/") != 1:
        return Finding(
            "base model", f"{name} is no directory, and no hub id", "model=DIRECTORY or a hub id", fatal=True
        )
    return Finding("base model", f"{name} is not a directory: it will be fetched from the hub")


def _sandbox() -> Iterator[Finding]:
    """What ``python -m mcpserver doctor`` says: the level, and why a better one does not work."""
    command = [sys.executable, "-m", "mcpserver", "doctor"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SANDBOX_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError) as error:
        yield Finding("sandbox", f"unknown: {type(error).__name__}", " ".join(["python", *command[1:]]))
        return
    first, *rest = done.stdout.strip().splitlines() or [""]
    level = first.partition("sandbox:")[2].strip()
    if done.returncode or not level:
        said = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        yield Finding("sandbox", f"unknown: {said[:200]}", "python -m mcpserver doctor", fatal=True)
        return
    levels = {words[0]: " ".join(words[1:]) for words in (line.split() for line in rest) if len(words) > 1}
    better = levels.get("bwrap", "") if level != "bwrap" else ""
    cure = ""
    if level != "bwrap":  # of why it does not work, the end is what to do
        cure = "apt-get install bubblewrap" if shutil.which("bwrap") is None else better.rpartition("; ")[2]
    yield Finding("sandbox", f"{level}: {levels.get(level, '')}".rstrip(": "), cure)
    if better:
        yield Finding("sandbox bwrap", better)


def _exports() -> Iterator[Finding]:
    llama = os.environ.get("LLAMA_CPP") or shutil.which("convert_hf_to_gguf.py")
    cure = (
        ""
        if llama
        else "git clone https://github.com/ggml-org/llama.cpp; export LLAMA_CPP=$PWD/llama.cpp; pip install gguf"
    )
    yield Finding("gguf export", llama or "no converter (optional)", cure)
    there = spec_exists("llmcompressor")
    cure = "" if there else "python3 -m venv llmc && llmc/bin/pip install llmcompressor; export.python=llmc/bin/python"
    yield Finding("fp8, awq, gptq export", "llm-compressor" if there else "no llm-compressor (optional)", cure)


def _git() -> Finding:
    found = shutil.which("git")
    return Finding("git", found or "not found (optional)", "" if found else "apt-get install git")


def _port(host: str, port: int) -> Finding:
    """Whether ``python -m serve`` could listen."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            taken = error.errno in (errno.EADDRINUSE, errno.EACCES)
            cure = (
                "serve.port=0 takes a free one" if taken else "serve.host=127.0.0.1, or another address of this machine"
            )
            return Finding("port", f"{host}:{port}: {error.strerror or error}", cure)
    return Finding("port", f"{host}:{port} is free")
