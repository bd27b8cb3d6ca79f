"""The ``toolwright`` command: ``run`` (the whole chain), ``doctor`` (the machine)."""

import sys
from collections.abc import Sequence

from toolwright.chain import run_chain
from toolwright.command import parse_command, run_command
from toolwright.config import RunConfig
from toolwright.doctor import print_report
from toolwright.summary import print_costs

USAGE = """usage: toolwright COMMAND [config.yaml] [section.key=value …]

commands:
  run      questions, conversations, split, SFT, RL, merge and evaluation, each continued where it stopped
  doctor   versions, devices, what is missing and the line that installs it

`toolwright COMMAND --help` lists the keys. Each stage is a command of its own as well:
  python -m data_gen.questions · data_gen.conversations · data_gen.split
  accelerate launch sft/train.py · python -m rl.train · merge · serve · eval
"""
SECTIONS = ("tools", "data_gen", "sft", "rl", "merge", "serve", "eval")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``toolwright``."""
    words = list(sys.argv[1:] if argv is None else argv)
    command, arguments = (words[0], words[1:]) if words else ("--help", [])
    if command in ("-h", "--help"):
        print(USAGE, end="")
        return 0
    if command not in ("run", "doctor"):
        print(f"error: unknown command {command!r}; toolwright --help lists them", file=sys.stderr)
        return 2
    return run_command(lambda: _dispatch(command, arguments))


def _dispatch(command: str, arguments: Sequence[str]) -> int:
    if command == "doctor":
        return print_report(_parse("doctor", "Look at this machine.", arguments))
    config = _parse("run", "Run the whole chain; the same command continues a stopped run.", arguments)
    run_chain(config, arguments)
    print_costs(config)
    return 0


def _parse(command: str, about: str, arguments: Sequence[str]) -> RunConfig:
    return parse_command(arguments, prog=f"toolwright {command}", about=about, sections=SECTIONS)


if __name__ == "__main__":
    sys.exit(main())
