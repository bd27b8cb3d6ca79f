"""The engine: the same bits in any batch, the same tokens as transformers, and the ways in which models do not fit."""

import asyncio
import json
import math
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model

from toolwright.engine import AsyncEngine, Engine, GenerationRequest, TextStream
from toolwright.engine.cache import CHUNK, Prefixes
from toolwright.engine.dense import few
from toolwright.engine.runner import Runner
from toolwright.engine.sampling import sample_tokens
from toolwright.engine.shared import SharedRunner
from toolwright.engine.text import decode
from toolwright.errors import DataError, ModelError

VOCABULARY = 3000


@pytest.fixture(scope="module")
def engine(small_model_dir: Path) -> Engine:
    return Engine.load(small_model_dir, max_batch=8, max_tokens_total=1024)


def some_requests(count: int, seed: int = 0, longest: int = 300) -> list[GenerationRequest]:
    draw = random.Random(seed)
    shared = tuple(draw.randrange(VOCABULARY) for _ in range(CHUNK + 20))
    requests = []
    for index in range(count):
        own = tuple(draw.randrange(VOCABULARY) for _ in range(draw.randint(1, longest)))
        prompt = draw.choice([own, shared + own[:40], shared])
        requests.append(
            GenerationRequest(
                prompt,
                max_tokens=draw.randint(1, 12),
                temperature=draw.choice([0.0, 0.7, 1.3]),
                top_p=draw.choice([1.0, 0.8]),
                seed=index,
            )
        )
    return requests


def alone(engine: Engine, request: GenerationRequest) -> Any:
    engine.forget_prompts()
    return engine.generate([request])[0]


def test_a_reply_has_the_same_bits_alone_and_in_any_batch(engine: Engine) -> None:
    requests = some_requests(20)
    expected = [alone(engine, request) for request in requests]
    draw = random.Random(1)
    for _ in range(3):
        order = draw.sample(range(20), 20)
        results = engine.generate([requests[index] for index in order])
        assert results == [expected[index] for index in order]  # ids and logprobs, bit by bit


@pytest.mark.parametrize("heads", [{"num_attention_heads": 4, "num_key_value_heads": 2}, {"num_key_value_heads": 1}])
def test_the_same_holds_with_fewer_key_heads_than_heads(
    make_model: Callable[..., Path], tmp_path: Path, heads: dict[str, int]
) -> None:
    engine = Engine.load(make_model(tmp_path / "model", **heads), max_batch=8, max_tokens_total=1024)
    requests = some_requests(8, longest=500)
    assert engine.generate(requests) == [alone(engine, request) for request in requests]


def test_requests_that_join_while_others_decode_change_nothing(engine: Engine) -> None:
    requests = some_requests(14, seed=3)
    expected = [alone(engine, request) for request in requests]
    draw, waiting, results = random.Random(0), list(enumerate(requests)), {}
    tickets: dict[int, int] = {}
    while waiting or engine.busy:
        for _ in range(min(len(waiting), draw.randint(0, 2))):
            index, request = waiting.pop(0)
            tickets[engine.submit(request)] = index
        for event in engine.step():
            if event.result:
                results[tickets[event.ticket]] = event.result
    assert [results[index] for index in range(14)] == expected


def test_greedy_tokens_and_logprobs_are_those_of_transformers(engine: Engine) -> None:
    requests = [GenerationRequest(request.prompt_ids, 10) for request in some_requests(6, seed=5)]
    for request, result in zip(requests, engine.generate(requests)):
        output = engine.model.generate(
            torch.tensor([request.prompt_ids]),
            max_new_tokens=10,
            min_new_tokens=10,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
        )
        logprobs = torch.stack(output.logits)[:, 0].log_softmax(-1)
        assert tuple(output.sequences[0, len(request.prompt_ids) :].tolist()) == result.ids
        expected = logprobs[range(10), list(result.ids)].tolist()
        assert result.logprobs == pytest.approx(expected, abs=1e-4)


def test_logprobs_are_those_of_the_tempered_distribution(engine: Engine) -> None:
    request = GenerationRequest((5, 6, 7), 4, temperature=0.5, top_p=0.9, seed=1)
    result = engine.generate([request])[0]
    with torch.no_grad():
        logits = engine.model(torch.tensor([(*request.prompt_ids, *result.ids)])).logits[0, 2:-1]
    expected = (logits / 0.5).log_softmax(-1)[range(4), list(result.ids)]
    assert result.logprobs == pytest.approx(expected.tolist(), abs=1e-4)


def test_samples_of_one_prompt_differ_by_seed_and_repeat_by_seed(engine: Engine) -> None:
    requests = [GenerationRequest((1, 2, 3), 8, temperature=1.0, seed=seed) for seed in (1, 2, 3, 1, -1, 2**70)]
    results = engine.generate(requests)
    assert results[0] == results[3]
    assert len({result.ids for result in results}) == 5


def test_a_known_prompt_is_not_computed_again_and_gives_the_same_bits(engine: Engine) -> None:
    prompt = some_requests(1, seed=9)[0].prompt_ids + tuple(range(300))
    first = alone(engine, GenerationRequest(prompt, 5))
    longer = GenerationRequest((*prompt, *first.ids, 7, 8), 5)
    fresh = alone(engine, longer)
    engine.forget_prompts()
    engine.generate([GenerationRequest(prompt, 5)])
    runner = engine._runner
    with runner.ready():
        computed, _ = runner.prefill(longer.prompt_ids, 0, 5)
        again, _ = runner.prefill(longer.prompt_ids, 1, 5)
    assert computed == len(longer.prompt_ids) - len(prompt) // CHUNK * CHUNK
    assert again == 0
    assert engine.generate([longer])[0] == fresh


def test_training_between_calls_is_seen_and_the_mode_of_the_model_stays(small_model_dir: Path) -> None:
    engine = Engine.load(small_model_dir)
    peft_model = get_peft_model(engine.model, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], lora_dropout=0.5))
    trained = Engine(peft_model, engine.tokenizer)
    peft_model.train()
    request = GenerationRequest(tuple(range(200)), 6, temperature=1.0)
    before = trained.generate([request])
    assert trained.generate([request]) == before  # no dropout while generating
    assert peft_model.training
    assert all(module.training for module in peft_model.modules())
    assert peft_model.config._attn_implementation == "sdpa"
    optimizer = torch.optim.SGD([p for p in peft_model.parameters() if p.requires_grad], lr=10.0)
    for _ in range(2):
        peft_model(input_ids=torch.arange(50)[None], labels=torch.arange(50)[None]).loss.backward()
        optimizer.step()
    after = trained.generate([request])
    assert after[0].logprobs != before[0].logprobs
    assert Engine(peft_model, engine.tokenizer).generate([request]) == after


def test_a_reply_ends_at_a_stop_token_which_is_in_the_ids_and_not_in_the_text(engine: Engine) -> None:
    free = engine.generate([GenerationRequest((4, 5, 6), 12)])[0]
    assert free.finish_reason == "length"
    stop = free.ids[5]
    first = free.ids.index(stop)
    result = engine.generate([GenerationRequest((4, 5, 6), 12, stop_ids=frozenset({stop}))])[0]
    assert (result.ids, result.finish_reason) == (free.ids[: first + 1], "stop")
    assert result.text == decode(engine.tokenizer, free.ids[:first])


def test_a_reply_is_cut_before_a_stop_string(engine: Engine) -> None:
    request = GenerationRequest((9, 8, 7), 20, temperature=1.0, seed=4)
    free = engine.generate([request])[0]
    stop = free.text[7:10]
    result = engine.generate([GenerationRequest((9, 8, 7), 20, temperature=1.0, seed=4, stop=("\0\0", stop))])[0]
    assert result.text == free.text[: free.text.index(stop)]
    assert result.finish_reason == "stop"
    assert len(result.ids) < 20


def test_the_longest_reply_is_what_the_engine_has_room_for(engine: Engine) -> None:
    result = engine.generate([GenerationRequest(tuple(range(1020)), 50)])[0]
    assert (len(result.ids), result.finish_reason) == (4, "length")
    with pytest.raises(DataError, match="prompt of 1024 tokens: longer than the 1023"):
        engine.submit(GenerationRequest(tuple(range(1024)), 1))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prompt_ids": ()}, "prompt is empty"),
        ({"max_tokens": 0}, "max_tokens: expected at least 1, got 0"),
        ({"temperature": -1.0}, "temperature: .*got -1"),
        ({"temperature": math.nan}, "temperature: .*got nan"),
        ({"top_p": 0.0}, "top_p: .*got 0"),
        ({"stop": ("",)}, "stop: an empty string"),
    ],
)
def test_a_request_that_cannot_be_sampled_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        GenerationRequest(**({"prompt_ids": (1,), "max_tokens": 1} | fields))


def test_a_cancelled_request_frees_its_slot_and_gives_no_more_events(engine: Engine) -> None:
    keep, drop = (engine.submit(GenerationRequest((1, 2), 6)) for _ in range(2))
    events = engine.step()
    engine.cancel(drop)
    while engine.busy:
        events += engine.step()
    assert [event.ticket for event in events].count(drop) <= 2
    assert [event for event in events if event.ticket == keep][-1].result == alone(engine, GenerationRequest((1, 2), 6))


def test_broken_weights_are_an_error_and_do_not_reach_the_next_request(small_model_dir: Path) -> None:
    engine = Engine.load(small_model_dir, max_batch=4)
    healthy = engine.generate([GenerationRequest((3, 4), 5)])
    weight = engine.model.model.layers[0].self_attn.v_proj.weight
    with torch.no_grad():
        kept = weight.clone()
        weight.fill_(math.nan)
        with pytest.raises(ModelError, match="logits are not finite"):
            engine.generate([GenerationRequest(tuple(range(150)), 5)])
        weight.copy_(kept)
    assert engine.generate([GenerationRequest((3, 4), 5)]) == healthy


def test_coroutines_share_one_batch_and_get_their_own_replies(engine: Engine) -> None:
    requests = some_requests(12, seed=11)
    expected = [alone(engine, request) for request in requests]

    async def run() -> list[Any]:
        async with AsyncEngine(engine) as batch:
            async for _ in batch.stream(requests[0]):
                break  # a reader that leaves must not disturb the others
            return await asyncio.gather(*(batch.sample(request) for request in requests))

    assert asyncio.run(run()) == expected
    assert not engine.busy


def test_an_engine_that_fails_tells_every_waiting_coroutine(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("out of memory")

    async def run() -> list[Any]:
        async with AsyncEngine(engine) as batch:
            samples = (batch.sample(GenerationRequest((1, 2), 2)) for _ in range(3))
            return await asyncio.gather(*samples, return_exceptions=True)

    with monkeypatch.context() as patch:
        patch.setattr(engine._runner, "decode", broken)
        results = asyncio.run(run())
    assert [str(result) for result in results] == ["RuntimeError: out of memory"] * 3
    assert not engine.busy


def test_a_model_without_plain_full_attention_is_sent_to_vllm(make_model: Callable[..., Path], tmp_path: Path) -> None:
    layers = {"layer_types": ["sliding_attention", "full_attention"], "use_sliding_window": True, "sliding_window": 8}
    with pytest.raises(ModelError, match=r"sliding_attention.*vLLM"):
        Engine.load(make_model(tmp_path / "model", **layers))


def test_the_limit_of_the_model_holds(make_model: Callable[..., Path], tmp_path: Path) -> None:
    assert Engine.load(make_model(tmp_path / "model", max_position_embeddings=64)).max_tokens_total == 64


def test_a_model_that_keeps_other_state_is_found_by_running_it(small_model_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "model"
    shutil.copytree(small_model_dir, path)
    engine = Engine.load(path)
    attention = engine.model.model.layers[0].self_attn
    engine.model.model.layers[0].self_attn.forward = lambda *args, **kwargs: _counting(attention, *args, **kwargs)
    with engine._runner.ready(), pytest.raises(ModelError, match=r"one pass and token by token.*vLLM"):
        engine._runner.check("model")


def _counting(attention: Any, *args: Any, **kwargs: Any) -> Any:
    attention.calls = getattr(attention, "calls", 0) + 1
    output, weights = type(attention).forward(attention, *args, **kwargs)
    return output * attention.calls, weights


def test_an_adapter_is_loaded_and_one_for_another_base_is_refused(
    small_model_dir: Path, make_model: Callable[..., Path], tmp_path: Path
) -> None:
    base = Engine.load(small_model_dir)
    request = GenerationRequest((1, 2, 3), 5)
    torch.manual_seed(0)
    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    expected = base.generate([request])
    get_peft_model(base.model, config).save_pretrained(tmp_path / "adapter")
    settings_path = tmp_path / "adapter/adapter_config.json"
    named = json.loads(settings_path.read_text()) | {"base_model_name_or_path": str(small_model_dir)}
    settings_path.write_text(json.dumps(named))
    adapted = Engine.load(small_model_dir, adapter=tmp_path / "adapter")
    assert adapted.generate([request])[0].logprobs != expected[0].logprobs
    with pytest.raises(ModelError, match="adapter"):
        Engine.load(make_model(tmp_path / "other", hidden_size=48), adapter=tmp_path / "adapter")


def test_bfloat16_is_the_same_up_to_rounding(small_model_dir: Path) -> None:
    requests = [GenerationRequest(request.prompt_ids, 1) for request in some_requests(8, seed=2)]
    expected = Engine.load(small_model_dir).generate(requests)
    engine = Engine.load(small_model_dir, dtype="bfloat16", max_batch=8)
    for _ in range(2):
        for result, exact in zip(engine.generate(requests), expected):
            assert result.logprobs == pytest.approx(exact.logprobs, abs=0.05)


FAMILIES = {
    "Qwen3": {},
    "Qwen3, few key heads": {"num_attention_heads": 4, "num_key_value_heads": 1, "tie_word_embeddings": False},
    "Qwen2": {"num_attention_heads": 4, "num_key_value_heads": 2},
    "Llama": {"num_attention_heads": 4, "num_key_value_heads": 2, "attention_bias": True},
    "Mistral": {"sliding_window": None},
}


@pytest.fixture(scope="module", params=FAMILIES)
def fast_engine(request: pytest.FixtureRequest, tokenizer: Any) -> Engine:
    name = request.param.partition(",")[0]
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = getattr(transformers, f"{name}Config")(
        **{"vocab_size": VOCABULARY, "head_dim": 16, "num_key_value_heads": 2} | sizes | FAMILIES[request.param]
    )
    torch.manual_seed(0)
    model = getattr(transformers, f"{name}ForCausalLM")(config).eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if "norm" in key or "bias" in key:  # so that one which is left out is seen
                parameter.add_(torch.randn_like(parameter) * 0.3)
    return Engine(model, tokenizer, max_batch=8, max_tokens_total=1024, exact=False)


def test_the_fast_runner_gives_what_the_exact_one_gives(fast_engine: Engine) -> None:
    assert isinstance(fast_engine._runner, SharedRunner)
    exact = Engine(fast_engine.model, fast_engine.tokenizer, max_batch=8, max_tokens_total=1024)
    requests = [*some_requests(30, seed=6), *some_requests(3, seed=7, longest=900)]
    _assert_close(fast_engine.generate(requests), exact.generate(requests))
    assert fast_engine._runner._trunk is not None
    _assert_close(fast_engine.generate(requests[::-1]), exact.generate(requests[::-1]))


def _assert_close(results: list[Any], expected: list[Any]) -> None:
    for result, other in zip(results, expected, strict=True):
        assert result.ids == other.ids
        assert result.logprobs == pytest.approx(other.logprobs, abs=1e-4)


def test_the_fast_runner_computes_what_prompts_share_once(small_model_dir: Path) -> None:
    engine = Engine.load(small_model_dir, max_batch=8, exact=False)
    shared = tuple(range(200))
    prompts = [((*shared, 300 + index, 7), 5) for index in range(6)]
    with engine._runner.ready():
        first, _ = engine._runner.admit(prompts, 0)
        others, logits = engine._runner.admit(prompts[1:], 1)
        again, _ = engine._runner.admit([((*shared, *range(500, 700)), 5)], 6)
    assert (first, others, len(logits), again) == (202, 5 * (202 - 192), 5, 400 - 192)


def test_prompts_that_end_at_the_limit_go_together_with_others(small_model_dir: Path) -> None:
    engine = Engine.load(small_model_dir, max_tokens_total=128, exact=False)
    longest, other = tuple(range(120)), tuple(range(300, 360))
    with engine._runner.ready():
        engine._runner.admit([(longest, 8)], 0)
        computed, logits = engine._runner.admit([(longest, 8), (other, 8)], 0)
    assert (computed, len(logits)) == (120 - 96 + 60, 2)


def test_the_fast_runner_computes_in_few_shapes(small_model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine.load(small_model_dir, max_batch=48, exact=False)
    assert isinstance(engine._runner, SharedRunner)
    network, counts = engine._runner.network, set[int]()
    turn = network._turn
    monkeypatch.setattr(network, "_turn", lambda x, *rest: (counts.add(len(x)), turn(x, *rest))[1])
    engine.generate(some_requests(150, seed=8))
    assert counts == {few(count) for count in counts}
    assert len(counts) < 40
    assert [few(count) for count in (1, 8, 9, 33, 1000)] == [1, 8, 10, 40, 1024]
    assert all(count <= few(count) <= 1.25 * count for count in range(1, 2000))


def test_the_fast_runner_sees_training_between_calls(small_model_dir: Path) -> None:
    engine = Engine.load(small_model_dir, exact=False)
    request = GenerationRequest(tuple(range(200)), 6)
    before = engine.generate([request, request, request])
    with torch.no_grad():
        engine.model.model.layers[0].self_attn.v_proj.weight.mul_(1.5)
    after = engine.generate([request])
    assert after[0].logprobs != before[0].logprobs
    _assert_close(after, Engine(engine.model, engine.tokenizer).generate([request]))


@pytest.mark.parametrize("change", ["adapter", "hook", "model_type"])
def test_a_model_whose_arithmetic_is_not_known_runs_exactly(small_model_dir: Path, change: str) -> None:
    model = Engine.load(small_model_dir).model
    if change == "adapter":
        get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "v_proj"]))
    elif change == "hook":
        model.model.layers[1].register_forward_hook(lambda *_: None)
    else:
        model.model.layers[1].mlp.act_fn = torch.nn.ReLU()  # the configuration says silu
    assert isinstance(Engine(model, None, exact=False)._runner, Runner)


def test_sampling_follows_the_distribution() -> None:
    logits = torch.tensor([0.5, 0.2, 0.2, 0.1]).log().repeat(4000, 1)
    noise = torch.rand(4000, generator=torch.Generator().manual_seed(0)).tolist()
    tokens, _ = sample_tokens(logits, [1.0] * 4000, [1.0] * 4000, noise)
    assert torch.tensor(tokens).bincount(minlength=4).div(4000).tolist() == pytest.approx(
        [0.5, 0.2, 0.2, 0.1], abs=0.03
    )


@pytest.mark.parametrize(("top_p", "kept"), [(1.0, {0, 1, 2, 3}), (0.95, {0, 1, 2, 3}), (0.75, {0, 1, 3}), (0.4, {1})])
def test_top_p_keeps_the_smallest_set_that_holds_it(top_p: float, kept: set[int]) -> None:
    logits = torch.tensor([0.2, 0.5, 0.1, 0.2]).log().repeat(1000, 1)
    noise = [index / 1000 for index in range(1000)]
    assert set(sample_tokens(logits, [1.0] * 1000, [top_p] * 1000, noise)[0]) == kept


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_a_row_is_sampled_the_same_whatever_rows_are_beside_it(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 9))
    logits = torch.randn((count, 500), generator=torch.Generator().manual_seed(data.draw(st.integers(0, 99)))) * 4
    temperatures = data.draw(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=count, max_size=count))
    top_ps = data.draw(st.lists(st.sampled_from([0.3, 0.9, 1.0]), min_size=count, max_size=count))
    noise = data.draw(st.lists(st.floats(0, 1, exclude_max=True), min_size=count, max_size=count))
    tokens, logprobs = sample_tokens(logits, temperatures, top_ps, noise)
    for row in range(count):
        single = sample_tokens(logits[row : row + 1], temperatures[row:][:1], top_ps[row:][:1], noise[row:][:1])
        assert single == ([tokens[row]], [logprobs[row]])


@pytest.mark.parametrize("text", ["naïve 😀😀 ünïcödé", "", "日本語 <tool_call>\n{}", "a\ufffdb"])
def test_a_streamed_text_joins_to_the_whole(tokenizer: Any, text: str) -> None:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    stream = TextStream(tokenizer)
    pieces = [stream.feed(token) for token in ids]
    assert all("\ufffd" not in piece for piece in pieces) or "\ufffd" in text
    assert "".join([*pieces, stream.close()]) == decode(tokenizer, ids) == stream.text


def test_prefixes_forget_what_was_not_used_for_longest() -> None:
    prefixes = Prefixes(budget=3 * 8)
    keys = torch.zeros(1)
    for token in (1, 2, 3):
        prefixes.add(0, (token,), keys, keys, None)
    prefixes.find(0, (1,))
    prefixes.add(0, (4,), keys, keys, None)
    assert [prefixes.find(0, (token,)) is not None for token in (1, 2, 3, 4)] == [True, False, True, True]
