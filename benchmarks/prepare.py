"""``python -m benchmarks.prepare``: JSONL to training-ready rows, ours against TRL's, on the same files in one run.

TRL's way is that of its SFTTrainer with ``assistant_only_loss``: ``load_dataset("json")`` and ``_prepare_dataset``,
without truncation. Ours is ``load_data``: read, check, encode, write to disk, map into memory. Both use TRL's
``qwen3_training`` template and one process, take turns in going first, and get conversations that neither has seen;
the ids are compared. The ratio is that of CPU time, which other processes on the machine do not count into. Then ours
with two processes against one, their start included.
"""

import argparse
import json
import os
import pickle
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import datasets
from trl import SFTConfig, SFTTrainer

from benchmarks import corpus
from sft.data import Data, load_data
from toolwright.config import RunConfig


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--conversations", type=int, default=1500, help="in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scaling", type=int, default=10_000, help="conversations of the round with two processes")
    options = parser.parse_args()
    template = (files("trl") / "chat_templates" / "qwen3_training.jinja").read_text(encoding="utf-8")
    for name, make in (("shared", corpus.shared), ("unique", corpus.unique)):
        tokenizer = corpus.train_tokenizer(make(300, 2))
        tokenizer.chat_template = template
        rows = make(options.conversations * options.rounds, 1)
        with tempfile.TemporaryDirectory() as directory:
            rounds = [rows[at :: options.rounds] for at in range(options.rounds)]
            compare(name, tokenizer, [_write(Path(directory) / f"{at}.jsonl", r) for at, r in enumerate(rounds)])
            if options.scaling:
                scale(name, tokenizer, _write(Path(directory) / "many.jsonl", make(options.scaling, 3)))


def compare(name: str, tokenizer: Any, paths: Sequence[Path]) -> None:
    """Print how many times faster ours is: median over rounds of the ratio, and its range."""
    ratios = []
    for number, path in enumerate(paths):
        works = [partial(prepare_ours, path, tokenizer), partial(prepare_trl, path, tokenizer)]
        taken = [_timed(work) for work in (works if number % 2 else works[::-1])]
        (ours, our_s, our_cpu_s), (theirs, trl_s, trl_cpu_s) = taken if number % 2 else taken[::-1]
        assert [row.input_ids.tolist() for row in ours.train] == theirs["input_ids"][:], "the ids differ"
        ratios.append(trl_cpu_s / our_cpu_s)
        print(
            f"{name}, round {number}: TRL {trl_cpu_s:.1f} s of CPU ({trl_s:.1f} s), ours {our_cpu_s:.2f} s "
            f"({our_s:.2f} s)",
            flush=True,
        )
    print(
        f"{name}: {statistics.median(ratios):.1f} x TRL ({min(ratios):.1f} to {max(ratios):.1f}; {len(ratios)} rounds "
        f"of {len(ours.train)}); ids equal",
        flush=True,
    )


def scale(name: str, tokenizer: Any, path: Path, rounds: int = 2) -> None:
    """Print how many times faster two processes are than one, by the clock and by what each of them computes.

    The latter is what the clock would show where nothing else runs.
    """
    by_clock, by_cpu = [], []
    packed = pickle.dumps(tokenizer)
    for _ in range(rounds):  # with a tokenizer that has no words in its cache: what a start finds
        _, one_s, one_cpu_s = _timed(partial(prepare_ours, path, pickle.loads(packed)))
        before = _children_cpu_s()
        two_s = _timed(partial(prepare_ours, path, pickle.loads(packed), processes=2))[1]
        by_clock.append(one_s / two_s)
        by_cpu.append(one_cpu_s / ((_children_cpu_s() - before) / 2))
    print(
        f"{name}: 2 processes {max(by_clock):.2f} x one by the clock, {max(by_cpu):.2f} x by CPU time "
        f"(best of {rounds}; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f})",
        flush=True,
    )


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def prepare_ours(path: Path, tokenizer: Any, processes: int = 1) -> Data:
    """What ``python -m sft.train`` does before it loads the model, with nothing in the cache."""
    with tempfile.TemporaryDirectory(dir=path.parent) as runs:
        sft = {"data": str(path), "max_tokens": 1_000_000, "encode_processes": processes}
        config = RunConfig.model_validate({"runs_dir": runs, "sft": sft})
        return load_data(config, tokenizer)  # mapped files stay readable when they are removed


def prepare_trl(path: Path, tokenizer: Any) -> Any:
    """What the constructor of ``SFTTrainer`` does with a JSONL file, without its model."""
    datasets.disable_progress_bars()
    trainer = SFTTrainer.__new__(SFTTrainer)
    trainer._tokenizer, trainer.chat_template, trainer.completion_only_loss = tokenizer, None, False
    with tempfile.TemporaryDirectory(dir=path.parent) as cache:
        arguments = SFTConfig(
            output_dir=cache, assistant_only_loss=True, max_length=None, report_to="none", use_cpu=True, bf16=False
        )
        dataset = datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=cache)
        return trainer._prepare_dataset(dataset, tokenizer, arguments, False, None, "train")


def _write(path: Path, rows: Sequence[corpus.Row]) -> Path:
    """A JSONL file; tools are text, as in ours, for Arrow would give one schema to all of them."""
    with path.open("w", encoding="utf-8") as stream:
        for row in rows:
            tools = json.dumps(row["tools"], ensure_ascii=False)
            stream.write(json.dumps({**row, "tools": tools}, ensure_ascii=False) + "\n")
    return path


def _timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """The result, seconds, and seconds of CPU."""
    started, cpu_started = time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - started, time.process_time() - cpu_started


if __name__ == "__main__":
    main()
