"""From the configuration to what the trainer needs: rows, a model with LoRA on it, TrainingArguments.

Reads the training and development conversations; writes nothing.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments

from sft.encode import Encoded, Refusal, TrainPolicy, encode_many
from toolwright.artifacts import read_records, require
from toolwright.config import LoraSection, RunConfig, SftConfig
from toolwright.errors import ConfigError, DataError
from toolwright.model import choose_dtype, load_model, model_source
from toolwright.records import Conversation, Mode
from toolwright.stage import run_dir
from toolwright.training import build_arguments

_OURS = {
    "num_train_epochs": "sft.epochs",
    "learning_rate": "sft.lr",
    "per_device_train_batch_size": "sft.micro_batch_size",
    "gradient_accumulation_steps": "sft.batch_size",
    "warmup_steps": "sft.warmup_share",
    "save_steps": "sft.save_steps",
    "logging_steps": "sft.logging_steps",
    "gradient_checkpointing": "sft.gradient_checkpointing",
    "seed": "seed",
    "output_dir": "runs_dir and name",
    "r": "sft.lora.rank",
    "lora_alpha": "sft.lora.alpha",
    "lora_dropout": "sft.lora.dropout",
}


@dataclass(frozen=True)
class Data:
    """Encoded conversations for training and for the loss at the end, and what was lost on the way."""

    train: list[Encoded]
    dev: list[Encoded]
    refused: list[Refusal]

    @property
    def counts(self) -> dict[str, Any]:
        """Rows, tokens, trained share, refused conversations and turns cut by ``max_tokens``."""
        tokens = sum(len(row.input_ids) for row in self.train)
        trained = sum(row.trained for row in self.train)
        return {
            "rows": len(self.train),
            "dev_rows": len(self.dev),
            "tokens": tokens,
            "trained_tokens": trained,
            "trained_share": round(trained / max(tokens, 1), 4),
            "refused": len(self.refused),
            "rows_cut": sum(row.cut_turns > 0 for row in self.train),
            "turns_cut": sum(row.cut_turns for row in self.train),
        }


def data_files(config: RunConfig) -> tuple[Path, Path | None]:
    """The training and the development file: those of the configuration, else those of the run.

    Raises:
        ArtifactError: the run has none, or they are unfinished.
        DataError: a file that the configuration names is not there.
    """
    for named in (config.sft.data, config.sft.dev_data):
        if named is not None and not Path(str(named)).is_file():
            raise DataError(f"{named}: no such file; name a JSONL file with conversations")
    made_by = "python -m data_gen.split"
    if config.sft.data is not None:
        return Path(str(config.sft.data)), Path(config.sft.dev_data) if config.sft.dev_data else None
    train, dev = run_dir(config) / "train.jsonl", run_dir(config) / "dev.jsonl"
    require(train, made_by=made_by)
    if config.sft.dev_data is not None:
        return train, Path(config.sft.dev_data)
    if dev.exists():
        require(dev, made_by=made_by)
    return train, dev if dev.exists() else None


def load_data(config: RunConfig, tokenizer: Any) -> Data:
    """Read and encode the conversations of a run.

    Raises:
        DataError: a conversation that cannot be trained on, unless ``sft.on_error`` is ``skip``; or none is left.
    """
    settings = config.sft
    train_file, dev_file = data_files(config)
    policy = TrainPolicy(turns=settings.train_on, call_weight=settings.call_weight, markers=settings.markers)
    refused: list[Refusal] = []

    def load(path: Path, *, thin: bool = False) -> list[Encoded]:
        found: list[Conversation] = read_records(path, Conversation.from_row)
        if thin:
            found = keep_shares(found, settings.keep, config.seed)[: settings.max_conversations]
        bad: list[Refusal] = []
        rows = encode_many(found, tokenizer, train=policy, max_tokens=settings.max_tokens, refused=bad)
        if bad and settings.on_error == "stop":
            raise DataError(
                f"{path}: {len(bad)} of {len(found)} conversations cannot be trained on; the first: {bad[0].reason}; "
                "sft.on_error=skip leaves them out"
            )
        refused.extend(bad)
        return rows

    train = load(train_file, thin=True)
    if not train:
        raise DataError(f"{train_file}: no conversation to train on ({len(refused)} refused)")
    return Data(train, load(dev_file) if dev_file else [], refused)


def keep_shares(conversations: Sequence[Conversation], keep: Mapping[Mode, float], seed: int) -> list[Conversation]:
    """The conversations in their order, without a seeded part of the kinds of which only a share is kept."""
    dropped: set[int] = set()
    for mode, share in keep.items():
        places = [index for index, conversation in enumerate(conversations) if conversation.mode == mode]
        draw = random.Random(f"sft-keep-{seed}-{mode}")
        dropped.update(draw.sample(places, len(places) - round(share * len(places))))
    return [conversation for index, conversation in enumerate(conversations) if index not in dropped]


def lora_model(config: RunConfig, process: int = 0) -> Any:
    """The base model with a fresh LoRA on it, whose weights are float32; NF4 underneath with ``quantize_4bit``.

    Raises:
        ConfigError: bitsandbytes is missing, or PEFT refuses the ``lora:`` section.
        ModelError: the base cannot be loaded.
    """
    from peft import get_peft_model, prepare_model_for_kbit_training

    settings = config.sft
    options = {"attn_implementation": settings.attention} if settings.attention else {}
    if settings.quantize_4bit:
        model = load_model(config.model, choose_dtype(settings.dtype), **options, **_quantized(process))
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=settings.gradient_checkpointing)
    else:
        model = load_model(config.model, choose_dtype(settings.dtype), **options)
        if settings.gradient_checkpointing:
            model.enable_input_require_grads()
    try:
        peft_model = get_peft_model(model, lora_config(settings.lora))
    except ValueError as error:
        raise ConfigError(f"sft.lora: {' '.join(str(error).split())}") from None
    peft_model.peft_config["default"].base_model_name_or_path = str(model_source(config.model))
    return peft_model


def lora_config(section: LoraSection) -> Any:
    """PEFT's configuration; further fields of the section pass through.

    Raises:
        ConfigError: a field that ``LoraConfig`` does not have, or that we name otherwise.
    """
    from peft import LoraConfig

    passed = dict(section.model_extra or {})
    _require_not_ours(passed, "sft.lora")
    ours = {
        "r": section.rank,
        "lora_alpha": section.alpha,
        "lora_dropout": section.dropout,
        "target_modules": section.target_modules,
        "task_type": "CAUSAL_LM",
    }
    return build_arguments(LoraConfig, ours, passed, "sft.lora")


def _quantized(process: int) -> dict[str, Any]:
    try:
        import bitsandbytes  # noqa: F401 -- transformers fails later, and less clearly
    except ImportError:
        raise ConfigError("sft.quantize_4bit needs bitsandbytes; install it: pip install 'toolwright[qlora]'") from None
    from transformers import BitsAndBytesConfig

    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    return {"quantization_config": quantization, "device_map": {"": process if torch.cuda.is_available() else "cpu"}}


def training_arguments(config: RunConfig, checkpoints: Path, processes: int) -> TrainingArguments:
    """TrainingArguments of a run; ``sft.trainer`` passes through and wins.

    Raises:
        ConfigError: batch sizes that do not divide, an unknown field, or one that the configuration names otherwise.
    """
    settings = config.sft
    micro, accumulation = batch_shape(settings, processes)
    cuda = torch.cuda.is_available()
    ours = {
        "output_dir": str(checkpoints),
        "num_train_epochs": settings.epochs,
        "learning_rate": settings.lr,
        "lr_scheduler_type": "cosine",
        "warmup_steps": settings.warmup_share,
        "weight_decay": 0.0,
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": accumulation,
        **({"gradient_checkpointing": True} if settings.gradient_checkpointing else {}),
        "bf16": choose_dtype(settings.dtype) == "bfloat16",
        "use_cpu": not cuda,
        "seed": config.seed,
        "logging_steps": settings.logging_steps,
        "logging_first_step": True,
        "save_strategy": "steps",
        "save_steps": settings.save_steps,
        "save_total_limit": 2,
        "report_to": "none",
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "dataloader_pin_memory": cuda,
        "ddp_find_unused_parameters": False,
    }
    _require_not_ours(settings.trainer, "sft.trainer")
    return build_arguments(TrainingArguments, ours, settings.trainer, "sft.trainer")


def batch_shape(settings: SftConfig, processes: int) -> tuple[int, int]:
    """``(rows of a micro-batch, micro-batches of a step)`` on each process, for ``batch_size`` rows in all.

    Raises:
        ConfigError: ``batch_size`` does not divide.
    """
    micro = min(settings.micro_batch_size, max(settings.batch_size // processes, 1))
    accumulation, rest = divmod(settings.batch_size, micro * processes)
    if rest or not accumulation:
        raise ConfigError(
            f"sft.batch_size = {settings.batch_size} does not divide into {processes} processes with micro batches of "
            f"{micro}; choose a multiple of {micro * processes}"
        )
    return micro, accumulation


def _require_not_ours(passed: Mapping[str, Any] | Sequence[str], section: str) -> None:
    for name in passed:
        if name in _OURS:
            raise ConfigError(f"{section}.{name}: set {_OURS[name]} instead")
