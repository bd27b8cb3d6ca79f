"""Measures the engine against ``model.generate`` with left-padded batches, on CPU time, interleaved in one process.

python benchmarks/engine.py [MODEL] [ROUNDS]        prints one line per scenario; nothing is written
"""

import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from toolwright.engine import Engine, GenerationRequest

SCENARIOS = {
    "RL: 4 prompts x 8 samples, 300-600 + 60 tokens": (4, 8, 1),
    "RL, second turn of the same (120 tokens more)": (4, 8, 2),
    "eval: 32 prompts, 300-600 + 60 tokens": (32, 1, 1),
    "one request, 450 + 60 tokens": (1, 1, 1),
}
NEW_TOKENS = 60


def main(argv: Sequence[str]) -> None:
    """Run all scenarios."""
    model = argv[0] if argv else "models/tiny"
    rounds = int(argv[1]) if len(argv) > 1 else 3
    torch.set_num_threads(1)
    engine = Engine.load(model)
    print(f"{model}, float32, 1 thread; median of {rounds} rounds, CPU seconds")
    for name, (prompts, samples, turn) in SCENARIOS.items():
        ours, theirs = [], []
        for round_ in range(rounds):
            requests, before = build_requests(engine, prompts, samples, turn, seed=round_)
            engine.forget_prompts()
            if before:
                engine.generate(before)
            ours.append(cpu_seconds(lambda batch=requests: engine.generate(batch)))
            theirs.append(cpu_seconds(lambda batch=requests: generate_padded(engine, batch)))
        a, b = statistics.median(ours), statistics.median(theirs)
        rate = prompts * samples * NEW_TOKENS / a
        print(f"{name:50} engine {a:6.2f} s ({rate:5.0f} tokens/s)   generate {b:6.2f} s   {b / a:4.1f}x", flush=True)


def build_requests(
    engine: Engine, prompts: int, samples: int, turn: int, seed: int
) -> tuple[list[GenerationRequest], list[GenerationRequest]]:
    """The requests to measure, and those of the turn before, with random tokens."""
    draw = random.Random(seed)
    size = engine.tokenizer.vocab_size
    lengths = [draw.randint(300, 600) if prompts > 1 else 450 for _ in range(prompts)]
    texts = [tuple(draw.randrange(size) for _ in range(n)) for n in lengths for _ in range(1)]
    first = [request(text, k) for text in texts for k in range(samples)]
    if turn == 1:
        return first, []
    later = [request((*one.prompt_ids, *(draw.randrange(size) for _ in range(120))), k) for k, one in enumerate(first)]
    return later, first


def request(prompt: tuple[int, ...], seed: int) -> GenerationRequest:
    """One sampled request that no stop token ends."""
    return GenerationRequest(prompt, NEW_TOKENS, temperature=1.0, seed=seed)


def generate_padded(engine: Engine, requests: Sequence[GenerationRequest]) -> Any:
    """The same work with transformers alone."""
    longest = max(len(one.prompt_ids) for one in requests)
    ids = torch.zeros((len(requests), longest), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, one in enumerate(requests):
        ids[row, longest - len(one.prompt_ids) :] = torch.tensor(one.prompt_ids)
        mask[row, longest - len(one.prompt_ids) :] = 1
    with torch.no_grad():
        return engine.model.generate(
            ids,
            attention_mask=mask,
            do_sample=True,
            max_new_tokens=NEW_TOKENS,
            min_new_tokens=NEW_TOKENS,
        )


def cpu_seconds(body: Callable[[], Any]) -> float:
    """CPU time of ``body``, which other processes on the machine do not count into."""
    start = time.process_time()
    body()
    return time.process_time() - start


if __name__ == "__main__":
    main(sys.argv[1:])
