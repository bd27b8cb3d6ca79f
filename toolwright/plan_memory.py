"""Memory of each stage on one device, by part (bytes), and how many conversations fit a server's cache.

Pure functions of configuration, empty models and lengths; builds on ``toolwright.footprint``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from toolwright.config import RunConfig, ServeConfig
from toolwright.devices import GIB, Device
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
PREFIX_BYTES, PAD, ROW_STEP = 256 * MIB, 64, 4
"""Of our engine: known prompts that it keeps, positions and rows that it rounds up to. Source: toolwright/engine."""
LONGEST_SERVED = 4096
VLLM_SHARE, VLLM_WORK, VLLM_SPARE = 0.92, 1.5 * GIB, 0.5 * GIB
"""Share of a GPU that vLLM takes, what it needs besides weights and cache, what stays free. As serve/placement.py."""
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
    """Bytes on one device by part, and what is to be known about them."""

    parts: dict[str, float]
    notes: list[str] = field(default_factory=list)

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
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    window = getattr(text, "sliding_window", None) or tokens
    kinds = getattr(text, "layer_types", None) or ["full_attention"] * text.num_hidden_layers
    seen = {"full_attention": tokens, "sliding_attention": min(window, tokens)}
    return float(sum(seen.get(kind, 0) for kind in kinds) * 2 * heads * width * item)


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
    slots = -(-min(batch, ENGINE_SLOTS) // ROW_STEP) * ROW_STEP
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
    """Memory of a merge and of its proof, which holds a whole model in float32 where that fits.

    On a CPU the files of base and merged model are mapped: their pages count as resident, and are given back when the
    system wants them, so they never are what does not fit.
    """
    total = 4.0 * models.total
    whole = config.merge.engine == "peft" or config.merge.parity == "logits"
    layers = config.merge.parity == "layers" or (total * 1.2 + GIB > device.memory and not whole)
    text = models.text
    largest = total / text.num_hidden_layers + 4.0 * text.vocab_size * text.hidden_size
    held = {"weights": largest if layers else total, "blocks": BLOCKS}
    note = "proof a layer at a time" if layers else "the proof holds a whole model in float32"
    if not device.cpu:
        return Memory({**held, "runtime": OVERHEAD}, [note])
    files = min(2 * 2.0 * models.total, max(0.0, device.memory / 2 - held["weights"]))
    return Memory({**held, "mapped files": files, "runtime": RUNTIME["merge"]}, [note])


@dataclass(frozen=True)
class Served:
    """How a model is served: memory of one device, GPUs for one copy, conversations of the longest length at once."""

    memory: Memory
    split: int
    longest: int
    conversations: float

    def at_once(self, length: float, most: int) -> int:
        """Conversations of ``length`` tokens at once, if there are ``most``."""
        return max(1, min(most, int(self.conversations * self.longest / max(length, 1))))


def serve_memory(config: RunConfig, models: Models, device: Device, devices: int = 1) -> Served:
    """Memory of serving: our engine on a CPU, elsewhere vLLM, which takes its share of the device whole."""
    text, serve = models.text, config.serve
    limit = getattr(text, "max_position_embeddings", None) or LONGEST_SERVED
    if device.cpu or serve.engine == "transformers":
        return _serve_ourselves(serve, models, device, min(serve.max_model_len or LONGEST_SERVED, limit))
    longest = serve.max_model_len or limit
    dtype = "bfloat16"
    share = serve.memory_share or min(VLLM_SHARE, 1 - VLLM_SPARE / device.memory)
    sizes = [serve.tensor_parallel] if serve.tensor_parallel else _splits(text, devices)
    each = cache_bytes(text, longest, dtype)
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    served: Served | None = None
    for size in sizes:
        weights = 2.0 * models.total / size
        room = device.memory * share - VLLM_WORK - weights
        # A shorter length than the model's is taken where the cache has no room for one conversation.
        length = longest if room >= each / min(size, heads) or serve.max_model_len else _fitting(text, room, size)
        full = max(room, cache_bytes(text, length, dtype) / min(size, heads))
        at_once = room * min(size, heads) / max(cache_bytes(text, length, dtype), 1)
        parts = {"weights": weights, "KV cache": full, "runtime": VLLM_WORK}
        notes = [f"vLLM takes {share:.0%} of the device"] if room >= 0 else []
        served = Served(Memory(parts, notes), size, length, max(at_once, 0.0))
        if room >= 0 and at_once >= 1:
            break
    assert served is not None, "one device is always a possible split"
    return served


def _splits(text: Any, devices: int) -> list[int]:
    """Numbers of devices over which the heads can be split."""
    return [size for size in range(1, devices + 1) if text.num_attention_heads % size == 0]


def _fitting(text: Any, room: float, size: int) -> int:
    """Longest conversation that ``room`` bytes on each of ``size`` devices can cache, in steps of 256 tokens."""
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    tokens = max(room, 0) * min(size, heads) / max(cache_bytes(text, 1, "bfloat16"), 1)
    return max(2048, int(tokens) // 256 * 256)


def _serve_ourselves(serve: ServeConfig, models: Models, device: Device, longest: int) -> Served:
    weights = float(DTYPES[serve.dtype].itemsize * models.total)
    each = cache_bytes(models.text, -(-longest // PAD) * PAD, serve.dtype)
    # In bfloat16 on a CPU the engine computes on a packed copy, where there is room for one.
    packed = weights if device.cpu and serve.dtype == "bfloat16" and device.memory > 3 * weights else 0.0
    parts = {
        "weights": weights + packed,
        "KV cache": serve.max_batch * each + PREFIX_BYTES,
        "runtime": RUNTIME["serve"] if device.cpu else OVERHEAD,
    }
    notes = [f"the cache grows to this with {serve.max_batch} conversations of {longest:,} tokens"]
    room = device.memory - parts["weights"] - PREFIX_BYTES - parts["runtime"]
    return Served(Memory(parts, notes), 1, longest, max(0.0, min(serve.max_batch, room / max(each, 1))))


def _close(parts: dict[str, float], kept: float | None, device: Device, stage: str, notes: list[str]) -> Memory:
    """With what libraries and allocator take."""
    if device.cpu:
        made = max(kept or 0.0, parts["activations"]) + parts["logits"]
        return Memory({**parts, "allocator": HEAP_WASTE[stage] * made, "runtime": RUNTIME[stage]}, notes)
    return Memory({**parts, "allocator": (FRAGMENTS - 1) * sum(parts.values()), "runtime": OVERHEAD}, notes)
