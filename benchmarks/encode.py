"""``python -m benchmarks.encode``: ``encode_many`` against TRL's own call, on the same conversations.

TRL's call is what its SFTTrainer makes for each conversation: ``apply_chat_template(…, tokenize=True,
return_assistant_tokens_mask=True)``. Only the call counts: reading the file does not, for either, nor does making
labels of TRL's mask, while ours makes them. ``benchmarks.against_trl`` says how both are measured and compared. Ours is
given a file at a call, so it verifies two conversations of each file once more from nothing.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.against_trl import IGNORE, Labelled, Stopwatch, compare, read
from benchmarks.corpus import CORPORA


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--conversations", type=int, default=400, help="in a round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="that count (default: %(default)s)")
    parser.add_argument("--corpora", nargs="+", choices=CORPORA, default=list(CORPORA), help="(default: all)")
    options = parser.parse_args()
    for name in options.corpora:
        compare(name, encode_trl, encode_ours, conversations=options.conversations, rounds=options.rounds)


def encode_ours(tokenizer: Any, path: Path, watch: Stopwatch) -> list[Labelled]:
    """The file's conversations in one call."""
    from sft.encode import encode_many

    rows = read(path)
    with watch:
        encoded = encode_many(rows, tokenizer)
    return [(row.input_ids, row.labels) for row in encoded]


def encode_trl(tokenizer: Any, path: Path, watch: Stopwatch) -> list[Labelled]:
    """The file's conversations one by one."""
    encoded = []
    for row in read(path):
        with watch:
            out = tokenizer.apply_chat_template(
                row["messages"], tools=row["tools"], tokenize=True, return_dict=True, return_assistant_tokens_mask=True
            )
        ids = np.array(out["input_ids"], np.int32)
        encoded.append((ids, np.where(np.array(out["assistant_masks"], bool), ids, np.int32(IGNORE))))
    return encoded


if __name__ == "__main__":
    main()
