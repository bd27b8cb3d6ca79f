"""Attention over the slot cache, in a form whose result for a row does not depend on the other rows.

torch's fused kernel does not promise that: it splits the keys by the length of the longest row, and BLAS splits long
sums again. Here the sum over keys runs in blocks of a fixed size, and a masked key adds an exact zero.
``attend_with_trunk`` promises nothing of the kind: it is for speed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

NAME = "toolwright_slots"
BLOCK = 256
"""Keys that are summed in one matrix product. BLAS sums so few in one go (MKL splits at 384)."""


def slot_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention as ``transformers`` calls it: query (R, heads, Q, D), key and value (R, key heads, K, D)."""
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if query.shape[2] == 1:
        return _decode(query, key, value, attention_mask, scale), None
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    first = key.shape[2] == query.shape[2]
    mask = None if first else attention_mask
    out = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=first, scale=scale)
    return out.transpose(1, 2), None


def _decode(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    rows, heads, length, width = key.shape
    query = query.reshape(rows * heads, -1, query.shape[-1])
    key, value = key.reshape(rows * heads, length, width), value.reshape(rows * heads, length, -1)
    scores = torch.bmm(query, key.transpose(1, 2)).mul_(scale).view(rows, heads, -1, length)
    if mask is not None:
        scores += mask
    weights = torch.softmax(scores, -1, dtype=torch.float32).to(value.dtype).view(rows * heads, -1, length)
    out = torch.bmm(weights[..., :BLOCK], value[:, :BLOCK])
    for start in range(BLOCK, length, BLOCK):
        out = torch.baddbmm(out, weights[..., start : start + BLOCK], value[:, start : start + BLOCK])
    return out.view(rows, 1, -1, value.shape[-1])


def trunk_mask(own_RN: Tensor, length: int, on_trunk_R: Tensor, trunk: int, dtype: torch.dtype) -> Tensor:
    """What scores get added, (R, 1, 1, N, T + K): minus infinity at keys after a token, and at a trunk not its own."""
    hidden = torch.arange(length) > own_RN[..., None]
    if trunk:
        off = (~on_trunk_R)[:, None, None].expand(*own_RN.shape, trunk)
        hidden = torch.cat((off, hidden), -1)
    return torch.zeros(hidden.shape, dtype=dtype).masked_fill_(hidden, float("-inf"))[:, None, None]


def attend_with_trunk(
    q_RHMD: Tensor, keys: Tensor, values: Tensor, trunk: tuple[Tensor, Tensor] | None, mask: Tensor
) -> Tensor:
    """Attention of M = G * N queries a key head to keys (R, H, K, D), after those of the trunk (H, T, D)."""
    rows, heads, count, width = q_RHMD.shape
    scores = torch.matmul(q_RHMD, keys.transpose(2, 3))
    if trunk is not None:
        flat = q_RHMD.transpose(0, 1).reshape(heads, rows * count, width)
        shared = torch.bmm(flat, trunk[0].transpose(1, 2)).view(heads, rows, count, -1).transpose(0, 1)
        scores = torch.cat((shared, scores), -1)
    tokens = mask.shape[3]
    scores.view(rows, heads, count // tokens, tokens, -1).add_(mask)
    weights = torch.softmax(scores, -1)
    split = 0 if trunk is None else trunk[0].shape[1]
    out = torch.matmul(weights[..., split:], values)
    if trunk is not None:
        shared = weights[..., :split].transpose(0, 1).reshape(heads, rows * count, split)
        out += torch.bmm(shared, trunk[1]).view(heads, rows, count, width).transpose(0, 1)
    return out


@contextmanager
def attention_of(configs: list[Any]) -> Iterator[None]:
    """Let the models of these configurations use ``slot_attention`` inside the block."""
    ALL_ATTENTION_FUNCTIONS.register(NAME, slot_attention)
    before = [config._attn_implementation for config in configs]
    try:
        for config in configs:
            config._attn_implementation_internal = NAME
        yield
    finally:
        for config, name in zip(configs, before):
            config._attn_implementation_internal = name
