import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sft.pack import pack_families, pack_rows, split_packs
from toolwright.errors import DataError
from toolwright.forest import MIN_SHARED, Row, plant


def first_fit_decreasing(lengths: list[int], capacity: int) -> int:
    room: list[int] = []
    for length in sorted(lengths, reverse=True):
        for number, free in enumerate(room):
            if free >= length:
                room[number] -= length
                break
        else:
            room.append(capacity - length)
    return len(room)


def best_fit_decreasing(lengths: list[int], capacity: int) -> int:
    room: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [free for free in room if free >= length]
        if fitting:
            room.remove(min(fitting))
        room.append((min(fitting) if fitting else capacity) - length)
    return len(room)


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 60).flatmap(lambda cap: st.tuples(st.just(cap), st.lists(st.integers(1, cap), max_size=60))))
def test_every_row_is_in_one_pack_and_no_pack_is_too_long(case: tuple[int, list[int]]) -> None:
    capacity, lengths = case
    packs = pack_rows(lengths, capacity)
    assert sorted(row for pack in packs for row in pack) == list(range(len(lengths)))
    assert all(sum(lengths[row] for row in pack) <= capacity for pack in packs)
    assert len(packs) == best_fit_decreasing(lengths, capacity)


def test_packs_are_not_more_than_first_fit_needs() -> None:
    for seed in range(40):
        draw = np.random.default_rng(seed)
        lengths = draw.lognormal(3.5, 0.8, 200).clip(1, 256).astype(int).tolist()
        assert len(pack_rows(lengths, 256)) <= first_fit_decreasing(lengths, 256)


def tool_lengths(count: int, longest: int) -> np.ndarray:
    return np.random.default_rng(5).lognormal(7.6, 0.7, count).clip(150, longest).astype(np.int32)


def test_twenty_thousand_rows_fill_their_packs_at_once() -> None:
    lengths = tool_lengths(20_000, 8192)
    times = []
    for _ in range(3):
        started = time.process_time()
        packs = pack_rows(lengths, 8192)
        times.append(time.process_time() - started)
    assert len(packs) <= 1.003 * -(-int(lengths.sum()) // 8192)
    assert min(times) <= 0.2


def test_a_row_that_fits_nowhere_is_named() -> None:
    with pytest.raises(DataError, match=r"row 1 has 9 tokens and sft.pack_tokens = 8; raise sft.pack_tokens"):
        pack_rows([3, 9, 8], 8)
    with pytest.raises(DataError, match="row 0 has 9 tokens"):
        pack_families([row_of(range(9))], [9], 8)
    assert pack_rows([], 8) == pack_families([], [], 8) == []


def row_of(ids: object) -> Row:
    array = np.array(list(ids), np.int32)  # type: ignore[call-overload]
    return Row(array, array, np.ones(len(array), np.float32))


def family_rows(families: int, each: int, prefix: int, suffix: int, seed: int = 0) -> list[Row]:
    draw = np.random.default_rng(seed)
    rows = []
    for _ in range(families):
        common = draw.integers(0, 1000, prefix)
        rows += [row_of([*common, *draw.integers(0, 1000, int(draw.integers(1, suffix)))]) for _ in range(each)]
    return [rows[number] for number in draw.permutation(len(rows))]


def forest_tokens(rows: list[Row], pack: list[int]) -> int:
    return len(plant([rows[row] for row in pack], MIN_SHARED).ids_S)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 9), st.integers(0, 200))
def test_the_forest_of_a_pack_of_families_fits(seed: int, families: int, each: int, prefix: int) -> None:
    rows = family_rows(families, each, prefix, 150, seed)
    # rows that go on where others end, as the split rows of one conversation do
    rows += [row_of([*row.input_ids, *np.random.default_rng(at).integers(0, 9, 40)]) for at, row in enumerate(rows[:5])]
    lengths = [len(row.input_ids) for row in rows]
    packs = pack_families(rows, lengths, 512)
    assert sorted(row for pack in packs for row in pack) == list(range(len(rows)))
    assert all(forest_tokens(rows, pack) <= 512 for pack in packs)


def test_what_rows_have_in_common_takes_room_once() -> None:
    rows = family_rows(families=10, each=20, prefix=400, suffix=100)
    lengths = [len(row.input_ids) for row in rows]
    shared, apart = pack_families(rows, lengths, 2048), pack_rows(lengths, 2048)
    assert len(shared) < 0.35 * len(apart)
    alone = sum(lengths) - 400 * (len(rows) - 10)
    assert sum(forest_tokens(rows, pack) for pack in shared) < 1.15 * alone


def test_rows_that_have_nothing_in_common_are_packed_as_documents() -> None:
    rows = family_rows(families=60, each=1, prefix=0, suffix=200)
    lengths = [len(row.input_ids) for row in rows]
    assert len(pack_families(rows, lengths, 512)) == len(pack_rows(lengths, 512))


@pytest.mark.parametrize(("multiple", "expected"), [(1, 3), (2, 4), (4, 4), (5, 5), (8, 6)])
def test_packs_are_split_until_every_process_has_as_many(multiple: int, expected: int) -> None:
    packs = split_packs([[0, 1, 2, 3], [4], [5]], multiple)
    assert len(packs) == expected
    assert sorted(row for pack in packs for row in pack) == [0, 1, 2, 3, 4, 5]
