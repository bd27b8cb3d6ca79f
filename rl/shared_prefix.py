"""Log-probabilities of answers, with what they begin with in common computed once.

The G answers to one prompt stand behind it as branches of a forest (``toolwright.forest``). Exact up to rounding, and
with long prompts and short answers, as with tools, several times fewer tokens than G padded rows.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from toolwright.forest import IGNORE, MIN_SHARED, Row, plant, scored_logits

_ENTROPY_ROWS = 1024


def score_answers(
    model: Any, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], temperature: float, min_shared: int = MIN_SHARED
) -> tuple[list[Tensor], list[Tensor]]:
    """Log-probability and entropy of each answer token under softmax(logits / temperature), one (T,) pair an answer.

    ``model`` must run our attention (``use_segments``); ``pairs`` are prompt and answer, neither empty; beginnings of
    at least ``min_shared`` tokens are computed once. Entropies carry no gradient.
    """
    head = getattr(model, "module", model).get_output_embeddings()
    forest = plant([_row(prompt, answer) for prompt, answer in pairs], min_shared).to(next(model.parameters()).device)
    logits_NV = scored_logits(model, head, forest).float() / temperature
    logprobs_NV = torch.log_softmax(logits_NV, dim=-1)
    chosen_N = logprobs_NV.gather(1, forest.targets_N[:, None])[:, 0]
    with torch.no_grad():
        entropy_N = torch.cat([-(part.exp() * part).sum(dim=-1) for part in torch.split(logprobs_NV, _ENTROPY_ROWS)])
    return [chosen_N[pick] for pick in forest.picks], [entropy_N[pick] for pick in forest.picks]


def _row(prompt: Sequence[int], answer: Sequence[int]) -> Row:
    ids = np.array([*prompt, *answer], np.int32)
    labels = ids.copy()
    labels[: len(prompt)] = IGNORE
    return Row(ids, labels, np.ones(len(ids), np.float32))
