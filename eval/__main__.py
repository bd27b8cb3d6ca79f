"""``python -m eval``: play the held-out tasks with each model, score them, write report.json and report.html."""

import signal
import sys
from collections.abc import Sequence

from eval.evaluate import evaluate
from toolwright.command import Flag, parse_command, run_command

FLAGS = (
    Flag(("--models",), "eval.models", "what to score, as base,sft,rl", many=True),
    Flag(("--base-url",), "eval.models", "score an endpoint, as http://localhost:8000/v1", many=True),
    Flag(("-n", "--n-tasks"), "eval.n_tasks", "use at most this many held-out tasks"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``python -m eval``."""
    return run_command(lambda: _run(list(sys.argv[1:] if argv is None else argv)))


def _run(words: list[str]) -> None:
    config = parse_command(
        words, prog="python -m eval", about=__doc__ or "", sections=("eval", "tools", "serve"), flags=FLAGS
    )
    config_file = next((word for word in words if word.endswith((".yaml", ".yml"))), "")
    evaluate(config, config_file)


if __name__ == "__main__":
    # The default action of this signal would skip every clean-up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(main())
