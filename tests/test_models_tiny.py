"""The tiny base model: its chat template, tokenizer, random corpus, and the exported directory."""

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2.exceptions import TemplateError
from transformers import Qwen3ForCausalLM

from models.pretrain.batches import IGNORED, draw_row, pad_rows
from models.pretrain.corpus import Conversation, Difficulty, draw_conversation
from models.pretrain.network import load_tokenizer
from models.pretrain.render import render
from models.pretrain.scoring import draw_task, read_calls
from models.pretrain.tools import build_tool, draw_toolset
from models.pretrain.train import exact_calls, rate_at

TINY = Path(__file__).resolve().parents[1] / "models" / "tiny"
TOKENIZER = load_tokenizer(TINY)
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather in Zürich & <elsewhere>",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def call(arguments: Any, name: str = "get_weather") -> dict[str, Any]:
    return {"id": "c1", "type": "function", "function": {"name": name, "arguments": arguments}}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def rendered(messages: list[dict[str, Any]], **options: Any) -> str:
    text = TOKENIZER.apply_chat_template(messages, tokenize=False, **options)
    assert isinstance(text, str)
    return text


def conversations(count: int, seed: int = 3) -> list[Conversation]:
    rng = Random(seed)
    return [draw_conversation(rng, Difficulty.at(1.0)) for _ in range(count)]


# --- chat template ---


def test_a_whole_conversation_renders_as_chatml_with_hermes_calls() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        user("Weather in Ulm?"),
        {"role": "assistant", "content": "Let me look.", "tool_calls": [call({"city": "Ulm"})]},
        {"role": "tool", "content": '{"sky": "grey"}'},
        {"role": "assistant", "content": "Grey."},
    ]
    assert rendered(messages, tools=[WEATHER]) == (
        "<|im_start|>system\nBe brief.\n\n"
        "To use a tool, answer with its call as JSON in <tool_call></tool_call>.\n<tools>\n"
        '{"name": "get_weather", "description": "Weather in Zürich & <elsewhere>", "parameters": {"type": "object", '
        '"properties": {"city": {"type": "string"}}, "required": ["city"]}}\n'
        "</tools><|im_end|>\n"
        "<|im_start|>user\nWeather in Ulm?<|im_end|>\n"
        '<|im_start|>assistant\nLet me look.\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "Ulm"}}\n'
        "</tool_call><|im_end|>\n"
        '<|im_start|>user\n<tool_response>\n{"sky": "grey"}\n</tool_response><|im_end|>\n'
        "<|im_start|>assistant\nGrey.<|im_end|>\n"
    )


def test_no_system_block_is_written_without_system_text_and_tools() -> None:
    assert rendered([user("Hi")], add_generation_prompt=True) == (
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.parametrize("system", [[], [{"role": "system", "content": ""}], [{"role": "system", "content": None}]])
def test_tools_are_listed_without_a_system_text(system: list[dict[str, Any]]) -> None:
    assert rendered([*system, user("Hi")], tools=[WEATHER]).startswith("<|im_start|>system\nTo use a tool, ")


def test_a_tool_without_a_function_key_renders_the_same() -> None:
    assert rendered([user("Hi")], tools=[WEATHER["function"]]) == rendered([user("Hi")], tools=[WEATHER])


def test_other_keys_of_a_tool_are_left_out() -> None:
    tool = {"type": "function", "function": {"strict": True, **WEATHER["function"]}}
    assert rendered([user("Hi")], tools=[tool]) == rendered([user("Hi")], tools=[WEATHER])


@pytest.mark.parametrize("arguments", [{}, {"city": "Zürich <b>'x'"}, {"n": [1, -2.5], "deep": {"a": None, "b": True}}])
def test_string_and_mapping_arguments_render_the_same(arguments: dict[str, Any]) -> None:
    def turn(value: Any) -> list[dict[str, Any]]:
        return [user("x"), {"role": "assistant", "content": None, "tool_calls": [call(value)]}]

    text = rendered(turn(arguments))
    assert text == rendered(turn(json.dumps(arguments, ensure_ascii=False)))
    assert read_calls(text) == [{"name": "get_weather", "arguments": arguments}]


def test_parallel_calls_and_their_results_are_grouped() -> None:
    messages = [
        user("x"),
        {"role": "assistant", "content": "", "tool_calls": [call({"city": "A"}), call({"city": "B"})]},
        {"role": "tool", "content": "1"},
        {"role": "tool", "content": "2"},
    ]
    assert rendered(messages).endswith(
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "A"}}\n</tool_call>\n'
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "B"}}\n</tool_call><|im_end|>\n'
        "<|im_start|>user\n<tool_response>\n1\n</tool_response>\n<tool_response>\n2\n</tool_response><|im_end|>\n"
    )


@pytest.mark.parametrize("role", ["developer", "function", "system"])
def test_an_unknown_role_is_refused_by_name(role: str) -> None:
    with pytest.raises(TemplateError, match=role):
        rendered([user("x"), {"role": role, "content": "y"}])


@pytest.mark.parametrize("seed", range(5))
def test_every_prompt_is_a_prefix_of_the_turn_that_follows(seed: int) -> None:
    for conversation in conversations(10, seed):
        messages, tools = conversation.messages, conversation.tools
        for index in [i for i, message in enumerate(messages) if message["role"] == "assistant"]:
            prompt = rendered(messages[:index], tools=tools, add_generation_prompt=True)
            assert rendered(messages[: index + 1], tools=tools).startswith(prompt)


# --- tokenizer ---


@given(st.text())
@settings(max_examples=300, deadline=None)
def test_any_text_survives_the_tokenizer(text: str) -> None:
    ids = TOKENIZER.encode(text, add_special_tokens=False)
    assert TOKENIZER.decode(ids) == text


@given(st.text(alphabet='{}[]":, \n0123aé<tool_call>/_-.日🙂', max_size=40))
@settings(max_examples=300, deadline=None)
def test_json_like_text_survives_the_tokenizer(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER.encode(text, add_special_tokens=False)) == text


@pytest.mark.parametrize(("text", "special"), [("<|im_end|>", True), ("<|endoftext|>", True), ("<tool_call>", False)])
def test_markers_are_one_token_and_calls_are_not_skipped(text: str, special: bool) -> None:
    ids = TOKENIZER.encode(text, add_special_tokens=False)
    assert len(ids) == 1
    assert TOKENIZER.decode(ids, skip_special_tokens=True) == ("" if special else text)


@pytest.mark.parametrize("value", ["Berlin", "2025-03-14", "notes/march.txt", "AX-4071", "-12.75", "Qvyxol"])
def test_a_value_has_the_same_tokens_in_a_request_and_in_a_call(value: str) -> None:
    ids = TOKENIZER.encode(value, add_special_tokens=False)
    for frame in ("in {} now", '{{"x": "{}"}}', '["{}", "b"]', "is {}?", "<tool_response>\n{}\n</tool_response>"):
        framed = TOKENIZER.encode(frame.format(value), add_special_tokens=False)
        assert any(framed[i : i + len(ids)] == ids for i in range(len(framed))), frame


def test_digits_stand_alone() -> None:
    digits = TOKENIZER.encode("90210", add_special_tokens=False)
    assert [TOKENIZER.decode([token]) for token in digits] == list("90210")


def test_a_tool_with_two_parameters_takes_few_tokens() -> None:
    rng = Random(5)
    sizes: list[int] = []
    while len(sizes) < 100:
        for tool in draw_toolset(rng, 3, 4):
            if len(tool.params) == 2:
                sizes.append(len(TOKENIZER.encode(json.dumps(tool.spec["function"]), add_special_tokens=False)))
    assert sum(sizes) / len(sizes) < 90


# --- corpus ---


def test_the_fast_renderer_writes_what_the_template_writes() -> None:
    for conversation in conversations(150):
        text = "".join(text for text, _ in render(conversation))
        assert text == rendered(conversation.messages, tools=conversation.tools)


def test_ids_of_segments_are_the_ids_of_the_whole_text() -> None:
    for seed in range(60):
        ids, labels = draw_row(Random(seed), Difficulty.at(1.0), TOKENIZER)
        conversation = draw_conversation(Random(seed), Difficulty.at(1.0))
        assert ids == TOKENIZER.encode(rendered(conversation.messages, tools=conversation.tools))
        assert all(label in (IGNORED, token) for token, label in zip(ids, labels, strict=True))


def test_labels_cover_exactly_what_the_assistant_writes() -> None:
    ids, labels = draw_row(Random(8), Difficulty.at(1.0), TOKENIZER)
    conversation = draw_conversation(Random(8), Difficulty.at(1.0))
    text = "".join(text for text, trained in render(conversation) if trained)
    assert TOKENIZER.decode([label for label in labels if label != IGNORED]) == text
    assert text.count("<|im_end|>") == sum(message["role"] == "assistant" for message in conversation.messages)
    batch = pad_rows([(ids, labels), (ids[:5], labels[:5])], 7)
    assert batch.ids_BT[1, 5:].eq(7).all()
    assert batch.labels_BT[1, 5:].eq(IGNORED).all()


def test_every_call_of_the_corpus_fits_the_schema_of_its_tool() -> None:
    from jsonschema import validate

    checked = 0
    for conversation in conversations(150, seed=11):
        schemas = {tool["function"]["name"]: tool["function"]["parameters"] for tool in conversation.tools}
        assert len(schemas) == len(conversation.tools)
        for message in conversation.messages:
            for made in message.get("tool_calls", []):
                validate(made["function"]["arguments"], schemas[made["function"]["name"]])
                checked += 1
    assert checked > 400


def test_the_corpus_is_the_same_for_the_same_seed() -> None:
    assert conversations(5, seed=2) == conversations(5, seed=2)
    assert conversations(5, seed=2) != conversations(5, seed=3)


def test_tools_of_the_demo_are_never_built() -> None:
    from tool_calls import DESK

    from mcpserver.environment import offered_tools

    demo = {name: name.split("_") for name in offered_tools(DESK)}
    rng = Random(0)
    for name, (verb, *noun) in demo.items():
        known_verb = verb if any(verb in group for group in _verb_groups()) else None
        if known_verb and noun:
            assert all(build_tool(rng, verb, " ".join(noun), 0) is None for _ in range(20)), name
    drawn = {tool.name for _ in range(1500) for tool in draw_toolset(rng, 5, 0)}
    assert len(drawn) > 5000
    assert not drawn & set(demo)


def _verb_groups() -> list[list[str]]:
    from models.pretrain.words import VERB_GROUPS

    return VERB_GROUPS


def test_tasks_for_the_score_ask_for_one_call_of_a_listed_tool() -> None:
    messages, tools, gold = draw_task(Random(4), 4)
    assert [message["role"] for message in messages] == ["user"]
    assert len(tools) == 4
    assert [call["name"] for call in gold] == [gold[0]["name"]]
    assert gold[0]["name"] in {tool["function"]["name"] for tool in tools}


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("Hello.", []),
        ('<tool_call>\n{"name": "a"}\n</tool_call>', [{"name": "a"}]),
        ('<tool_call>\n1\n</tool_call>\n<tool_call>\n2\n</tool_call>', [1, 2]),
        ('<tool_call>\n{"name": \n</tool_call>', None),
    ],
)  # fmt: skip
def test_calls_are_read_from_an_answer_and_broken_json_is_named(text: str, calls: list[Any] | None) -> None:
    assert read_calls(text) == calls


# --- training loop ---


def test_exact_calls_counts_turns_whose_every_token_is_right() -> None:
    call_token, x = 9, IGNORED
    labels = torch.tensor([[x, 9, 1, 2, x, 9, 3, x], [9, 4, x, 5, 6, x, x, x]])
    right = labels[labels != x]
    assert exact_calls(right, labels, call_token) == (3, 3)
    wrong = right.clone()
    wrong[2] = 0
    assert exact_calls(wrong, labels, call_token) == (3, 2)
    plain = right.clone()
    plain[-1] = 0
    assert exact_calls(plain, labels, call_token) == (3, 3)


def test_the_learning_rate_warms_up_holds_and_ends_at_zero() -> None:
    assert 0 < rate_at(0.0) < 0.1
    assert rate_at(0.1) == rate_at(0.5) == 1.0
    assert 0 < rate_at(0.9) < 0.5
    assert rate_at(1.0) == 0.0


# --- the exported directory ---


def test_the_export_is_small_complete_and_consistent() -> None:
    files = {path.name: path.stat().st_size for path in TINY.iterdir() if path.is_file()}
    assert sum(files.values()) <= 12_000_000
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"} <= set(files)
    config = json.loads((TINY / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["Qwen3ForCausalLM"]
    assert config["vocab_size"] == len(TOKENIZER)
    assert config["tie_word_embeddings"] is True
    assert config["eos_token_id"] == TOKENIZER.convert_tokens_to_ids("<|im_end|>")


def test_the_exported_model_calls_a_tool_it_has_never_seen() -> None:
    tool = json.loads(json.dumps(WEATHER))
    tool["function"]["description"] = "Get the weather"
    tool["function"]["parameters"]["properties"]["city"]["description"] = "City name"
    prompt = rendered([user("Get the weather in Madrid.")], tools=[tool], add_generation_prompt=True)
    inputs = TOKENIZER(prompt, return_tensors="pt", add_special_tokens=False)
    model = Qwen3ForCausalLM.from_pretrained(TINY).eval()
    assert model.dtype == torch.bfloat16
    output = model.generate(**inputs, max_new_tokens=60, do_sample=False)
    answer = TOKENIZER.decode(output[0, inputs["input_ids"].shape[1] :])
    assert read_calls(answer) == [{"name": "get_weather", "arguments": {"city": "Madrid"}}]
    assert answer.endswith("<|im_end|>")
