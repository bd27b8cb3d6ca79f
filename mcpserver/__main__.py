"""``python -m mcpserver``: serve the tools over MCP, ``list`` them, scaffold a ``new`` one, ask the ``doctor``."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import get_args

from mcpserver.settings import ApiSettings, Choice, PythonKind, Settings, read_apis
from toolwright.command import run_command

SEED = 17
_COMMANDS = """commands, each with its own --help:
  serve    serve the tools (also what happens with no command)
  list     show the tools by category and toolset
  new      write a new tool, with an example and a test
  doctor   say which sandbox this machine has, and why

examples:
  python -m mcpserver                                       stdio, as MCP clients start it
  python -m mcpserver --http --port 8765 --toolset energy   MCP and plain HTTP on one port
  python -m mcpserver --tools my_tools                      your own tools beside ours
  python -m mcpserver list --category files"""


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line, then do what the command says."""
    words = list(sys.argv[1:] if argv is None else argv)
    name = words.pop(0) if words and words[0] in _RUN else "serve"
    try:
        return run_command(_RUN[name](words))
    except BrokenPipeError:  # `… list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0


def _serve_command(words: Sequence[str]) -> Callable[[], None]:
    options = _parse_serve(words)
    return lambda: _list(options) if options.list else _serve(options)


def _list_command(words: Sequence[str]) -> Callable[[], None]:
    parser = argparse.ArgumentParser(
        prog="python -m mcpserver list", description="Show the tools by category and toolset."
    )
    parser.add_argument("--json", action="store_true", help="everything about them, as one JSON list")
    parser.add_argument("--category", action="append", metavar="NAME", help="only this category; may be repeated")
    _add_tool_flags(parser)
    options = parser.parse_args(words)
    names = [*(f"{name}/" for name in options.category or ()), *(options.toolset or ())]
    return lambda: _show(options.tools, names or None, "full" if options.json else "text")


def _new_command(words: Sequence[str]) -> Callable[[], None]:
    parser = argparse.ArgumentParser(
        prog="python -m mcpserver new", description="Write a new tool, with an example and a test that passes."
    )
    parser.add_argument("name", metavar="NAME", help="of the tool and of its file, such as count_words")
    parser.add_argument("--dir", default="tools", metavar="DIR", help="folder of your tools (default: tools)")
    parser.add_argument("--category", default="", metavar="C", help="folder below it (default: none)")
    options = parser.parse_args(words)

    def write() -> None:
        from mcpserver.scaffold import write_tool

        print(write_tool(options.name, options.dir, options.category))

    return write


def _doctor_command(words: Sequence[str]) -> Callable[[], None]:
    argparse.ArgumentParser(
        prog="python -m mcpserver doctor", description="Say which sandbox this machine has, and why."
    ).parse_args(words)

    def describe() -> None:
        from mcpserver.sandbox import level

        print(level.describe())

    return describe


_RUN: dict[str, Callable[[Sequence[str]], Callable[[], None]]] = {
    "serve": _serve_command,
    "list": _list_command,
    "new": _new_command,
    "doctor": _doctor_command,
}


def _parse_serve(words: Sequence[str]) -> argparse.Namespace:
    default = Settings()
    parser = argparse.ArgumentParser(
        prog="python -m mcpserver",
        usage="python -m mcpserver [serve | list | new | doctor] [flags]",
        description="Serve toolwright's tools over MCP, on standard input and output or over HTTP.",
        epilog=_COMMANDS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_tool_flags(parser)
    parser.add_argument("--list", action="store_true", help="list the tools and leave; see also the command list")
    parser.add_argument("--json", action="store_true", help="with --list: the tools as OpenAI JSON")
    where = parser.add_argument_group("where it listens")
    where.add_argument("--http", action="store_true", help="HTTP instead of stdio: MCP at /mcp, plain calls beside it")
    where.add_argument("--host", default="127.0.0.1", help="address for --http (default: 127.0.0.1)")
    where.add_argument("--port", type=int, default=8765, help="port for --http, 0 for a free one (default: 8765)")
    where.add_argument(
        "--token",
        metavar="TOKEN",
        help="that HTTP clients must show as a bearer token (better: the environment variable TOOLWRIGHT_TOKEN)",
    )
    where.add_argument("--max-environments", type=int, metavar="N", default=1024, help="open at once (default: 1024)")
    what = parser.add_argument_group("what an environment is made of")
    what.add_argument("--seed", type=int, default=SEED, help=f"of environments opened without one (default: {SEED})")
    what.add_argument(
        "--world", default=default.world, help=f"desk, company, or a folder with files/ (default: {default.world})"
    )
    what.add_argument("--n-files", type=int, metavar="N", help="files that each environment gets (default: all)")
    what.add_argument(
        "--sandbox", choices=get_args(Choice), default=default.sandbox, help="level (default: the safest that works)"
    )
    what.add_argument(
        "--python", choices=get_args(PythonKind), default=default.python, help="interpreter of run_python"
    )
    what.add_argument(
        "--call-timeout-s", type=float, metavar="S", default=default.call_timeout_s, help="of a call (default: 10)"
    )
    what.add_argument(
        "--apis", metavar="JSON", help="how API tools are answered: an object with base_url, llm_url, …, or its file"
    )
    what.add_argument(
        "--idle-timeout-s", type=float, metavar="S", default=1800.0, help="close idle environments (default: 1800)"
    )
    return parser.parse_args(words)


def _add_tool_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--toolset",
        action="append",
        metavar="NAME",
        help="only this toolset, category or tool; may be repeated (default: all)",
    )
    parser.add_argument(
        "--tools",
        action="append",
        metavar="SOURCE",
        default=[],
        help="your own tools beside ours: a folder, a package, module:function, module:All, x.api.jsonl; repeatable "
        "(also: the environment variable TOOLWRIGHT_TOOLS)",
    )


def _list(options: argparse.Namespace) -> None:
    _show(options.tools, options.toolset, "openai" if options.json else "text")


def _show(sources: Sequence[str], names: Sequence[str] | None, form: str) -> None:
    from mcpserver.listing import show_tools

    show_tools(sources, names, form)


def _serve(options: argparse.Namespace) -> None:
    # Imports stand here: the other commands need not wait for the MCP SDK, nor stdio for the web server.
    from mcpserver.environment import offered_tools
    from mcpserver.pool import EnvironmentPool

    settings = Settings(
        toolsets=tuple(options.toolset) if options.toolset else None,
        sources=tuple(options.tools),
        world=options.world,
        n_files=options.n_files,
        sandbox=options.sandbox,
        python=options.python,
        call_timeout_s=options.call_timeout_s,
        apis=read_apis(options.apis) if options.apis else ApiSettings(),
    )
    offered_tools(settings)
    pool = EnvironmentPool(
        options.seed,
        settings,
        idle_timeout_s=options.idle_timeout_s,
        max_environments=options.max_environments,
    )
    if options.http:
        from mcpserver.http import serve_http

        serve_http(pool, options.host, options.port, options.token)
    else:
        from mcpserver.server import serve_stdio

        serve_stdio(pool)


if __name__ == "__main__":
    sys.exit(main())
