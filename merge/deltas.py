"""What an adapter does to a weight, as steps on blocks of its rows: PEFT's arithmetic in float32, for one rounding.

A step is made ready once for a stretch of rows, and is then a function of a block. Blocks are small enough to stay in a
core's cache. Sources: peft 0.21 ``tuners/lora/layer.py`` (Linear, Embedding, ParamWrapper), ``tuners/lora/dora.py``,
``tuners/trainable_tokens/layer.py``.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

from merge.weights import Stored

Apply = Callable[[Tensor, int], Tensor]
"""Takes a block of rows (rows, columns), in any type, and its first row; gives the block in float32 (or as stored)."""


class Step(Protocol):
    """One change of a weight. ``whole``: it needs all rows of its region in one block."""

    @property
    def whole(self) -> bool:
        """Whether blocks must be the whole region."""
        ...

    def ready(self) -> Apply:
        """Read what the step needs."""
        ...


@lru_cache(maxsize=8)
def _factor(stored: Stored) -> Tensor:
    """A factor in float32; several stretches of one weight, and all experts of a layer, need the same."""
    return stored.read().float()


@dataclass(frozen=True)
class LowRank:
    """Adds ``scale * B @ A``, or its transpose.

    Attributes:
        down: A, (rank, in), of all experts one after the other where there are some.
        up: B, (out, rank); with experts (out, rank * experts), those of one expert ``experts`` apart.
        transposed: the weight is (in, out), as in an embedding or a Conv1D.
        expert: which of how many experts.
        rows: rows of B, where the weight is only a part of what the adapter changes (a gate of gate and up).
        magnitude: DoRA's length of each row (or column) of the sum.
        columns: the magnitudes are lengths of columns of the weight as it is stored.
    """

    down: Stored
    up: Stored
    scale: float
    transposed: bool = False
    expert: tuple[int, int] | None = None
    rows: tuple[int, int] | None = None
    magnitude: Stored | None = None
    columns: bool = False

    @property
    def whole(self) -> bool:
        """Lengths of columns are known when all rows are."""
        return self.columns

    def ready(self) -> Apply:
        """Read the factors."""
        left, right, scale = self._factors()
        magnitude = None if self.magnitude is None else _factor(self.magnitude).reshape(-1)
        room = torch.empty(0)

        def add(block: Tensor, start: int) -> Tensor:
            nonlocal room
            if room.shape != block.shape:
                room = torch.empty(block.shape, dtype=torch.float32)
            delta = torch.mm(left[start : start + len(block)], right, out=room)
            if scale != 1:
                delta.mul_(scale)
            return delta.add_(block)

        if magnitude is None:
            return add
        if self.columns:
            return lambda block, start: _to_columns(add(block, start), magnitude)
        return lambda block, start: _to_rows(add(block, start), magnitude[start : start + len(block)])

    def _factors(self) -> tuple[Tensor, Tensor, float]:
        """Left and right factor of the weight as it is stored, and what their product is to be multiplied by."""
        down, up = _factor(self.down), _factor(self.up)
        if self.expert is not None:
            index, count = self.expert
            down = down.reshape(count, -1, down.shape[-1])[index]
            up = up.reshape(len(up), -1, count)[:, :, index].contiguous()
        if self.rows is not None:
            up = up[self.rows[0] : self.rows[1]]
        left, right = (down.T.contiguous(), up.T.contiguous()) if self.transposed else (up, down)
        if math.frexp(self.scale)[0] == 0.5:  # a power of two: multiplying before or after gives the same bits
            return left * self.scale, right, 1.0
        return left, right, self.scale


def _to_rows(total: Tensor, magnitude: Tensor) -> Tensor:
    factor = magnitude / torch.linalg.norm(total, dim=1)
    return total.mul_(factor.view(-1, 1))


def _to_columns(total: Tensor, magnitude: Tensor) -> Tensor:
    factor = magnitude / torch.linalg.norm(total.T, dim=1)
    return total.mul_(factor.view(1, -1))


@dataclass(frozen=True)
class Replace:
    """Puts the adapter's own tensor (or the tensor of another name) in place of the weight."""

    value: Stored
    whole: bool = False

    def ready(self) -> Apply:
        """Nothing is kept: each block is read when its time comes."""
        width = self.value.matrix[1]
        item = self.value.size // max(1, math.prod(self.value.shape))

        def read(block: Tensor, start: int) -> Tensor:
            part = Stored(
                self.value.name,
                self.value.dtype,
                (len(block), width),
                self.value.file,
                self.value.start + start * width * item,
                len(block) * width * item,
            )
            return part.read()

        return read


@dataclass(frozen=True)
class ReplaceRows:
    """Puts the adapter's rows in place of some of the weight's: trained tokens of an embedding."""

    indices: tuple[int, ...]
    values: Stored
    whole: bool = False

    def ready(self) -> Apply:
        """Read the rows."""
        values = self.values.read()

        def replace(block: Tensor, start: int) -> Tensor:
            total = block.float()
            for row, index in enumerate(self.indices):
                if start <= index < start + len(block):
                    total[index - start] = values[row]
            return total

        return replace


@dataclass(frozen=True)
class AddVector:
    """Adds ``scale`` times a vector: the bias of B."""

    vector: Stored
    scale: float
    whole: bool = False

    def ready(self) -> Apply:
        """Read the vector."""
        vector = self.vector.read().float() * self.scale
        return lambda block, start: block.float() + vector
