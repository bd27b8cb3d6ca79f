"""``python -m merge [config.yaml]``: merge an adapter into its base model and prove that both say the same.

Reads ``rl/adapter`` or ``sft/adapter`` of the run; writes ``merged/`` (a standalone Hugging Face model) and
``parity.json``. Exit code 1 when parity fails: then nothing is left at ``merged/`` that has a manifest.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from merge.engine import Applied, merge
from merge.parity import Parity, compare
from toolwright.artifacts import replacing, require, write_text
from toolwright.command import Flag, parse_command, run_command
from toolwright.config import RunConfig
from toolwright.model import model_source, quiet_libraries, set_threads
from toolwright.stage import Job, run_dir

COMMAND = "python -m merge"
FAILED = 1


class ParityError(Exception):
    """The merged model does not say what base and adapter say; carries the measurement."""

    def __init__(self, parity: Parity) -> None:
        super().__init__("parity failed")
        self.parity = parity


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    return run_command(lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int:
    config = parse_command(
        argv,
        prog=COMMAND,
        about=__doc__.split("\n\n")[0] if __doc__ else "",
        sections=("merge",),
        flags=(Flag(("--adapter",), "merge.adapter", "adapter to merge"),),
    )
    try:
        merge_run(config)
    except ParityError as error:
        found = error.parity
        print(
            f"merge: parity failed: largest logit difference {found.max_abs_logit_diff} (tolerance "
            f"{found.tolerance}), {found.flips} tokens chosen otherwise, tokenizer files identical: "
            f"{found.files_identical}; see {run_dir(config) / 'parity.json'}",
            file=sys.stderr,
        )
        return FAILED
    return 0


def adapter_dir(config: RunConfig) -> Path:
    """The directory of the adapter to merge, finished and unchanged.

    Raises:
        ArtifactError: not there, not finished, or changed since; names the command that makes it.
    """
    name = config.merge.adapter
    path = run_dir(config) / name / "adapter" if name in ("sft", "rl") else Path(name)
    require(path, made_by="python -m rl.train" if name == "rl" else "python -m sft.train")
    return path


def merge_run(config: RunConfig) -> None:
    """Merge the adapter of a run, unless that is done.

    Raises:
        ModelError, ArtifactError: adapter and base do not fit, or are not finished.
        ParityError: the result says other things than base and adapter.
    """
    adapter = adapter_dir(config)
    source = model_source(config.model)
    settings = config.merge.model_dump(exclude={"adapter"})
    inputs = {"model": source, "adapter": adapter}
    job = Job.of(config, "merge", output="merged", command=COMMAND, settings=settings, inputs=inputs)
    if job.is_current():
        return
    quiet_libraries()
    set_threads(config.threads)
    with job.running() as counts:
        with replacing(job.output) as output:
            applied = merge(str(source), adapter, output, config.merge.dtype)
            parity = compare(str(source), adapter, output, config.merge.tolerance)
            _write_parity(run_dir(config) / "parity.json", parity, applied)
            if not parity.passed:
                raise ParityError(parity)
        counts |= applied.__dict__ | parity.model_dump(include={"max_abs_logit_diff", "greedy_identical"})
    print(
        f"merge: {applied.adapter_tensors} tensors into {applied.layers} layers ({applied.dtype}), largest logit "
        f"difference {parity.max_abs_logit_diff:.4f}, {parity.flips} of {parity.positions} tokens chosen otherwise "
        f"-> {job.output}",
        flush=True,
    )


def _write_parity(path: Path, parity: Parity, applied: Applied) -> None:
    import json

    write_text(path, json.dumps({**parity.model_dump(), "applied": applied.__dict__}, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
