"""``python -m rl.train --reward toolrl``: GRPO on live tools, continuing the SFT adapter.

Reads ``train.jsonl`` and ``sft/adapter/``; writes ``rl/adapter/`` (PEFT + tokenizer + chat template),
``rl/metrics.jsonl`` with the reward's components per step, and ``rl/rollouts.jsonl`` with every rollout to read.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from toolwright.artifacts import replacing, require
from toolwright.command import Flag, parse_command
from toolwright.config import RunConfig
from toolwright.errors import ConfigError
from toolwright.processes import run_in_group
from toolwright.stage import Job, run_dir

PROG = "python -m rl.train"
FLAGS = (
    Flag(("--reward",), "rl.reward", "reward function"),
    Flag(("--steps",), "rl.steps", "optimizer steps"),
    Flag(("--start",), "rl.start", "adapter to continue"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``python -m rl.train``."""
    return run_in_group(lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> None:
    config = parse_command(argv, prog=PROG, about=__doc__ or "", sections=("rl", "tools"), flags=FLAGS)
    job, start = plan_job(config)
    if not job.is_current():
        with job.running() as counts:
            counts.update(train(config, job, start))


def plan_job(config: RunConfig) -> tuple[Job, Path | None]:
    """The job of this stage and the adapter that it starts from (none: a new one on the base model).

    Raises:
        ArtifactError: training data or starting adapter are missing, unfinished or changed.
    """
    from toolwright.model import model_source

    check_switches(config.rl.switches)
    run = run_dir(config)
    require(run / "train.jsonl", made_by="python -m data_gen.split")
    source = model_source(config.model)
    inputs: dict[str, Path | str] = {"model": source, "train": run / "train.jsonl"}
    start: Path | None = None
    if config.rl.start == "sft" and config.sft.method == "full":
        whole = run / "sft" / "model"
        raise ConfigError(
            f"rl.start: sft.method=full leaves no adapter; practise on its model: model={whole} rl.start=base"
        )
    if config.rl.start == "sft":
        start = run / "sft" / "adapter"
        require(start, made_by="accelerate launch sft/train.py")
    elif config.rl.start != "base":
        start = Path(config.rl.start)
        if not start.is_dir():
            raise ConfigError(f"rl.start: expected sft, base or an adapter directory, got {config.rl.start!r}")
    if start is not None:
        inputs["start"] = start
    settings = {"rl": config.rl.model_dump(), "tools": config.tools.model_dump()}
    job = Job.of(config, "rl", output="rl/adapter", command=PROG, settings=settings, inputs=inputs)
    return job, start


def check_switches(switches: Sequence[str]) -> None:
    """Refuse reward switches that do not exist, before anything is loaded.

    Raises:
        ConfigError: names the switch and the nearest known one.
    """
    from rl.rewards.toolrl import bounds

    try:
        bounds(0, frozenset(switches))
    except ValueError as error:
        raise ConfigError(f"rl.switches: {error}") from None


def train(config: RunConfig, job: Job, start: Path | None) -> dict[str, Any]:
    """Train and write the adapter; returns the counts for the manifest."""
    from rl.grpo import build_trainer
    from rl.tasks import load_tasks, schedule
    from toolwright.model import load_tokenizer, quiet_libraries, seed_everything, set_threads
    from toolwright.training import keep_lines, open_checkpoints

    quiet_libraries()
    set_threads(config.threads)
    seed_everything(config.seed)
    section = config.rl
    tasks = load_tasks(run_dir(config) / "train.jsonl")
    planned = schedule(tasks, section.steps * section.prompts_per_step, seed=config.seed, modes=section.modes)
    tokenizer = load_tokenizer(start or config.model)
    checkpoint = open_checkpoints(job.output.parent / "checkpoints", job.key)
    started = time.monotonic()
    trainer, player = build_trainer(config, job.output.parent, planned, tokenizer, start)
    done = int(checkpoint.rsplit("-", 1)[1]) if checkpoint else 0
    keep_lines(job.output.parent / "rollouts.jsonl", done - 1)  # rollouts carry the number of steps before them
    try:
        trainer.train(resume_from_checkpoint=checkpoint)
    finally:
        player.close()
    with replacing(job.output) as temporary:
        trainer.model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
    rollouts = section.steps * section.prompts_per_step * section.group_size
    first, last = player.reward_ends()
    print(
        f"rl: {section.steps} steps, {rollouts} rollouts of {len(tasks)} tasks, "
        f"reward {first:.2f} -> {last:.2f}, {time.monotonic() - started:.0f} s",
        flush=True,
    )
    return {
        "tasks": len(tasks),
        "steps": section.steps,
        "rollouts": rollouts,
        "reward_first": first,
        "reward_last": last,
    }


if __name__ == "__main__":
    sys.exit(main())
