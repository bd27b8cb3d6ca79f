"""Reads safetensors files by their headers: what is where, checked to the byte, and nothing else in memory.

Source: https://github.com/huggingface/safetensors (format: eight bytes of header length, JSON header, tensors).
"""

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from toolwright.errors import ModelError
from toolwright.words import shorten

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""The types that a merge computes with; tensors of any other type are only copied."""
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
_LARGEST_HEADER = 100_000_000
_ALIGNMENT = 8


@dataclass(frozen=True)
class Stored:
    """A tensor in a file: its bytes are ``[start, start + size)`` of ``file``."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    start: int
    size: int

    @property
    def matrix(self) -> tuple[int, int]:
        """The tensor as a matrix: its last dimension is a row's length; a vector is one row."""
        return math.prod(self.shape[:-1]), self.shape[-1] if self.shape else 1

    def read(self) -> torch.Tensor:
        """The whole tensor, as it is stored.

        Raises:
            ModelError: of a type that torch does not compute with, or the file became shorter.
        """
        if self.dtype not in DTYPES:
            raise ModelError(f"{self.file}: tensor {self.name} is of type {self.dtype}; expected {', '.join(DTYPES)}")
        if not self.size:
            return torch.empty(self.shape, dtype=DTYPES[self.dtype])
        buffer = bytearray(self.size)
        with self.file.open("rb") as stream:
            stream.seek(self.start)
            if stream.readinto(buffer) != self.size:
                raise ModelError(f"{self.file}: ends within tensor {self.name}; get the file anew")
        return torch.frombuffer(buffer, dtype=DTYPES[self.dtype]).reshape(self.shape)


@dataclass(frozen=True)
class Shard:
    """A file of tensors. ``header`` is its beginning up to the first tensor, as it is; tensors are in file order."""

    path: Path
    header: bytes
    metadata: Mapping[str, str]
    tensors: tuple[Stored, ...]


@dataclass(frozen=True)
class Weights:
    """All files of a model, in the order of their names, and the metadata of its index."""

    shards: tuple[Shard, ...]
    index_metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tensors(self) -> dict[str, Stored]:
        """Every tensor by name, in file order."""
        return {tensor.name: tensor for shard in self.shards for tensor in shard.tensors}

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(shard.path.stat().st_size for shard in self.shards)


def read_weights(directory: Path) -> Weights:
    """The headers of a model's files.

    Raises:
        ModelError: no safetensors there, a file of the index is missing, is cut short or holds other tensors than the
            index says, or a tensor is in two files.
    """
    names, metadata, homes = _files(directory)
    missing = [name for name in names if not (directory / name).is_file()]
    if missing:
        raise ModelError(
            f"{directory}: {len(missing)} of {len(names)} files of weights are missing, first {missing[0]}; "
            "get the model anew"
        )
    weights = Weights(tuple(read_shard(directory / name) for name in names), metadata)
    seen: dict[str, str] = {}
    for shard in weights.shards:
        for tensor in shard.tensors:
            if tensor.name in seen:
                raise ModelError(f"{directory}: tensor {tensor.name} is in {seen[tensor.name]} and {shard.path.name}")
            seen[tensor.name] = shard.path.name
    for name, home in homes.items():
        if seen.get(name) != home:
            raise ModelError(f"{directory / INDEX}: says that {name} is in {home}, but it is not; get the model anew")
    return weights


def _files(directory: Path) -> tuple[list[str], Mapping[str, Any], Mapping[str, str]]:
    index = directory / INDEX
    if index.is_file():
        try:
            content = json.loads(index.read_text(encoding="utf-8"))
            homes, metadata = dict(content["weight_map"]), dict(content.get("metadata") or {})
        except (ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{index}: not an index of weights ({error}); get the model anew") from None
        if not homes:
            raise ModelError(f"{index}: names no weights; get the model anew")
        wrong = next((name for name in homes.values() if not isinstance(name, str) or Path(name).name != name), None)
        if wrong is not None:
            raise ModelError(f"{index}: {shorten(wrong)} is not the name of a file beside it")
        return sorted(set(homes.values())), metadata, homes
    if (directory / SINGLE).is_file():
        return [SINGLE], {}, {}
    other = next((file.name for file in sorted(directory.glob("*.bin"))), None)
    hint = f"it has {other}: save it with save_pretrained as safetensors first" if other else "check the path"
    raise ModelError(f"{directory}: no {SINGLE} and no {INDEX}; {hint}")


def read_shard(path: Path) -> Shard:
    """The header of a file, checked against the file's length.

    Raises:
        ModelError: not a safetensors file, or cut short.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        first = stream.read(8)
        length = int.from_bytes(first, "little")
        if len(first) < 8 or length > min(size - 8, _LARGEST_HEADER):
            raise ModelError(f"{path}: not a safetensors file, or cut short ({size} bytes); get it anew")
        header = stream.read(length)
    try:
        rows = json.loads(header)
        metadata = rows.pop("__metadata__", None) or {}
        tensors = [_tensor(path, name, row, 8 + length) for name, row in rows.items()]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path}: its header cannot be read ({shorten(str(error))}); get the file anew") from None
    tensors.sort(key=lambda tensor: tensor.start)
    end = 8 + length
    for tensor in tensors:
        if tensor.start != end:
            raise ModelError(f"{path}: tensor {tensor.name} begins at byte {tensor.start}, expected {end}; get it anew")
        end += tensor.size
    if end != size:
        cut = "cut short" if end > size else "longer than its tensors"
        raise ModelError(f"{path}: {cut}: {size} bytes, expected {end}; get the file anew")
    return Shard(path, first + header, metadata, tuple(tensors))


def _tensor(path: Path, name: str, row: Mapping[str, Any], offset: int) -> Stored:
    dtype, shape, (begin, end) = row["dtype"], tuple(row["shape"]), row["data_offsets"]
    if begin < 0 or end - begin != byte_size(dtype, shape):
        raise ValueError(f"tensor {name}: {end - begin} bytes for {list(shape)} of {dtype}")
    return Stored(name, dtype, shape, path, offset + begin, end - begin)


def build_header(tensors: Mapping[str, tuple[str, tuple[int, ...]]], metadata: Mapping[str, str]) -> bytes:
    """The beginning of a file with these tensors (name -> type and shape), one after the other."""
    rows: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name, (dtype, shape) in tensors.items():
        begin, end = end, end + byte_size(dtype, shape)
        rows[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(rows, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def byte_size(dtype: str, shape: tuple[int, ...]) -> int:
    """Bytes of a tensor; the width of a type is the first number in its name (``BF16``, ``F8_E4M3``).

    Raises:
        ValueError: a type without a width.
    """
    bits = re.search(r"\d+", "8" if dtype == "BOOL" else dtype)
    if bits is None:
        raise ValueError(f"unknown type {dtype}")
    return math.prod(shape) * int(bits[0]) // 8


def same_bytes(one: Stored, other: Stored) -> bool:
    """Whether two tensors are the same."""
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    with one.file.open("rb") as first, other.file.open("rb") as second:
        for at in range(0, one.size, 1 << 23):
            size = min(1 << 23, one.size - at)
            if os.pread(first.fileno(), size, one.start + at) != os.pread(second.fileno(), size, other.start + at):
                return False
    return True


def write_bytes(target: int, data: bytes | memoryview, at: int) -> None:
    """Write all of ``data`` to an open file; a disk that is nearly full takes a part of it at first."""
    while data:
        done = os.pwrite(target, data, at)
        data, at = data[done:], at + done


def copy_bytes(source: int, target: int, start: int, at: int, size: int) -> None:
    """Copy a range from one open file to another; within the kernel, where it can.

    Raises:
        ModelError: the source ends early.
    """
    while size:
        try:
            done = os.copy_file_range(source, target, size, start, at)
        except (OSError, AttributeError):  # other file systems, other systems, old kernels
            data = os.pread(source, min(size, 1 << 23), start)
            write_bytes(target, data, at)
            done = len(data)
        if not done:
            raise ModelError("a file of the base became shorter while it was read; get the model anew")
        start, at, size = start + done, at + done, size - done
