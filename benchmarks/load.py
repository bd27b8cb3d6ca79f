"""Holds the small server at saturation and looks for lost, crossed and wrong answers, and for memory that grows.

python benchmarks/load.py MODEL [--minutes 10] [--clients 64] [--threads 1] [--dtype float32]     exit code 1: was wrong
Every question has a marker of its own and is first asked alone. An answer under load is crossed if it has the id or the
marker of another, and different if it is not what was said alone: in float32, where replies are the same bits in any
batch, that is wrong, too. Clients mix whole and streamed answers, with tools and without, greedy and seeded; some go
away in the middle.
"""

import argparse
import asyncio
import json
import random
import re
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx2 as httpx
import psutil

REPOSITORY = Path(__file__).resolve().parents[1]
QUESTIONS = 96
DROPPED = 0.1
"""Share of requests whose client goes away before the end."""
WARM_UP_S = 45.0
"""After it memory must not grow by more than ``GROWTH_MIB``."""
GROWTH_MIB = 32.0
_MARKER = re.compile("[A-Z][a-z]{2}1[0-9]{3}")
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": about,
            "parameters": {
                "type": "object",
                "properties": {key: {"type": "string"} for key in keys},
                "required": list(keys),
            },
        },
    }
    for name, about, keys in (
        ("get_weather", "Get the current weather of a city", ("city",)),
        ("find_order", "Find an order by its number", ("number",)),
        ("send_mail", "Send an electronic mail", ("to", "subject", "body")),
    )
]
Answer = tuple[str, str, str, str]
"""Id, content, calls as JSON, finish reason."""


@dataclass(frozen=True)
class Question:
    """A request, the marker in it, and what is answered when it is asked alone."""

    body: dict[str, Any]
    marker: str
    answer: Answer = ("", "", "", "")

    def crossed(self, answer: Answer, markers: frozenset[str]) -> bool:
        """Whether an answer is that of another question."""
        found = set(_MARKER.findall(answer[1] + answer[2])) & markers
        return answer[0] != self.answer[0] or bool(found - {self.marker})


@dataclass
class Tally:
    """What has happened under load."""

    asked: int = 0
    right: int = 0
    dropped: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    errors: Counter[int] = field(default_factory=Counter)
    crossed: int = 0
    different: int = 0

    @property
    def clean(self) -> bool:
        """Whether every client that stayed got an answer, and its own."""
        return not (self.lost or self.errors or self.crossed) and self.right > 0


def make_questions() -> list[Question]:
    """Requests with a marker each, all different."""
    draw = random.Random(7)
    questions = []
    for index in range(QUESTIONS):
        marker = "".join(draw.choices("bdfgklmnprstvz", k=3)).capitalize() + str(1000 + index)
        text = draw.choice(
            [
                f"What is the weather in {marker}?",
                f"Where is my order {marker}?",
                f"Write to {marker} that I am late.",
                f"Tell me a story about {marker}. {'Make it long. ' * (index % 30)}",
            ]
        )
        body: dict[str, Any] = {"messages": [{"role": "user", "content": text}], "seed": index, "max_tokens": 48}
        body["temperature"] = 0.8 if index % 3 == 0 else 0
        questions.append(Question(body | ({"tools": TOOLS} if index % 4 else {}), marker))
    return questions


async def ask_whole(client: httpx.AsyncClient, body: Mapping[str, Any]) -> Answer:
    """One answer that is not streamed."""
    response = await client.post("/v1/chat/completions", json=body)
    response.raise_for_status()
    answer = response.json()
    choice = answer["choices"][0]
    message = choice["message"]
    calls = [(call["id"], call["function"]) for call in message.get("tool_calls") or ()]
    return answer["id"], message["content"] or "", json.dumps(calls), choice["finish_reason"]


async def ask_streamed(client: httpx.AsyncClient, body: Mapping[str, Any]) -> Answer:
    """One streamed answer, put together."""
    identity, content, calls, finish = "", "", [], ""
    async for chunk in events(client, body):
        identity = chunk["id"]
        for choice in chunk["choices"]:
            content += choice["delta"].get("content") or ""
            calls += [(call["id"], call["function"]) for call in choice["delta"].get("tool_calls") or ()]
            finish = choice["finish_reason"] or finish
    return identity, content, json.dumps(calls), finish


async def events(client: httpx.AsyncClient, body: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
    """The chunks of a stream, which must end as streams do."""
    done = False
    async with client.stream("POST", "/v1/chat/completions", json={**body, "stream": True}) as response:
        response.raise_for_status()
        async for line in response.aiter_lines():
            if line == "data: [DONE]":
                done = True
            elif line:
                chunk = json.loads(line.removeprefix("data: "))
                if "error" in chunk:
                    raise ValueError(f"the stream broke off: {chunk['error']['message']}")
                yield chunk
    if not done:
        raise ValueError("the stream has no end")


async def drop(client: httpx.AsyncClient, body: Mapping[str, Any], draw: random.Random) -> None:
    """Ask, and go away after a moment."""
    ask = ask_streamed if draw.random() < 0.5 else ask_whole
    try:
        async with asyncio.timeout(draw.random() * 0.5):
            await ask(client, body)
    except (TimeoutError, httpx.HTTPError):
        return


async def play(
    client: httpx.AsyncClient, number: int, questions: Sequence[Question], until: float, tally: Tally
) -> None:
    """One client: asks one question after the other."""
    draw = random.Random(number)
    markers = frozenset(question.marker for question in questions)
    while time.monotonic() < until:
        question = draw.choice(questions)
        tally.asked += 1
        if draw.random() < DROPPED:
            await drop(client, question.body, draw)
            tally.dropped += 1
            continue
        try:
            answer = await (ask_streamed if draw.random() < 0.5 else ask_whole)(client, question.body)
        except httpx.HTTPStatusError as error:
            tally.errors[error.response.status_code] += 1
        except (httpx.HTTPError, ValueError, KeyError, IndexError) as error:
            tally.lost[type(error).__name__] += 1
        else:
            tally.right += answer == question.answer
            tally.crossed += question.crossed(answer, markers)
            tally.different += answer != question.answer


async def watch(url: str, process: psutil.Process, until: float, seen: list[tuple[float, float, float]]) -> None:
    """Note every second when it is (s), the server's memory (MiB), and how long ``/health`` takes to answer (s)."""
    started = time.monotonic()
    async with httpx.AsyncClient(timeout=60) as client:
        while (now := time.monotonic()) < until:
            await client.get(f"{url}/health")
            seen.append((now - started, process.memory_info().rss / 2**20, time.monotonic() - now))
            await asyncio.sleep(1)


async def run(url: str, process: psutil.Process, words: argparse.Namespace) -> bool:
    """The load; whether all was well."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=words.clients)
    async with httpx.AsyncClient(base_url=url, timeout=600, limits=limits) as client:
        start_mib = process.memory_info().rss / 2**20
        asked = [replace(one, answer=await ask_whole(client, one.body)) for one in make_questions()]
        naming = sum(one.marker in one.answer[1] + one.answer[2] for one in asked)
        print(f"{len(asked)} questions asked alone; {naming} answers name their marker", flush=True)
        tally, seen = Tally(), list[tuple[float, float, float]]()
        began = time.monotonic()
        until = began + words.minutes * 60
        players = [play(client, number, asked, until, tally) for number in range(words.clients)]
        await asyncio.gather(watch(url, process, until, seen), *players)
        good = await report(client, tally, time.monotonic() - began, start_mib, seen)
        return good and not (tally.different and words.dtype == "float32")


async def report(
    client: httpx.AsyncClient, tally: Tally, took_s: float, start_mib: float, seen: list[tuple[float, float, float]]
) -> bool:
    """Print what has happened; whether all was well."""
    await asyncio.sleep(2)
    health = (await client.get("/health")).json()
    sizes, pauses = [size for _, size, _ in seen], sorted(pause for *_, pause in seen)
    warm = [size for at, size, _ in seen if at >= WARM_UP_S] or sizes[-1:]
    growth = warm[-1] - warm[0]
    steps = [f"{size:.0f}" for number, size in enumerate(sizes) if number % 30 == 0]
    flat = growth <= GROWTH_MIB
    print(
        f"{tally.asked} requests in {took_s:.0f} s ({tally.right / took_s:.1f} answers/s): {tally.right} right, "
        f"{tally.dropped} dropped by their clients\n"
        f"lost {sum(tally.lost.values())} {dict(tally.lost)}, errors {dict(tally.errors)}, crossed {tally.crossed}, "
        f"different {tally.different}\n"
        f"memory (MiB): {start_mib:.0f} at the start, {warm[0]:.0f} after warm-up, {warm[-1]:.0f} at the end, "
        f"{max(sizes):.0f} at most; {'flat' if flat else f'grew by {growth:.0f}'}\n"
        f"every half minute: {' '.join(steps)}\n"
        f"health answered in {pauses[len(pauses) // 2]:.3f} s, at most {pauses[-1]:.3f} s\n"
        f"afterwards: {health}"
    )
    return tally.clean and flat and health["under_way"] == 0


async def main() -> int:
    """Serve the model in a process of its own and put it under load."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="model directory")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    words = parser.parse_args()
    settings = ["serve.smoke=false", f"serve.dtype={words.dtype}", f"threads={words.threads}"]
    command = ["-m", "serve", "--model", words.model, "--port", "0", "--engine", "transformers", *settings]
    server = await asyncio.create_subprocess_exec(
        sys.executable, *command, cwd=REPOSITORY, stdout=asyncio.subprocess.PIPE
    )
    assert server.stdout is not None
    try:
        line = (await server.stdout.readline()).decode()
        if " on http" not in line:
            return 2  # it has said why
        url = line.split()[-1]
        good = await run(url, psutil.Process(server.pid), words)
    finally:
        if server.returncode is None:
            server.terminate()
        code = await server.wait()
    print(f"stopped with code {code}")
    return 0 if good and code == 0 else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
