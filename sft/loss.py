"""Cross entropy that keeps only the logits themselves for its gradient, in the type that they have.

torch's own also keeps their log-softmax in float32: for 2,000 tokens and 150,000 words 1.2 GB.
"""

from typing import Any

import torch
from torch import Tensor

_CACHED, _MANY = 1 << 21, 1 << 26
"""Logits that are worked on at once: on a CPU what its cache holds, elsewhere 256 MB of float32."""


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, logits_NV: Tensor, targets_N: Tensor) -> Tensor:
        norms = [torch.logsumexp(part.float(), dim=-1) for part in torch.split(logits_NV, _chunk(logits_NV))]
        norms_N = torch.cat(norms) if norms else logits_NV.new_zeros(0, dtype=torch.float32)
        context.save_for_backward(logits_NV, targets_N, norms_N)
        return norms_N - logits_NV.gather(1, targets_N[:, None])[:, 0].float()

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        logits_NV, targets_N, norms_N = context.saved_tensors
        result_NV = torch.empty_like(logits_NV)
        chunk = _chunk(logits_NV)
        for start in range(0, len(logits_NV), chunk):
            part = slice(start, start + chunk)
            scores = (logits_NV[part].float() - norms_N[part, None]).exp_()
            scores[torch.arange(len(scores), device=scores.device), targets_N[part]] -= 1
            result_NV[part] = scores.mul_(gradients[0][part, None])
        return result_NV, None


def _chunk(logits_NV: Tensor) -> int:
    return max((_CACHED if logits_NV.device.type == "cpu" else _MANY) // max(logits_NV.shape[1], 1), 1)


def cross_entropy(logits_NV: Tensor, targets_N: Tensor) -> Tensor:
    """-log softmax(logits)[target] of each token in float32, (N,)."""
    apply: Any = _CrossEntropy.apply
    losses_N: Tensor = apply(logits_NV, targets_N)
    return losses_N
