"""``accelerate launch sft/train.py [config.yaml]`` or ``python -m sft.train``: train a LoRA adapter on conversations.

Reads ``train.jsonl`` and ``dev.jsonl`` of the run; writes ``sft/adapter/`` (PEFT adapter, tokenizer, chat template), or
``sft/model/`` with ``sft.method: full``, ``sft/metrics.jsonl`` and, while it runs, ``sft/checkpoints/``. A killed run
continues when it is started again.
"""

import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

if not __package__:  # started as a file: sft/ is first on the path, where its modules would shadow libraries
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from sft.assemble import trained_model, training_arguments
from sft.data import Data, data_files, load_data
from sft.save import initial_weights, save_adapter, save_model
from sft.trainer import SftTrainer
from toolwright.artifacts import write_rows
from toolwright.command import Flag, Option, parse_with_options
from toolwright.config import RunConfig
from toolwright.errors import ConfigError
from toolwright.model import (
    choose_dtype,
    load_tokenizer,
    model_source,
    quiet_libraries,
    seed_everything,
    set_threads,
)
from toolwright.processes import run_in_group
from toolwright.progress import LogLastStep, ShowProgress
from toolwright.stage import Job, run_dir
from toolwright.training import MetricsWriter, open_checkpoints

COMMAND = "python -m sft.train"
_METRICS = {
    "loss": "loss",
    "learning_rate": "lr",
    "grad_norm": "grad_norm",
    "tokens_per_s": "tokens_per_s",
    "epoch": "epoch",
    "eval_loss": "dev_loss",
}
FLAGS = (
    Flag(("--model",), "model", "base model"),
    Flag(("--verify",), "sft.verify", "check a sample of the rows once more, or all: sample, full"),
    Flag(("--on-error",), "sft.on_error", "a conversation that cannot be trained on: stop, or skip and count it"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    return run_in_group(lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int:
    config, options = parse_with_options(
        argv,
        prog=COMMAND,
        about=__doc__.split("\n\n")[0] if __doc__ else "",
        sections=("sft",),
        flags=FLAGS,
        options=(Option("--dry-run", "print parameters, steps and the memory plan; train nothing", switch=True),),
    )
    if options["dry_run"]:
        from sft.dry_run import dry_run

        dry_run(config)
    else:
        train(config)
    return 0


def sft_job(config: RunConfig) -> Job:
    """The adapter of a run, or its model, as a job: what it depends on and where it goes."""
    inputs = {"model": model_source(config.model), **data_files(config).inputs}
    beside = {"logging_steps", "save_steps", "data", "dev_data", "encode_processes", "trackers"}
    settings = config.sft.model_dump(exclude=beside)
    output = "sft/adapter" if config.sft.method == "lora" else "sft/model"
    return Job.of(config, "sft", output=output, command=COMMAND, settings=settings, inputs=inputs)


def train(config: RunConfig) -> None:
    """Train the adapter of a run, unless it is there and made from the same things.

    Raises:
        ConfigError, DataError, ModelError, ArtifactError: settings, data, model or run directory are wrong.
    """
    state = PartialState(cpu=not torch.cuda.is_available())
    job = sft_job(config)
    if _from_main(state, lambda: job.is_current()):
        return
    quiet_libraries()
    set_threads(config.threads)
    seed_everything(config.seed)
    counts: dict[str, Any] = {}
    holding: AbstractContextManager[dict[str, Any]] = job.running() if state.is_main_process else nullcontext(counts)
    with holding as counts:
        _train(config, job, state, counts)
        state.wait_for_everyone()


def _train(config: RunConfig, job: Job, state: PartialState, counts: dict[str, Any]) -> None:
    started = time.monotonic()
    tokenizer = load_tokenizer(config.model, need_tools=False)  # each conversation shows what its template can express
    data = load_data(config, tokenizer)
    if config.sft.eval_steps and not data.dev:
        raise ConfigError("sft.eval_steps: there are no dev conversations; set sft.dev_share=0.05, or sft.dev_data")
    checkpoints = run_dir(config) / "sft" / "checkpoints"
    arguments = training_arguments(config, checkpoints, state.num_processes)  # before the model: DeepSpeed wants it so
    resume = _from_main(state, lambda: open_checkpoints(checkpoints, job.key))
    _place_trackers(run_dir(config) / "sft")
    model = trained_model(config, state.local_process_index)
    initial = initial_weights(model)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    packing, pack_tokens = config.sft.packing, config.sft.pack_tokens or config.sft.max_tokens
    callbacks = _callbacks(config, state)
    trainer = SftTrainer(model, arguments, data.train, data.dev or None, pad, callbacks, packing, pack_tokens)
    trainer.train(resume_from_checkpoint=resume)
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    dev_loss = _dev_loss(trainer) if data.dev else {}
    trainer.save_model(str(checkpoints / "final"))
    if state.is_main_process:
        if config.sft.method == "lora":
            save_adapter(checkpoints / "final", job.output, tokenizer, initial)
        else:
            save_model(checkpoints / "final", job.output, tokenizer, choose_dtype(config.sft.dtype))
        _write_refused(run_dir(config) / "sft" / "refused.jsonl", data)
        shutil.rmtree(checkpoints)
        counts |= data.counts | {"steps": trainer.state.global_step, "processes": state.num_processes}
        counts |= {"loss_first": losses[0], "loss_last": losses[-1]} | dev_loss
        print(_summary(counts, time.monotonic() - started), flush=True)
        if config.sft.method == "full":
            print(_how_to_use(job.output), flush=True)


def _callbacks(config: RunConfig, state: PartialState) -> list[Any]:
    from transformers import EarlyStoppingCallback

    metrics = MetricsWriter(run_dir(config) / "sft" / "metrics.jsonl", _METRICS)
    shown = ShowProgress("sft", {"loss": ".4f", "tokens_per_s": ".0f", "eval_loss": ".4f"})
    patience = config.sft.early_stopping
    stopping = [EarlyStoppingCallback(early_stopping_patience=patience)] if patience else []
    return [LogLastStep(), *stopping, *([metrics, shown] if state.is_main_process else [])]


def _place_trackers(directory: Path) -> None:
    """Where trackers write, unless the user says otherwise: not among the checkpoints, which are removed at the end."""
    os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(directory / "tensorboard"))
    os.environ.setdefault("WANDB_DIR", str(directory))
    for name in ("WANDB_PROJECT", "TRACKIO_PROJECT"):
        os.environ.setdefault(name, "toolwright")


def _from_main(state: PartialState, compute: Any) -> Any:
    """What the main process computes, on every process."""
    box = [compute() if state.is_main_process else None]
    return broadcast_object_list(box)[0] if state.num_processes > 1 else box[0]


def _write_refused(path: Path, data: Data) -> None:
    path.unlink(missing_ok=True)
    if data.refused:
        write_rows(path, (vars(refusal) for refusal in data.refused))


def _dev_loss(trainer: SftTrainer) -> dict[str, float]:
    """The dev loss of the weights at the end: of the best ones where those are kept, which every process has."""
    if trainer.args.load_best_model_at_end and trainer.state.best_metric is not None:
        return {"dev_loss": trainer.state.best_metric}
    known = [
        row for row in trainer.state.log_history if "eval_loss" in row and row["step"] == trainer.state.global_step
    ]
    found = known[-1] if known else trainer.evaluate()
    return {"dev_loss": found["eval_loss"]}


def _summary(counts: Mapping[str, Any], seconds: float) -> str:
    dev = f", dev loss {counts['dev_loss']:.3f}" if "dev_loss" in counts else ""
    lost = f", {counts['refused']} refused (sft/refused.jsonl)" if counts["refused"] else ""
    cut = f", {counts['turns_cut']} turns of {counts['rows_cut']} rows cut" if counts["rows_cut"] else ""
    return (
        f"sft: {counts['rows']} rows{lost}{cut}, {counts['tokens']} tokens, {counts['trained_share']:.1%} trained, "
        f"{counts['steps']} steps, loss {counts['loss_first']:.3f} -> {counts['loss_last']:.3f}{dev}, {seconds:.0f} s"
    )


def _how_to_use(model: Path) -> str:
    return (
        f"sft: a whole model is in {model}; serve it: python -m serve --model {model}; score it: python -m eval "
        f"--models base,{model}; practise on from it: model={model} rl.start=base"
    )


if __name__ == "__main__":
    sys.exit(main())
