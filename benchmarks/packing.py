"""``python -m benchmarks.packing``: packing of 20,000 conversation lengths against TRL's ``pack_dataset``, in one run.

Lengths are those of the two synthetic corpora in shape (long shared tool sets and short unique ones, log-normal).
Prints packs over the fewest possible (all tokens over capacity), seconds of CPU, and how many times faster we are.
TRL moves the tokens as it packs, which cannot be told apart from outside; we only choose, and read rows later.
"""

import argparse
import statistics
import time
from typing import Any

import numpy as np

from sft.pack import pack_rows


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--skip-trl", action="store_true")
    options = parser.parse_args()
    for capacity in (4096, 8192, 16_384):
        compare(make_lengths(options.rows, capacity), capacity, options.rounds, not options.skip_trl)


def make_lengths(count: int, longest: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.int32]]:
    """Half around 2,000 tokens, half around 5,000; none longer than a pack."""
    draw = np.random.default_rng(seed)
    sizes = np.concatenate([draw.lognormal(7.5, 0.5, count // 2), draw.lognormal(8.4, 0.4, count - count // 2)])
    return draw.permutation(sizes[:count]).clip(200, longest).astype(np.int32)


def compare(lengths: np.ndarray[Any, np.dtype[np.int32]], capacity: int, rounds: int, with_trl: bool) -> None:
    """Print one line of ours, and one of TRL's."""
    fewest = -(-int(lengths.sum()) // capacity)
    ours = []
    for _ in range(rounds):
        started = time.process_time()
        packs = pack_rows(lengths, capacity)
        ours.append(time.process_time() - started)
    seconds = statistics.median(ours)
    print(f"{capacity:6} tokens: ours {len(packs) / fewest:.4f} x the fewest packs, {seconds:.3f} s", flush=True)
    if with_trl:
        count, theirs = pack_by_trl(lengths, capacity)
        print(f"{'':14} TRL  {count / fewest:.4f} x, {theirs:.2f} s ({theirs / seconds:.0f} x ours)", flush=True)


def pack_by_trl(lengths: np.ndarray[Any, np.dtype[np.int32]], capacity: int) -> tuple[int, float]:
    """Packs and seconds of TRL's ``bfd`` over rows of zeros, with its own batches."""
    from datasets import Dataset, disable_caching, disable_progress_bars
    from trl import pack_dataset

    disable_caching()
    disable_progress_bars()
    data = Dataset.from_dict({"input_ids": [np.zeros(length, np.int32) for length in lengths]}).with_format("arrow")
    started = time.process_time()
    packed = pack_dataset(data, capacity, "bfd")
    return len(packed), time.process_time() - started


if __name__ == "__main__":
    main()
