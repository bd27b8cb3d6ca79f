"""Measures vLLM through `python -m serve` against the same command line started by hand: both run, loads interleaved.

VLLM_BIN=… python benchmarks/vllm_overhead.py [MODEL] [--rounds 9] [--requests 256]
Prints ratios; MODEL: a model's directory or a run's. A round should last several seconds: fewer requests, large model.
There is nothing of ours between client and vLLM, so the ratios should be 1. On a machine with other work it is the CPU
time of all processes (with ours, that of the supervisor too) that can be compared.
"""

import argparse
import json
import os
import re
import shlex
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path

from serve.server import address, listen
from serve.supervisor import healthy

REPOSITORY = Path(__file__).resolve().parents[1]
CONCURRENCY = 8
FIRST_TOKENS = 16
NEW_TOKENS = 32
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@contextmanager
def started(argv: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A command in a group of its own, whose output goes to ``log``; ended with its group."""
    # The cache of a CPU is allocated at once; two servers with what vLLM takes by itself do not fit beside each other.
    environment = {"VLLM_CPU_KVCACHE_SPACE": "1", **os.environ}
    with log.open("wb") as output:
        process = subprocess.Popen(
            argv, cwd=REPOSITORY, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(60)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


def wait_for(process: subprocess.Popen[bytes], log: Path, pattern: str) -> re.Match[str]:
    """The first line of ``log`` that matches."""
    while process.poll() is None:
        if match := re.search(pattern, log.read_text(errors="replace"), re.MULTILINE):
            return match
        time.sleep(0.2)
    raise SystemExit(f"it ended; see {log}")


def request(name: str, number: int, tokens: int) -> dict[str, object]:
    """A question with a tool, the same tokens in number whatever is said."""
    messages = [{"role": "user", "content": f"Request {number}: what is the weather in Paris?"}]
    return {"model": name, "messages": messages, "tools": [TOOL], "max_tokens": tokens, "ignore_eos": True} | {
        "temperature": 0
    }


def ask(url: str, body: dict[str, object]) -> float:
    """Send one request; gives the seconds to the first event of a stream, or to the end of a whole reply."""
    host, _, port = url.removeprefix("http://").partition(":")
    connection = HTTPConnection(host, int(port), timeout=600)
    began = time.perf_counter()
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
        reply = connection.getresponse()
        if reply.status != 200:
            raise SystemExit(f"{url}: HTTP {reply.status}: {reply.read()[:200]!r}")
        if body.get("stream"):
            while not reply.readline().startswith(b"data:"):
                pass
            taken = time.perf_counter() - began
        reply.read()
        return taken if body.get("stream") else time.perf_counter() - began
    finally:
        connection.close()


def load(url: str, name: str, start: int, count: int) -> float:
    """Requests/s of ``count`` requests, ``CONCURRENCY`` at once."""
    with ThreadPoolExecutor(CONCURRENCY) as pool:
        began = time.perf_counter()
        list(pool.map(lambda number: ask(url, request(name, number, NEW_TOKENS)), range(start, start + count)))
        return count / (time.perf_counter() - began)


def first_token(url: str, name: str, start: int) -> float:
    """Median seconds to the first event, one request after another."""
    bodies = [request(name, number, 4) | {"stream": True} for number in range(start, start + FIRST_TOKENS)]
    return statistics.median(ask(url, body) for body in bodies)


def main() -> None:
    """Start both, run the rounds, print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="models/tiny")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--requests", type=int, default=256, help="requests of one load")
    arguments = parser.parse_args()
    logs = Path(os.environ.get("TMPDIR", "/tmp"))
    ours_log, hand_log = logs / "vllm_ours.log", logs / "vllm_by_hand.log"
    ours = [
        sys.executable,
        "-m",
        "serve",
        "--model",
        arguments.model,
        "--engine",
        "vllm",
        "--port",
        "0",
        "serve.smoke=false",
    ]
    with started(ours, ours_log) as command, listen("127.0.0.1", 0) as listener:
        argv = shlex.split(wait_for(command, ours_log, r"^starting: (.+)$")[1])
        ready = wait_for(command, ours_log, r"^serving (.+) on (\S+)$")
        name, url = ready[1], ready[2]
        by_hand = address(listener)
        listener.close()
        argv[argv.index("--port") + 1] = by_hand.rpartition(":")[2]
        with started(argv, hand_log) as process:
            while not healthy(by_hand):
                if process.poll() is not None:
                    raise SystemExit(f"it ended; see {hand_log}")
                time.sleep(0.5)
            groups = {"ours": {command.pid, *children(command.pid)}, "by hand": {process.pid}}
            measure({"ours": url, "by hand": by_hand}, groups, name, arguments.rounds, arguments.requests)


def processes() -> Iterator[tuple[int, list[str]]]:
    """All processes: their number, and the fields of ``/proc/PID/stat`` from the state on."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            yield int(path.parent.name), path.read_text().rpartition(")")[2].split()


def children(parent: int) -> set[int]:
    """Processes that ``parent`` started."""
    return {pid for pid, fields in processes() if int(fields[1]) == parent}


def cpu_seconds(groups: set[int]) -> float:
    """CPU time so far of all processes in process groups."""
    ticks = sum(int(fields[11]) + int(fields[12]) for _, fields in processes() if int(fields[2]) in groups)
    return ticks / os.sysconf("SC_CLK_TCK")


def measure(urls: dict[str, str], groups: dict[str, set[int]], name: str, rounds: int, requests: int) -> None:
    """Rounds in which both take the same load, in turn."""
    cpu: dict[str, list[float]] = {who: [] for who in urls}
    rates: dict[str, list[float]] = {who: [] for who in urls}
    firsts: dict[str, list[float]] = {who: [] for who in urls}
    for number in range(-1, rounds):
        for who in sorted(urls, reverse=number % 2 == 0):
            before = cpu_seconds(groups[who])
            rate = load(urls[who], name, 10_000 * (number + 1), requests)
            first = first_token(urls[who], name, 10_000 * (number + 1) + 5000)
            if number >= 0:  # the first round warms both
                cpu[who].append(cpu_seconds(groups[who]) - before)
                rates[who].append(rate)
                firsts[who].append(first)
    for what, values in (("requests/s", rates), ("time to first token", firsts), ("CPU seconds", cpu)):
        ratios = [one / other for one, other in zip(values["ours"], values["by hand"], strict=True)]
        medians = ", ".join(f"{who} {statistics.median(found):.4g}" for who, found in values.items())
        print(
            f"{what}: {statistics.median(ratios):.3f} x ({min(ratios):.3f}-{max(ratios):.3f}); {medians}, all rounds "
            f"{sum(values['ours']) / sum(values['by hand']):.3f} x"
        )


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    main()
