"""What is trained and how much: reasoning, weights, history, keywords of the template, verification."""

from typing import Any

import numpy as np
import pytest
from families import family_tokenizer

from sft.encode import IGNORE, Encoded, EncodeError, Refusal, TrainPolicy, encode, encode_many
from toolwright.dialect import render_prompt
from toolwright.records import Conversation

TOOL = {"name": "get_weather", "description": "Weather.", "parameters": {"type": "object", "properties": {}}}
CALL = {"id": "call00001", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'}}
RESULT = {"role": "tool", "content": "sun", "tool_call_id": "call00001", "name": "get_weather"}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def answer(text: str, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **more}


def chat(*messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"messages": list(messages), "tools": [TOOL], **more}


def trained(row: Encoded, tokenizer: Any) -> str:
    """The trained tokens of a row, one bar at each gap between them."""
    places = [at for at, label in enumerate(row.labels) if label != IGNORE]
    runs: list[list[int]] = []
    for at in places:
        if not runs or places[places.index(at) - 1] != at - 1:
            runs.append([])
        runs[-1].append(int(row.input_ids[at]))
    return " | ".join(tokenizer.decode(run) for run in runs)


THOUGHTFUL = chat(user("w?"), answer("", reasoning_content="I look", tool_calls=[CALL]), RESULT, answer("Sunny."))
WRITTEN = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call><|im_end|>'


@pytest.mark.parametrize(
    ("thinking", "expected"),
    [
        ("train", f"<think>\nI look\n</think>\n\n{WRITTEN} | <think>\n\n</think>\n\nSunny.<|im_end|>"),
        ("mask", f"<think>\n | \n</think>\n\n{WRITTEN} | <think>\n\n</think>\n\nSunny.<|im_end|>"),
    ],
)
def test_reasoning_is_trained_or_only_read(thinking: Any, expected: str) -> None:
    tokenizer = family_tokenizer("qwen3")
    row = encode(THOUGHTFUL, tokenizer, train=TrainPolicy(thinking=thinking))
    assert trained(row, tokenizer) == expected
    assert tokenizer.decode(row.input_ids).count("I look") == 1


def test_reasoning_that_is_dropped_is_not_in_the_text() -> None:
    tokenizer = family_tokenizer("qwen3")
    rows = encode_many([THOUGHTFUL], tokenizer, train=TrainPolicy(thinking="drop"))
    assert all("I look" not in tokenizer.decode(row.input_ids) for row in rows)
    assert sorted(trained(row, tokenizer) for row in rows) == [
        "<think>\n\n</think>\n\n" + WRITTEN,
        "<think>\n\n</think>\n\nSunny.<|im_end|>",
    ]


def test_reasoning_within_the_content_is_reasoning() -> None:
    tokenizer = family_tokenizer("qwen3")
    item = chat(user("w?"), answer("<think>\nI look.\n</think>\n\nSunny."))
    assert trained(encode(item, tokenizer), tokenizer) == "<think>\nI look.\n</think>\n\nSunny.<|im_end|>"
    dropped = encode(item, tokenizer, train=TrainPolicy(thinking="drop"))
    assert trained(dropped, tokenizer) == "<think>\n\n</think>\n\nSunny.<|im_end|>"
    # Qwen2.5 has no form for reasoning: it keeps the words where they stand.
    plain = family_tokenizer("qwen2_5")
    assert trained(encode(item, plain), plain) == "<think>\nI look.\n</think>\n\nSunny.<|im_end|>"


def test_reasoning_has_a_weight_of_its_own() -> None:
    tokenizer = family_tokenizer("qwen3")
    row = encode(THOUGHTFUL, tokenizer, train=TrainPolicy(call_weight=2.0, text_weight=0.5, reasoning_weight=0.25))
    call, text = row.spans
    words = tokenizer("I look", add_special_tokens=False)["input_ids"]
    at = row.input_ids.tolist().index(words[0], call.start)
    weights = np.full(call.end - call.start, 2.0)
    weights[at - call.start :][: len(words)] = 2.0 * 0.25
    assert row.weights[call.start : call.end].tolist() == weights.tolist()
    assert set(row.weights[text.start : text.end].tolist()) == {0.5}
    assert set(row.weights[row.labels == IGNORE].tolist()) == {0.0}


def test_a_message_has_a_weight_and_0_leaves_it_out() -> None:
    tokenizer = family_tokenizer("qwen2_5")
    item = chat(
        user("a"), answer("One.", loss_weight=0), user("b"), answer("Two.", loss_weight=3), user("c"), answer("Three.")
    )
    row = encode(item, tokenizer)
    assert trained(row, tokenizer) == "Two.<|im_end|> | Three.<|im_end|>"
    assert [set(row.weights[span.start : span.end].tolist()) for span in row.spans] == [{3.0}, {1.0}]
    with pytest.raises(EncodeError, match="no assistant message with a weight above 0"):
        encode(chat(user("a"), answer("One.", loss_weight=0)), tokenizer)


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), -1, "2", True])
def test_a_weight_that_is_no_weight_is_refused(weight: Any) -> None:
    refused: list[Refusal] = []
    item = chat(user("a"), answer("One.", loss_weight=weight))
    assert encode_many([item], family_tokenizer("qwen2_5"), refused=refused) == []
    assert "messages[1].loss_weight: expected a number that is 0 or more" in refused[0].reason


def test_keywords_of_the_template_come_from_the_call_and_from_the_row() -> None:
    tokenizer = family_tokenizer("qwen3")
    closed = {"enable_thinking": False}
    of_call = encode(chat(user("a"), answer("One.")), tokenizer, template_kwargs=closed)
    of_row = encode(chat(user("a"), answer("One."), chat_template_kwargs=closed), tokenizer)
    assert of_call == of_row
    assert trained(of_row, tokenizer) == "One.<|im_end|>"  # the prompt that is served ends with the closed thought
    assert trained(encode(chat(user("a"), answer("One.")), tokenizer), tokenizer).startswith("<think>")


def test_a_prompt_that_the_template_never_renders_is_refused_unless_trained_as_rendered() -> None:
    tokenizer = family_tokenizer("nemotron_3_nano")
    item = chat(user("a"), answer("One."), user("b"), answer("Two."))
    with pytest.raises(EncodeError, match="does not render this turn as it is served") as caught:
        encode(item, tokenizer)
    assert "enable_thinking: false" in str(caught.value)
    row = encode(item, tokenizer, train=TrainPolicy(history="as_rendered"))
    assert trained(row, tokenizer) == "</think>One.<|im_end|> | </think>Two.<|im_end|>"
    assert trained(encode_many([item], tokenizer, template_kwargs={"enable_thinking": False})[0], tokenizer)


def test_as_rendered_ids_are_those_of_the_whole_render() -> None:
    tokenizer = family_tokenizer("deepseekv3")
    item = chat(user("a"), answer("One."), user("b"), answer("Two."))
    record = Conversation.from_row(item)
    text = render_prompt(tokenizer, record.messages, record.tools, add_generation_prompt=False)
    row = encode(item, tokenizer, train=TrainPolicy(history="as_rendered"))
    assert row.input_ids.tolist() == tokenizer(text, add_special_tokens=False)["input_ids"]
    assert trained(row, tokenizer) == "One.<｜end▁of▁sentence｜> | Two.<｜end▁of▁sentence｜>"


def test_a_turn_that_ends_with_what_comes_next_gets_it_at_the_end_of_the_conversation_too() -> None:
    tokenizer = family_tokenizer("glm4moe")
    item = chat(user("a"), answer("One."), user("b"), answer("", tool_calls=[CALL]))
    rows = encode_many([item], tokenizer)
    ends = sorted(tokenizer.decode(row.input_ids[span.end - 1 : span.end]) for row in rows for span in row.spans)
    assert ends == ["<|observation|>", "<|user|>"]


def test_split_rows_are_cut_each_by_itself() -> None:
    tokenizer = family_tokenizer("qwen3")
    item = chat(user("a"), answer("One."), user("b " * 50), answer("Two."))
    long, short = encode_many([item], tokenizer)
    (kept,) = encode_many([item], tokenizer, max_tokens=len(short.input_ids))
    assert trained(kept, tokenizer) == trained(short, tokenizer)
    assert kept.cut_turns == 1
    assert [row.cut_turns for row in encode_many([item], tokenizer, max_tokens=len(long.input_ids))] == [0, 0]
    with pytest.raises(EncodeError, match="beyond max_tokens = 8"):
        encode_many([item], tokenizer, max_tokens=8)


def test_a_wrong_learned_header_is_found_by_the_verification(monkeypatch: pytest.MonkeyPatch) -> None:
    from sft import turns

    tokenizer = family_tokenizer("qwen3_instruct_2507")
    item = chat(user("a"), answer("One."))
    encode_many([item], tokenizer)
    honest = turns._quick

    def shifted(*arguments: Any) -> Any:
        row = honest(*arguments)
        moved = tuple(turns.Turn(turn.message, turn.start - 1, turn.end) for turn in row.turns)
        return turns.Rendered(row.text, moved, row.stop)

    monkeypatch.setattr(turns, "_quick", shifted)
    with pytest.raises(EncodeError, match="rendered one by one, its turns are others"):
        encode(item, tokenizer)
