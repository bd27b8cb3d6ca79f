"""Keys and values of the requests in flight, one slot each, and of prompts that may come again.

A slot's row starts at position 0 and is padded on the right, so requests of any length join and leave at any step.
Shapes: ``L`` layers, ``S`` slots, ``H`` key heads, ``K`` positions, ``D`` width of a head.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache

CHUNK = 128
"""Prompt tokens that go through the model together. Fixed, so that a chunk's keys and values depend on the text up to
its end and on nothing else, whether they are computed or found: that keeps replies the same with and without reuse."""
PAD = 64


def spans(length: int) -> Iterator[tuple[int, int]]:
    """The chunks of a prompt, as (start, end)."""
    return ((start, min(start + CHUNK, length)) for start in range(0, length, CHUNK))


def pad_length(length: int) -> int:
    """``length`` rounded up to whole blocks of positions."""
    return -(-length // PAD) * PAD


class KeyValues(Cache):  # type: ignore[misc]  # transformers is untyped
    """Room for keys and values, (L, S, H, K, D) each, that a model writes to at each row's own position.

    Used in two ways: as the slots of all requests in flight, and with one row as the place where a prompt is computed.
    """

    def __init__(self, layers: int) -> None:
        super().__init__(layers=[])
        self.n_layers = layers
        self.keys: Tensor | None = None
        self.values: Tensor | None = None
        self._rows: Tensor | None = None
        self._positions: Tensor | None = None
        self._start = 0
        self._length = 0

    def reserve(self, rows: int, length: int) -> None:
        """Have room for so many rows and positions; what is there stays."""
        self._wanted = (rows, pad_length(length))
        if self.keys is not None and self.values is not None:
            self.keys, self.values = self._grown(self.keys), self._grown(self.values)

    def _grown(self, old: Tensor) -> Tensor:
        rows, length = max(self._wanted[0], old.shape[1]), max(self._wanted[1], old.shape[3])
        if (rows, length) == (old.shape[1], old.shape[3]):
            return old
        # Zeros, not garbage: a masked key counts as an exact zero only if its value is finite.
        new = old.new_zeros((old.shape[0], rows, old.shape[2], length, old.shape[4]))
        new[:, : old.shape[1], :, : old.shape[3]] = old
        return new

    def write_chunk(self, start: int) -> None:
        """The next forward pass holds one row that goes to the positions from ``start`` on."""
        self._positions, self._start = None, start

    def write_step(self, positions_R: Tensor, length: int) -> None:
        """The next forward pass holds one token of each of the first R rows; keys up to ``length`` are looked at."""
        self._rows = torch.arange(len(positions_R), device=positions_R.device)
        self._positions, self._length = positions_R, length

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any) -> Any:
        """Called by each attention layer: write the new keys and values, give those to attend to."""
        if self.keys is None or self.values is None:
            self.keys, self.values = self._zeros(key_states), self._zeros(value_states)
        keys, values = self.keys[layer_idx], self.values[layer_idx]
        if self._positions is None:
            end = self._start + key_states.shape[2]
            keys[:1, :, self._start : end], values[:1, :, self._start : end] = key_states, value_states
            return keys[:1, :, :end], values[:1, :, :end]
        rows = len(self._positions)
        keys[self._rows, :, self._positions] = key_states[:, :, 0]
        values[self._rows, :, self._positions] = value_states[:, :, 0]
        return keys[:rows, :, : self._length], values[:rows, :, : self._length]

    def allocate(self, like: Tensor) -> None:
        """Make the room now, for keys and values (R, H, K, D) such as ``like``."""
        self.keys, self.values = self._zeros(like), self._zeros(like)

    def _zeros(self, like: Tensor) -> Tensor:
        rows, length = self._wanted
        return like.new_zeros((self.n_layers, rows, like.shape[1], length, like.shape[3]))

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Positions before the next write; models ask for it only when they are given no position ids."""
        return self._start

    def cut(self, row: int, start: int, end: int) -> tuple[Tensor, Tensor]:
        """A copy of a row from ``start`` to ``end``: keys and values, (L, H, end - start, D)."""
        keys, values = self.held()
        return keys[:, row, :, start:end].clone(), values[:, row, :, start:end].clone()

    def held(self) -> tuple[Tensor, Tensor]:
        """All keys and values, (L, S, H, K, D) each."""
        assert self.keys is not None, "nothing has been written yet"
        assert self.values is not None, "nothing has been written yet"
        return self.keys, self.values

    def paste(self, row: int, start: int, keys: Tensor, values: Tensor) -> None:
        """Write a piece that was cut to ``row`` from ``start`` on."""
        rows, length = self._wanted
        if self.keys is None or self.values is None:
            heads = (self.n_layers, rows, keys.shape[1], length)
            self.keys, self.values = (
                keys.new_zeros((*heads, keys.shape[3])),
                values.new_zeros((*heads, values.shape[3])),
            )
        self.keys[:, row, :, start : start + keys.shape[2]] = keys
        self.values[:, row, :, start : start + keys.shape[2]] = values

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first ``length`` positions of a row to another."""
        for tensor in self.held():
            tensor[:, target, :, :length] = tensor[:, source, :, :length]

    def wipe(self, row: int) -> None:
        """Set a row to zero: what a failed request wrote may not be finite, and would leak through the mask."""
        for tensor in self.held():
            tensor[:, row] = 0


@dataclass
class Piece:
    """One chunk of a known prompt; ``logits`` follow its last token, where they were computed; ``uses``: prompts after
    the first that had it."""

    id: int
    keys: Tensor
    values: Tensor
    logits: Tensor | None
    uses: int = 0

    @property
    def size(self) -> int:
        """Bytes held."""
        return sum(t.numel() * t.element_size() for t in (self.keys, self.values, self.logits) if t is not None)


class Prefixes:
    """Chunks of prompts, found by the text that they end; the ones that were not used for longest go first.

    Args:
        budget: most bytes to hold.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._size = 0
        self._next_id = 1
        self._pieces: OrderedDict[tuple[int, tuple[int, ...]], Piece] = OrderedDict()

    def find(self, parent: int, tokens: tuple[int, ...]) -> Piece | None:
        """The piece that holds ``tokens`` after the piece ``parent`` (0: at the beginning)."""
        piece = self._pieces.get((parent, tokens))
        if piece is not None:
            self._pieces.move_to_end((parent, tokens))
        return piece

    def add(self, parent: int, tokens: tuple[int, ...], keys: Tensor, values: Tensor, logits: Tensor | None) -> Piece:
        """Remember a piece, and forget others where there is no room."""
        old = self._pieces.pop((parent, tokens), None)
        if old is not None:
            self._size -= old.size
        piece = Piece(old.id if old else self._next_id, keys, values, logits)
        self._next_id += old is None
        self._pieces[(parent, tokens)] = piece
        self._size += piece.size
        while self._size > self._budget and len(self._pieces) > 1:
            self._size -= self._pieces.popitem(last=False)[1].size
        return piece

    def clear(self) -> None:
        """Forget everything: the weights have changed. Ids are not used again."""
        self._pieces.clear()
        self._size = 0
