"""The command ``python -m attacks FILE``: exit code 1 when a case failed or a line is no case."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from attacks.run import run_file
from mcpserver.sandbox.launch import Level
from mcpserver.sandbox.level import choose_level
from toolwright.command import run_command
from toolwright.errors import ConfigError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the cases of a file."""
    parser = argparse.ArgumentParser(prog="python -m attacks", description=__doc__)
    parser.add_argument("file", type=Path, help="JSON lines: id, kind, tool_kind, payload, must")
    parser.add_argument("--sandbox", choices=("auto", *get_args(Level)), default="auto", help="level (default: auto)")
    parser.add_argument("--only", default="", metavar="ID", help="run this case only")
    parser.add_argument("--times", action="store_true", help="print how long each case took")
    parser.add_argument("--i-know", action="store_true", help="allow --sandbox none: attacks then run on this machine")
    options = parser.parse_args(argv)
    return run_command(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    level = choose_level(options.sandbox)
    if level is None:
        raise ConfigError("no sandbox works on this machine: `python -m mcpserver doctor` says why; nothing was run")
    if level == "none" and not options.i_know:
        raise ConfigError("--sandbox none would run attacks on this machine itself; add --i-know to do so")
    return 1 if run_file(options.file, level, options.only, times=options.times) else 0


if __name__ == "__main__":
    sys.exit(main())
