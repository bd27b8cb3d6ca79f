"""``python -m mcpserver.api import``: tools from a description of APIs, as a catalogue for ``--tools``."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from toolwright.command import run_command
from toolwright.errors import ConfigError


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line, then do what the command says."""
    options = _parse(argv)
    return run_command(lambda: _import(options))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m mcpserver.api", description="Tools from descriptions of APIs.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    one = commands.add_parser("import", help="make a catalogue of tools; use it with --tools NAME.api.jsonl")
    one.add_argument(
        "source",
        metavar="SOURCE",
        help="an OpenAPI 3 document (JSON, YAML), a file or folder of definitions (.json, .jsonl, also .gz), "
        "or an mcpServers file",
    )
    one.add_argument("--out", default=".", metavar="DIR", help="where the catalogue and its report go (default: here)")
    one.add_argument("--name", metavar="NAME", help="of the catalogue (default: that of the source)")
    one.add_argument("--prefix", default="", metavar="P", help="put before each tool's name")
    one.add_argument("--base-url", default="", metavar="URL", help="the endpoint to call (default: virtual replies)")
    one.add_argument(
        "--header", action="append", default=[], metavar="'K: V'", help="sent to it; ${VAR} is read when it is sent"
    )
    one.add_argument("--json", action="store_true", help="print the report as JSON")
    return parser.parse_args(argv)


def _import(options: argparse.Namespace) -> None:
    from mcpserver.api.addresses import check_url
    from mcpserver.api.importing import import_source, name_of, save

    headers = dict(_header(text) for text in options.header)
    if options.base_url:
        check_url(options.base_url)
    path = Path(options.source)
    imported = import_source(path, prefix=options.prefix, base_url=options.base_url, headers=headers)
    target = save(imported, Path(options.out), options.name or name_of(path))
    if options.json:
        print(json.dumps(imported.report.to_json(), ensure_ascii=False, indent=1, default=repr))
        return
    print("\n".join(imported.report.table()))
    print(f"{imported.report.accepted:,} tools in {target}: python -m mcpserver list --tools {target}")


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise ConfigError(f"--header: expected 'Name: value', got {text!r}")
    return name.strip(), value.strip()


if __name__ == "__main__":
    sys.exit(main())
