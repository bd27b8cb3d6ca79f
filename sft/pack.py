"""Which rows go into which pack: best fit over the whole set, and rows that begin alike together.

Reads and writes no files.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolwright.errors import DataError
from toolwright.forest import MIN_SHARED

_BLOCK = 32
"""Tokens whose fingerprint is compared at once in the search for equal beginnings."""


def pack_rows(lengths: Sequence[int] | NDArray[Any], capacity: int) -> list[list[int]]:
    """Put each row into exactly one pack of at most ``capacity`` tokens: longest first, where it leaves least room.

    Deterministic; the packs in the order in which they were opened. The free places of open packs are the bits of one
    integer, so that the smallest that is large enough is found by shifting.

    Raises:
        DataError: a row is longer than ``capacity``.
    """
    sizes = np.asarray(lengths, np.int64)
    _require_fit(sizes, capacity)
    packs: list[list[int]] = []
    open_packs: dict[int, list[list[int]]] = {}
    free = 0
    order = np.argsort(-sizes, kind="stable")
    for row, length in zip(order.tolist(), sizes[order].tolist()):
        fitting = free >> length
        if fitting:
            room = length + (fitting & -fitting).bit_length() - 1
            pack = open_packs[room].pop()
            if not open_packs[room]:
                free ^= 1 << room
        else:
            room, pack = capacity, []
            packs.append(pack)
        pack.append(row)
        left = room - length
        if left:
            open_packs.setdefault(left, []).append(pack)
            free |= 1 << left
    return packs


def split_packs(packs: Sequence[list[int]], multiple: int) -> list[list[int]]:
    """Halve packs, those with most rows first, until their number is a multiple, or each has one row."""
    split = list(packs)
    while len(split) % multiple:
        most = max(range(len(split)), key=lambda number: len(split[number]))
        pack = split[most]
        if len(pack) == 1:
            break
        split[most] = pack[: len(pack) // 2]
        split.append(pack[len(pack) // 2 :])
    return split


def _require_fit(sizes: NDArray[np.int64], capacity: int) -> None:
    if len(sizes) and sizes.max() > capacity:
        row = int(sizes.argmax())
        raise DataError(
            f"row {row} has {sizes[row]} tokens and sft.pack_tokens = {capacity}; raise sft.pack_tokens, or cut "
            "conversations with sft.max_tokens"
        )


def pack_families(rows: Sequence[Any], lengths: Sequence[int] | NDArray[Any], capacity: int) -> list[list[int]]:
    """As ``pack_rows``, with rows that begin alike together, where what they have in common takes room once.

    The length of a pack is at least that of its forest. Rows, of which ``input_ids`` is read, are read one at a time;
    one in sixteen of their bytes stays in memory as fingerprints.

    Raises:
        DataError: a row is longer than ``capacity``.
    """
    sizes = np.asarray(lengths, np.int64)
    _require_fit(sizes, capacity)
    keys = _fingerprints(rows, sizes)
    order = sorted(range(len(keys)), key=keys.__getitem__)
    open_nodes: list[tuple[int, list[_Unit]]] = [(0, [])]  # tokens from the start of the rows, and what branches there
    for before, row in zip([None, *order], order):
        # A forest gives up to MIN_SHARED - 1 tokens away rather than share them in a segment of their own.
        blocks = 0 if before is None else _equal_blocks(keys[before], keys[row])
        common = max(blocks * _BLOCK - MIN_SHARED + 1, 0)
        _close_nodes(open_nodes, common, capacity)
        if open_nodes[-1][0] < common:
            open_nodes.append((common, [open_nodes[-1][1].pop()]))
        open_nodes[-1][1].append(([row], int(sizes[row])))
    _close_nodes(open_nodes, 0, capacity)
    return [rows_of for rows_of, _ in _merge(open_nodes[0][1], 0, capacity)]


_Unit = tuple[list[int], int]
"""Rows that stay together, and the tokens of their forest."""


def _close_nodes(open_nodes: list[tuple[int, list[_Unit]]], common: int, capacity: int) -> None:
    """Merge what branches deeper than ``common`` tokens, and hand it to the node above, at ``common`` or less."""
    while open_nodes[-1][0] > common:
        depth, units = open_nodes.pop()
        merged = _merge(units, depth, capacity)
        if open_nodes[-1][0] < common:
            open_nodes.append((common, merged))
        else:
            open_nodes[-1][1].extend(merged)


def _merge(units: list[_Unit], depth: int, capacity: int) -> list[_Unit]:
    """As few units as fit, of units that all share ``depth`` tokens."""
    packs = pack_rows([tokens - depth for _, tokens in units], capacity - depth)
    return [
        ([row for part in pack for row in units[part][0]], depth + sum(units[part][1] - depth for part in pack))
        for pack in packs
    ]


def _equal_blocks(one: bytes, other: bytes) -> int:
    count = min(len(one), len(other)) // 8
    differ = np.frombuffer(one, np.int64, count) != np.frombuffer(other, np.int64, count)
    return int(differ.argmax()) if differ.any() else count


def _fingerprints(rows: Sequence[Any], sizes: NDArray[np.int64]) -> list[bytes]:
    """For each row 8 bytes a whole block, a hash of all tokens up to its end: equal beginnings, equal bytes."""
    factors = np.arange(1, int(sizes.max(initial=0)) + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # the mixing of splitmix64
        factors = (factors ^ (factors >> np.uint64(shift))) * np.uint64(factor)
    factors |= np.uint64(1)
    keys = []
    for number in range(len(rows)):
        ids = np.asarray(rows[number].input_ids).astype(np.uint64) + np.uint64(1)
        sums = np.cumsum(ids * factors[: len(ids)])
        keys.append(sums[_BLOCK - 1 :: _BLOCK].tobytes())
    return keys
