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
from toolwright.errors import ConfigError

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
        about=__doc__.split("\n\n")[0] if __doc__ else "",
        sections=("plan",),
        flags=FLAGS,
        options=OPTIONS,
    )
    check(config)
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

    check(config)
    quiet_libraries()
    site = Site.of(config, find_device(config.plan.device, config.threads))
    return to_plan(site, [stage(site) for stage in STAGES], _free_bytes(Path(config.runs_dir)))


def check(config: RunConfig) -> None:
    """Refuse settings that their stages would refuse, before anything is read.

    Raises:
        ConfigError: names the keys and a way out.
    """
    sft, rl, data = config.sft, config.rl, config.data_gen
    batch = rl.prompts_per_step * rl.group_size
    if sft.quantize_4bit and sft.method == "full":
        raise ConfigError("sft.quantize_4bit: weights of 4 bit are not trained; set sft.method=lora, or not 4 bit")
    if rl.start == "sft" and sft.method == "full":
        raise ConfigError(
            "rl.start: sft.method=full leaves no adapter; set rl.start=base and the model that SFT writes"
        )
    if batch % min(rl.micro_batch_size, batch):
        raise ConfigError(
            f"rl.micro_batch_size: {rl.micro_batch_size} does not divide the {batch} rollouts of a step "
            f"(prompts_per_step {rl.prompts_per_step} x group_size {rl.group_size})"
        )
    if data.heldout_share + data.dev_share >= 1:
        raise ConfigError(
            f"data_gen.heldout_share {data.heldout_share} and data_gen.dev_share {data.dev_share} leave nothing to "
            "train on; lower one of them"
        )
    devices = config.plan.devices or 1
    micro = min(sft.micro_batch_size, max(sft.batch_size // devices, 1))
    if sft.batch_size % (micro * devices):
        raise ConfigError(
            f"sft.batch_size = {sft.batch_size} does not divide into {devices} devices with micro batches of {micro}; "
            f"choose a multiple of {micro * devices}"
        )
    split = config.serve.tensor_parallel or 1
    if config.plan.devices and split > devices:
        raise ConfigError(f"serve.tensor_parallel is {split} and plan.devices {devices}; lower it, or plan for more")


def _free_bytes(directory: Path) -> int | None:
    """Free space where the run goes."""
    while not directory.exists() and directory != directory.parent:
        directory = directory.parent
    return shutil.disk_usage(directory).free if os.access(directory, os.R_OK) else None
