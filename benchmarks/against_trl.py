"""Our way to training rows against TRL's: each in a process of its own, in turns, on the same fresh conversations.

What one side leaves behind in a process (objects, fragments of memory, words in the tokenizer's cache) slows or speeds
the other, so neither sees the other's process. ``compare`` always measures in this way:

1. A corpus is written to ``rounds + 1`` JSONL files of different conversations; ``tools`` are JSON text, for Arrow
   would give one schema to all of them. Each process has one thread, and its own copy of one tokenizer with TRL's
   ``qwen3_training`` template.
2. Both take the first file, which does not count: modules are imported, the template is compiled, frequent words are
   in the tokenizer's cache, as in a long run.
3. Both take each other file, one after the other; who goes first changes from file to file. What counts is the CPU time
   of the process, so that other work on the machine hardly matters.
4. Printed are the median over files of TRL's CPU time over ours, and its range. Before that, rows of both are compared
   for each file: ids must be equal, labels may differ only by the newline after a terminator, which TRL trains.

Writes to a temporary directory.
"""

import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.resources import files
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import corpus

IGNORE = -100
ONE_THREAD = {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}

Labelled = tuple[NDArray[np.int32], NDArray[np.int32]]
"""Ids and labels of one row, (T,) each."""


class Stopwatch:
    """Sums up the seconds, and the seconds of this process's CPU, that pass inside of ``with``."""

    def __init__(self) -> None:
        self.s = self.cpu_s = 0.0

    def __enter__(self) -> "Stopwatch":
        self._started, self._cpu_started = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.cpu_s += time.process_time() - self._cpu_started
        self.s += time.perf_counter() - self._started


Side = Callable[[Any, Path, Stopwatch], list[Labelled]]
"""Tokenizer, JSONL file, and the watch that runs while the work is done that counts; its rows in the file's order."""


def compare(name: str, trl: Side, ours: Side, *, conversations: int, rounds: int) -> None:
    """Print how many times faster ours is on the corpus ``name``, in ``rounds`` files of ``conversations`` each."""
    tokenizer = make_tokenizer(name)
    rows = corpus.CORPORA[name](conversations * (rounds + 1), 1)
    cpu_s: dict[Side, list[float]] = {trl: [], ours: []}
    differences: Counter[str] = Counter()
    tokens = 0
    with (
        tempfile.TemporaryDirectory() as directory,
        start_process(tokenizer) as trl_process,
        start_process(tokenizer) as our_process,
    ):
        processes = {trl: trl_process, ours: our_process}
        for number in range(rounds + 1):
            path = write(Path(directory) / f"{number}.jsonl", rows[number :: rounds + 1])
            order = (trl, ours) if number % 2 else (ours, trl)
            taken = {side: processes[side].submit(_measure, side, path).result() for side in order}
            differences += _differences(tokenizer, taken[trl][1], taken[ours][1])
            if number:
                tokens += sum(len(ids) for ids, _ in taken[ours][1])
                for side in order:
                    cpu_s[side].append(taken[side][0])
    ratios = [theirs / own for theirs, own in zip(cpu_s[trl], cpu_s[ours])]
    theirs_ms, ours_ms = (statistics.median(cpu_s[side]) / conversations * 1000 for side in (trl, ours))
    print(
        f"{name}: {statistics.median(ratios):.1f} x TRL ({min(ratios):.1f} to {max(ratios):.1f}; {rounds} files of "
        f"{conversations} conversations, {tokens / rounds / conversations:.0f} tokens each; {theirs_ms:.2f} and "
        f"{ours_ms:.2f} ms of CPU a conversation); ids equal; labels equal but for {differences['newline']} newlines "
        f"after terminators, {differences['other']} others",
        flush=True,
    )


def make_tokenizer(name: str) -> Any:
    """A tokenizer that is trained on other conversations of the corpus ``name``, with TRL's template."""
    tokenizer = corpus.train_tokenizer(corpus.CORPORA[name](300, 2))
    tokenizer.chat_template = (files("trl") / "chat_templates" / "qwen3_training.jinja").read_text(encoding="utf-8")
    return tokenizer


def start_process(tokenizer: Any) -> ProcessPoolExecutor:
    """One new process with a copy of the tokenizer and nothing else of this one's memory, which may start others."""
    os.environ.update(ONE_THREAD)
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _keep, (tokenizer,))


def write(path: Path, rows: Sequence[corpus.Row]) -> Path:
    """Write a JSONL file with ``tools`` as text."""
    with path.open("w", encoding="utf-8") as stream:
        for row in rows:
            tools = json.dumps(row["tools"], ensure_ascii=False)
            stream.write(json.dumps({**row, "tools": tools}, ensure_ascii=False) + "\n")
    return path


def read(path: Path) -> list[corpus.Row]:
    """The conversations of such a file, which have no objects in common."""
    with path.open(encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    return [{**row, "tools": json.loads(row["tools"])} for row in rows]


_kept: list[Any] = []
"""In the process of a side: its tokenizer."""


def _keep(tokenizer: Any) -> None:
    _kept.append(tokenizer)


def _measure(side: Side, path: Path) -> tuple[float, list[Labelled]]:
    """In the process of a side: seconds of CPU, and rows."""
    watch = Stopwatch()
    rows = side(_kept[0], path, watch)
    return watch.cpu_s, rows


def _differences(tokenizer: Any, theirs: Sequence[Labelled], ours: Sequence[Labelled]) -> Counter[str]:
    """Tokens whose labels differ, by what they are; ends the benchmark where ids do."""
    found: Counter[str] = Counter()
    for (trl_ids, trl_labels), (ids, labels) in zip(theirs, ours, strict=True):
        assert np.array_equal(trl_ids, ids), "the ids differ"
        for at in np.flatnonzero(trl_labels != labels):
            newline = labels[at] == IGNORE and tokenizer.decode([ids[at]]) == "\n"
            found["newline" if newline else "other"] += 1
    return found
