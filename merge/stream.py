"""Writes a merged model file by file: what does not change is copied within the kernel, what does goes through blocks
that stay in a core's cache. Memory does not grow with the model.

Where nothing changes its type, shape or file, a file keeps its header byte for byte.
"""

import itertools
import math
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import torch

from merge.plan import Edit, Plan
from merge.weights import DTYPES, SINGLE, Shard, Stored, Weights, build_header, byte_size, copy_bytes, write_bytes
from toolwright.errors import ArtifactError, ModelError

BLOCK = 1 << 18
"""Elements of a block: in float32 and once more as stored, it fits a core's second-level cache."""
STRETCH = 1 << 23
"""Elements that one thread takes at a time."""
COPY = 1 << 26
"""Bytes that one thread copies at a time."""
NAMES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
Progress = Callable[[int], None]


@dataclass(frozen=True)
class OutTensor:
    """A tensor to write: its bytes go to ``at`` of the file, and come from ``origin`` through ``edits``."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    origin: Stored
    edits: tuple[Edit, ...]
    at: int

    @property
    def copied(self) -> bool:
        """Whether the bytes are those of the base."""
        return not self.edits and self.origin.dtype == self.dtype

    @property
    def size(self) -> int:
        """Bytes."""
        return byte_size(self.dtype, self.shape)


@dataclass(frozen=True)
class OutFile:
    """A file to write."""

    name: str
    header: bytes
    tensors: tuple[OutTensor, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.header) + sum(tensor.size for tensor in self.tensors)


@dataclass
class Room:
    """The buffers of one thread, and views on them as tensors."""

    source: bytearray = field(default_factory=bytearray)
    target: bytearray = field(default_factory=bytearray)

    def views(self, rows: int, width: int, stored: str, written: str) -> tuple[memoryview, memoryview]:
        """The bytes for a block as it is read, and as it is written."""
        sizes = byte_size(stored, (rows, width)), byte_size(written, (rows, width))
        if len(self.source) < sizes[0]:
            self.source = bytearray(sizes[0])
        if len(self.target) < sizes[1]:
            self.target = bytearray(sizes[1])
        return memoryview(self.source)[: sizes[0]], memoryview(self.target)[: sizes[1]]


def lay_out(weights: Weights, plan: Plan, dtype: str = "base", largest: int | None = None) -> list[OutFile]:
    """The files of the merged model.

    ``dtype`` is the type of all float weights (``base``: each keeps its own), ``largest`` the bytes of a file (none:
    the base's files).
    """
    added = {name: _pending(name, origin, plan, dtype) for name, origin in plan.added.items()}
    groups: list[tuple[str, Shard | None, list[OutTensor]]] = []
    for shard in weights.shards:
        tensors = [_pending(tensor.name, tensor, plan, dtype) for tensor in shard.tensors]
        groups.append((shard.path.name, shard, tensors))
    if added:
        groups[-1][2].extend(added.values())
    if largest is not None:
        groups = _regroup([tensor for _, _, tensors in groups for tensor in tensors], largest)
    return [_file(name, shard, tensors) for name, shard, tensors in groups]


def _pending(name: str, origin: Stored, plan: Plan, dtype: str) -> OutTensor:
    written = NAMES.get(dtype, origin.dtype) if origin.dtype in DTYPES else origin.dtype
    return OutTensor(name, written, plan.shapes.get(name, origin.shape), origin, tuple(plan.edits.get(name, ())), 0)


def _regroup(tensors: Sequence[OutTensor], largest: int) -> list[tuple[str, Shard | None, list[OutTensor]]]:
    groups: list[list[OutTensor]] = [[]]
    size = 0
    for tensor in tensors:
        if groups[-1] and size + tensor.size > largest:
            groups.append([])
            size = 0
        groups[-1].append(tensor)
        size += tensor.size
    if len(groups) == 1:
        return [(SINGLE, None, groups[0])]
    count = len(groups)
    return [(f"model-{n:05d}-of-{count:05d}.safetensors", None, group) for n, group in enumerate(groups, start=1)]


def _file(name: str, shard: Shard | None, pending: Sequence[OutTensor]) -> OutFile:
    same = shard is not None and [(t.name, t.dtype, t.shape) for t in pending] == [
        (t.name, t.dtype, t.shape) for t in shard.tensors
    ]
    if shard is not None and same:
        header = shard.header
    else:
        metadata = {"format": "pt", **(shard.metadata if shard is not None else {})}
        header = build_header({t.name: (t.dtype, t.shape) for t in pending}, metadata)
    at, tensors = len(header), []
    for t in pending:
        tensors.append(OutTensor(t.name, t.dtype, t.shape, t.origin, t.edits, at))
        at += t.size
    return OutFile(name, header, tuple(tensors))


def write_file(out: OutFile, path: Path, threads: int, progress: Progress) -> None:
    """Write one file of a merged model to the new ``path``.

    Raises:
        ModelError: a merged weight is not finite, or a file of the base changed meanwhile.
        ArtifactError: the disk does not take it.
    """
    try:
        _write(out, path, threads, progress)
    except OSError as error:
        raise ArtifactError(
            f"{path}: cannot be written ({error.strerror}); free space, or name a directory on another disk: --out DIR"
        ) from None


def _write(out: OutFile, path: Path, threads: int, progress: Progress) -> None:
    with ExitStack() as stack:
        opened = _open_all(out, stack)
        target = stack.enter_context(path.open("xb+")).fileno()
        os.ftruncate(target, out.size)
        write_bytes(target, out.header, 0)
        rooms = threading.local()
        pool = stack.enter_context(ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)))

        def run(unit: Callable[[Room], int]) -> None:
            if not hasattr(rooms, "room"):
                rooms.room = Room()
            progress(unit(rooms.room))

        futures = [pool.submit(run, unit) for unit in _units(out, opened, target)]
        try:
            for future in wait(futures, return_when=FIRST_EXCEPTION).done:
                future.result()
        finally:
            for future in futures:
                future.cancel()


def _open_all(out: OutFile, stack: ExitStack) -> Mapping[Path, int]:
    files = {tensor.origin.file for tensor in out.tensors}
    return {file: stack.enter_context(file.open("rb")).fileno() for file in sorted(files)}


def _units(out: OutFile, opened: Mapping[Path, int], target: int) -> Iterator[Callable[[Room], int]]:
    """The work on one file in pieces, each with the number of bytes that it wrote as its result."""
    for origin, start, at, size in _spans(out.tensors):
        for done in range(0, size, COPY):
            yield _copy(opened[origin], target, start + done, at + done, min(COPY, size - done))
    for tensor in out.tensors:
        if not tensor.copied:
            for first, last, edits in _regions(tensor):
                yield from _stretches(tensor, opened[tensor.origin.file], target, first, last, edits)


def _copy(source: int, target: int, start: int, at: int, size: int) -> Callable[[Room], int]:
    def work(_: Room) -> int:
        copy_bytes(source, target, start, at, size)
        return size

    return work


def _spans(tensors: Sequence[OutTensor]) -> Iterator[tuple[Path, int, int, int]]:
    """Stretches of bytes that are copied: file, first byte there, first byte here, length."""
    open_span: tuple[Path, int, int, int] | None = None
    for tensor in tensors:
        if not tensor.copied:
            continue
        origin = tensor.origin
        if open_span is not None:
            file, start, at, size = open_span
            if (origin.file, origin.start, tensor.at) == (file, start + size, at + size):
                open_span = (file, start, at, size + tensor.size)
                continue
            yield open_span
        open_span = (origin.file, origin.start, tensor.at, tensor.size)
    if open_span is not None:
        yield open_span


def _regions(tensor: OutTensor) -> Iterator[tuple[int, int, tuple[Edit, ...]]]:
    """Rows of a tensor that have the same edits."""
    rows = _matrix(tensor)[0]
    cuts = {0, rows, *(row for edit in tensor.edits for row in edit.rows or ())}
    edges = sorted(cuts)
    for first, last in itertools.pairwise(edges):
        yield first, last, tuple(e for e in tensor.edits if e.rows is None or e.rows[0] <= first < e.rows[1])


def _matrix(tensor: OutTensor) -> tuple[int, int]:
    return math.prod(tensor.shape[:-1]), tensor.shape[-1] if tensor.shape else 1


def _stretches(
    tensor: OutTensor, source: int, target: int, first: int, last: int, edits: tuple[Edit, ...]
) -> Iterator[Callable[[Room], int]]:
    step = last - first if any(edit.step.whole for edit in edits) else max(1, STRETCH // max(1, _matrix(tensor)[1]))
    for start, stop in _even(first, last, step):
        yield _merge(tensor, source, target, start, stop, edits)


def _even(first: int, last: int, step: int) -> Iterator[tuple[int, int]]:
    """Cut a range into parts of about ``step``; none is much shorter, as a product of few rows may round otherwise."""
    count = max(1, (last - first) // max(1, step))
    edges = [first + (last - first) * number // count for number in range(count + 1)]
    return itertools.pairwise(edges)


def _merge(
    tensor: OutTensor, source: int, target: int, first: int, last: int, edits: tuple[Edit, ...]
) -> Callable[[Room], int]:
    def work(room: Room) -> int:
        width = _matrix(tensor)[1]
        steps = [(edit.step.ready(), edit.rows[0] if edit.rows else 0) for edit in edits]
        rows = last - first if any(edit.step.whole for edit in edits) else max(1, BLOCK // max(1, width))
        for start, stop in _even(first, last, rows):
            block, written, data = _read(tensor, room, source, start, stop)
            for apply, offset in steps:
                block = apply(block, start - offset)
            written.copy_(block)
            _require_finite(tensor, block, written)
            write_bytes(target, data, tensor.at + start * width * written.element_size())
        return byte_size(tensor.dtype, (last - first, width))

    return work


def _read(
    tensor: OutTensor, room: Room, source: int, start: int, stop: int
) -> tuple[torch.Tensor, torch.Tensor, memoryview]:
    """A block as it is stored, room for the block as it is to be written, and that room's bytes."""
    width, origin = _matrix(tensor)[1], tensor.origin
    given, taken = room.views(stop - start, width, origin.dtype, tensor.dtype)
    if stop <= origin.matrix[0]:  # rows beyond the base's are all replaced
        at = origin.start + byte_size(origin.dtype, (start, width))
        if os.preadv(source, [given], at) != len(given):
            raise ModelError(f"{origin.file}: ends within tensor {origin.name}; get the model anew")
    block = torch.frombuffer(given, dtype=DTYPES[origin.dtype]).view(stop - start, width)
    written = torch.frombuffer(taken, dtype=DTYPES[tensor.dtype]).view(stop - start, width)
    return block, written, taken


def _require_finite(tensor: OutTensor, block: torch.Tensor, written: torch.Tensor) -> None:
    """The sum is enough to see that nothing is wrong; only a type of small range must be looked at for itself."""
    if written.dtype != torch.float16 and math.isfinite(float(block.sum())):
        return
    if not torch.isfinite(written).all():
        raise ModelError(
            f"merged weight {tensor.name} is not finite in {tensor.dtype}: the base or the adapter is broken, or the "
            "type is too small (try --dtype bfloat16)"
        )
