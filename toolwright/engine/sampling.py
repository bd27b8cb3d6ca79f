"""Samples one token for each row of logits, each row with its own temperature, top-p and noise.

One uniform number per token and inverse transform sampling: a row's token depends on its logits and its number alone,
so a seeded request gives the same tokens in any batch.
"""

from collections.abc import Sequence

import numpy
import torch
from torch import Tensor

from toolwright.engine.request import GenerationRequest, Top


def noise_of(request: GenerationRequest, count: int) -> Sequence[float]:
    """The uniform numbers in [0, 1) of the first ``count`` tokens; none are needed at temperature 0."""
    if request.temperature == 0:
        return ()
    bits = numpy.random.Philox(key=request.seed % 2**128)
    numbers: list[float] = numpy.random.Generator(bits).random(count).tolist()
    return numbers


def sample_tokens(
    logits_RV: Tensor, temperatures: Sequence[float], top_ps: Sequence[float], noise: Sequence[float]
) -> tuple[list[int], list[float]]:
    """One token per row, and its log-probability under softmax(logits / temperature).

    Temperature 0 takes the argmax, and counts as 1 in the log-probability. A row whose logits are not finite gives a
    log-probability of nan.
    """
    logits_RV = logits_RV.float()
    tokens_R = logits_RV.argmax(-1)
    if any(temperatures):
        divisors = [temperature or 1.0 for temperature in temperatures]
        logits_RV = logits_RV / torch.tensor(divisors, device=logits_RV.device)[:, None]
    logprobs_RV = torch.log_softmax(logits_RV, -1)
    if any(temperatures):
        rows = [row for row, temperature in enumerate(temperatures) if temperature]
        probs_SV = logprobs_RV[rows].exp()
        _keep_top_p(probs_SV, [top_ps[row] for row in rows])
        tokens_R[rows] = _invert(probs_SV, [noise[row] for row in rows])
    logprobs_R = logprobs_RV.gather(1, tokens_R[:, None])[:, 0]
    return tokens_R.tolist(), logprobs_R.tolist()


def likeliest_tokens(logits_RV: Tensor, temperatures: Sequence[float], counts: Sequence[int]) -> list[Top]:
    """The ``counts`` likeliest tokens of each row, with log-probabilities as ``sample_tokens`` gives them."""
    tops: list[Top] = [()] * len(counts)
    for row, count in enumerate(counts):
        if count:
            logprobs_V = torch.log_softmax(logits_RV[row].float() / (temperatures[row] or 1.0), -1)
            best = logprobs_V.topk(min(count, len(logprobs_V)))
            tops[row] = tuple(zip(best.indices.tolist(), best.values.tolist()))
    return tops


def _keep_top_p(probs_SV: Tensor, top_ps: Sequence[float]) -> None:
    """Set to zero, in place, what lies outside the smallest set of likeliest tokens that holds ``top_p``."""
    rows = [row for row, top_p in enumerate(top_ps) if top_p < 1]
    if not rows:
        return
    limits = torch.tensor([top_ps[row] for row in rows], device=probs_SV.device, dtype=torch.float64)
    sorted_SV, order_SV = probs_SV[rows].sort(stable=True, dim=-1, descending=True)
    before_SV = sorted_SV.double().cumsum(-1) - sorted_SV
    sorted_SV[before_SV >= limits[:, None]] = 0
    probs_SV[rows] = torch.zeros_like(sorted_SV).scatter_(1, order_SV, sorted_SV)


def _invert(probs_SV: Tensor, noise: Sequence[float]) -> Tensor:
    """The first token whose cumulated probability exceeds the row's number, shape (S,)."""
    sums_SV = probs_SV.double().cumsum(-1)
    targets_S = torch.tensor(noise, device=probs_SV.device, dtype=torch.float64) * sums_SV[:, -1]
    tokens_S = torch.searchsorted(sums_SV, targets_S[:, None], right=True)[:, 0]
    return tokens_S.clamp(max=probs_SV.shape[1] - 1)
