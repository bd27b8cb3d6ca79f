"""``python -m benchmarks.encode``: ``encode_many`` against TRL's own call, on the same conversations in one run.

TRL's call is what its SFTTrainer makes for each conversation: ``apply_chat_template(…, tokenize=True,
return_assistant_tokens_mask=True)``. Both use TRL's ``qwen3_training`` template, so that the ids are the same; the
labels are compared as well, and may differ only by the newline after a terminator, which TRL trains. Each round
encodes conversations that neither has seen, so that nothing is answered from a cache that a real run would not have.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.resources import files
from typing import Any

import numpy as np

from benchmarks import corpus
from sft.encode import IGNORE, encode_many


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--conversations", type=int, default=400, help="in a round")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    template = (files("trl") / "chat_templates" / "qwen3_training.jinja").read_text(encoding="utf-8")
    for name, make in (("shared", corpus.shared), ("unique", corpus.unique)):
        rows = make(options.conversations * options.rounds, 1)
        tokenizer = corpus.train_tokenizer(make(300, 2))
        tokenizer.chat_template = template
        compare(name, tokenizer, [rows[at :: options.rounds] for at in range(options.rounds)])


def compare(name: str, tokenizer: Any, rounds: Sequence[Sequence[Any]]) -> None:
    """Print how many times faster ``encode_many`` is: median over rounds of the ratio, and its range."""
    ratios = []
    same = newlines = other = 0
    for number, rows in enumerate(rounds):
        pair: list[Callable[[], Any]] = [partial(_trl, tokenizer, rows), partial(encode_many, rows, tokenizer)]
        taken = [_timed(each) for each in (pair if number % 2 else pair[::-1])]
        (trl_s, theirs), (our_s, ours) = taken if number % 2 else taken[::-1]
        ratios.append(trl_s / our_s)
        for row, (ids, labels) in zip(ours, theirs, strict=True):
            assert row.input_ids.tolist() == ids, "the ids differ"
            differs = np.flatnonzero(row.labels != labels)
            newline = [tokenizer.decode([ids[at]]) == "\n" and row.labels[at] == IGNORE for at in differs]
            same += len(ids) - len(differs)
            newlines += sum(newline)
            other += len(newline) - sum(newline)
    tokens = sum(len(row.input_ids) for row in ours) / len(ours)
    print(
        f"{name}: {statistics.median(ratios):.1f} x TRL ({min(ratios):.1f} to {max(ratios):.1f}; {len(rounds)} rounds "
        f"of {len(rounds[0])}, {tokens:.0f} tokens each); ids equal; labels equal but for {newlines} newlines after "
        f"terminators, {other} others"
    )


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.process_time()  # CPU time: both run on one thread, and other work on the machine counts for neither
    result = work()
    return time.process_time() - started, result


def _trl(tokenizer: Any, rows: Sequence[Any]) -> list[tuple[list[int], Any]]:
    encoded = []
    for row in rows:
        out = tokenizer.apply_chat_template(
            row["messages"], tools=row["tools"], tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
        labels = np.where(np.array(out["assistant_masks"], bool), out["input_ids"], IGNORE)
        encoded.append((out["input_ids"], labels))
    return encoded


if __name__ == "__main__":
    main()
