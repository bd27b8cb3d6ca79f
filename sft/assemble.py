"""From the configuration to what the trainer needs beside rows: a model with LoRA on it, TrainingArguments.

Reads the base model; writes nothing.
"""

import importlib.util
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments

from toolwright.config import RunConfig, SftConfig
from toolwright.errors import ConfigError
from toolwright.model import DTYPES, choose_dtype, load_model, model_source
from toolwright.training import build_arguments, lora_config

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
    "eval_steps": "sft.eval_steps",
    "load_best_model_at_end": "sft.early_stopping",
    "report_to": "sft.trackers",
    "use_liger_kernel": "sft.liger",
}


def trained_model(config: RunConfig, process: int = 0) -> Any:
    """The model that ``sft.method`` trains: an adapter on a frozen base, or the base with all weights in float32.

    Raises:
        ConfigError: settings that do not go together, a package that is missing, or values that PEFT refuses.
        ModelError: the base cannot be loaded.
    """
    if config.sft.method == "lora":
        return lora_model(config, process)
    if config.sft.quantize_4bit:
        raise ConfigError("sft.quantize_4bit: weights of 4 bit are not trained; set sft.method=lora, or not 4 bit")
    model = _load_base(config, "float32")  # the weights that the optimizer adds to; arithmetic follows sft.dtype
    model.requires_grad_(True)
    return model


def lora_model(config: RunConfig, process: int = 0) -> Any:
    """The base model with a fresh LoRA on it, whose weights are float32; NF4 underneath with ``quantize_4bit``.

    Raises:
        ConfigError: bitsandbytes is missing, or PEFT refuses the ``lora:`` section.
        ModelError: the base cannot be loaded.
    """
    from peft import get_peft_model

    settings = config.sft
    section = settings.lora
    loftq = (section.model_extra or {}).get("init_lora_weights") == "loftq"
    if loftq:
        _require_loftq(settings)
        section = section.model_copy(update={"init_lora_weights": True})
    adapter = lora_config(section, "sft.lora")
    if mutates_base(adapter):
        _require_convertible(adapter)
    dtype = choose_dtype(settings.dtype)
    model = _load_base(config, dtype, **(_quantized(dtype, process) if settings.quantize_4bit else {}))
    if settings.gradient_checkpointing:
        model.enable_input_require_grads()
    try:
        peft_model = get_peft_model(model, adapter)
    except (ValueError, TypeError, NotImplementedError, ImportError) as error:
        raise ConfigError(f"sft.lora: {' '.join(str(error).split())}") from None
    if loftq:
        _start_from_rounding(peft_model, model_source(config.model))
    peft_model.peft_config["default"].base_model_name_or_path = str(model_source(config.model))
    return peft_model


def mutates_base(adapter: Any) -> bool:
    """Whether an initialisation takes out of the base what it puts into the adapter (PiSSA, OLoRA)."""
    return str(adapter.init_lora_weights).lower().startswith(("pissa", "olora"))


def _require_convertible(adapter: Any) -> None:
    """What such an adapter becomes at the end, an ordinary one of twice the rank, must exist."""
    for field in ("use_dora", "rank_pattern", "alpha_pattern"):
        if getattr(adapter, field, None):
            raise ConfigError(
                f"sft.lora.{field}: with init_lora_weights={adapter.init_lora_weights} the adapter could not be saved "
                "for the base as it is; drop one of the two"
            )


def _load_base(config: RunConfig, dtype: str, **options: Any) -> Any:
    attention = config.sft.attention
    if attention:
        _require_attention(attention)
        options["attn_implementation"] = attention
    return load_model(config.model, dtype, **options)


def _require_attention(name: str) -> None:
    from transformers.utils import import_utils

    version = name.removeprefix("flash_attention_")
    available = getattr(import_utils, f"is_flash_attn_{version}_available", None) if version != name else None
    if available is not None and not available(kernels_fallback_ok=True):
        raise ConfigError(
            f"sft.attention={name}: needs CUDA and flash-attn {version}; install it (pip install flash-attn "
            "--no-build-isolation), or set sft.attention=sdpa"
        )


def _quantized(dtype: str, process: int) -> dict[str, Any]:
    try:
        import bitsandbytes  # noqa: F401 -- transformers fails later, and less clearly
    except ImportError:
        raise ConfigError("sft.quantize_4bit needs bitsandbytes; install it: pip install 'toolwright[qlora]'") from None
    from transformers import BitsAndBytesConfig

    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=DTYPES[dtype],
        bnb_4bit_quant_storage=DTYPES[dtype],  # FSDP shards what has one type
    )
    return {"quantization_config": quantization, "device_map": {"": process if torch.cuda.is_available() else "cpu"}}


def _require_loftq(settings: SftConfig) -> None:
    if not settings.quantize_4bit:
        raise ConfigError("sft.lora.init_lora_weights=loftq: starts from what 4 bit lose; set sft.quantize_4bit=true")
    if not torch.cuda.is_available():
        raise ConfigError("sft.lora.init_lora_weights=loftq: PEFT computes it on a GPU only, and there is none")


def _start_from_rounding(model: Any, source: Path | str) -> None:
    from peft import replace_lora_weights_loftq

    try:
        replace_lora_weights_loftq(model, str(source) if isinstance(source, Path) else None)
    except (ValueError, OSError) as error:
        raise ConfigError(f"sft.lora.init_lora_weights=loftq: {' '.join(str(error).split())}") from None


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
        **_evaluation(settings),
        "report_to": _trackers(settings),
        "run_name": config.name,
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "dataloader_pin_memory": cuda,
        "ddp_find_unused_parameters": False,
    }
    for name in settings.trainer:
        if name in _OURS:
            raise ConfigError(f"sft.trainer.{name}: set {_OURS[name]} instead")
    return build_arguments(TrainingArguments, ours, {**settings.trainer, **_liger(settings)}, "sft.trainer")


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


def _liger(settings: SftConfig) -> dict[str, Any]:
    """Liger's kernels but those of the loss, which would compute logits for every position."""
    if not settings.liger:
        return {}
    if not torch.cuda.is_available():
        raise ConfigError("sft.liger: its kernels run on a GPU only, and there is none; set sft.liger=false")
    if importlib.util.find_spec("liger_kernel") is None:
        raise ConfigError("sft.liger: liger-kernel is not installed; install it: pip install liger-kernel")
    chosen = dict(settings.trainer.get("liger_kernel_config") or {})
    for name in ("cross_entropy", "fused_linear_cross_entropy"):
        if chosen.setdefault(name, False):
            raise ConfigError(
                f"sft.trainer.liger_kernel_config.{name}: the loss is taken at trained tokens only, which this kernel "
                "does not know; leave it out"
            )
    return {"use_liger_kernel": True, "liger_kernel_config": chosen}


def _evaluation(settings: SftConfig) -> dict[str, Any]:
    """Dev losses while training; to keep the best, there is a checkpoint at each of them."""
    if settings.eval_steps is None:
        if settings.early_stopping is not None:
            raise ConfigError("sft.early_stopping: needs dev losses while training; set sft.eval_steps")
        return {}
    every = {"eval_strategy": "steps", "eval_steps": settings.eval_steps}
    if settings.early_stopping is None:
        return every
    best = {"load_best_model_at_end": True, "metric_for_best_model": "eval_loss", "greater_is_better": False}
    patience = {"restore_callback_states_from_checkpoint": True}  # dev losses without a better one, before a kill
    return {**every, **best, **patience, "save_steps": settings.eval_steps}


def _trackers(settings: SftConfig) -> list[str]:
    for name in settings.trackers:
        packages = ("tensorboard", "tensorboardX") if name == "tensorboard" else (name,)
        if not any(importlib.util.find_spec(package) for package in packages):
            raise ConfigError(f"sft.trackers: {name} is not installed; install it: pip install {name}")
    return list(settings.trackers)
