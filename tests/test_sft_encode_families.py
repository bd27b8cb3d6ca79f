"""Every chat template of TRL's wheel, on the conversations that other encoders get wrong.

What is expected is computed here anew, from the tokenizer's own rendering of each prompt and each turn.
"""

from typing import Any

import pytest
from families import family_tokenizer, make_tokenizer, template_names

from sft.encode import IGNORE, EncodeError, TrainPolicy, encode_many
from toolwright.dialect import render_prompt
from toolwright.records import Conversation

TOOL = {
    "name": "get_weather",
    "description": "Weather of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string", "description": "Where."}}},
}
SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "Which weather?"}


def answer(text: str, reasoning: str | None = None) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": text}
    return message if reasoning is None else {**message, "reasoning_content": reasoning}


def call(*cities: str, text: str | None = None, reasoning: str | None = None, as_text: bool = False) -> dict[str, Any]:
    calls = []
    for number, city in enumerate(cities):
        arguments: Any = {"city": city}
        calls.append({"id": f"call0000{number}", "type": "function", "function": {"name": "get_weather"}})
        calls[-1]["function"]["arguments"] = f'{{"city": "{city}"}}' if as_text else arguments
    message: dict[str, Any] = {"role": "assistant", "tool_calls": calls}
    if text is not None:
        message["content"] = text
    return message if reasoning is None else {**message, "reasoning_content": reasoning}


def result(text: str, number: int = 0) -> dict[str, Any]:
    return {"role": "tool", "content": text, "tool_call_id": f"call0000{number}", "name": "get_weather"}


CASES: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    "talk": ([SYSTEM, USER, answer("Sunny."), USER, answer("Still sunny.")], []),
    "no system, one turn": ([USER, answer("Sunny.")], []),
    "call": ([SYSTEM, USER, call("Oslo"), result("sun"), answer("Sunny.")], [TOOL]),
    "arguments as text": ([USER, call("Oslo", as_text=True), result("sun"), answer("Sunny.")], [TOOL]),
    "text beside a call": ([USER, call("Oslo", text="I will look."), result("sun"), answer("Sunny.")], [TOOL]),
    "parallel calls": ([USER, call("Oslo", "Bergen"), result("sun"), result("rain", 1), answer("Mixed.")], [TOOL]),
    "two rounds": (
        [USER, call("Oslo"), result("sun"), call("Bergen"), result("rain"), answer("Mixed."), USER, answer("Bye.")],
        [TOOL],
    ),
    "ends on a result": ([USER, call("Oslo"), result("sun")], [TOOL]),
    "reasoning": (
        [USER, call("Oslo", reasoning="I look."), result("sun"), answer("Sun.", "Easy."), USER, answer("Hm.", "Done.")],
        [TOOL],
    ),
}

# Where a generation prompt opens a thought that answers without one do not have, the template must be told not to.
NO_THOUGHT = {"enable_thinking": False}
KWARGS = {name: NO_THOUGHT for name in template_names() if name.startswith("nemotron")}


# How the last turn begins where the template renders it after another text than the prompt that it serves.
JOINED = {"gptoss": "<|channel|>analysis", "gemma4_v5": "Sunny."}


def expected_turns(tokenizer: Any, record: Conversation, kwargs: dict[str, Any]) -> dict[int, tuple[list[int], str]]:
    """For each assistant message the ids of the prompt that a server would be given, and the text that must follow."""
    turns = {}
    for index, message in enumerate(record.messages):
        if message.role != "assistant":
            continue
        prompt = render_prompt(tokenizer, record.messages[:index], record.tools, add_generation_prompt=True, **kwargs)
        text = render_prompt(
            tokenizer, record.messages[: index + 1], record.tools, add_generation_prompt=False, **kwargs
        )
        if not text.startswith(prompt):  # it shows what is before the turn otherwise than served
            text = prompt + text[text.rindex(JOINED[tokenizer.name_or_path]) :]
        assert text.startswith(prompt)
        turns[index] = tokenizer(prompt, add_special_tokens=False)["input_ids"], text[len(prompt) :]
    return turns


def outcome(name: str, case: str) -> str:
    """What encoding gives: the number of rows, or the error's reason; rows are proven right before they count."""
    tokenizer = family_tokenizer(name)
    messages, tools = CASES[case]
    item = {"messages": messages, "tools": tools, "chat_template_kwargs": KWARGS.get(name, {})}
    if case == "reasoning":
        item["chat_template_kwargs"] = {}
    try:
        rows = encode_many([item], tokenizer)
    except EncodeError as error:
        return str(error)
    turns = expected_turns(tokenizer, Conversation.from_row(item), item["chat_template_kwargs"])
    seen = [span.message for row in rows for span in row.spans]
    assert sorted(seen) == sorted(turns), "every turn stands in exactly one row"
    for row in rows:
        labelled = {at for span in row.spans for at in range(span.start, span.end)}
        assert [at for at, label in enumerate(row.labels) if label != IGNORE] == sorted(labelled)
        for span in row.spans:
            prompt, follows = turns[span.message]
            assert row.input_ids[: span.start].tolist() == prompt
            trained = tokenizer.decode(row.input_ids[span.start : span.end])
            terminator = tokenizer.decode(row.input_ids[span.end - 1 : span.end])
            assert terminator in tokenizer.all_special_tokens + TERMINATORS, "the last trained token stops generation"
            # Some templates write no terminator of a last turn: there the model stops with what would come next.
            whole = follows if follows.startswith(trained) else follows + terminator
            assert whole.startswith(trained)
            assert whole.removeprefix(trained).strip() in ("", "<|endoftext|>"), "nothing of the turn is left out"
    return str(len(rows))


TERMINATORS = [
    "<|call|>",
    "<|user|>",
    "<|observation|>",
    "<|tool_response>",
    "<turn|>",
    "<|im_end|>",
    "<|end|>",
    "</s>",
]
TERMINATORS += ["<|eot_id|>", "<end_of_turn>", "<end_of_utterance>", "<|END_OF_TURN_TOKEN|>", "<|eot|>", "<|return|>"]


# A number is the number of rows; a letter is why the template cannot train the case: c tool_calls, t the content,
# r the reasoning would be lost; s a turn is not rendered as it is served; x the template refuses the messages.
# The columns are CASES.
GRID = """
cohere                   1 1 c c c c c c c
cohere2                  1 1 c c c c c c c
deepseek_r1_distill      s s s s s s s s s
deepseekv3               s s s s s s s s s
diffusion_gemma          1 1 t t t t t 1 t
gemma                    x 1 x c c c c c c
gemma3                   1 1 c c c c c c c
gemma4                   1 1 1 1 2 1 1 1 r
gemma4_v2                1 1 1 1 1 1 1 1 r
gemma4_v3                1 1 1 1 2 1 1 1 r
gemma4_v4                1 1 1 1 2 1 1 1 r
gemma4_v5                1 1 1 1 2 1 1 1 2
glm4moe                  1 1 1 1 1 1 1 1 2
gptoss                   2 1 1 1 t c 2 1 2
idefics3                 1 1 c c c c c c c
lfm2                     1 1 c c c c c c c
lfm2_2_5                 1 1 1 1 1 1 1 1 2
lfm2_2_5_v2              1 1 1 1 1 1 1 1 2
lfm2_2_5_vl              1 1 1 1 1 1 1 1 2
lfm2_v2                  1 1 1 1 1 1 1 1 r
llama3                   1 1 c c c c c c c
llama3_1                 1 1 1 1 t x 1 1 r
llama3_2                 1 1 1 1 t x 1 1 r
llava_next               1 1 c c c c c c c
muse_glimmer             1 1 1 1 t 1 1 1 1
nemotron_3_5_lightning   1 1 1 1 1 1 1 1 2
nemotron_3_nano          1 1 1 1 1 1 1 1 2
nemotron_3_super         1 1 1 1 1 1 1 1 2
nemotron_3_ultra         1 1 1 1 1 1 1 1 2
phi3                     1 1 c c c c c c c
phi3_5                   1 1 c c c c c c c
qwen2_5                  1 1 1 1 1 1 1 1 r
qwen2_5_vl               1 1 c c c c c c c
qwen3                    2 1 2 2 2 2 4 1 2
qwen3_5_nothink          2 1 1 1 1 1 2 1 s
qwen3_5_think            2 1 1 1 1 1 2 1 2
qwen3_6                  2 1 1 1 1 1 2 1 2
qwen3_8                  1 1 1 1 1 1 1 1 1
qwen3_instruct_2507      1 1 1 1 1 1 1 1 r
qwen3_vl                 1 1 1 1 1 1 1 1 r
smolvlm                  1 1 c c c c c c c
"""
REASONS = {
    "c": "tool_calls: the chat template does not keep it",
    "t": "content: the chat template does not keep it",
    "r": "reasoning_content: the chat template does not keep it",
    "s": "does not render this turn as it is served",
    "x": "the chat template refuses the messages",
}
EXPECTED = {line.split()[0]: line.split()[1:] for line in GRID.strip().splitlines()}


@pytest.mark.parametrize("name", template_names())
def test_every_template_trains_each_turn_as_it_is_served_or_says_why_it_cannot(name: str) -> None:
    for case, expected in zip(CASES, EXPECTED[name], strict=True):
        found = outcome(name, case)
        assert found == expected or REASONS.get(expected, "no such reason") in found, f"{name}, {case}: {found}"


@pytest.mark.parametrize("name", ["qwen2_5", "qwen3", "llama3_1", "gptoss", "glm4moe", "gemma4", "lfm2_v2"])
def test_what_is_encoded_before_changes_nothing(name: str) -> None:
    # The quick way of encoding is learned from the conversations that came before; it must not matter from which.
    items = [{"messages": messages, "tools": tools} for messages, tools in CASES.values()]
    order = [*range(len(items)), *reversed(range(len(items)))]
    together = encode_many([items[at] for at in order], family_tokenizer(name), refused=[])
    for at, item in enumerate(items):
        fresh = make_tokenizer(family_tokenizer(name).chat_template, name)
        alone = encode_many([item], fresh, verify="full", refused=[])
        for place in (at, len(order) - 1 - at):
            rows = [row for row in together if row.source == place]
            assert [(row.input_ids.tolist(), row.spans) for row in rows] == [
                (row.input_ids.tolist(), row.spans) for row in alone
            ]


def test_a_template_that_hides_what_it_serves_is_trained_as_rendered_when_asked() -> None:
    tokenizer = family_tokenizer("deepseekv3")
    messages, tools = CASES["call"]
    row = encode_many([{"messages": messages, "tools": tools}], tokenizer, train=TrainPolicy(history="as_rendered"))[0]
    trained = [tokenizer.decode(row.input_ids[span.start : span.end]) for span in row.spans]
    assert trained[0].startswith("<｜tool▁calls▁begin｜>")
    assert trained[0].endswith("<｜tool▁calls▁end｜><｜end▁of▁sentence｜>")
    assert trained[1] == "Sunny.<｜end▁of▁sentence｜>"


# Written here in Mistral's form: a call is a JSON list after [TOOL_CALLS], and only eos ends a turn.
MISTRAL = """
{{- bos_token -}}
{%- for message in messages -%}
  {%- if message.role in ('user', 'system') -%}
    {{- '[INST]' + message.content + '[/INST]' -}}
  {%- elif message.role == 'tool' -%}
    {{- '[TOOL_RESULTS]' + message.content + '[/TOOL_RESULTS]' -}}
  {%- elif message.tool_calls -%}
    {{- '[TOOL_CALLS][' -}}
    {%- for call in message.tool_calls -%}
      {{- {'name': call.function.name, 'arguments': call.function.arguments, 'id': call.id} | tojson -}}
      {{- ', ' if not loop.last else ']' + eos_token -}}
    {%- endfor -%}
  {%- else -%}
    {{- message.content + eos_token -}}
  {%- endif -%}
{%- endfor -%}
"""


def test_mistral_turns_have_no_header_and_end_with_eos() -> None:
    tokenizer = make_tokenizer(MISTRAL + "{# [AVAILABLE_TOOLS] <s></s> #}", "mistral")
    tokenizer.bos_token, tokenizer.eos_token = "<s>", "</s>"
    for case, expected in (("call", 2), ("parallel calls", 2), ("two rounds", 4)):
        messages, tools = CASES[case]
        (row,) = encode_many([{"messages": messages, "tools": tools}], tokenizer, verify="full")
        trained = [tokenizer.decode(row.input_ids[span.start : span.end]) for span in row.spans]
        assert len(trained) == expected
        assert all(text.endswith("</s>") and text.count("</s>") == 1 for text in trained)
        assert trained[0].startswith("[TOOL_CALLS][{")
