"""Writes the company world into a directory, or prints what is in it or in another folder, as JSON lines."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from mcpserver.baseworld import write_base
from mcpserver.company import company_base, company_catalogue, describe_folder
from toolwright.command import run_command
from toolwright.errors import ConfigError

_ABOUT = """\
Write the company world: about a hundred small files in many formats (below files/) and 14 SQLite databases (below
databases/), the same bytes every time. Tools, questions and examples are made over it; a copy that you edit can be
given to environments instead. With --describe, print instead one JSON object for each file: path, name, format, bytes,
summary, and columns, first rows, tables, headings, first lines or size, as its format has them."""
_EXAMPLES = """\
examples:
  python -m mcpserver.company my_world              write the world into a new or empty directory
  python -m mcpserver.company --describe            what is in the world
  python -m mcpserver.company --describe my_files   what is in a folder of your own"""


def main(argv: Sequence[str] | None = None) -> int:
    """Write or describe; 0, or 2 when the user has to change something."""
    parser = argparse.ArgumentParser(
        prog="python -m mcpserver.company",
        description=_ABOUT,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("directory", metavar="DIR", nargs="?", help="where to write it: a new or empty directory")
    parser.add_argument("--describe", metavar="FOLDER", nargs="?", const="", help="describe the world, or this folder")
    words = parser.parse_args(argv)
    if (words.directory is None) == (words.describe is None):
        parser.error("give either a directory to write to, or --describe")
    if words.directory is not None:
        return run_command(lambda: _write(Path(words.directory)))
    return run_command(lambda: _print(words.describe))


def _write(target: Path) -> None:
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError(f"{target}: not an empty directory; name a new one")
    base = company_base()
    try:
        write_base(base, target)
    except NotADirectoryError as error:
        raise ConfigError(f"{target}: {error.filename} is no directory; name another place") from None
    print(f"{len(base)} files, {sum(map(len, base.values()))} bytes in {target}")


def _print(folder: str) -> None:
    try:
        for entry in describe_folder(Path(folder)) if folder else company_catalogue():
            print(json.dumps(entry, ensure_ascii=False))
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
