"""Log-probabilities of a group's completions with the prompt computed once.

The G answers to one prompt stand behind it in one row, ``[prompt][answer 1] … [answer G]``; each answer sees the
prompt and itself, at the positions that it would have alone. Exact up to rounding, and with long prompts and short
answers, as with tools, several times fewer tokens than G padded rows.

Source: the idea is OpenPipe ART #905 and verl #6689; the code is ours.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Packed(NamedTuple):
    """One prompt with its answers as a single row of S tokens; N answer tokens are scored.

    Attributes:
        ids_S: the tokens.
        positions_S: the position of each token in its own sequence.
        visible_SS: which token (row) may see which (column).
        scored_N: for each answer token, the index of the token whose logits predict it.
        targets_N: the answer tokens.
    """

    ids_S: Tensor
    positions_S: Tensor
    visible_SS: Tensor
    scored_N: Tensor
    targets_N: Tensor


def pack(prompt: Sequence[int], answers: Sequence[Sequence[int]]) -> Packed:
    """Put ``answers`` behind ``prompt``; neither may be empty."""
    start = len(prompt)
    segment = [0] * start
    positions = list(range(start))
    scored: list[int] = []
    for number, answer in enumerate(answers, start=1):
        first = len(segment)
        segment += [number] * len(answer)
        positions += range(start, start + len(answer))
        scored += [start - 1, *range(first, first + len(answer) - 1)]
    segment_S = torch.tensor(segment)
    same_SS = (segment_S[:, None] == segment_S[None, :]) | (segment_S == 0)[None, :]
    order_S = torch.arange(len(segment))
    return Packed(
        ids_S=torch.tensor([*prompt, *(token for answer in answers for token in answer)]),
        positions_S=torch.tensor(positions),
        visible_SS=same_SS & (order_S[None, :] <= order_S[:, None]),
        scored_N=torch.tensor(scored),
        targets_N=torch.tensor([token for answer in answers for token in answer]),
    )


def score_group(
    model: Any, prompt: Sequence[int], answers: Sequence[Sequence[int]], temperature: float
) -> tuple[list[Tensor], list[Tensor]]:
    """Log-probability and entropy of each answer token under softmax(logits / temperature), one (T,) pair an answer.

    Entropies carry no gradient.
    """
    packed = pack(prompt, answers)
    device = next(model.parameters()).device
    output = model(
        input_ids=packed.ids_S[None].to(device),
        position_ids=packed.positions_S[None].to(device),
        attention_mask=packed.visible_SS[None, None].to(device),
        logits_to_keep=packed.scored_N.to(device),
        use_cache=False,
    )
    logits_NV = output.logits[0].float() / temperature
    logprobs_NV = torch.log_softmax(logits_NV, dim=-1)
    chosen_N = logprobs_NV.gather(1, packed.targets_N.to(device)[:, None])[:, 0]
    with torch.no_grad():
        entropy_N = -(logprobs_NV.exp() * logprobs_NV).sum(dim=-1)
    lengths = [len(answer) for answer in answers]
    return list(torch.split(chosen_N, lengths)), list(torch.split(entropy_N, lengths))
