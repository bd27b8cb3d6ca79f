"""What training a model takes: parameters and bytes, counted on a model without weights (torch's meta device).

Reads a model's ``config.json`` (directory, hub cache or hub); writes nothing.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from toolwright.activations import ATTENTION, attend, kept_bytes
from toolwright.config import LoraSection
from toolwright.errors import ConfigError, ModelError
from toolwright.model import DTYPES, model_source
from toolwright.segment_attention import Segment
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
        ModelError: no such model here, on the hub, or among ``SHAPES``; or one without attention.
    """
    source = model_source(model)
    if isinstance(source, Path):
        if not (source / "config.json").is_file():
            raise ModelError(f"{source}: not a model directory (no config.json); check the path")
        return _read_config(str(source)), "directory"
    try:
        return _read_config(source), "hub"
    except ModelError:  # never fetched, or not whole
        fetched = _fetch(source)
    found = fetched or SHAPES.get(source)
    if not found:
        raise ModelError(
            f"{model}: neither a directory, nor reachable on the hub; name a model directory, or one of those whose "
            f"shapes are known: {', '.join(SHAPES)}"
        )
    return _read_config(source, found), "hub" if fetched else "shapes"


def _read_config(source: str, content: Mapping[str, Any] | None = None) -> Any:
    """The configuration in a directory or the hub's cache, or of the ``content`` of a ``config.json``."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    try:
        if content is None:
            config = AutoConfig.from_pretrained(source, local_files_only=True, trust_remote_code=False)
        else:
            config = AutoConfig.for_model(**content)
    except (OSError, ValueError, KeyError, TypeError, ArithmeticError, StrictDataclassError) as error:
        why = " ".join(str(error.__cause__ or error).split())[:200]
        raise ModelError(f"{source}: config.json cannot be used: {why}") from None
    if not getattr(config.get_text_config(), "num_attention_heads", None):
        raise ModelError(
            f"{source}: config.json has no num_attention_heads; only language models with attention are planned"
        )
    return config


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
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AttentionInterface, AutoModelForCausalLM

    if type(architecture) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ModelError(
            f"{architecture.model_type}: transformers has no causal language model of this type; name a model of text"
        )
    AttentionInterface.register(ATTENTION, attend)
    try:
        with torch.device("meta"):
            kernel = "eager" if attention == "eager" else ATTENTION
            return AutoModelForCausalLM.from_config(architecture, dtype=DTYPES[dtype], attn_implementation=kernel)
    except (ValueError, KeyError, ImportError, RuntimeError, ArithmeticError) as error:
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


def parameters(model: Any) -> tuple[int, int]:
    """All parameters and those that are trained."""
    counts = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return sum(count for count, _ in counts), sum(count for count, trained in counts if trained)


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
