"""What a tool call costs, and how many environments live at once: `python -m benchmarks.tools`.

Prints calls per second in this process, over MCP in memory beside a bare low-level server of the SDK that does nothing,
and for 256 environments with a sandbox each: start, memory, calls per second together, end, and what is left behind.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import mcp_types as types
import psutil
from mcp import Client
from mcp.server.lowlevel import Server

from mcpserver.environment import Environment
from mcpserver.pool import EnvironmentPool
from mcpserver.server import build_server
from mcpserver.settings import Settings
from toolwright.records import ToolCall

PURE = ToolCall(name="convert_energy", arguments={"value": 250.0, "from_unit": "MWh", "to_unit": "GJ"})
IN_WORKER = ToolCall(name="read_file", arguments={"path": "config/desk.json"})


async def calls_per_s(call: Callable[[], Awaitable[Any]], seconds: float = 1.0) -> float:
    """How often a call can be made, one after the other."""
    for _ in range(50):
        await call()
    count, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds:
        for _ in range(50):
            await call()
        count += 50
    return count / spent


async def in_process() -> None:
    """Print what a call costs that runs in this process, and one that runs in a sandbox."""
    async with Environment.create(17, world="desk") as environment:
        assert (await environment.call(PURE)).ok
        rates = [await calls_per_s(lambda: environment.call(PURE)) for _ in range(3)]
        print(f"in process, validated: {statistics.median(rates):,.0f} calls/s (best {max(rates):,.0f})")
        rate = await calls_per_s(lambda: environment.call(IN_WORKER))
        print(f"in the sandbox ({environment.sandbox}), one environment: {rate:,.0f} calls/s")


def bare_server() -> Server[Any]:
    """A server of the SDK whose one tool does nothing."""

    async def list_tools(_context: Any, _params: Any) -> types.ListToolsResult:
        schema = {"type": "object"}
        return types.ListToolsResult(tools=[types.Tool(name=PURE.name, input_schema=schema)])

    async def call_tool(_context: Any, _params: Any) -> types.CallToolResult:
        return types.CallToolResult(content=[types.TextContent(type="text", text='{"value": 900}')])

    return Server("bare", on_list_tools=list_tools, on_call_tool=call_tool)


async def over_mcp() -> None:
    """Print the rate of a server in memory, beside one that does nothing."""
    settings = Settings(world="desk")
    async with (
        Client(bare_server()) as bare,
        Client(build_server(lambda: EnvironmentPool(17, settings), settings)) as ours,
    ):
        ratios, rates = [], []
        for _ in range(7):
            one = await calls_per_s(lambda: bare.call_tool(PURE.name, PURE.arguments))
            rates.append(await calls_per_s(lambda: ours.call_tool(PURE.name, PURE.arguments)))
            ratios.append(rates[-1] / one)
    print(
        f"MCP in memory: {statistics.median(rates):,.0f} calls/s, {statistics.median(ratios):.2f} x a bare server of"
        f" the SDK that does nothing ({min(ratios):.2f} to {max(ratios):.2f})"
    )


def family() -> list[psutil.Process]:
    """All processes below this one."""
    return psutil.Process().children(recursive=True)


def pss_bytes(processes: Sequence[psutil.Process]) -> int:
    """Memory of processes, shared pages counted once; read as root or as their user."""
    total = 0
    for process in processes:
        try:
            text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:"))
    return total


def traces() -> tuple[set[str], set[str], set[str]]:
    """What sandboxes may leave: processes below this one, mounts, and folders."""
    processes = {str(process.pid) for process in family()}
    mounts = set(Path("/proc/mounts").read_text().splitlines())
    folders = {str(path) for top in ("/dev/shm", tempfile.gettempdir()) for path in Path(top).glob("toolwright-env-*")}
    return processes, mounts, folders


async def many(count: int, seconds: float) -> None:
    """Print what ``count`` environments at once take, do together, and leave behind."""
    settings = Settings(toolsets=("files",), world="desk", call_timeout_s=60.0)
    before = traces()
    environments = [Environment.open(seed, settings) for seed in range(count)]
    start = time.perf_counter()
    results = await asyncio.gather(*(environment.call(IN_WORKER) for environment in environments))
    started_s = time.perf_counter() - start
    print(f"{count} environments with sandboxes ({environments[0].sandbox}), first call answered: {started_s:.1f} s")
    assert all(result.ok for result in results), next(result.content for result in results if not result.ok)
    processes = [process for process in family() if str(process.pid) not in before[0]]
    print(f"  memory: {pss_bytes(processes) / count / 2**20:.1f} MiB each (PSS), {len(processes)} processes")

    async def play(environment: Environment) -> int:
        done = 0
        while time.perf_counter() < end:
            done += (await environment.call(IN_WORKER)).ok
        return done

    start = time.perf_counter()
    end = start + seconds
    done = sum(await asyncio.gather(*map(play, environments)))
    print(f"  calls: {done / (time.perf_counter() - start):,.0f}/s together")
    start = time.perf_counter()
    await asyncio.gather(*(environment.aclose() for environment in environments))
    gone_s = time.perf_counter() - start
    processes_left, mounts, folders = (len(now - then) for now, then in zip(traces(), before))
    print(f"  gone {gone_s:.2f} s after close; left: {processes_left} processes, {mounts} mounts, {folders} folders")


def main() -> None:
    """Run the measurements that the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tools", description=__doc__.split("\n")[0])
    parser.add_argument("-n", "--environments", type=int, default=256, help="environments at once (default 256)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of calls to all of them (default 5)")
    parser.add_argument("--only", choices=("process", "mcp", "many"), help="one of the three")
    options = parser.parse_args()
    print(f"load average: {', '.join(f'{load:.1f}' for load in os.getloadavg())}")
    if options.only in (None, "process"):
        asyncio.run(in_process())
    if options.only in (None, "mcp"):
        asyncio.run(over_mcp())
    if options.only in (None, "many"):
        asyncio.run(many(options.environments, options.seconds))


if __name__ == "__main__":
    main()
