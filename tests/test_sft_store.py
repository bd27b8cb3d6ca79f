import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sft.encode import IGNORE, Encoded, Span
from sft.store import RowStore, RowView, write_store
from toolwright.errors import ArtifactError

REPOSITORY = Path(__file__).resolve().parents[1]
FLOATS = st.floats(0, 2.0**20, width=32)


@st.composite
def encoded_rows(draw: st.DrawFn) -> Encoded:
    """Any row: stretches of tokens that are trained with a weight (0 included) or not, and spans that need not fit."""
    stretches = draw(st.lists(st.tuples(st.integers(1, 4), st.none() | FLOATS), max_size=6))
    weights = [weight for length, weight in stretches for _ in range(length)]
    ids = np.array(draw(st.lists(st.integers(0, 2**31 - 1), min_size=len(weights), max_size=len(weights))), np.int32)
    trained = np.array([weight is not None for weight in weights], bool)
    spans = draw(st.lists(st.builds(Span, *[st.integers(0, 1000)] * 3), max_size=3))
    return Encoded(
        ids,
        np.where(trained, ids, IGNORE).astype(np.int32),
        np.array([weight or 0.0 for weight in weights], np.float32),
        tuple(spans),
        draw(st.integers(0, 2**40)),
        draw(st.integers(0, 9)),
    )


def row_of(*ids: int, trained: int = 1) -> Encoded:
    """A row whose last ``trained`` tokens carry a label."""
    tokens = np.array(ids, np.int32)
    labels, weights = np.full(len(ids), IGNORE, np.int32), np.zeros(len(ids), np.float32)
    labels[-trained:] = tokens[-trained:]
    weights[-trained:] = 0.5
    return Encoded(tokens, labels, weights, (Span(1, len(ids) - trained, len(ids)),), ids[0], 0)


ROWS = [row_of(*range(n, 3 * n), trained=1 + n % 3) for n in range(2, 40)]


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(encoded_rows(), max_size=5))
def test_every_row_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, rows: list[Encoded]) -> None:
    directory = tmp_path_factory.mktemp("s") / "store"
    write_store(directory, rows)
    store = RowStore.open(directory)
    assert list(store) == rows
    assert all(row.input_ids.dtype == row.labels.dtype == np.int32 and row.weights.dtype == np.float32 for row in store)
    assert store.lengths.tolist() == [len(row.input_ids) for row in rows]
    assert store.lengths.dtype == np.int32
    assert store.trained.tolist() == [row.trained for row in rows]
    assert store.cut_turns.tolist() == [row.cut_turns for row in rows]


def test_rows_can_be_changed_by_their_reader_without_changing_the_store(tmp_path: Path) -> None:
    write_store(tmp_path / "s", ROWS)
    store = RowStore.open(tmp_path / "s")
    store[0].input_ids[:] = 7
    assert store[0] == ROWS[0]
    assert store[-1] == ROWS[-1]
    with pytest.raises(IndexError):
        store[len(ROWS)]


def test_a_view_holds_numbers_and_may_repeat_rows(tmp_path: Path) -> None:
    write_store(tmp_path / "s", ROWS)
    store = RowStore.open(tmp_path / "s")
    view = RowView(store, np.array([3, 1, 3]))
    assert list(view) == [ROWS[3], ROWS[1], ROWS[3]]
    assert view.lengths.tolist() == [len(ROWS[n].input_ids) for n in (3, 1, 3)]
    assert view[-1] == ROWS[3]
    assert list(view[1:]) == [ROWS[1], ROWS[3]]
    assert list(store[2:4]) == ROWS[2:4]


def test_stores_and_views_reach_the_workers_of_a_dataloader(tmp_path: Path) -> None:
    write_store(tmp_path / "s", ROWS)
    store = RowStore.open(tmp_path / "s")
    packed = pickle.dumps(RowView(store, np.array([5, 0])))
    assert len(packed) < 1000
    assert list(pickle.loads(packed)) == [ROWS[5], ROWS[0]]
    assert list(pickle.loads(pickle.dumps(store))) == ROWS


def test_rows_that_break_off_leave_no_store(tmp_path: Path) -> None:
    def broken() -> Iterator[Encoded]:
        yield ROWS[0]
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        write_store(tmp_path / "s", broken())
    assert list(tmp_path.iterdir()) == []


def test_a_killed_writer_leaves_no_store(tmp_path: Path) -> None:
    program = (
        "import itertools, sys, pathlib; from tests.test_sft_store import ROWS; from sft.store import write_store\n"
        f"write_store(pathlib.Path({str(tmp_path / 's')!r}), itertools.cycle(ROWS))"
    )
    process = subprocess.Popen([sys.executable, "-c", program], cwd=REPOSITORY)
    try:
        deadline = time.monotonic() + 60
        while not any(file.stat().st_size for file in tmp_path.rglob("ids")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert not (tmp_path / "s").exists()
    with pytest.raises(ArtifactError, match=r"store\.json: cannot be read"):
        RowStore.open(tmp_path / "s")


@pytest.mark.parametrize("name", ["ids", "runs", "spans", "rows", "store.json"])
@pytest.mark.parametrize("damage", ["cut", "gone", "longer"])
def test_a_damaged_file_is_named_when_the_store_is_opened(tmp_path: Path, name: str, damage: str) -> None:
    write_store(tmp_path / "s", ROWS)
    path = tmp_path / "s" / name
    content = path.read_bytes()
    path.unlink()
    if damage != "gone":
        path.write_bytes(content[:-3] if damage == "cut" else content + b"123")
    with pytest.raises(ArtifactError, match=rf"s/{name}: .*delete"):
        RowStore.open(tmp_path / "s")


@pytest.mark.parametrize("name", ["ids", "runs", "spans"])
def test_a_flipped_bit_is_noticed_when_its_row_is_read(tmp_path: Path, name: str) -> None:
    write_store(tmp_path / "s", ROWS)
    path = tmp_path / "s" / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    store = RowStore.open(tmp_path / "s")
    assert store[0] == ROWS[0]
    with pytest.raises(ArtifactError, match=rf"row {len(ROWS) - 1} was changed"):
        store[-1]


def test_a_table_that_does_not_fit_its_files_is_refused(tmp_path: Path) -> None:
    write_store(tmp_path / "s", ROWS)
    rows = tmp_path / "s" / "rows"
    content = bytearray(rows.read_bytes())
    content[0] ^= 255
    content[1] ^= 255
    rows.write_bytes(content)
    with pytest.raises(ArtifactError, match="does not fit ids"):
        RowStore.open(tmp_path / "s")


def test_a_row_that_the_form_cannot_hold_is_refused_and_not_changed(tmp_path: Path) -> None:
    row = row_of(1, 2, 3)
    row.labels[-1] = 9
    with pytest.raises(ValueError, match="another token"):
        write_store(tmp_path / "s", [row])
    assert not (tmp_path / "s").exists()
