"""Memory of each stage on one device, by part (bytes), and how many conversations fit a server's cache.

Pure functions of configuration, empty models and lengths; builds on ``toolwright.footprint``.
"""

import bisect
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from toolwright.config import RunConfig, ServeConfig
from toolwright.devices import GIB, Device
from toolwright.engine.cache import PAD
from toolwright.engine.fitness import FEWEST_ROWS
from toolwright.engine.runner import PREFIX_BYTES
from toolwright.engine.shared import PREFIX_BYTES as SHARED_PREFIX_BYTES
from toolwright.footprint import ASSUMED_SHARE, FRAGMENTS, OVERHEAD, Setup, parameters, plan_memory
from toolwright.model import DTYPES
from toolwright.plan_tokens import Talk
from toolwright.segment_attention import Segment

MIB = 2**20
RUNTIME: Mapping[str, float] = {"sft": 570 * MIB, "rl": 620 * MIB, "merge": 750 * MIB, "serve": 520 * MIB}
"""Python with the libraries of a stage, without a model, on a CPU. Measured by benchmarks/plan.py."""
HEAP_WASTE: Mapping[str, float] = {"sft": 0.45, "rl": 0.2}
"""What glibc's heap keeps of freed blocks of up to 32 MiB, as a share of what a pass makes, recomputed or not. Measured
there too (glibc 2.36)."""
ENGINE_SLOTS = 64
"""Rollouts that are decoded together. Source: rl/grpo.py."""
LONGEST_SERVED = 8192
"""Tokens of a conversation that our own server takes where nobody says. As serve/server.py, held by a test."""
VLLM_SHARE, VLLM_SPARE = 0.92, 0.5 * GIB
VLLM_WORK, VLLM_WORK_LARGE, VLLM_LARGE = 1.5 * GIB, 3 * GIB, 70 * GIB
USEFUL_TOKENS, LEAST_TOKENS = 32_768, 2_048
"""Share of a GPU that vLLM takes, what stays free, what it needs besides weights and cache (and on which devices more),
a cache that serves several clients, the shortest conversation with tools. As serve/placement.py, held by a test."""
MOST_TOKENS = 2**31
BLOCKS = 64 * MIB
"""What a streaming merge holds at once."""


@dataclass(frozen=True)
class Models:
    """The base without weights, and what a stage trains; ``trained`` is the base itself where all weights are."""

    base: Any
    trained: Any

    @property
    def text(self) -> Any:
        """Configuration of the language model."""
        return self.base.config.get_text_config()

    @property
    def total(self) -> int:
        """Parameters."""
        return parameters(self.base)[0]

    @property
    def trainable(self) -> int:
        """Parameters that are trained."""
        return parameters(self.trained)[1]


@dataclass(frozen=True)
class Memory:
    """Bytes on one device by part, what is to be known about them, and how many they may be if not the device's."""

    parts: dict[str, float]
    notes: list[str] = field(default_factory=list)
    most: float = math.inf

    @property
    def total(self) -> float:
        """Bytes in all."""
        return sum(self.parts.values())


def cache_bytes(text: Any, tokens: int, dtype: str) -> float:
    """Bytes of keys and values of one conversation; a layer with a window keeps no more than that.

    Source: the models' own attention; latent attention (``kv_lora_rank``) keeps one vector for all heads.
    """
    item = DTYPES[dtype].itemsize
    if latent := getattr(text, "kv_lora_rank", None):
        return float(text.num_hidden_layers * tokens * (latent + text.qk_rope_head_dim) * item)
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    heads = _key_heads(text)
    window = getattr(text, "sliding_window", None) or tokens
    kinds = getattr(text, "layer_types", None) or ["full_attention"] * text.num_hidden_layers
    chunk = getattr(text, "attention_chunk_size", None) or window
    seen = {"sliding_attention": min(window, tokens), "chunked_attention": min(chunk, tokens)}
    stateful = ("linear", "mamba", "conv", "recurrent", "moe")  # a state of fixed size, small beside a cache, or none
    kept = (0 if kind.startswith(stateful) else seen.get(kind, tokens) for kind in kinds)
    return float(sum(kept) * 2 * heads * width * item)


def sft_memory(
    config: RunConfig, models: Models, talk: Talk, device: Device, dtype: str, devices: int = 1, sharded: bool = False
) -> Memory:
    """Memory of one training step of SFT."""
    settings = config.sft
    packed = settings.packing != "none"
    micro = min(settings.micro_batch_size, max(settings.batch_size // devices, 1), settings.max_conversations or 2**31)
    row = min(settings.max_tokens, talk.longest or settings.max_tokens)
    tokens = micro * ((settings.pack_tokens or settings.max_tokens) if packed else row)
    share = talk.sampled / talk.total if talk.longest else ASSUMED_SHARE
    optimizer = str(settings.trainer.get("optim", "adamw_torch"))
    setup = Setup(
        dtype=dtype,
        tokens=tokens,
        scored=int(tokens * share),
        rows=1 if packed else micro,
        quantized=settings.quantize_4bit,
        checkpointing=settings.gradient_checkpointing,
        optimizer_bytes=2.0 if "8bit" in optimizer else 8.0,
        processes=devices,
        sharded=sharded,
        logit_bytes=8 if dtype == "float32" else 10,
    )
    parts, kept = plan_memory(models.base, models.trained, setup)
    notes = [f"{tokens:,} tokens in a pass" + ("" if talk.longest else ", the most that the configuration allows")]
    notes += ["activations by a rule of thumb: this model cannot run empty"] if kept is None else []
    return _close(parts, kept, device, "sft", notes)


def rl_memory(config: RunConfig, models: Models, talk: Talk, device: Device) -> Memory:
    """Memory of one GRPO step: the cache of the rollouts stays while their answers are trained."""
    settings = config.rl
    batch = settings.prompts_per_step * settings.group_size
    micro = min(settings.micro_batch_size, batch)
    answer = answer_limit(config, talk)
    prompt = round(talk.prompt)
    forest = _branches(micro, settings.group_size, prompt, answer)
    setup = Setup(
        dtype=settings.dtype,
        tokens=forest[-1].end,
        scored=micro * answer,
        forest=forest,
        autocast=False,
        checkpointing=bool(settings.trainer.get("gradient_checkpointing")),
        # the logits; divided by the temperature; their log-softmax; and its gradient, of which the second is no more
        logit_bytes=12 if settings.dtype == "float32" else 14,
    )
    parts, kept = plan_memory(models.base, models.trained, setup)
    slots = -(-min(batch, ENGINE_SLOTS) // FEWEST_ROWS) * FEWEST_ROWS
    room = -(-(prompt + answer) // PAD) * PAD
    known = cache_bytes(models.text, settings.prompts_per_step * prompt + batch * answer, settings.dtype)
    parts["KV cache"] = slots * cache_bytes(models.text, room, settings.dtype) + min(PREFIX_BYTES, known)
    notes = [f"{batch} rollouts of up to {answer} tokens after {prompt}, {micro} trained in a pass"]
    notes += ["activations by a rule of thumb: this model cannot run empty"] if kept is None else []
    return _close(parts, kept, device, "rl", notes)


def answer_limit(config: RunConfig, talk: Talk) -> int:
    """Tokens after the prompt that a rollout can have at most."""
    said = config.rl.max_turns * (config.rl.max_tokens + talk.results)
    return int(min(config.rl.max_completion_tokens, said))


def _branches(rollouts: int, group: int, prompt: int, answer: int) -> tuple[Segment, ...]:
    """A micro-batch as the trainer arranges it: each prompt once, its answers below it."""
    segments: list[Segment] = []
    end = 0
    for first in range(0, rollouts, group):
        root = len(segments)
        segments.append(Segment(end, end + prompt, -1))
        end += prompt
        for _ in range(min(group, rollouts - first)):
            segments.append(Segment(end, end + answer, root))
            end += answer
    return tuple(segments)


def merge_memory(config: RunConfig, models: Models, device: Device) -> Memory:
    """Memory of a merge and of its proof, which holds a whole model, in float32 where that fits.

    On a CPU the files of base and merged model are mapped: their pages count as resident, and are given back when the
    system wants them, so they never are what does not fit.
    """
    roomy = 4.0 * models.total * 1.2 + GIB <= device.memory
    asked = config.merge.engine == "peft" or config.merge.parity == "logits"
    layers = config.merge.parity == "layers" or not (roomy or asked)
    total, text = (4.0 if roomy else 2.0) * models.total, models.text
    largest = 4.0 * models.total / text.num_hidden_layers + 4.0 * text.vocab_size * text.hidden_size
    held = {"weights": largest if layers else total, "blocks": BLOCKS}
    note = (
        "proof a layer at a time"
        if layers
        else f"the proof holds a whole model {'in float32' if roomy else 'as stored'}"
    )
    if not device.cpu:
        return Memory({**held, "runtime": OVERHEAD}, [note])
    files = min(2 * 2.0 * models.total, max(0.0, device.memory / 2 - held["weights"]))
    return Memory({**held, "mapped files": files, "runtime": RUNTIME["merge"]}, [note])


@dataclass(frozen=True)
class Served:
    """How a model is served: memory of one device, GPUs for one copy, copies, conversations of the longest length at
    once in each copy."""

    memory: Memory
    split: int
    longest: int
    conversations: float
    copies: int = 1

    @property
    def devices(self) -> int:
        """Devices of all copies."""
        return self.split * self.copies

    def at_once(self, length: float, most: int) -> int:
        """Conversations of ``length`` tokens at once in each copy, if there are ``most`` over all of them."""
        return max(1, min(-(-most // self.copies), int(self.conversations * self.longest / max(length, 1))))


def serve_memory(config: RunConfig, models: Models, device: Device, devices: int = 1) -> Served:
    """Memory of serving: our engine on a CPU, elsewhere vLLM, which takes its share of the device whole.

    As few devices as leave a useful cache hold a copy, and there are as many copies as the others hold: as
    serve/placement.py has it.
    """
    text, serve = models.text, config.serve
    limit = getattr(text, "max_position_embeddings", None) or LONGEST_SERVED
    if device.cpu or serve.engine == "transformers":
        return _serve_ourselves(serve, models, device, min(serve.max_model_len or LONGEST_SERVED, limit))
    share = serve.memory_share or math.floor(100 * min(VLLM_SHARE, 1 - VLLM_SPARE / device.memory)) / 100
    work = VLLM_WORK_LARGE if device.memory >= VLLM_LARGE else VLLM_WORK
    sizes = [serve.tensor_parallel] if serve.tensor_parallel else _splits(text, devices)
    room = {size: device.memory * share - work - 2.0 * models.total / size for size in sizes}
    tokens = {size: cached_tokens(text, room[size] * _heads(text, size)) for size in sizes}
    useful = max(USEFUL_TOKENS, serve.max_model_len or 0)
    size = next((size for size in sizes if tokens[size] >= useful), max(sizes, key=lambda size: tokens[size]))
    longest = serve.max_model_len or min(limit, max(LEAST_TOKENS, tokens[size] // 256 * 256))
    one = cache_bytes(text, longest, "bfloat16") / _heads(text, size)
    parts = {"weights": 2.0 * models.total / size, "KV cache": max(room[size], one), "runtime": work}
    memory = Memory(parts, [f"vLLM takes {share:.0%} of the device"], most=device.memory * share + 1)
    copies = serve.data_parallel or max(1, devices // size)
    return Served(memory, size, longest, tokens[size] / longest, copies)


def cached_tokens(text: Any, room: float) -> int:
    """Tokens of the longest conversation whose cache takes ``room`` bytes."""
    return bisect.bisect_right(
        range(1, MOST_TOKENS + 1), room, key=lambda tokens: cache_bytes(text, tokens, "bfloat16")
    )


def _heads(text: Any, size: int) -> int:
    """Parts into which ``size`` devices split a cache: by its heads; what latent attention keeps is whole on each."""
    heads = 1 if getattr(text, "kv_lora_rank", None) else _key_heads(text)
    return min(size, heads)


def _key_heads(text: Any) -> int:
    return int(getattr(text, "num_key_value_heads", None) or text.num_attention_heads)


def _splits(text: Any, devices: int) -> list[int]:
    """Numbers of devices over which the heads can be split."""
    heads, keys = text.num_attention_heads, _key_heads(text)
    return [n for n in range(1, devices + 1) if heads % n == 0 and (keys % n == 0 or n % keys == 0)]


def _serve_ourselves(serve: ServeConfig, models: Models, device: Device, longest: int) -> Served:
    weights = float(DTYPES[serve.dtype].itemsize * models.total)
    each = cache_bytes(models.text, -(-longest // PAD) * PAD, serve.dtype)
    # In bfloat16 on a CPU the engine computes on a packed copy, where there is room for one.
    packed = weights if device.cpu and serve.dtype == "bfloat16" and device.memory > 3 * weights else 0.0
    prefixes = SHARED_PREFIX_BYTES if serve.dtype == "bfloat16" else PREFIX_BYTES
    parts = {
        "weights": weights + packed,
        "KV cache": serve.max_batch * each + prefixes,
        "runtime": RUNTIME["serve"] if device.cpu else OVERHEAD,
    }
    notes = [f"the cache grows to this with {serve.max_batch} conversations of {longest:,} tokens"]
    room = device.memory - parts["weights"] - prefixes - parts["runtime"]
    return Served(Memory(parts, notes), 1, longest, max(0.0, min(serve.max_batch, room / max(each, 1))))


def _close(parts: dict[str, float], kept: float | None, device: Device, stage: str, notes: list[str]) -> Memory:
    """With what libraries and allocator take."""
    if device.cpu:
        made = max(kept or 0.0, parts["activations"]) + parts["logits"]
        return Memory({**parts, "allocator": HEAP_WASTE[stage] * made, "runtime": RUNTIME[stage]}, notes)
    return Memory({**parts, "allocator": (FRAGMENTS - 1) * sum(parts.values()), "runtime": OVERHEAD}, notes)
