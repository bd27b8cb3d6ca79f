"""What training a model takes: parameters and bytes, counted on a model without weights (torch's meta device).

Reads a model's ``config.json`` (directory, hub cache or hub); writes nothing. Activations are those that autograd would
keep in a forward pass of the very model, so new architectures need nothing here.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from toolwright.config import LoraSection
from toolwright.errors import ConfigError, ModelError
from toolwright.model import DTYPES, model_source
from toolwright.segment_attention import Layout, Segment
from toolwright.training import lora_config

GIB = 2**30
NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)  # four bits; a byte of scale for 64 weights, and four bytes for 256 scales
OVERHEAD = 0.8 * GIB  # CUDA's context and libraries
FRAGMENTS = 1.03  # what the allocator holds in pieces that fit nothing
ASSUMED_SHARE = 0.5
"""Share of tokens that are trained where no data tell: high for tool conversations, so that a plan is on the safe
side."""
LOGIT_BYTES = 10  # of one logit: float32, as accelerate hands it on, its gradient, and that in bfloat16
SHAPES: Mapping[str, Mapping[str, Any]] = {
    "Qwen/Qwen2.5-7B-Instruct": {
        "model_type": "qwen2",
        "hidden_size": 3584,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "intermediate_size": 18944,
        "vocab_size": 152064,
        "max_position_embeddings": 32768,
    },
    "Qwen/Qwen2.5-32B-Instruct": {
        "model_type": "qwen2",
        "hidden_size": 5120,
        "num_hidden_layers": 64,
        "num_attention_heads": 40,
        "num_key_value_heads": 8,
        "intermediate_size": 27648,
        "vocab_size": 152064,
        "max_position_embeddings": 32768,
    },
    "meta-llama/Llama-3.1-8B-Instruct": {
        "model_type": "llama",
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "intermediate_size": 14336,
        "vocab_size": 128256,
        "max_position_embeddings": 131072,
    },
}
"""Shapes of the models that ``configs/`` names, for machines without the hub. Source: their ``config.json`` there."""

_ATTENTION = "toolwright_footprint"
_TIMEOUT_S = 5


@dataclass(frozen=True)
class Setup:
    """How a model is trained, as far as memory goes. ``tokens`` and ``scored`` are those of one forward pass.

    ``rows`` of ``tokens / rows`` tokens each, or one row of the segments of ``forest``. Under ``autocast`` weights and
    their products are computed in ``dtype`` whatever they are stored in.
    """

    dtype: str
    tokens: int
    scored: int
    rows: int = 1
    forest: tuple[Segment, ...] | None = None
    autocast: bool = True
    logit_bytes: float = LOGIT_BYTES
    quantized: bool = False
    checkpointing: bool = False
    optimizer_bytes: float = 8.0
    processes: int = 1
    sharded: bool = False


def architecture(model: str) -> tuple[Any, str]:
    """The transformers configuration of a model, and where it is from: ``directory``, ``hub`` or ``shapes``.

    Raises:
        ModelError: no such model here, on the hub, or among ``SHAPES``.
    """
    from transformers import AutoConfig

    source = model_source(model)
    try:
        return AutoConfig.from_pretrained(str(source), local_files_only=True), _origin(source)
    except (OSError, ValueError, KeyError) as error:
        if isinstance(source, Path):
            raise ModelError(f"{source}: config.json cannot be used: {' '.join(str(error).split())[:200]}") from None
    fetched = _fetch(source)
    found = fetched or dict(SHAPES.get(source, {}))
    if not found:
        raise ModelError(f"{model}: neither a directory, nor reachable on the hub; name a model directory")
    return AutoConfig.for_model(**{"tie_word_embeddings": False, **found}), "hub" if fetched else "shapes"


def _origin(source: Path | str) -> str:
    return "directory" if isinstance(source, Path) else "hub"


def _fetch(model: str) -> dict[str, Any] | None:
    """``config.json`` from the hub; one short try, where the hub's own client repeats for half a minute."""
    import urllib.request
    from http.client import HTTPException

    from huggingface_hub import constants, get_token, hf_hub_url

    if constants.HF_HUB_OFFLINE:
        return None
    token = get_token()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(hf_hub_url(model, "config.json"), headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as reply:
            content = json.load(reply)
    except (OSError, HTTPException, ValueError):
        return None
    return content if isinstance(content, dict) else None


def empty_model(architecture: Any, dtype: str, attention: str | None = None) -> Any:
    """A causal language model on the meta device: shapes and types, no weights.

    ``attention`` is that of transformers; all but ``eager`` are taken for a kernel that keeps no scores.

    Raises:
        ModelError: transformers has no causal language model for it.
    """
    from transformers import AttentionInterface, AutoModelForCausalLM

    AttentionInterface.register(_ATTENTION, _attend)
    try:
        with torch.device("meta"):
            kernel = "eager" if attention == "eager" else _ATTENTION
            return AutoModelForCausalLM.from_config(architecture, dtype=DTYPES[dtype], attn_implementation=kernel)
    except (ValueError, KeyError, ImportError) as error:
        raise ModelError(f"{architecture.model_type}: {' '.join(str(error).split())[:200]}") from None


def with_adapter(model: Any, section: LoraSection, name: str) -> Any:
    """An empty model with the adapter of the section called ``name`` on it.

    Raises:
        ConfigError: PEFT refuses the section.
    """
    from peft import get_peft_model

    adapter = lora_config(section, name)
    adapter.init_lora_weights = True  # others compute with weights
    try:
        with torch.device("meta"):
            return get_peft_model(model, adapter)
    except (ValueError, TypeError, NotImplementedError) as error:
        raise ConfigError(f"{name}: {' '.join(str(error).split())}") from None


class _Flash(torch.autograd.Function):
    """What a fused attention kernel keeps: queries, keys, values and its result, no scores."""

    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        out = query.new_empty((*query.shape[:-1], value.shape[-1]))
        ctx.save_for_backward(query, key, value, out)
        return out


def _attend(
    _: Any, query: Any, key: Any, value: Any, mask: Any, forest: Layout | None = None, **__: Any
) -> tuple[torch.Tensor, None]:
    """With ``forest``, as ``toolwright.segment_attention``: a segment below others has keys and a mask of its own."""
    if forest is None:
        return _flash(query, key, value).transpose(1, 2).contiguous(), None
    queries, keys, values = (torch.split(states, forest.lengths, dim=2) for states in (query, key, value))
    groups, parts = query.shape[1] // key.shape[1], []
    for number, path in enumerate(forest.paths):
        own = [
            torch.cat([states[at] for at in path], dim=2) if len(path) > 1 else states[number]
            for states in (keys, values)
        ]
        if len(path) > 1 and groups > 1:
            own = [states.repeat_interleave(groups, dim=1) for states in own]
        parts.append(_flash(queries[number], *own).transpose(1, 2))
    return torch.cat(parts, dim=1), None


def _flash(query: Any, key: Any, value: Any) -> Any:
    return _Flash.apply(query, key, value)  # type: ignore[no-untyped-call]


def parameters(model: Any) -> tuple[int, int]:
    """All parameters and those that are trained."""
    counts = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return sum(count for count, _ in counts), sum(count for count, trained in counts if trained)


@lru_cache(maxsize=64)
def kept_bytes(
    model: Any, tokens: int, autocast: bool, rows: int = 1, forest: tuple[Segment, ...] | None = None
) -> int:
    """Bytes that autograd keeps for ``rows`` of ``tokens`` up to the last hidden state, nothing recomputed.

    With ``forest`` the one row is made of these segments.

    Raises:
        ModelError: the model's path depends on values (experts are chosen), which an empty model does not have.
    """
    own = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    kept: dict[int, tuple[float, torch.Tensor]] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        # A product of matrices keeps its input in two dimensions; under autocast that is a copy in bfloat16.
        share = 0.5 if autocast and tensor.dim() == 2 and tensor.dtype == torch.float32 else 1.0
        if storage._cdata not in own:
            kept.setdefault(storage._cdata, (share * storage.nbytes(), tensor))
        return tensor

    body = model.get_base_model() if hasattr(model, "get_base_model") else model
    try:
        with torch.device("meta"), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            # A mask of four dimensions is taken as it is; making one of its own, transformers would look at values.
            seen = 0 if forest else tokens
            more: dict[str, Any] = {"attention_mask": torch.empty((1, 1, seen, seen), dtype=body.dtype)}
            more |= {"forest": Layout(forest)} if forest else {}
            body.base_model(input_ids=torch.zeros(rows, tokens, dtype=torch.long), use_cache=False, **more)
    except (RuntimeError, NotImplementedError) as error:
        raise ModelError(f"activations cannot be counted: {str(error).splitlines()[0][:120]}") from None
    return int(sum(size for size, _ in kept.values()))


def plan_memory(base: Any, model: Any, setup: Setup) -> tuple[dict[str, float], float | None]:
    """Bytes on one device by part, and what the activations would be without recomputing; none: not known.

    ``base`` is the empty model without an adapter, ``model`` what is trained (the same, where all weights are).
    """
    text = base.config.get_text_config()
    full = base is model
    trained = parameters(model)[1]
    shards = setup.processes if setup.sharded else 1
    item = DTYPES[setup.dtype].itemsize
    layers = _layers(base)
    gathered = parameters(base)[0] - (len(layers) - 2) * parameters(layers[0])[0]  # two layers, embeddings and head
    weights = _weight_bytes(base, setup, full)
    kept: float | None
    try:
        autocast = setup.autocast and setup.dtype == "bfloat16"
        kept = kept_bytes(model, -(-setup.tokens // setup.rows), autocast, setup.rows, setup.forest)
    except ModelError:
        kept = None
    one = (kept if kept is not None else _rough_bytes(text, setup)) / text.num_hidden_layers
    inputs = text.num_hidden_layers * setup.tokens * text.hidden_size * item
    logits = float(setup.logit_bytes * setup.scored * text.vocab_size)
    # A layer is computed again only when the logits and their gradients are gone: the larger of the two counts.
    activations = inputs + max(one - logits, 0.0) if setup.checkpointing else one * text.num_hidden_layers
    gradients = 4.0 * trained * (2 if setup.processes > 1 and not setup.sharded else 1)  # DDP has buckets beside them
    return {
        "weights": weights / shards + (gathered * item if setup.sharded else 0),
        "adapter": 0.0 if full else 4.0 * trained / shards,
        "gradients": gradients / shards,
        "optimizer": setup.optimizer_bytes * trained / shards,
        "activations": activations,
        "logits": logits,
    }, kept


def _layers(base: Any) -> Any:
    return max((m for m in base.modules() if isinstance(m, torch.nn.ModuleList)), key=len)


def _weight_bytes(base: Any, setup: Setup, full: bool) -> float:
    total, _ = parameters(base)
    item = DTYPES[setup.dtype].itemsize
    if full:  # float32, and the copies that autocast makes
        return total * (4.0 + (item if item < 4 else 0))
    if not setup.quantized:
        return float(total * item)
    head = base.get_output_embeddings()
    linear = [m for m in base.modules() if isinstance(m, torch.nn.Linear) and m is not head]
    packed = sum(module.weight.numel() for module in linear)
    opened = max(module.weight.numel() for module in linear) * item  # one matrix at a time is in full precision
    return packed * NF4_BYTES + (total - packed) * item + opened


def _rough_bytes(text: Any, setup: Setup) -> float:
    """As ``kept_bytes`` for what cannot run empty; the factors are those of Qwen2.5 with LoRA on all layers."""
    width = getattr(text, "intermediate_size", None) or 4 * text.hidden_size
    return float(text.num_hidden_layers * setup.tokens * (25 * text.hidden_size + 8 * width))
