"""``toolwright plan [config.yaml] [--device h100-80gb]``: what a run takes, before anything is spent.

For each stage: memory by part against the device's, with the keys to change where it does not fit; tokens, time,
money and disk. Reads the model's ``config.json``, the run's conversations and manifests where they are; writes nothing.
Exit code 1 when a stage does not fit.
"""

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from toolwright.command import Flag, Option, parse_with_options, run_command
from toolwright.config import RunConfig
from toolwright.plan_check import check

if TYPE_CHECKING:
    from toolwright.plan_report import Plan

FLAGS = (
    Flag(("--device",), "plan.device", "device to plan for; `list` names them"),
    Flag(("--devices",), "plan.devices", "number of devices"),
    Flag(("--model",), "model", "base model"),
)
OPTIONS = (Option("--json", "print JSON", switch=True),)
DOES_NOT_FIT = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``toolwright plan``."""
    return run_command(lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int:
    config, options = parse_with_options(
        argv,
        prog="toolwright plan",
        about=__doc__ or "",
        sections=("plan",),
        flags=FLAGS,
        options=OPTIONS,
    )
    check(config, config.plan.devices)
    from toolwright.plan_report import print_devices, print_plan

    console = Console(width=None if sys.stdout.isatty() else 140)
    if config.plan.device == "list":
        print_devices(console)
        return 0
    plan = make_plan(config)
    if options["json"]:
        print(plan.model_dump_json(indent=2))
    else:
        print_plan(plan, console)
    return 0 if plan.fits else DOES_NOT_FIT


def make_plan(config: RunConfig) -> "Plan":
    """The plan of a run.

    Raises:
        ConfigError: an unknown device, or settings that do not go together.
        ModelError: no such model.
        DataError: the run's conversations are broken.
    """
    from toolwright.devices import find_device
    from toolwright.model import quiet_libraries
    from toolwright.plan_report import to_plan
    from toolwright.plan_site import Site
    from toolwright.plan_stages import STAGES

    quiet_libraries()
    site = Site.of(config, find_device(config.plan.device, config.threads))
    check(config, site.devices)
    return to_plan(site, [stage(site) for stage in STAGES], _free_bytes(Path(config.runs_dir)))


def _free_bytes(directory: Path) -> int | None:
    """Free space where the run goes."""
    while not directory.exists() and directory != directory.parent:
        directory = directory.parent
    return shutil.disk_usage(directory).free if os.access(directory, os.R_OK) else None
