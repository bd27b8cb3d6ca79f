"""``--dry-run``: what a training run would be, without weights: parameters, steps, tokens, memory on one device.

Reads the configuration, the model's ``config.json`` and, where they are there, the conversations; writes only the store
of their rows, which training then finds.
"""

import os
from dataclasses import dataclass
from typing import Any

import psutil
import torch

from sft.assemble import batch_shape, training_arguments
from sft.batches import Packs, lengths_of
from sft.data import data_files, load_data
from toolwright.config import RunConfig, SftConfig
from toolwright.errors import ArtifactError
from toolwright.footprint import (
    ASSUMED_SHARE,
    FRAGMENTS,
    GIB,
    OVERHEAD,
    Setup,
    architecture,
    empty_model,
    parameters,
    plan_memory,
    with_adapter,
)
from toolwright.model import choose_dtype, load_tokenizer, quiet_libraries
from toolwright.stage import run_dir

CARDS_GB = (16, 24, 32, 40, 48, 80, 96, 141, 192)
_USABLE = 0.985  # of a card's GiB, by its name
_ORIGINS = {
    "directory": "",
    "hub": "",
    "shapes": " (shape known to toolwright/footprint.py; neither a directory nor the hub has it)",
}


@dataclass(frozen=True)
class Rows:
    """What the data say: rows and passes of one epoch, tokens, longest forward pass."""

    counts: dict[str, Any]
    passes: int
    longest: int


def dry_run(config: RunConfig) -> None:
    """Print the plan of a run; under a launcher the first process does.

    Raises:
        ConfigError, DataError, ModelError: what would also stop the training.
    """
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    # On every process, because together they connect here.
    training_arguments(_without_machine(config), run_dir(config) / "sft" / "checkpoints", processes)
    if int(os.environ.get("RANK", "0")) == 0:
        sharded = any(os.environ.get(f"ACCELERATE_USE_{name}", "").lower() == "true" for name in ("FSDP", "DEEPSPEED"))
        print("\n".join(plan_lines(config, processes, sharded)), flush=True)


def plan_lines(config: RunConfig, processes: int = 1, sharded: bool = False) -> list[str]:
    """The lines of the plan for so many devices, each with all weights or all with a share of them."""
    quiet_libraries()
    settings = config.sft
    shape, origin = architecture(config.model)
    dtype = choose_dtype(settings.dtype)
    attention = settings.attention if settings.packing == "none" else None
    base = empty_model(shape, dtype, attention)
    if settings.method == "full":
        model = base
    else:
        model = with_adapter(empty_model(shape, dtype, attention), settings.lora, "sft.lora")
    total, trained = parameters(base)[0], parameters(model)[1]
    rows, why = _read_rows(config, origin)
    setup = _setup(settings, rows, dtype, processes, sharded)
    return [
        f"sft dry run of {config.name}: {processes} device{'s' if processes > 1 else ''}{_sharding(setup)}",
        f"  model     {config.model}: {_count(total)} parameters{_ORIGINS[origin]}",
        f"  trained   {_count(trained)} ({trained / total:.2%}), {_method(settings)}",
        *(_data_lines(rows, settings, processes) if rows else [f"  data      {why}: rows and steps unknown"]),
        *_memory_lines(base, model, setup, settings, rows),
    ]


def _without_machine(config: RunConfig) -> RunConfig:
    """Kernels and trackers that are missing here do not matter to a plan for elsewhere."""
    section = config.sft.model_copy(update={"liger": False, "trackers": []})
    return config.model_copy(update={"sft": section})


def _read_rows(config: RunConfig, origin: str) -> tuple[Rows | None, str]:
    """The rows, or why they are not known yet."""
    try:
        data_files(config)
    except ArtifactError as error:
        return None, f"not there yet ({error})"
    if origin == "shapes":
        return None, "not read, for want of the tokenizer"
    settings = config.sft
    data = load_data(config, load_tokenizer(config.model))
    lengths = lengths_of(data.train)
    if settings.packing == "none":
        return Rows(data.counts, len(lengths), int(lengths.max())), ""
    packs = Packs(data.train, settings.packing, settings.pack_tokens or settings.max_tokens)
    return Rows(data.counts, len(packs), max(packs.lengths)), ""


def _setup(settings: SftConfig, rows: Rows | None, dtype: str, processes: int, sharded: bool) -> Setup:
    micro, _ = batch_shape(settings, processes)
    row = settings.pack_tokens or settings.max_tokens if settings.packing != "none" else settings.max_tokens
    tokens = micro * (rows.longest if rows else row)
    share = rows.counts["trained_share"] if rows else ASSUMED_SHARE
    optimizer = str(settings.trainer.get("optim", "adamw_torch"))
    return Setup(
        dtype=dtype,
        tokens=tokens,
        scored=int(tokens * share),
        rows=micro if settings.packing == "none" else 1,
        quantized=settings.quantize_4bit,
        checkpointing=settings.gradient_checkpointing,
        optimizer_bytes=2.0 if "8bit" in optimizer else 8.0,
        processes=processes,
        sharded=processes > 1 and sharded,
    )


def _sharding(setup: Setup) -> str:
    return ", weights sharded over them" if setup.sharded else ", each with all weights" if setup.processes > 1 else ""


def _method(settings: SftConfig) -> str:
    if settings.method == "full":
        return "all weights, in float32"
    base = "NF4" if settings.quantize_4bit else choose_dtype(settings.dtype)
    return f"LoRA of rank {settings.lora.rank} on a base in {base}"


def _count(number: int) -> str:
    size, unit = next(((s, u) for s, u in ((1e9, "B"), (1e6, "M"), (1e3, "k")) if number >= s), (1.0, ""))
    return f"{number / size:.2f} {unit}".strip() + f" ({number:,})"


def _data_lines(rows: Rows, settings: SftConfig, processes: int) -> list[str]:
    counts = rows.counts
    micro, accumulation = batch_shape(settings, processes)
    batches = -(-rows.passes // (micro * processes))
    steps = -(-batches // accumulation)
    limit = int(settings.trainer.get("max_steps", -1))
    whole = limit if limit > 0 else -(-steps * settings.epochs // 1)
    packs = f" in {rows.passes} packs of up to {rows.longest} tokens" if settings.packing != "none" else ""
    share = f"{counts['trained_share']:.1%} of them trained"
    tokens = round(counts["tokens"] * whole / steps)
    return [
        f"  data      {counts['rows']} rows{packs}, {counts['tokens']:,} tokens, {share}",
        f"  steps     {int(whole):,} ({steps} an epoch, {settings.batch_size} {'packs' if packs else 'rows'} each), "
        f"{tokens:,} tokens",
    ]


def _memory_lines(base: Any, model: Any, setup: Setup, settings: SftConfig, rows: Rows | None) -> list[str]:
    parts, kept = plan_memory(base, model, setup)
    assumed = "" if rows else f", {ASSUMED_SHARE:.0%} of them trained (assumed)"
    lines = [f"  memory    one device, {setup.tokens:,} tokens in a forward pass{assumed}:"]
    notes = {"activations": _activations_note(setup, kept), "weights": _method(settings).rpartition(" in ")[2]}
    notes["logits"] = f"of {setup.scored:,} trained positions"
    lines += [f"    {name:<12}{_size(size)}  {notes.get(name, '')}".rstrip() for name, size in parts.items()]
    needed = sum(parts.values()) * FRAGMENTS + OVERHEAD
    lines.append(f"    {'in all':<12}{_size(needed)}  with {OVERHEAD / GIB:.1f} GiB of CUDA, 3% fragments")
    return [*lines, f"  {_verdict(needed)}"]


def _size(size: float) -> str:
    return f"{size / GIB:8.1f} GiB" if size >= GIB / 10 else f"{size / 2**20:8.1f} MiB"


def _activations_note(setup: Setup, kept: float | None) -> str:
    if kept is None:
        return "estimated: this model cannot run empty"
    return (
        f"recomputed layer by layer; without that {kept / GIB:.1f} GiB" if setup.checkpointing else "nothing recomputed"
    )


def _verdict(needed: float) -> str:
    card = next((size for size in CARDS_GB if needed <= size * _USABLE * GIB), None)
    wants = f"a GPU of {card} GB is enough" if card else f"no single GPU of up to {CARDS_GB[-1]} GB holds this"
    if torch.cuda.is_available():
        here, name = torch.cuda.mem_get_info()[1], torch.cuda.get_device_name()
    else:
        here, name = psutil.virtual_memory().total, "CPU"
    fits = "fits" if needed <= here else "does not fit"
    return f"{fits} this machine ({name}, {here / GIB:.0f} GiB); {wants}"
