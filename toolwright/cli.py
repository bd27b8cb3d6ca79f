"""The ``toolwright`` command: the whole chain, what it would cost, the machine, and the proof of its result."""

import sys
from collections.abc import Callable, Sequence

USAGE = """usage: toolwright COMMAND [config.yaml] [section.key=value …]

commands:
  plan     before spending anything: memory, time, tokens and money of every stage (--device list names devices)
  run      questions, conversations, split, SFT, RL, merge and evaluation, each continued where it stopped
  verify   adapter, merged and served model give the same; one receipt, written into the model card
  doctor   versions, devices, what is missing and the line that installs it

`toolwright COMMAND --help` lists the keys. Each stage is a command of its own as well:
  python -m data_gen.questions · data_gen.conversations · data_gen.split
  accelerate launch sft/train.py · python -m rl.train · merge · serve · eval
"""
INSTALL = "pip install -c constraints.txt -e . (in the checkout)"
SECTIONS = ("tools", "data_gen", "sft", "rl", "merge", "serve", "eval")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``toolwright``."""
    words = list(sys.argv[1:] if argv is None else argv)
    command, arguments = (words[0], words[1:]) if words else ("--help", [])
    if command in ("-h", "--help"):
        print(USAGE, end="")
        return 0
    if command not in COMMANDS:
        print(f"error: unknown command {command!r}; toolwright --help lists them", file=sys.stderr)
        return 2
    try:
        return COMMANDS[command](arguments)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "toolwright":
            raise
        print(f"error: the package {error.name} is not installed; install what is required: {INSTALL}", file=sys.stderr)
        return 2


def _run(arguments: Sequence[str]) -> int:
    from toolwright.chain import run_chain
    from toolwright.command import parse_command, run_command
    from toolwright.summary import print_costs

    def body() -> None:
        about = "Run the whole chain; the same command continues a stopped run."
        config = parse_command(arguments, prog="toolwright run", about=about, sections=SECTIONS)
        run_chain(config, arguments)
        print_costs(config)

    return run_command(body)


def _plan(arguments: Sequence[str]) -> int:
    from toolwright.plan import main

    return main(arguments)


def _doctor(arguments: Sequence[str]) -> int:
    from toolwright.doctor import main

    return main(arguments)


def _verify(arguments: Sequence[str]) -> int:
    from toolwright.verify import main

    return main(arguments)


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "plan": _plan,
    "run": _run,
    "verify": _verify,
    "doctor": _doctor,
}


if __name__ == "__main__":
    sys.exit(main())
