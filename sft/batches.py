"""Batches of encoded conversations, padded or packed, in an order that a seed and an epoch fix.

Reads and writes no files.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset, Sampler

from sft.encode import IGNORE, Encoded
from sft.pack import pack_families, pack_rows, split_packs
from toolwright.forest import MIN_SHARED, plant

Packing = Literal["none", "documents", "shared_prefix"]

_MEGA = 32


class Rows(Dataset[Encoded]):
    """Encoded conversations as torch reads them."""

    def __init__(self, rows: Sequence[Encoded]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Encoded:
        return self.rows[index]


class Packs(Dataset[list[Encoded]]):
    """Packs of rows, of at most ``capacity`` tokens, as torch reads them; the longest row where there is none.

    Their number is a multiple of ``multiple`` where there are rows enough, so that the last batch of every process is
    full and no row is taken twice.

    Raises:
        DataError: a row is longer than ``capacity``.
    """

    def __init__(
        self, rows: Sequence[Encoded], packing: Packing, capacity: int | None = None, multiple: int = 1
    ) -> None:
        self.rows = rows
        lengths = lengths_of(rows)
        capacity = capacity or int(lengths.max(initial=1))
        shared = packing == "shared_prefix"
        packs = pack_families(rows, lengths, capacity) if shared else pack_rows(lengths, capacity)
        self.packs = split_packs(packs, multiple)
        self.lengths = [int(lengths[pack].sum()) for pack in self.packs]

    def __len__(self) -> int:
        return len(self.packs)

    def __getitem__(self, index: int) -> list[Encoded]:
        return [self.rows[row] for row in self.packs[index]]


def lengths_of(rows: Sequence[Encoded]) -> NDArray[Any]:
    """Tokens of each row, from the store where it knows them."""
    known = getattr(rows, "lengths", None)
    return np.array([len(row.input_ids) for row in rows], np.int64) if known is None else np.asarray(known)


class LengthGrouped(Sampler[int]):
    """Row numbers in an order in which each ``step_size`` neighbours have similar lengths.

    The order depends on seed and epoch only, never on torch's global generator, so that a resumed run sees the same.
    The longest row comes first, so that a lack of memory shows at once.
    """

    def __init__(self, lengths: Sequence[int] | NDArray[Any], step_size: int, seed: int) -> None:
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


def min_shared(packing: Packing) -> int | None:
    """Tokens that rows of a pack must begin with in common to share them."""
    return MIN_SHARED if packing == "shared_prefix" else None


def collate_packs(packs: Sequence[Sequence[Encoded]], packing: Packing) -> dict[str, Any]:
    """The ``forest`` of all rows; for the Trainer ``input_ids`` (1, S), ``lengths`` (1,) and what it counts as labels.

    The labels are each trained token as often as rows train it; under ``shift_labels`` the Trainer counts all of them.
    """
    forest = plant([row for pack in packs for row in pack], min_shared(packing))
    labels = forest.targets_N.repeat_interleave(forest.counts_N)
    return {
        "input_ids": forest.ids_S[None],
        "labels": labels,
        "shift_labels": labels,
        "lengths": torch.tensor([forest.row_tokens]),
        "forest": forest,
    }
