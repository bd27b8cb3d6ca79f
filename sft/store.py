"""Training rows in flat files that are mapped into memory, so that they may be larger than it.

A store is a directory: ``ids`` (int32, all rows one after the other), ``runs`` (stretches of trained tokens with one
weight), ``spans`` (trained turns), ``rows`` (where each row ends in the others, its checksum) and ``store.json``.
"""

import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, overload

import numpy as np
from numpy.typing import NDArray

from sft.encode import IGNORE, Encoded, Span
from toolwright.artifacts import replacing
from toolwright.errors import ArtifactError

_FORMAT = 1
_RUN = np.dtype([("start", "<i4"), ("length", "<i4"), ("weight", "<f4")])
_SPAN = np.dtype([("message", "<i4"), ("start", "<i4"), ("end", "<i4")])
_ROW = np.dtype(
    [
        ("ids_end", "<i8"),
        ("runs_end", "<i8"),
        ("spans_end", "<i8"),
        ("source", "<i8"),
        ("cut_turns", "<i4"),
        ("trained", "<i4"),
        ("checksum", "<u4"),
    ]
)
_FILES = {"ids": np.dtype("<i4"), "runs": _RUN, "spans": _SPAN, "rows": _ROW}


def write_store(directory: Path, rows: Iterable[Encoded]) -> None:
    """Write ``rows`` as they come to a store at ``directory``, which is there as a whole afterwards or not at all.

    Raises:
        ValueError: a row whose labels are other tokens than its ids, or that weighs tokens without a label.
    """
    with replacing(directory) as temporary:
        temporary.mkdir()
        ends = dict.fromkeys(("ids", "runs", "spans", "rows"), 0)
        with ExitStack() as stack:
            files = {name: stack.enter_context((temporary / name).open("wb")) for name in _FILES}
            for row in rows:
                _append(files, ends, row)
            for stream in files.values():
                _to_disk(stream)
        with (temporary / "store.json").open("wb") as stream:
            stream.write(json.dumps({"format": _FORMAT, "count": ends}).encode())
            _to_disk(stream)


def _append(files: Mapping[str, BinaryIO], ends: dict[str, int], row: Encoded) -> None:
    spans = np.array([(span.message, span.start, span.end) for span in row.spans], _SPAN)
    parts = {"ids": row.input_ids.astype("<i4", copy=False), "runs": _runs_of(row), "spans": spans}
    checksum = 0
    for name, values in parts.items():
        content = values.tobytes()
        files[name].write(content)
        ends[name] += len(values)
        checksum = zlib.crc32(content, checksum)
    trained = int(parts["runs"]["length"].sum())
    entry = (ends["ids"], ends["runs"], ends["spans"], row.source, row.cut_turns, trained, checksum)
    files["rows"].write(np.array([entry], _ROW).tobytes())
    ends["rows"] += 1


def _runs_of(row: Encoded) -> NDArray[Any]:
    """The longest stretches of tokens that are trained, or not, with one weight; without those that are not."""
    trained = row.labels != IGNORE
    weights = row.weights.astype("<f4", copy=False)
    if not np.array_equal(row.labels[trained], row.input_ids[trained]) or weights[~trained].any():
        raise ValueError("a label is another token than its id, or a token without a label has a weight")
    bits = weights.view("<u4")  # as bits, so that every weight comes back as it was
    borders = np.flatnonzero((trained[1:] != trained[:-1]) | (bits[1:] != bits[:-1])) + 1
    starts = np.concatenate([[0], borders]) if len(trained) else borders
    runs = np.empty(len(starts), _RUN)
    runs["start"], runs["length"] = starts, np.diff(starts, append=len(trained))
    runs["weight"] = weights[starts]
    kept: NDArray[Any] = runs[trained[starts]]
    return kept


def _to_disk(stream: BinaryIO) -> None:
    stream.flush()
    os.fsync(stream.fileno())


class RowStore(Sequence[Encoded]):
    """The rows of a store; each is read from disk when it is asked for, and checked.

    Attributes:
        directory: where it is.
        lengths: int32 (rows,), tokens of each row.
        trained: int32 (rows,), tokens of each row that carry a label.
        cut_turns, sources: of each row, as ``Encoded`` has them.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        counts = _read_counts(directory)
        files = {name: _map(directory / name, dtype, counts[name]) for name, dtype in _FILES.items()}
        self._ids, self._runs, self._spans, self._rows = (files[name] for name in ("ids", "runs", "spans", "rows"))
        self._require_whole()
        self.lengths: NDArray[np.int32] = np.diff(self._rows["ids_end"], prepend=0).astype(np.int32)
        self.trained: NDArray[np.int32] = np.array(self._rows["trained"])
        self.cut_turns: NDArray[np.int32] = np.array(self._rows["cut_turns"])
        self.sources: NDArray[np.int64] = np.array(self._rows["source"])

    @classmethod
    def open(cls, directory: Path) -> "RowStore":
        """Open a store without reading its rows.

        Raises:
            ArtifactError: not a store, cut short, or its parts do not fit together.
        """
        return cls(directory)

    def __reduce__(self) -> tuple[Any, ...]:
        return RowStore, (self.directory,)

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Encoded: ...
    @overload
    def __getitem__(self, index: slice) -> "RowView": ...
    def __getitem__(self, index: int | slice) -> "Encoded | RowView":
        if isinstance(index, slice):
            return RowView(self)[index]
        number = range(len(self))[index]
        entry = self._rows[number]
        before = self._rows[number - 1] if number else np.zeros((), _ROW)
        ids = np.array(self._ids[before["ids_end"] : entry["ids_end"]])
        runs = np.array(self._runs[before["runs_end"] : entry["runs_end"]])
        spans = np.array(self._spans[before["spans_end"] : entry["spans_end"]])
        checksum = 0
        for values in (ids, runs, spans):
            checksum = zlib.crc32(values.tobytes(), checksum)
        if checksum != entry["checksum"]:
            raise ArtifactError(
                f"{self.directory}: row {number} was changed since it was written; delete the directory"
            )
        labels, weights = np.full(len(ids), IGNORE, np.int32), np.zeros(len(ids), np.float32)
        for start, length, weight in runs.tolist():
            labels[start : start + length] = ids[start : start + length]
            weights[start : start + length] = weight
        found = tuple(Span(*span) for span in spans.tolist())
        return Encoded(ids, labels, weights, found, int(entry["source"]), int(entry["cut_turns"]))

    def _require_whole(self) -> None:
        """Every row ends where it may: the ends never fall, and the last are those of the files."""
        for name, values in (("ids", self._ids), ("runs", self._runs), ("spans", self._spans)):
            ends = self._rows[f"{name}_end"]
            last = int(ends[-1]) if len(ends) else 0
            if last != len(values) or np.any(np.diff(ends, prepend=0) < 0):
                raise ArtifactError(f"{self.directory / 'rows'}: does not fit {name}; delete {self.directory}")


class RowView(Sequence[Encoded]):
    """Some rows of a store, in any order and any number of times; holds their numbers only.

    Attributes:
        store: where they are.
        numbers: int64 (rows,), their places in it.
        lengths, trained, cut_turns: as in ``RowStore``.
    """

    def __init__(self, store: RowStore, numbers: NDArray[np.int64] | None = None) -> None:
        self.store = store
        self.numbers = np.arange(len(store)) if numbers is None else numbers
        self.lengths: NDArray[np.int32] = store.lengths[self.numbers]

    @property
    def trained(self) -> NDArray[np.int32]:
        return self.store.trained[self.numbers]

    @property
    def cut_turns(self) -> NDArray[np.int32]:
        return self.store.cut_turns[self.numbers]

    def __reduce__(self) -> tuple[Any, ...]:
        return RowView, (self.store, self.numbers)

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> Encoded: ...
    @overload
    def __getitem__(self, index: slice) -> "RowView": ...
    def __getitem__(self, index: int | slice) -> "Encoded | RowView":
        if isinstance(index, slice):
            return RowView(self.store, self.numbers[index])
        return self.store[int(self.numbers[index])]

    def __iter__(self) -> Iterator[Encoded]:
        return (self.store[number] for number in self.numbers.tolist())


def _read_counts(directory: Path) -> dict[str, int]:
    path = directory / "store.json"
    try:
        content = json.loads(path.read_bytes())
        counts = {name: int(content["count"][name]) for name in _FILES}
        known = content["format"] == _FORMAT
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path}: cannot be read ({type(error).__name__}: {error}); delete {directory}") from None
    if not known:
        raise ArtifactError(f"{path}: another format than this version writes; delete {directory}")
    return counts


def _map(path: Path, dtype: np.dtype[Any], count: int) -> NDArray[Any]:
    expected = count * dtype.itemsize
    size = path.stat().st_size if path.is_file() else None
    if size != expected:
        what = "is not there" if size is None else f"has {size} bytes instead of {expected}"
        raise ArtifactError(f"{path}: {what}; delete {path.parent}, it is made anew")
    return np.asarray(np.memmap(path, dtype, "r", shape=(count,))) if count else np.empty(0, dtype)
