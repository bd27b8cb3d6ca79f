"""``python -m mcpserver``: serve the tools over MCP (stdio, or ``--http``), or ``--list`` them."""

import argparse
import json
import sys
from collections.abc import Sequence

from mcpserver.catalogue import select_tools, toolsets
from mcpserver.pool import IDLE_TIMEOUT_S, EnvironmentPool
from toolwright.command import run_command


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line, then list or serve."""
    options = _parse(argv)
    return run_command(lambda: _list(options) if options.list else _serve(options))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m mcpserver", description="Serve toolwright's tools over MCP.")
    parser.add_argument("--http", action="store_true", help="HTTP instead of stdio: MCP at /mcp, plain calls beside it")
    parser.add_argument("--host", default="127.0.0.1", help="address for --http (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8765, help="port for --http, 0 for a free one (default 8765)")
    parser.add_argument("--seed", type=int, default=17, help="seed of the world without a handle (default 17)")
    parser.add_argument(
        "--toolset", action="append", metavar="NAME", help="offer only this toolset; may be repeated (default: all)"
    )
    parser.add_argument("--idle-timeout-s", type=float, default=IDLE_TIMEOUT_S, help="close idle worlds (default 1800)")
    parser.add_argument("--list", action="store_true", help="list the tools and leave")
    parser.add_argument("--json", action="store_true", help="with --list: the tools as OpenAI JSON")
    return parser.parse_args(argv)


def _list(options: argparse.Namespace) -> None:
    tools = select_tools(options.toolset).values()
    if options.json:
        print(json.dumps([tool.spec.to_openai() for tool in tools], indent=1))
        return
    for name in toolsets():
        own = [tool.spec for tool in tools if tool.toolset == name]
        if own:
            print(f"{name} ({len(own)})")
        for spec in own:
            print(f"  {spec.name}({', '.join(spec.parameters['properties'])}): {spec.description}")


def _serve(options: argparse.Namespace) -> None:
    # Imports stand here: --list need not wait for the MCP SDK, nor stdio for the web server.
    select_tools(options.toolset)
    pool = EnvironmentPool(options.seed, options.toolset, idle_timeout_s=options.idle_timeout_s)
    if options.http:
        from mcpserver.http import serve_http

        serve_http(pool, options.host, options.port, options.toolset)
    else:
        from mcpserver.server import serve_stdio

        serve_stdio(pool, options.toolset)


if __name__ == "__main__":
    sys.exit(main())
