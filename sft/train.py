"""``accelerate launch sft/train.py [config.yaml]`` or ``python -m sft.train``: train a LoRA adapter on conversations.

Reads ``train.jsonl`` and ``dev.jsonl`` of the run; writes ``sft/adapter/`` (PEFT adapter, tokenizer, chat template),
``sft/metrics.jsonl`` and, while it runs, ``sft/checkpoints/``. A killed run continues when it is started again.
"""

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

from sft.assemble import Data, data_files, load_data, lora_model, training_arguments
from sft.trainer import SftTrainer
from toolwright.artifacts import replacing, write_rows
from toolwright.command import Flag, parse_command, run_command
from toolwright.config import RunConfig
from toolwright.model import (
    ADAPTER_WEIGHTS,
    load_tokenizer,
    model_source,
    quiet_libraries,
    seed_everything,
    set_threads,
)
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
    "dev_loss": "dev_loss",
}


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    return run_command(lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int:
    config = parse_command(
        argv,
        prog=COMMAND,
        about=__doc__.split("\n\n")[0] if __doc__ else "",
        sections=("sft",),
        flags=(Flag(("--model",), "model", "base model"),),
    )
    train(config)
    return 0


def sft_job(config: RunConfig) -> Job:
    """The adapter of a run as a job: what it depends on and where it goes."""
    train_file, dev_file = data_files(config)
    inputs: dict[str, Path | str] = {"model": model_source(config.model), "train": train_file}
    if dev_file is not None:
        inputs["dev"] = dev_file
    settings = config.sft.model_dump(exclude={"logging_steps", "save_steps", "data", "dev_data"})
    return Job.of(config, "sft", output="sft/adapter", command=COMMAND, settings=settings, inputs=inputs)


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
    tokenizer = load_tokenizer(config.model)
    data = load_data(config, tokenizer)
    checkpoints = run_dir(config) / "sft" / "checkpoints"
    arguments = training_arguments(config, checkpoints, state.num_processes)
    resume = _from_main(state, lambda: open_checkpoints(checkpoints, job.key))
    metrics = MetricsWriter(run_dir(config) / "sft" / "metrics.jsonl", _METRICS)
    callbacks = [
        LogLastStep(),
        *([metrics, ShowProgress("sft", {"loss": ".4f", "tokens_per_s": ".0f"})] if state.is_main_process else []),
    ]
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    model = lora_model(config, state.local_process_index)
    packing, pack_tokens = config.sft.packing, config.sft.pack_tokens or config.sft.max_tokens
    trainer = SftTrainer(model, arguments, data.train, data.dev, pad, callbacks, packing, pack_tokens)
    trainer.train(resume_from_checkpoint=resume)
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    if data.dev:
        trainer.log({"dev_loss": round(trainer.mean_loss(data.dev), 6)})
    trainer.save_model(str(checkpoints / "final"))
    if state.is_main_process:
        _save_adapter(checkpoints / "final", job.output, tokenizer)
        _write_refused(run_dir(config) / "sft" / "refused.jsonl", data)
        shutil.rmtree(checkpoints)
        counts |= data.counts | {"steps": trainer.state.global_step, "processes": state.num_processes}
        counts |= {"loss_first": losses[0], "loss_last": losses[-1]} | _dev_loss(trainer.state.log_history)
        print(_summary(counts, time.monotonic() - started), flush=True)


def _from_main(state: PartialState, compute: Any) -> Any:
    """What the main process computes, on every process."""
    box = [compute() if state.is_main_process else None]
    return broadcast_object_list(box)[0] if state.num_processes > 1 else box[0]


def _save_adapter(saved: Path, adapter: Path, tokenizer: Any) -> None:
    """Adapter weights in float32, its configuration, tokenizer and chat template, in one piece."""
    from safetensors.torch import load_file, save_file

    weights = {name: tensor.float().contiguous() for name, tensor in load_file(saved / ADAPTER_WEIGHTS).items()}
    with replacing(adapter) as directory:
        directory.mkdir()
        save_file(weights, directory / ADAPTER_WEIGHTS, metadata={"format": "pt"})
        shutil.copyfile(saved / "adapter_config.json", directory / "adapter_config.json")
        tokenizer.save_pretrained(directory)


def _write_refused(path: Path, data: Data) -> None:
    path.unlink(missing_ok=True)
    if data.refused:
        write_rows(path, ({"row": refusal.index, "reason": refusal.reason} for refusal in data.refused))


def _dev_loss(history: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    found = [row["dev_loss"] for row in history if "dev_loss" in row]
    return {"dev_loss": found[-1]} if found else {}


def _summary(counts: Mapping[str, Any], seconds: float) -> str:
    dev = f", dev loss {counts['dev_loss']:.3f}" if "dev_loss" in counts else ""
    lost = f", {counts['refused']} refused (sft/refused.jsonl)" if counts["refused"] else ""
    cut = f", {counts['turns_cut']} turns of {counts['rows_cut']} rows cut" if counts["rows_cut"] else ""
    return (
        f"sft: {counts['rows']} rows{lost}{cut}, {counts['tokens']} tokens, {counts['trained_share']:.1%} trained, "
        f"{counts['steps']} steps, loss {counts['loss_first']:.3f} -> {counts['loss_last']:.3f}{dev}, {seconds:.0f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
