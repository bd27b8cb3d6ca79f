"""Sets of JSONL files as training rows on disk: opened where an earlier start left them, else encoded.

Writes ``sft/encoded/`` of a run: one directory for each set of files, named after everything that its rows depend on;
``rows`` is a store, ``places.npy`` says where each conversation comes from, ``refused.jsonl`` what gave no row.
"""

import fcntl
import os
import random
import shutil
import time
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sft.chunks import Recipe, encode_chunks, read_chunks
from sft.encode import Encoded
from sft.store import RowStore, write_store
from toolwright.artifacts import (
    FULL_HASH_BYTES,
    fingerprint,
    hash_of,
    parse_line,
    read_lines,
    read_rows,
    replacing,
    write_rows,
)
from toolwright.config import RunConfig, SftConfig
from toolwright.errors import ArtifactError, DataError
from toolwright.records import Mode
from toolwright.stage import package_versions, run_dir

_ENCODER = ("sft/*.py", "toolwright/records.py", "toolwright/dialect/*.py")
_ROOT = Path(__file__).resolve().parents[1]
_PLACE = np.dtype([("file", "<i4"), ("line", "<i8"), ("hash", "<u8")])
_SAY_EVERY_S = 30


@dataclass(frozen=True)
class Refused:
    """A line that gives no row, and why."""

    file: str
    line: int
    reason: str


@dataclass(frozen=True)
class Part:
    """One set of files, encoded: its rows, where each conversation comes from (_PLACE), and what was refused."""

    store: RowStore
    places: NDArray[Any]
    refused: list[Refused]

    @classmethod
    def open(cls, directory: Path) -> "Part":
        try:
            places = np.load(directory / "places.npy", allow_pickle=False)
            rows = read_rows(directory / "refused.jsonl")
            refused = [Refused(row["file"], row["line"], row["reason"]) for _, row in rows]
        except (OSError, ValueError, KeyError) as error:
            raise ArtifactError(f"{directory}: cannot be read ({error})") from None
        return cls(RowStore.open(directory / "rows"), places, refused)


def open_or_encode(sets: Mapping[str, Sequence[Path]], config: RunConfig, recipe: Recipe) -> dict[str, Part]:
    """The rows of each set of files. Of ``train``, ``sft.keep`` and ``sft.max_conversations`` leave a part.

    Sets that this run had before and has no more are removed. Several processes may call this at once: one encodes,
    the others wait for it.

    Raises:
        DataError: a conversation that cannot be trained on, unless ``sft.on_error`` is ``skip``; or none is left.
        StageError: one of ``sft.encode_processes`` died.
        ModelError: the tokenizer's chat template cannot be used.
    """
    encoded = run_dir(config) / "sft" / "encoded"
    places = {name: encoded / f"{name}-{_key(name, paths, config, recipe)}" for name, paths in sets.items()}
    with _alone(encoded):
        for old in encoded.iterdir():
            if old.is_dir() and old not in places.values():
                shutil.rmtree(old)
        return {name: _open_or_encode(name, places[name], sets[name], config, recipe) for name in sets}


def _key(name: str, paths: Sequence[Path], config: RunConfig, recipe: Recipe) -> str:
    """Hash of everything that the rows of a set of files depend on."""
    settings, tokenizer = config.sft, recipe.tokenizer
    thin = [dict(settings.keep), config.seed if settings.keep else 0, settings.max_conversations]
    parts = [
        [[str(path), *_content(path)] for path in paths],
        [tokenizer.backend_tokenizer.to_str(), tokenizer.chat_template, tokenizer.special_tokens_map],
        replace(recipe, tokenizer=None),
        thin if name == "train" else None,
        settings.on_error,
        [fingerprint(file) for pattern in _ENCODER for file in sorted(_ROOT.glob(pattern))],
        package_versions(("transformers", "tokenizers", "jinja2", "regex")),
    ]
    return hash_of(parts)[:16]


def _content(path: Path) -> list[Any]:
    # The fingerprint of a large file leaves out its middle, which an edit may change: the time of the edit does not.
    status = path.stat()
    return [fingerprint(path), status.st_mtime_ns if status.st_size > FULL_HASH_BYTES else 0]


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Hold the lock of ``directory``; wait for the process that has it."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _open_or_encode(name: str, directory: Path, paths: Sequence[Path], config: RunConfig, recipe: Recipe) -> Part:
    if directory.exists():
        try:
            part = Part.open(directory)
        except ArtifactError as error:
            print(f"sft: {error}; encoding anew", flush=True)
        else:
            if os.environ.get("RANK", "0") == "0":
                print(f"sft: {name}: {len(part.store)} rows encoded before, in {directory}", flush=True)
            return part
    wanted = _choose_lines(paths, config.sft, config.seed) if name == "train" else None
    started = time.monotonic()
    with replacing(directory) as temporary:
        temporary.mkdir()
        _Encoding(paths, wanted, config.sft, recipe).write(temporary)
    part = Part.open(directory)
    seconds = time.monotonic() - started
    print(f"sft: {name}: {len(part.places)} conversations encoded in {seconds:.1f} s", flush=True)
    return part


class _Encoding:
    """Encodes a set of files; remembers where conversations come from while their rows go to disk."""

    def __init__(
        self, paths: Sequence[Path], wanted: Sequence[Sequence[int]] | None, settings: SftConfig, recipe: Recipe
    ) -> None:
        self.paths, self.wanted, self.settings, self.recipe = paths, wanted, settings, recipe
        self.files, self.lines, self.hashes = array("i"), array("q"), array("Q")
        self.refused: list[Refused] = []

    def write(self, directory: Path) -> None:
        """Write the rows, ``places.npy`` and ``refused.jsonl``.

        Raises:
            DataError: a line is refused and ``on_error`` is ``stop``; nothing is left; or a file has no line.
        """
        write_store(directory / "rows", self._rows())
        places = np.empty(len(self.lines), _PLACE)
        places["file"], places["line"], places["hash"] = self.files, self.lines, self.hashes
        for number, path in enumerate(self.paths):
            if self.wanted is None and not np.any(places["file"] == number):
                raise _nothing_in(path)
        if not len(places):
            raise DataError("sft.keep and sft.max_conversations leave no conversation to train on")
        if len(self.refused) == len(places):
            first = self.refused[0]
            raise DataError(
                f"{self.paths[0]}: all {len(places)} conversations are refused; the first: "
                f"{first.file}:{first.line}: {first.reason}"
            )
        np.save(directory / "places.npy", places)
        write_rows(directory / "refused.jsonl", (vars(each) for each in self.refused))

    def _rows(self) -> Iterator[Encoded]:
        said = time.monotonic()
        chunks = read_chunks(self.paths, self.wanted)
        for chunk, outcome in encode_chunks(chunks, self.recipe, self.settings.encode_processes):
            path, before = self.paths[chunk.file], len(self.lines)
            for refusal in outcome.refused:
                self._refuse(Refused(str(path), chunk.numbers[refusal.index], refusal.reason))
            self.files.extend([chunk.file] * len(chunk.numbers))
            self.lines.extend(chunk.numbers)
            self.hashes.extend(outcome.hashes)
            for row in outcome.rows:
                yield replace(row, source=before + row.source)
            if time.monotonic() - said > _SAY_EVERY_S:
                said = time.monotonic()
                print(f"sft: {len(self.lines)} conversations encoded, now at {path}:{chunk.numbers[-1]}", flush=True)

    def _refuse(self, refused: Refused) -> None:
        if self.settings.on_error == "stop":
            where = f"{refused.file}:{refused.line}"
            raise DataError(f"{where}: {refused.reason} (sft.on_error=skip leaves such rows out and lists them)")
        self.refused.append(refused)


def _nothing_in(path: Path) -> DataError:
    return DataError(f"{path}: no row in it; name a JSONL file with conversations")


def _choose_lines(paths: Sequence[Path], settings: SftConfig, seed: int) -> list[Sequence[int]] | None:
    """The lines of each file that ``keep`` and ``max_conversations`` leave; none: all of them.

    Of several files ``max_conversations`` takes the first of each, as many as are in proportion to its size.
    """
    limit = settings.max_conversations
    if not settings.keep and limit is None:
        return None
    files, lines = array("i"), array("q")
    modes: list[str | None] = []
    for file, path in enumerate(paths):
        for number, line in read_lines(path):
            files.append(file)
            lines.append(number)
            modes.append(_mode_of(line) if settings.keep else None)
            if not settings.keep and len(paths) == 1 and len(lines) == limit:
                break
        if not files or files[-1] != file:
            raise _nothing_in(path)
    kept = np.array(keep_shares(modes, settings.keep, seed), np.int64)
    by_file = [np.array(lines, np.int64)[kept[np.array(files)[kept] == file]] for file in range(len(paths))]
    if limit is not None and len(kept) > limit:
        ends = np.cumsum([0, *map(len, by_file)]) * limit // len(kept)
        by_file = [numbers[:share] for numbers, share in zip(by_file, np.diff(ends))]
    return [numbers.tolist() for numbers in by_file]


def _mode_of(line: bytes) -> str | None:
    try:
        mode = parse_line(line).get("mode")
    except DataError:
        return None  # said when it is encoded
    return mode if isinstance(mode, str) else None


def keep_shares(modes: Sequence[str | None], keep: Mapping[Mode, float], seed: int) -> list[int]:
    """The places of ``modes`` in order, without a seeded part of the kinds of which only a share is kept."""
    dropped: set[int] = set()
    for mode, share in keep.items():
        places = [index for index, each in enumerate(modes) if each == mode]
        draw = random.Random(f"sft-keep-{seed}-{mode}")
        dropped.update(draw.sample(places, len(places) - round(share * len(places))))
    return [index for index in range(len(modes)) if index not in dropped]
