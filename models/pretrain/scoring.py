"""Exact-call accuracy of a model on fresh random tools."""

import json
import re
from pathlib import Path
from random import Random
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

from models.pretrain.corpus import Message, single_round
from models.pretrain.network import load_tokenizer
from models.pretrain.tools import draw_toolset

CALL = re.compile(r"<tool_call>\n(.*?)\n</tool_call>", re.DOTALL)
EVALUATION_SEED = 987_654_321


def read_calls(text: str) -> list[Any] | None:
    """Return the calls in a model's answer; None where one is not JSON."""
    try:
        return [json.loads(call) for call in CALL.findall(text)]
    except ValueError:
        return None


def draw_task(rng: Random, n_tools: int) -> tuple[list[Message], list[dict[str, Any]], list[Any]]:
    """Draw one request with `n_tools` tools: messages up to the answer, tools, and the gold call."""
    tools = draw_toolset(rng, n_tools, 4)
    user, assistant = single_round(rng, tools)[:2]
    gold = [call["function"] for call in assistant["tool_calls"]]
    return [user], [tool.spec for tool in tools], gold


@torch.no_grad()
def complete(
    model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, prompts: list[str], max_new_tokens: int = 160
) -> list[str]:
    """Complete prompts greedily, without the end-of-turn token."""
    tokenizer.padding_side = "left"
    inputs = tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=False)
    output = model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
    texts = tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :])
    return [text.split("<|im_end|>")[0] for text in texts]


def score_calls(
    model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, n_tools: int, n_tasks: int, seed: int = EVALUATION_SEED
) -> dict[str, Any]:
    """Return the share of exact calls and of right tool names on `n_tasks` fresh tasks."""
    rng = Random(seed + n_tools)
    tasks = [draw_task(rng, n_tools) for _ in range(n_tasks)]
    exact = named = 0
    misses: list[tuple[str, str, Any]] = []
    for start in range(0, n_tasks, 32):
        group = tasks[start : start + 32]
        prompts = [
            tokenizer.apply_chat_template(messages, tools=tools, tokenize=False, add_generation_prompt=True)
            for messages, tools, _ in group
        ]
        for answer, (messages, _, gold) in zip(complete(model, tokenizer, prompts), group, strict=True):
            calls = read_calls(answer)
            exact += calls == gold
            named += bool(calls) and [c.get("name") for c in calls or []] == [c["name"] for c in gold]
            if calls != gold:
                misses.append((messages[0]["content"], answer, gold))
    return {"tools": n_tools, "tasks": n_tasks, "exact": exact / n_tasks, "name": named / n_tasks, "misses": misses}


def evaluate(directory: Path, n_tasks: int = 200, show: int = 0) -> list[dict[str, Any]]:
    """Score the model in `directory` with one to five tools and print each score."""
    tokenizer = load_tokenizer(directory)
    model = Qwen3ForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    scores = []
    for n_tools in range(1, 6):
        score = score_calls(model, tokenizer, n_tools, n_tasks)
        for request, answer, gold in score.pop("misses")[:show]:
            print(f"  request: {request}\n  answer:  {answer!r}\n  gold:    {json.dumps(gold)}")
        print(json.dumps(score), flush=True)
        scores.append(score)
    return scores
