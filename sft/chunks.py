"""Lines of JSONL files into training rows, some hundreds at a time, in this process or in several others.

Reads the files; writes nothing. The other processes are plain ``python -m sft.chunks``: they read a pickled ``Recipe``
and then chunks from their standard input, and write what became of each to their standard output.
"""

import hashlib
import json
import os
import pickle
import signal
import subprocess
import sys
import traceback
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal

from sft.check import check_conversation
from sft.encode import Encoded, Refusal, TrainPolicy, encode_many, no_collector
from toolwright.artifacts import parse_line, read_lines
from toolwright.errors import DataError, StageError
from toolwright.records import Conversation
from toolwright.words import shorten

_MOST_LINES = 512
_MOST_BYTES = 16 * 2**20
_ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Recipe:
    """How lines become rows; ``hashed``: also give a hash of each conversation's messages."""

    tokenizer: Any
    policy: TrainPolicy
    max_tokens: int | None = None
    template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    verify: Literal["sample", "full"] = "sample"
    hashed: bool = False


@dataclass(frozen=True)
class Chunk:
    """Some lines of one file: which file, their numbers in it, and what they say."""

    file: int
    numbers: list[int]
    lines: list[bytes]


@dataclass(frozen=True)
class Outcome:
    """What became of a chunk; ``source`` of a row, and ``index`` of a refusal, are places in the chunk."""

    rows: list[Encoded]
    refused: list[Refusal]
    hashes: list[int]


def read_conversation(row: Mapping[str, Any]) -> Conversation:
    """A conversation that is fit to be encoded, from a row.

    Raises:
        DataError: the row has another form, or its messages do not belong together; names the field.
    """
    if "messages" not in row:
        if "conversations" in row:
            raise DataError(
                "conversations: this is the ShareGPT form; rename it to messages, and in each of them from/value to "
                "role/content (human: user, gpt: assistant, function_call: tool_calls, observation: tool)"
            )
        raise DataError(f"messages: not in this row, which has {shorten(sorted(row))}; see the OpenAI chat format")
    conversation = Conversation.from_row(row)
    check_conversation(conversation)
    return conversation


def encode_chunk(chunk: Chunk, recipe: Recipe) -> Outcome:
    """Encode the lines of a chunk; what cannot be is refused, in the order of the lines.

    Raises:
        ModelError: the tokenizer's chat template cannot be used.
    """
    with no_collector():
        return _encode_chunk(chunk, recipe)


def _encode_chunk(chunk: Chunk, recipe: Recipe) -> Outcome:
    found: list[Conversation] = []
    places: list[int] = []
    refused: list[Refusal] = []
    hashes = [0] * len(chunk.lines)
    for place, line in enumerate(chunk.lines):
        try:
            row = parse_line(line)
            found.append(read_conversation(row))
        except DataError as error:
            refused.append(Refusal(place, str(error)))
            continue
        places.append(place)
        if recipe.hashed:
            hashes[place] = _hash_of(row["messages"])
    bad: list[Refusal] = []
    rows = encode_many(
        found,
        recipe.tokenizer,
        train=recipe.policy,
        max_tokens=recipe.max_tokens,
        template_kwargs=recipe.template_kwargs,
        verify=recipe.verify,
        refused=bad,
    )
    for row_ in rows:
        object.__setattr__(row_, "source", places[row_.source])  # just made, and seen by nobody else
    refused += [Refusal(places[each.index], each.reason) for each in bad]
    return Outcome(rows, sorted(refused, key=lambda each: each.index), hashes)


def _hash_of(messages: object) -> int:
    """64 bits that are equal for equal messages, whatever else stands in their rows."""
    words = json.dumps(messages, sort_keys=True).encode()
    return int.from_bytes(hashlib.blake2b(words, digest_size=8).digest(), "little")


def read_chunks(paths: Sequence[Path], wanted: Sequence[Sequence[int]] | None = None) -> Iterator[Chunk]:
    """The lines of ``paths`` in chunks, or those whose numbers ``wanted`` gives for each file, ascending.

    Raises:
        DataError: a file cannot be read.
    """
    for file, path in enumerate(paths):
        lines = read_lines(path) if wanted is None else _pick(read_lines(path), wanted[file])
        chunk, size = Chunk(file, [], []), 0
        for number, line in lines:
            chunk.numbers.append(number)
            chunk.lines.append(line)
            size += len(line)
            if len(chunk.lines) == _MOST_LINES or size >= _MOST_BYTES:
                yield chunk
                chunk, size = Chunk(file, [], []), 0
        if chunk.lines:
            yield chunk


def _pick(lines: Iterable[tuple[int, bytes]], wanted: Sequence[int]) -> Iterator[tuple[int, bytes]]:
    remaining = iter(wanted)
    following = next(remaining, None)
    if following is None:
        return
    for number, line in lines:
        if number == following:
            yield number, line
            following = next(remaining, None)
            if following is None:
                return


def encode_chunks(chunks: Iterable[Chunk], recipe: Recipe, processes: int) -> Iterator[tuple[Chunk, Outcome]]:
    """Encode chunks in this process, or in several others; the outcomes come in the order of the chunks.

    Raises:
        StageError: one of the other processes died.
        ModelError: the tokenizer's chat template cannot be used.
    """
    chunks = iter(chunks)
    first_two = list(islice(chunks, 2))
    chunks = chain(first_two, chunks)
    if processes == 1 or len(first_two) < 2:
        for chunk in chunks:
            yield chunk, encode_chunk(chunk, recipe)
        return
    workers = [_Worker(recipe) for _ in range(processes)]
    idle: SimpleQueue[_Worker] = SimpleQueue()
    for worker in workers:
        idle.put(worker)

    def encode(chunk: Chunk) -> Outcome:
        worker = idle.get()
        try:
            return worker.encode(chunk)
        finally:
            idle.put(worker)

    pool = ThreadPoolExecutor(processes)
    waiting: deque[tuple[Chunk, Future[Outcome]]] = deque()
    try:
        for chunk in chunks:
            waiting.append((chunk, pool.submit(encode, chunk)))
            if len(waiting) > 2 * processes:
                first, outcome = waiting.popleft()
                yield first, outcome.result()
        for first, outcome in waiting:
            yield first, outcome.result()
    finally:
        for worker in workers:
            worker.end()
        pool.shutdown(cancel_futures=True)


class _Worker:
    """Another process that encodes, and this one's end of the line to it."""

    def __init__(self, recipe: Recipe) -> None:
        paths = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        one = {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        # Not multiprocessing: it would import the program that was started, with torch and all, in every worker.
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "sft.chunks"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **one, "PYTHONPATH": paths},
        )
        self.recipe = pickle.dumps(recipe)
        self.started = False

    def encode(self, chunk: Chunk) -> Outcome:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            if not self.started:
                self.process.stdin.write(self.recipe)
                self.started = True
            pickle.dump(chunk, self.process.stdin, pickle.HIGHEST_PROTOCOL)
            self.process.stdin.flush()
            answer = pickle.load(self.process.stdout)
        except (OSError, EOFError, pickle.UnpicklingError):
            raise StageError(
                f"sft: a process that encodes ended ({_ending(self.process.wait())}) at lines {chunk.numbers[0]} to "
                f"{chunk.numbers[-1]}; out of memory? try fewer: sft.encode_processes=1"
            ) from None
        if isinstance(answer, BaseException):
            raise answer
        assert isinstance(answer, Outcome)
        return answer

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            try:
                if stream is not None:
                    stream.close()
            except OSError:
                continue  # bytes that nobody reads any more


def _ending(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"


def _serve() -> None:
    """Answer chunks until there are no more: the life of a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides; when it goes, the input ends
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not get between the answers
    questions = sys.stdin.buffer
    recipe = pickle.load(questions)
    while True:
        try:
            chunk = pickle.load(questions)
        except EOFError:
            return
        answer: Outcome | Exception
        try:
            answer = encode_chunk(chunk, recipe)
        except Exception as error:  # noqa: BLE001 -- told to the parent, which raises it
            error.add_note(f"in a process that encodes:\n{traceback.format_exc()}")
            answer = error
        pickle.dump(answer, answers, pickle.HIGHEST_PROTOCOL)
        answers.flush()


if __name__ == "__main__":
    from sft.chunks import _serve as serve  # the classes that travel are those of the module, not of __main__

    serve()
