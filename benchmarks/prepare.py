"""``python -m benchmarks.prepare``: JSONL to training-ready rows, ours against TRL's, on the same files.

TRL's way is that of its SFTTrainer with ``assistant_only_loss``: ``load_dataset("json")`` and ``_prepare_dataset``,
without truncation. Ours is ``load_data``: read, check, encode, write to disk, map into memory.
``benchmarks.against_trl`` says how both are measured and compared. Then ours with two processes against one, their
start included.
"""

import argparse
import os
import pickle
import resource
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.against_trl import Labelled, Stopwatch, compare, make_tokenizer, start_process, write
from benchmarks.corpus import CORPORA


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--conversations", type=int, default=512, help="in a round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="that count (default: %(default)s)")
    parser.add_argument("--corpora", nargs="+", choices=CORPORA, default=list(CORPORA), help="(default: all)")
    parser.add_argument(
        "--scaling", type=int, default=10_000, help="conversations with two processes, 0: none (default: %(default)s)"
    )
    options = parser.parse_args()
    if 0 < options.scaling < 1024:
        parser.error("--scaling: at least 1024, so that there is a chunk for each process")
    for name in options.corpora:
        compare(name, prepare_trl, prepare_ours, conversations=options.conversations, rounds=options.rounds)
        if options.scaling:
            scale(name, options.scaling)


def prepare_ours(tokenizer: Any, path: Path, watch: Stopwatch, processes: int = 1) -> list[Labelled]:
    """What ``python -m sft.train`` does before it loads the model, with nothing on the disk from before."""
    from sft.data import load_data
    from toolwright.config import RunConfig

    with tempfile.TemporaryDirectory(dir=path.parent) as runs:
        sft = {"data": str(path), "max_tokens": 1_000_000, "encode_processes": processes}
        config = RunConfig.model_validate({"runs_dir": runs, "sft": sft})
        with watch:
            data = load_data(config, tokenizer)
        return [(row.input_ids, row.labels) for row in data.train]


def prepare_trl(tokenizer: Any, path: Path, watch: Stopwatch) -> list[Labelled]:
    """What the constructor of ``SFTTrainer`` does with a JSONL file, without its model."""
    import datasets
    from trl import SFTConfig, SFTTrainer

    datasets.disable_progress_bars()
    trainer = SFTTrainer.__new__(SFTTrainer)
    trainer._tokenizer, trainer.chat_template, trainer.completion_only_loss = tokenizer, None, False
    with tempfile.TemporaryDirectory(dir=path.parent) as cache:
        arguments = SFTConfig(
            output_dir=cache, assistant_only_loss=True, max_length=None, report_to="none", use_cpu=True, bf16=False
        )
        with watch:
            dataset = datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=cache)
            dataset = trainer._prepare_dataset(dataset, tokenizer, arguments, False, None, "train")
        rows = dataset.with_format("numpy", columns=["input_ids", "labels"])
        return [(row["input_ids"].astype(np.int32), row["labels"].astype(np.int32)) for row in rows]


def scale(name: str, conversations: int, rounds: int = 2) -> None:
    """Print how many times faster two processes are than one, by the clock and by what each of them computes.

    The latter is what the clock would show where nothing else runs.
    """
    tokenizer = make_tokenizer(name)
    with tempfile.TemporaryDirectory() as directory, start_process(tokenizer) as process:
        path = write(Path(directory) / "many.jsonl", CORPORA[name](conversations, 3))
        taken = [process.submit(_one_and_two, pickle.dumps(tokenizer), path).result() for _ in range(rounds)]
    by_clock, by_cpu = (max(column) for column in zip(*taken))
    print(
        f"{name}: 2 processes {by_clock:.2f} x one by the clock, {by_cpu:.2f} x by CPU time "
        f"(best of {rounds}; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f})",
        flush=True,
    )


def _one_and_two(packed: bytes, path: Path) -> tuple[float, float]:
    """How many times faster two processes are; the tokenizers have no words in their cache, which is as a start is."""
    one, two = Stopwatch(), Stopwatch()
    prepare_ours(pickle.loads(packed), path, one)
    before = _children_cpu_s()
    prepare_ours(pickle.loads(packed), path, two, processes=2)
    return one.s / two.s, one.cpu_s / ((_children_cpu_s() - before) / 2)


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
