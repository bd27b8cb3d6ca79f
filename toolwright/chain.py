"""The chain: each stage is a process of its own, so one stage's packages and memory never meet another's.

A stage decides itself whether its artifact is up to date, so a chain that was stopped continues where it was.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from toolwright.config import RunConfig
from toolwright.errors import StageError
from toolwright.stage import run_dir


class Link(NamedTuple):
    """One stage of the chain: its name, the module that runs it, and the artifact that it leaves in the run."""

    name: str
    module: str
    artifact: str


STAGES: tuple[Link, ...] = (
    Link("questions", "data_gen.questions", "questions.jsonl"),
    Link("conversations", "data_gen.conversations", "conversations.jsonl"),
    Link("split", "data_gen.split", "train.jsonl"),
    Link("sft", "sft.train", "sft/adapter"),
    Link("rl", "rl.train", "rl/adapter"),
    Link("merge", "merge", "merged"),
    Link("eval", "eval", "eval/report.json"),
)


def run_chain(config: RunConfig, arguments: Sequence[str], *, python: str = sys.executable) -> None:
    """Run all stages in order with the same ``arguments`` (configuration file and overrides).

    Raises:
        StageError: a stage ended with an error; names it and the command that continues.
    """
    for number, link in enumerate(STAGES, start=1):
        command = [python, "-m", link.module, *arguments]
        print(f"\n[{number}/{len(STAGES)}] {' '.join(['python', *command[1:]])}", flush=True)
        code = _run(command)
        if code != 0:
            raise StageError(f"stage {link.name} ended with code {code}; mend it and run the same command to go on")
    print(f"\nartifacts: {run_dir(config)}/", flush=True)


def _run(command: Sequence[str]) -> int:
    process = subprocess.Popen(command)
    try:
        return process.wait()
    except KeyboardInterrupt:
        # The terminal has sent the signal to the child as well: let it finish its own clean stop.
        process.wait()
        raise


def artifact_paths(config: RunConfig) -> dict[str, Path]:
    """Where each stage's artifact is."""
    return {link.name: run_dir(config) / link.artifact for link in STAGES}
