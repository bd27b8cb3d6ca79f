"""Batches of encoded conversations: an order of similar lengths that a seed and an epoch fix, and padding on the right.

Reads and writes no files.
"""

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Dataset, Sampler

from sft.encode import IGNORE, Encoded

_MEGA = 32


class Rows(Dataset[Encoded]):
    """Encoded conversations as torch reads them."""

    def __init__(self, rows: Sequence[Encoded]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Encoded:
        return self.rows[index]


class LengthGrouped(Sampler[int]):
    """Row numbers in an order in which each ``step_size`` neighbours have similar lengths.

    The order depends on seed and epoch only, never on torch's global generator, so that a resumed run sees the same.
    The longest row comes first, so that a lack of memory shows at once.
    """

    def __init__(self, lengths: Sequence[int], step_size: int, seed: int) -> None:
        self.lengths = lengths
        self.step_size = step_size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of this epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        shuffled = torch.randperm(len(self.lengths), generator=generator).tolist()
        mega = self.step_size * _MEGA
        steps: list[list[int]] = []
        for start in range(0, len(shuffled), mega):
            by_length = sorted(shuffled[start : start + mega], key=lambda row: self.lengths[row], reverse=True)
            steps += [by_length[at : at + self.step_size] for at in range(0, len(by_length), self.step_size)]
        partial = [steps.pop()] if steps and len(steps[-1]) < self.step_size else []
        order = torch.randperm(len(steps), generator=generator).tolist()
        longest = max(range(len(steps)), key=lambda step: self.lengths[steps[step][0]], default=None)
        if longest is not None:
            order.remove(longest)
            order.insert(0, longest)
        for step in [*(steps[number] for number in order), *partial]:
            yield from step


def collate(rows: Sequence[Encoded], pad: int) -> dict[str, torch.Tensor]:
    """Pad rows on the right: ``input_ids``, ``labels``, ``weights`` (B, T) and ``lengths`` (B).

    There is no attention mask: what is causal never looks at padding to its right, and no label is there.
    """
    longest = max(len(row.input_ids) for row in rows)
    input_ids = torch.full((len(rows), longest), pad)
    labels = torch.full((len(rows), longest), IGNORE)
    weights = torch.zeros((len(rows), longest))
    for number, row in enumerate(rows):
        length = len(row.input_ids)
        input_ids[number, :length] = torch.from_numpy(row.input_ids)
        labels[number, :length] = torch.from_numpy(row.labels)
        weights[number, :length] = torch.from_numpy(row.weights)
    lengths = torch.tensor([len(row.input_ids) for row in rows])
    return {"input_ids": input_ids, "labels": labels, "weights": weights, "lengths": lengths}
