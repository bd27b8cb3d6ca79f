"""What an import of API definitions costs, and what it changed: `python -m benchmarks.api_import FILE`.

Prints the seconds (of the clock and of this process) to read, make normal and check all definitions, to write the
catalogue, to load it as tools, and to answer first calls with seeded replies; then the table of what was changed.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from mcpserver.api.entities import Entities
from mcpserver.api.generate import make_document
from mcpserver.api.importing import import_source, save
from mcpserver.api.replies import Apis
from mcpserver.catalogue import Tool, load_tools
from mcpserver.settings import ApiSettings

DEFAULT = Path(__file__).parents[1] / "../shared/data/api_defines.jsonl.gz"
Result = TypeVar("Result")


def timed(what: str, work: Callable[[], Result]) -> Result:
    """Do something and print how long it took."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    print(f"{what}: {time.perf_counter() - wall:.2f} s ({time.process_time() - cpu:.2f} s of CPU)")
    return result


async def answer(tools: list[Tool], folder: Path) -> None:
    """Call each tool once, with arguments made for it."""
    apis = Apis(17, ApiSettings(cache_dir=str(folder / "cache")))
    for tool in tools:
        arguments = make_document(tool.spec.parameters, Entities(3), label=tool.spec.name)
        result = await apis.call(tool, tool.check(arguments))
        assert result.ok
        assert result.synthetic
    await apis.aclose()


def main() -> None:
    """Time an import of a file, and what follows it."""
    parser = argparse.ArgumentParser(description="Time an import of API definitions.")
    parser.add_argument("file", nargs="?", type=Path, default=DEFAULT, help=f"default: {DEFAULT}")
    file: Path = parser.parse_args().file
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        imported = timed(f"import of {file.name}", lambda: import_source(file))
        path = timed("catalogue and report written", lambda: save(imported, folder, "apis"))
        tools = timed("catalogue loaded as tools", lambda: list(load_tools([str(path)]).values()))
        timed(f"first calls of all {len(tools):,} tools", lambda: asyncio.run(answer(tools, folder)))
    print("\n".join(imported.report.table()))


if __name__ == "__main__":
    main()
