"""Measures the small server against `transformers serve` (plain, bfloat16): both as processes, one load, interleaved.

python benchmarks/serving.py [tiny|mid|DIR] [ROUNDS] [--ours-only]     prints one line per load; nothing is left behind
Both get one thread. ``mid``: 39M parameters of Qwen3 architecture, random, made on the spot. Each request has the same
tools and a user message of its own; replies are greedy and at most ``NEW_TOKENS`` long. A request that fails counts as
answered: `transformers serve` answers 500 where a call is cut or malformed.
"""

import asyncio
import itertools
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
TINY = REPOSITORY / "models/tiny"
NEW_TOKENS = 28
LOADS = {1: 6, 16: 32, 64: 64}
"""Requests under way at once, and requests in a round."""
TOOLS = {
    "get_weather": ("Get the current weather of a city", {"city": "name of the city", "unit": "celsius or fahrenheit"}),
    "find_flights": ("Find flights between two cities", {"from": "city", "to": "city", "date": "day as YYYY-MM-DD"}),
    "book_hotel": (
        "Book a room in a hotel",
        {"city": "name of the city", "nights": "how many", "name": "of the guest"},
    ),
    "convert_money": ("Convert an amount of money", {"amount": "how much", "from": "currency", "to": "currency"}),
    "send_mail": ("Send an electronic mail", {"to": "address", "subject": "of the mail", "body": "its text"}),
    "list_files": ("List the files of a folder", {"path": "of the folder", "pattern": "that names must match"}),
}
Body = dict[str, Any]


@dataclass
class Server:
    """A server under test and what was measured of it, by load."""

    name: str
    model: str
    url: str
    process: subprocess.Popen[str]
    rates: dict[int, list[float]] = field(default_factory=dict)
    waits: dict[int, list[float]] = field(default_factory=dict)
    works: dict[int, list[float]] = field(default_factory=dict)
    tokens: dict[int, list[float]] = field(default_factory=dict)
    failures: dict[int, int] = field(default_factory=dict)


def main(argv: Sequence[str]) -> None:
    """Measure all loads and print medians and ratios."""
    words = [word for word in argv if not word.startswith("-")]
    rounds = int(words[1]) if len(words) > 1 else 3
    with tempfile.TemporaryDirectory() as folder:
        model = find_model(words[0] if words else "mid", Path(folder))
        with ours(model) as first:
            if "--ours-only" in argv:
                measure([first], rounds)
            else:
                with theirs(model) as second:
                    measure([first, second], rounds)


def find_model(name: str, folder: Path) -> Path:
    """The model to serve: of this repository, made now, or of a directory."""
    return TINY if name == "tiny" else make_mid(folder / "mid") if name == "mid" else Path(name)


def make_mid(directory: Path) -> Path:
    """A random Qwen3 of 39M parameters in bfloat16, with the tokenizer of ``models/tiny``."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config.from_pretrained(TINY)
    changes = {"hidden_size": 512, "intermediate_size": 1536, "num_attention_heads": 8, "num_key_value_heads": 4}
    layers = {"num_hidden_layers": 12, "layer_types": ["full_attention"] * 12}
    torch.manual_seed(0)
    Qwen3ForCausalLM(Qwen3Config(**(config.to_dict() | changes | layers))).bfloat16().save_pretrained(directory)
    for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
        shutil.copy(TINY / file, directory / file)
    return directory


@contextmanager
def ours(model: Path) -> Iterator[Server]:
    """``python -m serve`` with its own engine."""
    port = free_port()
    words = ["-m", "serve", "--model", str(model), "--port", str(port), "serve.engine=transformers"]
    with started(
        [sys.executable, *words, "serve.smoke=false", "serve.dtype=bfloat16", "serve.max_batch=64"], port, "/v1/models"
    ) as process:
        yield Server("toolwright", model.resolve().name, f"http://127.0.0.1:{port}", process)


@contextmanager
def theirs(model: Path) -> Iterator[Server]:
    """``transformers serve`` of the same environment."""
    port = free_port()
    command = [str(Path(sys.executable).parent / "transformers"), "serve", str(model), "--port", str(port)]
    with started(
        [*command, "--device", "cpu", "--dtype", "bfloat16", "--log-level", "error"], port, "/health"
    ) as process:
        yield Server("transformers serve", str(model), f"http://127.0.0.1:{port}", process)


@contextmanager
def started(command: Sequence[str], port: int, path: str) -> Iterator[subprocess.Popen[str]]:
    """A server process with one thread for its arithmetic, from ready on; stopped at the end."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=log, stderr=log, text=True)
        try:
            wait_until_ready(process, f"http://127.0.0.1:{port}{path}")
            yield process
        except BaseException:
            log.seek(0)
            sys.stderr.write(log.read()[-4000:])
            raise
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def wait_until_ready(process: subprocess.Popen[str], url: str) -> None:
    """Return when this address answers well."""
    for _ in range(600):
        if process.poll() is not None:
            raise SystemExit(f"{process.args!r}: ended with {process.returncode}")
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise SystemExit(f"{url}: not ready after two minutes")


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def measure(servers: Sequence[Server], rounds: int) -> None:
    """Put every load on every server in turn, and print what came out."""
    numbers = itertools.count()
    for server in servers:
        asyncio.run(put_load(server, 2, [request(server, next(numbers), stream=bool(n % 2)) for n in range(4)]))
    for load, count in LOADS.items():
        for _ in range(rounds):
            for server in servers:
                measure_one(server, load, [request(server, next(numbers), stream=False) for _ in range(count)])
            for server in servers:
                bodies = [request(server, next(numbers), stream=True) for _ in range(max(count // 2, load))]
                answers = asyncio.run(put_load(server, load, bodies))
                server.waits.setdefault(load, []).append(statistics.median(one.first_s for one in answers))
        report(servers, load)


def measure_one(server: Server, load: int, bodies: Sequence[Body]) -> None:
    """One round of whole answers: rate, CPU time and tokens of each request."""
    cpu, begin = cpu_seconds(server.process.pid), time.perf_counter()
    answers = asyncio.run(put_load(server, load, bodies))
    seconds = time.perf_counter() - begin
    server.rates.setdefault(load, []).append(len(bodies) / seconds)
    server.works.setdefault(load, []).append((cpu_seconds(server.process.pid) - cpu) / len(bodies))
    server.tokens.setdefault(load, []).append(sum(one.tokens for one in answers) / len(bodies))
    server.failures[load] = server.failures.get(load, 0) + sum(one.failed for one in answers)


def report(servers: Sequence[Server], load: int) -> None:
    """Print medians, and the ratio of ours to theirs where both ran."""
    for server in servers:
        print(
            f"{load:3} at once  {server.name:20} {median(server.rates[load]):7.2f} requests/s   "
            f"first token after {median(server.waits[load]):6.3f} s   "
            f"CPU {median(server.works[load]) * 1000:7.1f} ms   {median(server.tokens[load]):4.1f} tokens   "
            f"{server.failures[load]} failed"
        )
    if len(servers) > 1:
        first, second = servers
        rates = [a / b for a, b in zip(first.rates[load], second.rates[load])]
        waits = [b / a for a, b in zip(first.waits[load], second.waits[load])]
        works = [b / a for a, b in zip(first.works[load], second.works[load])]
        print(
            f"{load:3} at once  {'ratio':20} {median(rates):7.2f} x ({min(rates):.2f}-{max(rates):.2f})   first token "
            f"{median(waits):.2f} x ({min(waits):.2f}-{max(waits):.2f}) sooner   CPU {median(works):.2f} x less"
        )
    sys.stdout.flush()


def median(values: Sequence[float]) -> float:
    """Of the rounds."""
    return statistics.median(values)


def cpu_seconds(pid: int) -> float:
    """CPU time of all threads of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def request(server: Server, number: int, *, stream: bool) -> Body:
    """A chat with the shared tools and a message that no other request has."""
    return {
        "model": server.model,
        "messages": [{"role": "user", "content": f"{number}: what is the weather in town {number * 7919 % 10007}?"}],
        "tools": [tool(name, *about) for name, about in TOOLS.items()],
        "max_tokens": NEW_TOKENS,
        "temperature": 0,
        "stream": stream,
    }


def tool(name: str, description: str, parameters: Mapping[str, str]) -> Body:
    """A tool in OpenAI form."""
    properties = {key: {"type": "string", "description": text} for key, text in parameters.items()}
    schema = {"type": "object", "properties": properties, "required": list(parameters)}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": schema}}


@dataclass(frozen=True)
class Answer:
    """What came back: tokens of a whole answer, seconds to the first words or call of a streamed one."""

    tokens: int
    first_s: float
    failed: bool = False


async def put_load(server: Server, load: int, bodies: Sequence[Body]) -> list[Answer]:
    """Send all requests, ``load`` at once, each over the connection of one of ``load`` clients."""
    left = iter(bodies)
    answers: list[Answer] = []

    async def client() -> None:
        host, _, port = server.url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=2**22)
        for body in left:
            answers.append(await ask(reader, writer, body))
            if answers[-1].failed:  # uvicorn ends the connection after an error that its application does not catch
                writer.close()
                reader, writer = await asyncio.open_connection(host, int(port), limit=2**22)
        writer.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(load):
            group.create_task(client())
    return answers


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: Body) -> Answer:
    """One request on a connection that stays open. A hand-written client: it must cost little beside the servers."""
    data = json.dumps(body).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    begin = time.perf_counter()
    writer.write(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
    headers = (await reader.readuntil(b"\r\n\r\n")).lower()
    if b"content-length:" in headers:
        text = await reader.readexactly(int(headers.partition(b"content-length:")[2].split()[0]))
        if not headers.startswith(b"http/1.1 200"):
            return Answer(0, time.perf_counter() - begin, failed=True)
        return Answer(json.loads(text)["usage"]["completion_tokens"], time.perf_counter() - begin)
    first = 0.0
    while size := int(await reader.readuntil(b"\r\n"), 16):
        piece = await reader.readexactly(size + 2)
        if not first and has_words(piece):
            first = time.perf_counter() - begin
    await reader.readexactly(2)
    return Answer(0, first or time.perf_counter() - begin)


def has_words(piece: bytes) -> bool:
    """Whether a piece of a stream says more than that a reply begins."""
    for line in piece.split(b"\n"):
        if line.startswith(b"data: {"):
            choices = json.loads(line[6:]).get("choices") or [{}]
            delta = choices[0].get("delta") or {}
            if any(delta.get(name) for name in ("content", "reasoning_content", "tool_calls")):
                return True
    return False


if __name__ == "__main__":
    main(sys.argv[1:])
