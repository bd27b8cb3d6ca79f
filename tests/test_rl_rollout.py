import asyncio
import json
import shutil
from collections.abc import Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from families import family_tokenizer, template_text
from process_group import left_of_group

from rl.rollout import Limits, Rollout, outside_text, roll_out
from rl.train import main
from toolwright.artifacts import read_manifest, write_rows
from toolwright.config import RunConfig
from toolwright.dialect import dialect_for, render_assistant, render_prompt
from toolwright.engine import GenerationRequest, GenerationResult
from toolwright.errors import ModelError
from toolwright.records import Conversation, Message, Plan, Step, ToolCall, ToolResult, ToolSpec
from toolwright.stage import Job
from toolwright.task import Task

LIMITS = Limits(max_tokens=64, max_completion_tokens=512, max_turns=4, temperature=1.0, call_timeout_s=5.0)
PRICE = ToolSpec(
    name="get_price",
    description="Price at a hub.",
    parameters={
        "type": "object",
        "properties": {"hub": {"type": "string"}},
        "required": ["hub"],
        "additionalProperties": False,
    },
)
CALL = '<tool_call>\n{"name":  "get_price", "arguments": {"hub": "TTF"}}\n</tool_call>'
TASK = Task(
    id="t1",
    messages=(Message(role="user", content="What does gas cost at TTF?"),),
    tools=(PRICE,),
    seed=5,
    plan=Plan(mode="single", steps=(Step(calls=(ToolCall(name="get_price", arguments={"hub": "TTF"}),)),)),
)


class PriceWorld:
    async def call(self, call: ToolCall) -> ToolResult:
        return ToolResult(content=json.dumps({"price": 31.5}))

    async def state(self) -> str:
        return "same"


@asynccontextmanager
async def world_of(seed: int) -> Any:
    yield PriceWorld()


def scripted(tokenizer: Any, texts: Sequence[str]) -> Callable[[GenerationRequest], Awaitable[GenerationResult]]:
    """A sampler that says ``texts`` in turn, each token with log-probability -0.5."""
    left = list(texts)

    async def sample(request: GenerationRequest) -> GenerationResult:
        text = left.pop(0)
        ids = (*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id)
        if len(ids) > request.max_tokens:
            return GenerationResult(ids[: request.max_tokens], (-0.5,) * request.max_tokens, "length", text)
        return GenerationResult(ids, (-0.5,) * len(ids), "stop", text)

    return sample


def played(tokenizer: Any, *texts: str, limits: Limits = LIMITS, dialect: str = "hermes") -> Rollout:
    return asyncio.run(roll_out(TASK, world_of, scripted(tokenizer, texts), tokenizer, dialect, limits, seed=3))


def test_every_token_of_a_rollout_is_known_and_marked(tokenizer: Any) -> None:
    rollout = played(tokenizer, CALL, "It costs 31.5.")
    decode = tokenizer.decode
    assert decode(rollout.prompt_ids) == render_prompt(tokenizer, TASK.messages, TASK.tools)
    sampled = [token for token, own in zip(rollout.completion_ids, rollout.sampled, strict=True) if own]
    outside = [token for token, own in zip(rollout.completion_ids, rollout.sampled, strict=True) if not own]
    assert decode(sampled) == f"{CALL}<|im_end|>It costs 31.5.<|im_end|>"
    assert decode(outside) == (
        '\n<|im_start|>user\n<tool_response>\n{"price": 31.5}\n</tool_response><|im_end|>\n<|im_start|>assistant\n'
    )
    assert [logprob == -0.5 for logprob in rollout.logprobs] == [own == 1 for own in rollout.sampled]
    assert rollout.episode.stopped == "answer"
    assert rollout.state == "same"


def test_the_words_of_an_answer_after_calls_are_not_trained(tokenizer: Any) -> None:
    rollout = played(tokenizer, CALL, "It costs 31.5.")
    kept = [token for token, own in zip(rollout.completion_ids, rollout.rewarded, strict=True) if own]
    first = tokenizer("It", add_special_tokens=False)["input_ids"][0]
    assert tokenizer.decode(kept) == f"{CALL}<|im_end|>{tokenizer.decode([first])}<|im_end|>"


@pytest.mark.parametrize("texts", [("I have no tool for that.",), ('<tool_call>\n{"name": \n</tool_call>', "Sorry.")])
def test_an_answer_without_calls_is_trained_whole(tokenizer: Any, texts: tuple[str, ...]) -> None:
    rollout = played(tokenizer, *texts)
    assert rollout.rewarded == rollout.sampled


def test_what_was_sampled_is_never_rendered_again(tokenizer: Any) -> None:
    """The call has two spaces, which the template would not write: they stay as sampled."""
    rollout = played(tokenizer, CALL, "Done.")
    assert '{"name":  "get_price"' in tokenizer.decode(rollout.completion_ids)


def test_a_rollout_in_the_templates_own_words_equals_its_render(tokenizer: Any) -> None:
    rollout = played(tokenizer, CALL.replace("  ", " "), "It costs 31.5.")
    whole = tokenizer.decode(rollout.prompt_ids + rollout.completion_ids)
    rendered = render_prompt(tokenizer, rollout.episode.messages, TASK.tools, add_generation_prompt=False)
    assert whole == rendered.rstrip("\n")


def test_a_malformed_call_is_answered_and_the_rollout_goes_on(tokenizer: Any) -> None:
    rollout = played(tokenizer, '<tool_call>\n{"name": \n</tool_call>', CALL, "Done.")
    assert rollout.episode.stopped == "answer"
    assert "malformed_call" in tokenizer.decode(rollout.completion_ids)
    assert len(rollout.episode.executed) == 1


def test_a_turn_that_is_cut_ends_the_rollout(tokenizer: Any) -> None:
    limits = LIMITS.__class__(**(vars(LIMITS) | {"max_tokens": 5}))
    rollout = played(tokenizer, CALL, limits=limits)
    assert rollout.episode.stopped == "length"
    assert len(rollout.completion_ids) == 5
    assert rollout.episode.executed == ()


def test_a_rollout_out_of_budget_ends_without_sampling(tokenizer: Any) -> None:
    budget = len(tokenizer(CALL)["input_ids"]) + 1
    limits = LIMITS.__class__(**(vars(LIMITS) | {"max_completion_tokens": budget}))
    rollout = played(tokenizer, CALL, "never said", limits=limits)
    assert rollout.episode.stopped == "length"
    assert sum(rollout.sampled) == budget


def test_the_text_between_turns_holds_all_results(tokenizer: Any) -> None:
    results = [Message(role="tool", content="1"), Message(role="tool", content="2")]
    text = outside_text(tokenizer, results)
    assert text == (
        "\n<|im_start|>user\n<tool_response>\n1\n</tool_response>\n<tool_response>\n2\n</tool_response><|im_end|>\n"
        "<|im_start|>assistant\n"
    )


@pytest.mark.parametrize("hub", ["0123", "4711", "true"])
@pytest.mark.parametrize("template", ["qwen3_5_think", "nemotron_3_nano", "muse_glimmer"])
def test_a_string_that_looks_like_another_value_is_one_by_the_schema_of_its_tool(template: str, hub: str) -> None:
    tokenizer, dialect = family_tokenizer(template), dialect_for("any", template_text(template))
    calls = Message(role="assistant", tool_calls=(ToolCall(name="get_price", arguments={"hub": hub}),))
    end = "</think>\n\n" if dialect == "xml" else ""
    limits = LIMITS.__class__(**(vars(LIMITS) | {"max_tokens": 200, "max_completion_tokens": 2000}))
    rollout = played(
        tokenizer, end + render_assistant(calls, dialect, (PRICE,)), f"{end}31.5.", limits=limits, dialect=dialect
    )
    assert [call.arguments for call in rollout.episode.executed] == [{"hub": hub}]
    assert rollout.episode.stopped == "answer"


@pytest.mark.parametrize("template", ["qwen3_5_think", "nemotron_3_nano"])
def test_reasoning_that_each_prompt_opens_is_no_content(template: str) -> None:
    call = "<tool_call>\n<function=get_price>\n<parameter=hub>\nTTF\n</parameter>\n</function>\n</tool_call>"
    limits = LIMITS.__class__(**(vars(LIMITS) | {"max_tokens": 200, "max_completion_tokens": 2000}))
    texts = (f"Perhaps {call}?\n</think>\n\n{call}", "Easy.\n</think>\n\nIt costs 31.5.")
    rollout = played(family_tokenizer(template), *texts, limits=limits, dialect="xml")
    asked, _, answered = rollout.episode.messages[1:]
    assert (asked.content, asked.reasoning_content, len(asked.tool_calls)) == (None, f"Perhaps {call}?", 1)
    assert (answered.content, answered.reasoning_content) == ("It costs 31.5.", "Easy.")
    assert rollout.episode.turns[-1].reply.problems == ()


def test_a_template_that_ends_turns_in_another_way_than_sampling_is_refused() -> None:
    with pytest.raises(ModelError, match="does not end turns with the tokenizer's eos_token '<eos>'"):
        outside_text(family_tokenizer("gemma4"), [Message(role="tool", content="1")])


@pytest.fixture
def run(tmp_path: Path, small_model_dir: Path) -> list[str]:
    """A run with four training tasks on our own tools; gives the words of the command line."""
    config = RunConfig(runs_dir=str(tmp_path), name="r")
    arguments = {"values": [1, 2, 3]}
    plan = Plan(mode="single", steps=(Step(calls=(ToolCall(name="mean", arguments=arguments),)),))
    spec = {"type": "object", "properties": {"values": {"type": "array", "items": {"type": "number"}}}}
    rows = [
        Conversation(
            id=f"c{number}",
            messages=(Message(role="user", content=f"Mean of 1, 2 and 3, please ({number})."),),
            tools=(ToolSpec(name="mean", description="Mean of numbers.", parameters=spec),),
            mode="single",
            plan=plan,
        ).to_row()
        for number in range(4)
    ]
    job = Job.of(config, "split", output="train.jsonl", command="x", settings={})
    with job.running():
        write_rows(job.output, rows)
    sizes = ["rl.prompts_per_step=2", "rl.group_size=2", "rl.micro_batch_size=4", "rl.max_tokens=6", "rl.steps=2"]
    words = [f"model={small_model_dir}", f"runs_dir={tmp_path}", "name=r", "threads=1", "rl.start=base"]
    return [*words, *sizes, "rl.dtype=float32", "rl.lr=1.0e-3", "rl.modes=null"]


def test_training_writes_an_adapter_metrics_and_rollouts(
    tmp_path: Path, run: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(run) == 0
    directory = tmp_path / "r" / "rl"
    manifest = read_manifest(directory / "adapter")
    assert manifest is not None
    assert manifest.counts["rollouts"] == 8
    names = {path.name for path in (directory / "adapter").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "chat_template.jinja", "tokenizer.json"} <= names
    metrics = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in metrics] == [1, 2]
    assert {"reward", "reward_format", "reward_correctness"} <= set(metrics[0])
    rollouts = [json.loads(line) for line in (directory / "rollouts.jsonl").read_text().splitlines()]
    assert len(rollouts) == 8
    assert metrics[0]["reward"] == pytest.approx(sum(row["reward"]["total"] for row in rollouts[:4]) / 4)
    capsys.readouterr()
    assert main(run) == 0
    assert "is up to date" in capsys.readouterr().out
    assert main([*run, "seed=18"]) == 0
    assert len((directory / "rollouts.jsonl").read_text().splitlines()) == 8


def test_training_twice_gives_the_same_adapter_and_rollouts(tmp_path: Path, run: list[str]) -> None:
    directory = tmp_path / "r" / "rl"
    kept = []
    for _ in range(2):
        assert main(run) == 0
        kept.append(
            [(directory / name).read_bytes() for name in ("adapter/adapter_model.safetensors", "rollouts.jsonl")]
        )
        shutil.rmtree(directory)
    assert kept[0] == kept[1]


def test_rl_leaves_nothing_of_its_process_group(run: list[str]) -> None:
    found = left_of_group("rl.train:main", *run, "rl.trainer={use_cpu: true}")
    assert found == {"code": 0, "backend": "gloo", "left": []}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("rl.start=sft", "sft/adapter does not exist; make it with: accelerate launch sft/train.py"),
        ("rl.start=nowhere", "rl.start: expected sft, base or an adapter directory"),
        ("rl.micro_batch_size=3", "rl.micro_batch_size: 3 does not divide the 4 rollouts"),
        ("rl.trainer={learning_rte: 1.0}", "rl.trainer.learning_rte: GRPOConfig has no such field; did you mean"),
        ("rl.switches=[COARSE]", "unknown ToolRL switch 'COARSE'"),
    ],
)
def test_a_wrong_setting_is_one_line(
    run: list[str], change: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*run, change]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error
