"""How long stages take: operations over what a device does, bytes over what its memory carries.

Training: ``tokens x operations / (rate x utilisation)`` with, for each token, 2 operations a weight forward, 2 for the
gradients of activations, 2 for those of weights (of an adapter: next to none), 2 to compute a layer once more, and
attention over half the row on average. Decoding: a step reads all weights and the cache of all rows, and is bound by
the memory's bandwidth, or by starting kernels from Python where our own engine runs.
"""

from dataclasses import dataclass
from typing import Any

from toolwright.devices import Device
from toolwright.model import DTYPES
from toolwright.plan_memory import Models, cache_bytes

TRAIN_UTILISATION = {False: 0.35, True: 0.30}
"""Share of the rate (GPU, CPU) that training reaches. GPU: 0.3 to 0.45 is what Hugging Face's trainer is reported to
reach with LoRA on one device; CPU: a few timings of small models on two shared cores, so rough."""
PREFILL_UTILISATION = {False: 0.5, True: 0.30}
BANDWIDTH_SHARE = {False: 0.65, True: 0.5}
"""Share of the bandwidth that decoding reaches. GPU: vLLM's is reported at 0.6 to 0.8; CPU: as rough."""
LAYER_START_S = {False: 0.9e-3, True: 0.35e-3}
"""What a layer costs in each step of our engine, whatever its size: its kernels are started one by one from Python.
GPU: transformers decodes some 30 tokens/s with 32 layers; CPU: as rough."""
STRAGGLERS = 2.0
"""Steps of a batch of rollouts over their mean length: the longest decides, and slots empty on the way."""
DISK_GBS = 1.0
"""Reading or writing weights (GB/s): a plain NVMe drive."""
START_S = 20.0
"""Imports and process start of a stage."""


@dataclass(frozen=True)
class Work:
    """The weights that a token passes, and its attention."""

    body: int
    head: int
    text: Any

    @classmethod
    def of(cls, models: Models) -> "Work":
        """Embeddings are looked up, not multiplied; the head is multiplied where logits are wanted."""
        text = models.text
        head = text.vocab_size * text.hidden_size
        embeddings = head * (1 if getattr(text, "tie_word_embeddings", False) else 2)
        return cls(models.total - embeddings - _resting(models), head, text)

    def attention(self, row: float) -> float:
        """Operations of a token's attention, forward, in a row of so many tokens: half of them are before it."""
        width = getattr(self.text, "head_dim", None) or self.text.hidden_size // self.text.num_attention_heads
        return float(2 * row * self.text.num_hidden_layers * self.text.num_attention_heads * width)


def _resting(models: Models) -> int:
    """Weights of the experts that a token does not pass."""
    text = models.text
    names = ("num_experts", "num_local_experts", "n_routed_experts")
    experts = next((count for name in names if (count := getattr(text, name, None))), None)
    chosen = getattr(text, "num_experts_per_tok", None)
    if not experts or not chosen:
        return 0
    routed = sum(weight.numel() for name, weight in models.base.named_parameters() if ".experts." in name)
    return int(routed * (experts - chosen) // experts)


def train_s(
    work: Work, device: Device, tokens: float, scored: float, row: float, dtype: str, *, full: bool, recompute: bool
) -> float:
    """Seconds to train ``tokens``, of which ``scored`` have logits, in rows of ``row`` tokens, on one device."""
    passes = 2 + full + recompute
    per_token = 2 * work.body * passes + work.attention(row) * (3 + recompute)
    operations = tokens * per_token + scored * 2 * work.head * (2 + full)
    return operations / (device.flops(dtype) * TRAIN_UTILISATION[device.cpu])


def prefill_s(work: Work, device: Device, tokens: float, row: float, dtype: str) -> float:
    """Seconds to read ``tokens`` of prompts."""
    return tokens * (2 * work.body + work.attention(row)) / (device.flops(dtype) * PREFILL_UTILISATION[device.cpu])


def step_s(work: Work, device: Device, rows: float, length: float, dtype: str, *, ours: bool) -> float:
    """Seconds of one decoding step of ``rows`` conversations of ``length`` tokens."""
    weights = (work.body + work.head) * DTYPES[dtype].itemsize
    cache = rows * cache_bytes(work.text, max(1, round(length)), dtype)
    moved = (weights + cache) / (device.bandwidth_gbs * 1e9 * BANDWIDTH_SHARE[device.cpu])
    computed = rows * 2 * (work.body + work.head) / (device.flops(dtype) * PREFILL_UTILISATION[device.cpu])
    started = work.text.num_hidden_layers * LAYER_START_S[device.cpu] if ours else 0.0
    return max(moved, computed) + started


def decode_s(work: Work, device: Device, tokens: float, rows: float, length: float, dtype: str, *, ours: bool) -> float:
    """Seconds to write ``tokens`` in all, ``rows`` at a time."""
    return tokens / max(rows, 1) * step_s(work, device, rows, length, dtype, ours=ours)


def files_s(size: float) -> float:
    """Seconds to read or write so many bytes of weights."""
    return size / (DISK_GBS * 1e9)
