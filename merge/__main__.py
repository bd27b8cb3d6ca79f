"""``python -m merge [config.yaml] [--base DIR] [--adapter DIR] [--out DIR]``: merge, and prove that both say the same.

Reads a base model and ``rl/adapter`` or ``sft/adapter`` of the run, or any adapters; writes ``merged/`` (a standalone
Hugging Face model with a card) and ``parity.json``. A merge that was stopped goes on with the next file of weights on
the same command. Exit code 1 when parity fails: then there is no merged model. Without a config.yaml, an adapter that
is no run's keeps the types of its base, and needs --out.
"""

import dataclasses
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from merge.base import read_base, read_config
from merge.card import upload_command, write_card
from merge.engine import Applied, Watch, merge
from merge.job import COMMAND, Order, is_foreign, merge_job, read_order, require_place, shard_bytes
from merge.output import Partial, local_base
from merge.parity import Parity, compare, prompts_of, summary
from merge.stream import Progress
from merge.weights import read_weights
from toolwright.artifacts import write_text
from toolwright.command import Flag, parse_command, run_command
from toolwright.config import RunConfig
from toolwright.errors import ConfigError
from toolwright.model import quiet_libraries, require_same_base, set_threads

FAILED = 1
FLAGS = (
    Flag(("--base",), "merge.base", "16-bit model to merge into"),
    Flag(("--adapter",), "merge.adapter", "adapter to merge: rl, sft, a directory, or several: a,b:0.5"),
    Flag(("--out",), "merge.out", "directory of the merged model"),
    Flag(("--engine",), "merge.engine", "stream or peft"),
    Flag(("--dtype",), "merge.dtype", "type of the merged weights"),
    Flag(("--max-shard-size",), "merge.max_shard_size", "largest file of weights, such as 5GB"),
    Flag(("--replace",), "merge.replace", "replace a directory that no merge made", switch=True),
)


class ParityError(Exception):
    """The merged model does not say what base and adapter say; carries the reason."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    return run_command(lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int:
    try:
        merge_run(_read(sys.argv[1:] if argv is None else argv))
    except ParityError as error:
        print(f"merge: parity failed: {error}", file=sys.stderr)
        return FAILED
    return 0


def _read(argv: Sequence[str]) -> RunConfig:
    """The configuration; the default one is about the tiny run, and says nothing about adapters from elsewhere.

    Raises:
        ConfigError: a wrong word, or no place is named for the model of such adapters.
    """

    def parse(words: Sequence[str]) -> RunConfig:
        return parse_command(words, prog=COMMAND, about=__doc__ or "", sections=("merge",), flags=FLAGS)

    config = parse(argv)
    if any(word.endswith((".yaml", ".yml")) for word in argv) or not is_foreign(config):
        return config
    if config.merge.out is None:
        read_order(config)  # a wrong name is told first
        raise ConfigError("merge.out: an adapter from elsewhere does not go into the run's model; add --out DIR")
    return parse(["merge.dtype=base", *argv])  # what is named later wins


def merge_run(config: RunConfig) -> None:
    """Merge what a configuration asks for, unless that is done.

    Raises:
        ConfigError, ModelError, ArtifactError: adapter and base do not fit, are not finished, or the disk is too small.
        ParityError: the result says other things than base and adapter.
    """
    order = read_order(config)
    largest = shard_bytes(config.merge.max_shard_size)
    job = merge_job(config, order)
    if job.is_current():
        return
    if isinstance(order.base, Path):
        read_base(order.base, read_weights(order.base))  # what is broken says more than that it is another model
    for source in order.sources:
        require_same_base(source.directory, order.base)
    require_place(order, config.merge.replace)
    with job.running() as counts:
        partial = Partial(order.output, job.key)
        base = local_base(order.base)
        # What cannot be proven afterwards is not merged.
        read_config(base)
        prompts_of(str(base), order.sources)
        if config.merge.engine == "peft":
            from merge.whole import merge_whole

            applied = merge_whole(base, order.sources, partial, dtype=config.merge.dtype, max_shard_size=largest)
        else:
            with _bar() as watch:
                applied = merge(
                    base,
                    order.sources,
                    partial,
                    dtype=config.merge.dtype,
                    max_shard_size=largest,
                    threads=config.merge.threads or len(os.sched_getaffinity(0)),
                    watch=watch,
                )
        parity = _prove(config, order, partial, applied)
        partial.publish()
        counts |= {"adapter_tensors": applied.adapter_tensors, "weights_changed": applied.weights_changed}
        counts |= parity.model_dump(include={"method", "max_abs_logit_diff", "greedy_identical"})
    print(
        f"merge: {applied.adapter_tensors} tensors into {applied.weights_changed} weights "
        f"({'/'.join(applied.dtypes)}), {summary(parity)} -> {order.output}\n"
        f"to publish it: {upload_command(order.output)}",
        flush=True,
    )


def _prove(config: RunConfig, order: Order, partial: Partial, applied: Applied) -> Parity:
    """Measure the parity of what was written, and write it down; only a proven model gets its card and its name."""
    quiet_libraries()
    set_threads(config.threads)
    parity = compare(
        str(order.base), order.sources, partial.path, tolerance=config.merge.tolerance, method=config.merge.parity
    )
    content = {**parity.model_dump(mode="json"), "applied": dataclasses.asdict(applied)}
    write_text(order.parity, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    if not parity.passed:
        partial.drop()
        raise ParityError(f"{parity.why}; see {order.parity}")
    for warning in parity.warnings:
        print(f"merge: {warning}", file=sys.stderr)
    write_card(
        partial.path,
        base=str(order.base),
        sources=order.sources,
        parity=content,
        config=config if order.of_run else None,
    )
    return parity


@contextmanager
def _bar() -> Iterator[Watch | None]:
    """A bar in bytes on a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    columns = ("merge", BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True)) as bar:

        def watch(total: int) -> Progress:
            task = bar.add_task("merge", total=total)
            return lambda size: bar.advance(task, size)

        yield watch


if __name__ == "__main__":
    sys.exit(main())
