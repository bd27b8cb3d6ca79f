"""vLLM's flags and environment for the devices at hand: GPUs on which we place the model, others, or the CPU."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from serve.measure import free_memory, other_device, read_gpus, read_shape
from serve.placement import EASILY, GIB, Gpu, Shape, Wishes, cpu_cache_gib, place, tokens_in
from serve.target import Target
from toolwright.config import ServeConfig

CACHE_VARIABLE = "VLLM_CPU_KVCACHE_SPACE"
EXPERT = (
    "--tensor-parallel-size -tp --data-parallel-size -dp --pipeline-parallel-size -pp --nnodes --quantization -q "
    "--cpu-offload-gb --distributed-executor-backend --data-parallel-address --headless"
)
"""Flags that say where a model goes: with one of them, the user knows better than we do."""
KEYS = {
    "--gpu-memory-utilization": "memory_share",
    "--tensor-parallel-size": "tensor_parallel",
    "--data-parallel-size": "data_parallel",
    "--max-model-len": "max_model_len",
}


@dataclass(frozen=True)
class Devices:
    """What there is to run on: GPUs that we can place a model on, or others, or this machine's CPU with free bytes."""

    gpus: tuple[Gpu, ...] = ()
    others: bool = False
    free: int = 0

    @classmethod
    def here(cls) -> "Devices":
        """Those of this machine."""
        return cls(tuple(read_gpus()), other_device(), free_memory())

    @property
    def cpu(self) -> bool:
        """Whether vLLM will run on the CPU."""
        return not self.gpus and not self.others


def names_flag(flags: Sequence[str], name: str) -> bool:
    """Whether ``name`` is among flags, alone or with its value."""
    return any(flag.split("=")[0] == name for flag in flags)


def device_flags(serve: ServeConfig, target: Target, devices: Devices, given: Sequence[str]) -> list[str]:
    """Flags for the devices, without those that are ``given``.

    Raises:
        ModelError: the GPUs are too small; says what would fit. Or the files of weights are not whole.
    """
    wishes = Wishes(serve.memory_share, serve.tensor_parallel, serve.data_parallel, serve.max_model_len)
    shape = shape_of(serve, target)
    chosen: dict[str, float | int | str | None] = {flag: getattr(wishes, key) for flag, key in KEYS.items()}
    if devices.gpus and shape is not None and not any(names_flag(given, flag) for flag in EXPERT.split()):
        placement = place(target.name, shape, devices.gpus, wishes)
        chosen = {flag: getattr(placement, key) for flag, key in KEYS.items()}
    elif devices.cpu and shape is not None and wishes.max_model_len is None:
        chosen["--max-model-len"] = _cpu_length(shape, devices.free)
    one = ("--tensor-parallel-size", "--data-parallel-size")
    flags = [
        word
        for flag, value in chosen.items()
        if value is not None and not (flag in one and value == 1) and not names_flag(given, flag)
        for word in (flag, str(value))
    ]
    return flags + (["--enforce-eager"] if devices.cpu and not names_flag(given, "--enforce-eager") else [])


def device_environment(serve: ServeConfig, target: Target, devices: Devices) -> Mapping[str, str]:
    """Environment variables for the devices: on a CPU the room for the cache, unless the user has set it."""
    if not devices.cpu or CACHE_VARIABLE in os.environ:
        return {}
    shape = shape_of(serve, target)
    # Unset, vLLM takes most of the machine.
    space = cpu_cache_gib(shape, devices.free) if shape is not None else max(1, min(4, devices.free // (4 * GIB)))
    return {CACHE_VARIABLE: str(space)}


def shape_of(serve: ServeConfig, target: Target) -> Shape | None:
    """What placement needs to know of a model; none for one that is still on the hub."""
    directory = Path(target.source)
    return read_shape(directory, float32_as=serve.dtype) if directory.is_dir() else None


def _cpu_length(shape: Shape, free: int) -> str | None:
    """None where the model's own length fits easily; otherwise vLLM measures what does."""
    easily = shape.longest is not None and tokens_in(shape, cpu_cache_gib(shape, free) * GIB) >= EASILY * shape.longest
    return None if easily else "auto"
