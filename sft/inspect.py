"""Shows which tokens of a dataset are trained: statistics on the terminal, and a page with every token of some rows.

python -m sft.inspect FILE [config.yaml] [section.key=value …] [--model DIR] [--out page.html] [--rows N] [--row INDEX]

Reads conversations (JSONL; {"messages": …, "tools": …} in OpenAI form is enough) and a tokenizer, of any model.
Without FILE, the training conversations of the run. Rows are made as training makes them with the same settings;
nothing is trained, kept back or thinned out. Writes the page.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from sft.survey import Encoder, Survey, choose_rows, read_rows_again, survey
from sft.survey_words import print_survey, print_tokens
from sft.token_page import ShownRow, build_page, served_words, show_row
from toolwright.artifacts import write_text
from toolwright.command import Flag, Option, parse_with_options, run_command
from toolwright.config import RunConfig
from toolwright.errors import ConfigError
from toolwright.model import load_tokenizer, model_source, quiet_libraries
from toolwright.stage import run_dir

PROG = "python -m sft.inspect"
FLAGS = (Flag(("--model",), "model", "whose tokenizer and chat template: a directory or a hub id"),)
OPTIONS = (
    Option("--out", "where the page goes; default: inspect/ of the run", Path),
    Option("--rows", "rows on the page (default 20)", int, 20),
    Option("--row", "the row with this index, from 0: shown first on the page, and on the terminal", int),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(lambda: _inspect(argv))


def _inspect(argv: Sequence[str] | None) -> None:
    config, options = parse_with_options(
        argv, prog=PROG, about=__doc__ or "", sections=("sft",), flags=FLAGS, options=OPTIONS, file_key="sft.data"
    )
    if options["rows"] < 1:
        raise ConfigError(f"--rows {options['rows']}: at least one row; a large number takes all")
    quiet_libraries()
    files = _files(config)
    encoder = Encoder.of(config, load_tokenizer(config.model, need_tools=False))
    found = survey(files, encoder)
    title, model = ", ".join(path.name for path in files), str(model_source(config.model))
    console = Console()
    print_survey(found, f"{title}, {model}", encoder, console)
    rows = _rows(files, found, encoder, config.seed, options["rows"], options["row"])
    if options["row"] is not None:
        print_tokens(rows[0].row, rows[0].tokens, console)
    out = options["out"] or run_dir(config) / "inspect" / f"{files[0].stem}.html"
    write_text(out, build_page(title, model, found, rows, encoder))
    console.print(f"prompts of trained turns against those of a server: {served_words(rows)}", highlight=False)
    console.print(f"page with {len(rows)} rows: {out}", soft_wrap=True, highlight=False)


def _files(config: RunConfig) -> list[Path]:
    data = config.sft.data
    if data is None:
        return [run_dir(config) / "train.jsonl"]
    return [Path(data)] if isinstance(data, str) else [Path(source.path) for source in data]


def _rows(
    files: Sequence[Path], found: Survey, encoder: Encoder, seed: int, count: int, asked: int | None
) -> list[ShownRow]:
    if asked is not None and not 0 <= asked < len(found.rows):
        raise ConfigError(f"--row {asked}: there are {len(found.rows)} rows, counted from 0")
    chosen = choose_rows(found, count, seed, asked)
    facts = [found.rows[index] for index, _ in chosen]
    again = read_rows_again(files, facts, encoder)
    return [
        show_row(index, why, fact, row, conversation, encoder)
        for (index, why), fact, (row, conversation) in zip(chosen, facts, again)
    ]


if __name__ == "__main__":
    sys.exit(main())
