"""Where a model goes: GPUs for one copy, copies, the longest conversation, the share of memory. Pure functions.

vLLM itself fails minutes later, and says by how many blocks; here it is said before anything starts, with what would
fit.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from toolwright.errors import ModelError

GIB = 2**30
MOST_SHARE = 0.92
"""Of a GPU's memory, as vLLM takes it by default."""
SPARE_BYTES = GIB // 2
"""Left free beside vLLM: its CUDA context and those of its neighbours."""
WORK_BYTES, WORK_BYTES_LARGE, LARGE = int(1.5 * GIB), 3 * GIB, 70 * GIB
"""What vLLM needs on each GPU besides weights and cache: activations of a batch, logits, captured graphs, NCCL. On a
GPU of 70 GiB and more its batches are four times as large."""
USEFUL_TOKENS = 32_768
"""A cache for fewer serves few clients at once: eight conversations of 4,096 tokens."""
EASILY = 1.3
"""How much more than the longest conversation the cache must hold before we trust our own estimate."""
LEAST_TOKENS = 2_048
"""A shorter conversation with tools is none."""


@dataclass(frozen=True)
class Gpu:
    """One GPU: its name, and its memory in bytes."""

    name: str
    total: int
    free: int


@dataclass(frozen=True)
class Layer:
    """What a layer caches: ``token_bytes`` of a token, of the last ``window`` tokens only where that is set.

    ``shared``: every GPU of a copy holds all of it (latent attention); otherwise they split it by heads.
    """

    token_bytes: int
    window: int | None = None
    shared: bool = False


@dataclass(frozen=True)
class Shape:
    """What placement needs to know of a model: bytes of weights, heads, cache by layer, longest text (tokens)."""

    weights: int
    heads: int
    kv_heads: int
    layers: tuple[Layer, ...]
    longest: int | None = None

    def cache_bytes(self, tokens: int) -> int:
        """Bytes that a conversation of ``tokens`` caches, on all GPUs of a copy together."""
        return sum(layer.token_bytes * min(tokens, layer.window or tokens) for layer in self.layers)


@dataclass(frozen=True)
class Wishes:
    """What the user has set; none: not set."""

    memory_share: float | None = None
    tensor_parallel: int | None = None
    data_parallel: int | None = None
    max_model_len: int | None = None


@dataclass(frozen=True)
class Placement:
    """What vLLM is told, and about how many tokens it will have room to cache.

    ``max_model_len`` is none where the model's own length fits easily, and "auto" where vLLM has to measure what fits.
    """

    tensor_parallel: int
    data_parallel: int
    max_model_len: int | Literal["auto"] | None
    memory_share: float
    cache_tokens: int


def place(name: str, shape: Shape, gpus: Sequence[Gpu], wishes: Wishes) -> Placement:
    """Where a model goes on these GPUs: as few as hold it with a useful cache, and as many copies as there is room for.

    vLLM takes the first GPUs, and the same share of each, so the one with the least room counts.

    Raises:
        ModelError: it does not fit; says what would.
    """
    share = wishes.memory_share or free_share(gpus)
    useful = max(USEFUL_TOKENS, wishes.max_model_len or 0)
    least = wishes.max_model_len or min(LEAST_TOKENS, shape.longest or LEAST_TOKENS)
    sizes = [wishes.tensor_parallel] if wishes.tensor_parallel else splits(shape, len(gpus))
    room = {size: cache_tokens(shape, gpus, size, share) for size in sizes if size <= len(gpus)}
    size = next((size for size, tokens in room.items() if tokens >= useful), None)
    if size is None and room:
        best = max(room, key=lambda size: room[size])
        size = best if room[best] >= least else None
    if size is None:
        raise ModelError(_too_small(name, shape, gpus, wishes, share, least))
    copies = wishes.data_parallel or len(gpus) // size
    if size * copies > len(gpus):
        raise ModelError(
            f"{name}: {copies} copies on {size} GPUs each need {size * copies}, and there are {len(gpus)}; lower "
            "serve.data_parallel or serve.tensor_parallel"
        )
    easily = shape.longest is not None and room[size] >= EASILY * shape.longest
    return Placement(size, copies, wishes.max_model_len or (None if easily else "auto"), share, room[size])


def work_bytes(gpus: Sequence[Gpu]) -> int:
    """What vLLM needs on each GPU besides weights and cache."""
    return WORK_BYTES_LARGE if min(gpu.total for gpu in gpus) >= LARGE else WORK_BYTES


def free_share(gpus: Sequence[Gpu]) -> float:
    """The share of each GPU's memory that is free on all of them, in hundredths, and at most vLLM's own."""
    free = min((gpu.free - SPARE_BYTES) / gpu.total for gpu in gpus)
    return max(0.0, math.floor(100 * min(MOST_SHARE, free)) / 100)


def splits(shape: Shape, count: int) -> list[int]:
    """Numbers of GPUs over which the model's heads can be split, the least first."""

    def even(size: int) -> bool:
        return shape.heads % size == 0 and (shape.kv_heads % size == 0 or size % shape.kv_heads == 0)

    return [size for size in range(1, count + 1) if even(size)]


def cache_tokens(shape: Shape, gpus: Sequence[Gpu], size: int, share: float) -> int:
    """Tokens of one conversation that a copy on ``size`` GPUs has room to cache; 0 if the weights do not fit."""
    room = min(gpu.total for gpu in gpus) * share - work_bytes(gpus) - shape.weights / size
    return tokens_in(shape, room, size)


def tokens_in(shape: Shape, room: float, size: int = 1) -> int:
    """Tokens of one conversation whose cache takes ``room`` bytes on each of ``size`` GPUs."""
    if room <= 0:
        return 0
    split = min(size, shape.kv_heads)  # with more GPUs than heads, several hold the same
    growing = fixed = 0.0
    for layer in shape.layers:
        each = layer.token_bytes / (1 if layer.shared else split)
        if layer.window is None:
            growing += each
        else:
            fixed += each * layer.window
    if not growing:  # the windows are all there is, or the state has a fixed size
        return 2**31 if room > fixed else 0
    return max(0, int((room - fixed) / growing))


def _too_small(name: str, shape: Shape, gpus: Sequence[Gpu], wishes: Wishes, share: float, least: int) -> str:
    """What is missing, and what would fit, with numbers."""
    size = min(wishes.tensor_parallel or len(gpus), len(gpus))
    usable = min(gpu.total for gpu in gpus) * share
    has = f"{len(gpus)} x {gpus[0].name} with {_gb(usable)} usable on each (share {share:g} of {_gb(gpus[0].total)})"
    if wishes.tensor_parallel and wishes.tensor_parallel > len(gpus):
        return f"{name}: serve.tensor_parallel is {wishes.tensor_parallel} and there are {len(gpus)} GPUs; lower it"
    ways = []
    if wishes.max_model_len:
        shorter = max((cache_tokens(shape, gpus, n, share) for n in splits(shape, size)), default=0) // 256 * 256
        ways += [f"serve.max_model_len={shorter}"] if shorter >= LEAST_TOKENS else []
    more = next((n for n in splits(shape, 64) if n > size and cache_tokens(shape, gpus, n, share) >= least), None)
    ways += [f"{more} such GPUs"] if more else []
    for form, factor in (("fp8", 0.53), ("awq (4-bit)", 0.32)):
        smaller = Shape(int(shape.weights * factor), shape.heads, shape.kv_heads, shape.layers, shape.longest)
        if any(cache_tokens(smaller, gpus, n, share) >= least for n in splits(shape, size)):
            ways.append(f"{_gb(smaller.weights)} of weights by `python -m merge.export --to {form.split()[0]}`")
            break
    if share < MOST_SHARE - 0.1 and not wishes.memory_share:
        ways.append("free memory: others hold some of it")
    room = (usable - work_bytes(gpus)) * len(gpus) * 0.8
    ways.append(f"a model of at most {max(0.0, room) / 2e9:.1f} billion parameters")
    cache = shape.cache_bytes(least)
    return (
        f"{name}: the GPU is too small: {_gb(shape.weights)} of weights, {_gb(cache)} of cache for {least} tokens and "
        f"{_gb(work_bytes(gpus))} to work with, against {has}. What would fit: {'; '.join(ways)}"
    )


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB"


def cpu_cache_gib(shape: Shape, free: int) -> int:
    """GiB for ``VLLM_CPU_KVCACHE_SPACE``, which vLLM takes at once: for ``USEFUL_TOKENS``, or the longest conversation.

    At most half of what the weights leave, which are in memory twice while they are loaded; at least 1.
    """
    tokens = max(USEFUL_TOKENS, shape.longest or 0)
    longest = shape.cache_bytes(tokens) * EASILY
    return max(1, math.ceil(min(longest, max(0, free - 2 * shape.weights) / 2) / GIB))
