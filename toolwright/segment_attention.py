"""Attention for rows in one forward pass that must not see each other: transformers' interface, segment by segment.

Each segment attends to its ancestors and causally to itself. There is no mask over the whole pass: a root runs the
plain causal kernel, and only segments below others need a mask of their own (queries x ancestors and self).
The table of segments reaches the layers as the keyword ``forest`` of ``model(...)``, so that a layer that is computed
again for its gradient sees it too. A call without the keyword is plain scaled-dot-product attention.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

NAME = "toolwright_forest"
REPLACED = ("sdpa", "eager")
"""Attention that ours stands in for; others (flash_attention_2, flex_attention) find whole rows by their positions."""
_LAYERS = {"full_attention", "sliding_attention"}


class Segment(NamedTuple):
    """Tokens ``start:end`` that stand directly behind those of segment ``parent`` (-1: at the start of a row)."""

    start: int
    end: int
    parent: int


class Layout:
    """Which segment follows which; keeps the masks that all layers share.

    Not a tensor and not a dataclass, so that wrappers of models hand it on untouched.
    """

    def __init__(self, segments: Sequence[Segment]) -> None:
        self.segments = tuple(segments)
        self.lengths = [segment.end - segment.start for segment in segments]
        self.paths: list[tuple[int, ...]] = []
        for number, segment in enumerate(segments):
            above = self.paths[segment.parent] if segment.parent >= 0 else ()
            self.paths.append((*above, number))
        self._masks: dict[tuple[int, int | None, torch.device], Tensor | None] = {}

    def mask(self, number: int, window: int | None, device: torch.device) -> Tensor | None:
        """Which of the segment's tokens (rows) sees which of its path's (columns); none where that is plain causal."""
        key = number, window, device
        if key not in self._masks:
            self._masks[key] = self._make_mask(number, window, device)
        return self._masks[key]

    def _make_mask(self, number: int, window: int | None, device: torch.device) -> Tensor | None:
        total = sum(self.lengths[part] for part in self.paths[number])
        narrow = window is not None and window < total
        if len(self.paths[number]) == 1 and not narrow:
            return None
        keys = torch.arange(total, device=device)
        queries = keys[total - self.lengths[number] :, None]
        seen = keys <= queries
        return seen & (keys > queries - window) if narrow and window is not None else seen


def use_segments(model: Any) -> str | None:
    """Let ``model`` (PEFT around it or not) run our attention in place of sdpa and eager, or say why it cannot."""
    config = model.config.get_text_config()
    if config._attn_implementation == NAME:
        return None
    others = sorted(set(getattr(config, "layer_types", None) or ()) - _LAYERS)
    if others:
        return f"{config.model_type} has {others[0]} layers, in which rows would see each other"
    if config._attn_implementation not in REPLACED:
        return f"attention {config._attn_implementation} cannot share tokens, only {' and '.join(REPLACED)} can"
    AttentionInterface.register(NAME, segment_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    (model.get_base_model() if hasattr(model, "get_base_model") else model).set_attn_implementation(NAME)
    if config._attn_implementation != NAME:
        return f"the attention of {config.model_type} cannot be replaced"
    return None


def segment_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    forest: Layout | None = None,
    **rest: Any,
) -> tuple[Tensor, None]:
    """Attention as ``transformers`` calls it: query (B, heads, S, D), key and value (B, key heads, S, D).

    With ``forest``, B is 1. Gives (B, S, heads, D).
    """
    options = _Options(dropout, query.shape[-1] ** -0.5 if scaling is None else scaling, softcap, s_aux)
    if forest is None:
        whole = _attend(query, key, value, attention_mask, options)
        return whole.transpose(1, 2).contiguous(), None
    window = rest["sliding_window"] if "sliding_window" in rest else _window_of(module)
    queries, keys, values = (torch.split(states, forest.lengths, dim=2) for states in (query, key, value))
    parts = []
    for number, path in enumerate(forest.paths):
        mask = forest.mask(number, window, query.device)
        part = _attend(queries[number], _join(keys, path), _join(values, path), mask, options)
        parts.append(part.transpose(1, 2))
    return torch.cat(parts, dim=1), None


class _Options(NamedTuple):
    dropout: float
    scale: float
    softcap: float | None
    sinks: Tensor | None


def _window_of(module: Any) -> int | None:
    """The window of a layer whose model leaves it to the mask, which we do not build."""
    if hasattr(module, "sliding_window"):
        return module.sliding_window  # type: ignore[no-any-return]
    config = getattr(module, "config", None)
    kinds = getattr(config, "layer_types", None)
    if kinds is not None and kinds[module.layer_idx] != "sliding_attention":
        return None
    return getattr(config, "sliding_window", None)


def _join(parts: Sequence[Tensor], path: Sequence[int]) -> Tensor:
    return parts[path[0]] if len(path) == 1 else torch.cat([parts[part] for part in path], dim=2)


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, options: _Options) -> Tensor:
    """(B, heads, Q, D); without a mask, causal.

    Query heads that share key heads are left to the fused kernels only where these take it: without a mask, as CUDA
    has it (``transformers`` decides the same way).
    """
    groups = query.shape[1] // key.shape[1]
    plain = options.softcap is not None or options.sinks is not None
    grouped = groups > 1 and mask is None and not plain and key.shape[-1] == value.shape[-1] <= 256
    if groups > 1 and not grouped:
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    if plain:
        return _attend_plainly(query, key, value, mask, options)
    causal = mask is None and query.shape[2] > 1
    return nn.functional.scaled_dot_product_attention(
        query, key, value, mask, options.dropout, is_causal=causal, scale=options.scale, enable_gqa=grouped
    )


def _attend_plainly(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, options: _Options) -> Tensor:
    """What no fused kernel has: scores capped by a tanh (Gemma 2), and a learnt sink in the softmax (gpt-oss)."""
    scores = query @ key.transpose(2, 3) * options.scale
    if options.softcap is not None:
        scores = torch.tanh(scores / options.softcap) * options.softcap
    if mask is None:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
    if options.sinks is not None:
        sinks = options.sinks.to(scores.dtype).reshape(1, -1, 1, 1).expand(*scores.shape[:3], 1)
        scores = torch.cat([scores, sinks], dim=-1)
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)[..., : key.shape[2]]
    return nn.functional.dropout(weights, options.dropout) @ value
