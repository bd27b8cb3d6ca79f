"""Activations of a model without weights: what autograd would keep in a forward pass of the very model, counted on
torch's meta device, so new architectures need nothing here.

Reads and writes nothing.
"""

import time
from functools import lru_cache
from typing import Any
from weakref import WeakSet

import torch

from toolwright.errors import ModelError
from toolwright.segment_attention import Layout, Segment

ATTENTION = "toolwright_footprint"
"""Name under which ``attend`` is made known to transformers."""
_COUNT_S = 10.0  # of this process: a model that goes through a row token by token would take minutes
_SLOW: WeakSet[Any] = WeakSet()  # models that took longer


class _Flash(torch.autograd.Function):
    """What a fused attention kernel keeps: queries, keys, values and its result, no scores."""

    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        out = query.new_empty((*query.shape[:-1], value.shape[-1]))
        ctx.save_for_backward(query, key, value, out)
        return out


def attend(
    _: Any, query: Any, key: Any, value: Any, mask: Any, forest: Layout | None = None, **__: Any
) -> tuple[torch.Tensor, None]:
    """Attention that computes nothing.

    With ``forest``, as ``toolwright.segment_attention``: a segment below others has keys and a mask of its own.
    """
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


@lru_cache(maxsize=64)
def kept_bytes(
    model: Any, tokens: int, autocast: bool, rows: int = 1, forest: tuple[Segment, ...] | None = None
) -> int:
    """Bytes that autograd keeps for ``rows`` of ``tokens`` up to the last hidden state, nothing recomputed.

    With ``forest`` the one row is made of these segments.

    Raises:
        ModelError: the model's path depends on values (experts are chosen), which an empty model does not have; or it
            takes too long.
    """
    if model in _SLOW:
        raise ModelError("activations cannot be counted: it takes too long")
    deadline = time.process_time() + _COUNT_S
    own = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    kept: dict[int, tuple[float, torch.Tensor]] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if time.process_time() > deadline:
            _SLOW.add(model)
            raise RuntimeError("it takes too long")
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
    # What models raise on tensors without values is theirs: any of these.
    except (RuntimeError, AttributeError, TypeError, ValueError, LookupError, AssertionError) as error:
        raise ModelError(f"activations cannot be counted: {' '.join(str(error).split())[:120]}") from None
    return int(sum(size for size, _ in kept.values()))
