"""Rows that share one forward pass without seeing each other: a forest of token segments.

A row that shares nothing is a root. Rows that begin with the same tokens share those as one segment, and what follows
in each hangs below it; a token stands at the position that it has in its own row. ``toolwright.segment_attention``
lets each segment see its ancestors and itself, so every row gets what it would get alone.

Source: sharing prefixes is OpenPipe ART #905 and verl #6689 (there for RL only); the code is ours.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from toolwright.segment_attention import NAME, Layout, Segment

IGNORE = -100
MIN_SHARED = 16
"""Tokens that rows must have in common for sharing them to be worth a segment of its own."""


class Row(NamedTuple):
    """What a forest needs of a row: ids and labels (T,) (not shifted, -100 where not trained), weights (T,)."""

    input_ids: NDArray[Any]
    labels: NDArray[Any]
    weights: NDArray[Any]


@dataclass(frozen=True, eq=False)
class Forest:
    """Rows as S tokens in segments, of which N are scored.

    Attributes:
        ids_S: the tokens, each parent before its children.
        positions_S: the position of each token in its own row.
        layout: which segment follows which.
        sources_N: index of the token whose logits predict the target; that in front of a segment is in its parent, so
            one source may have several targets.
        targets_N: the tokens to predict.
        weights_N: what their losses are multiplied with, summed over the rows that train the token.
        counts_N: how many rows train the token.
        picks: for each row, which of the N are its trained tokens, in order.
        row_tokens: tokens of all rows, as many as S without sharing.
    """

    ids_S: Tensor
    positions_S: Tensor
    layout: Layout
    sources_N: Tensor
    targets_N: Tensor
    weights_N: Tensor
    counts_N: Tensor
    picks: tuple[Tensor, ...]
    row_tokens: int

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Forest":
        """The same on ``device``."""
        names = ("ids_S", "positions_S", "sources_N", "targets_N", "weights_N", "counts_N")
        moved = {name: getattr(self, name).to(device, non_blocking=non_blocking) for name in names}
        return replace(self, **moved, picks=tuple(pick.to(device, non_blocking=non_blocking) for pick in self.picks))


def plant(rows: Sequence[Row | Any], min_shared: int | None = None) -> Forest:
    """The forest of ``rows`` (anything with ``input_ids``, ``labels`` and ``weights`` as numpy arrays).

    Args:
        rows: at least one; a label on the first token of a row is left out, for nothing predicts it.
        min_shared: share beginnings of at least so many tokens; none: every row is a root.
    """
    ids = [np.asarray(row.input_ids) for row in rows]
    segments, pieces, places = _grow(ids, min_shared)
    flat = np.concatenate([ids[row][start:end] for row, start, end in pieces])
    depths = np.concatenate([np.arange(start, end) for _, start, end in pieces])
    trained = [np.flatnonzero(np.asarray(row.labels)[1:] != IGNORE) + 1 for row in rows]
    targets = np.concatenate([place[at] for place, at in zip(places, trained)])
    sources = np.concatenate([place[at - 1] for place, at in zip(places, trained)])
    weights = np.concatenate([np.asarray(row.weights)[at] for row, at in zip(rows, trained)])
    target_N, first, picks = np.unique(targets, return_index=True, return_inverse=True)
    borders = np.cumsum([len(at) for at in trained])[:-1]
    return Forest(
        ids_S=torch.from_numpy(flat.astype(np.int64)),
        positions_S=torch.from_numpy(depths),
        layout=Layout(segments),
        sources_N=torch.from_numpy(sources[first]),
        targets_N=torch.from_numpy(flat[target_N].astype(np.int64)),
        weights_N=torch.from_numpy(np.bincount(picks, weights, len(target_N)).astype(np.float32)),
        counts_N=torch.from_numpy(np.bincount(picks, minlength=len(target_N))),
        picks=tuple(torch.from_numpy(pick) for pick in np.split(picks, borders)),
        row_tokens=sum(len(row) for row in ids),
    )


_Piece = tuple[int, int, int]
"""A segment as the tokens ``start:end`` of a row."""


def _grow(
    ids: Sequence[NDArray[Any]], min_shared: int | None
) -> tuple[list[Segment], list[_Piece], list[NDArray[np.int64]]]:
    """Segments, each as a piece of a row that has it, and for each row the index of each of its tokens."""
    order, common = _sorted_rows(ids, min_shared)
    least = min_shared or 0
    segments: list[Segment] = []
    pieces: list[_Piece] = []
    places = [np.empty(len(row), np.int64) for row in ids]
    size = 0
    pending = [(0, len(order), 0, -1)]  # sorted rows low:high have their first `depth` tokens in `parent` and above
    while pending:
        low, high, depth, parent = pending.pop()
        below: list[tuple[int, int, int, int]] = []
        for start, end in _runs(common, low, high, depth + least):
            until = int(common[start + 1 : end].min()) if end - start > 1 else len(ids[order[start]])
            if until == depth:
                continue
            for row in order[start:end]:
                places[row][depth:until] = np.arange(size, size + until - depth)
            pieces.append((order[start], depth, until))
            segments.append(Segment(size, size + until - depth, parent))
            size += until - depth
            if end - start > 1:
                below.append((start, end, until, len(segments) - 1))
        pending += reversed(below)
    return segments, pieces, places


def _sorted_rows(ids: Sequence[NDArray[Any]], min_shared: int | None) -> tuple[list[int], NDArray[np.int64]]:
    """Rows so that equal beginnings are neighbours, and the tokens that each has in common with the one before."""
    order = list(range(len(ids)))
    common = np.full(len(ids), -1, np.int64)
    if min_shared is not None:
        order.sort(key=lambda row: ids[row].astype(">i4").tobytes())
        for at in range(1, len(order)):
            common[at] = shared_length(ids[order[at - 1]], ids[order[at]])
    return order, common


def shared_length(one: NDArray[Any], other: NDArray[Any]) -> int:
    """How many tokens two rows begin with in common."""
    length = min(len(one), len(other))
    differ = one[:length] != other[:length]
    return int(differ.argmax()) if differ.any() else length


def _runs(common: NDArray[np.int64], low: int, high: int, least: int) -> Iterator[tuple[int, int]]:
    """Cut sorted rows ``low:high`` into runs whose neighbours share at least ``least`` tokens."""
    start = low
    for at in range(low + 1, high):
        if common[at] < least:
            yield start, at
            start = at
    yield start, high


def scored_logits(model: Any, head: nn.Module, forest: Forest) -> Tensor:
    """The logits (N, V) that predict the targets; ``head`` (the output embeddings) runs for those tokens only.

    Where attention is not ours (flash_attention_2 and its like), the model finds the borders of rows by the positions.
    """
    ours = getattr(model, "module", model).config.get_text_config()._attn_implementation == NAME
    table = {"attention_mask": _no_mask(forest), "forest": forest.layout} if ours else {}
    with only(head, lambda hidden_BSH: hidden_BSH[:, forest.sources_N]):
        output = model(input_ids=forest.ids_S[None], position_ids=forest.positions_S[None], use_cache=False, **table)
    logits_NV: Tensor = output.logits[0]
    return logits_NV


def _no_mask(forest: Forest) -> Tensor:
    """A mask of four dimensions is taken as it is, so transformers builds none of its own; our attention reads none."""
    return torch.empty((1, 1, 0, 0), device=forest.ids_S.device)


@contextmanager
def only(head: nn.Module, select: Any) -> Iterator[None]:
    """Let ``head`` see ``select(hidden)`` inside the block.

    The selection happens within the model's own forward pass: whatever the model does with its logits, and whatever
    wraps it (DDP, FSDP, PEFT), stays as it is.
    """
    handle = head.register_forward_pre_hook(lambda _, args: (select(args[0]), *args[1:]))
    try:
        yield
    finally:
        handle.remove()
