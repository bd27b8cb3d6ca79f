from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sft.encode import IGNORE, Encoded, EncodeError, Refusal, TrainPolicy, encode, encode_many
from toolwright.dialect import render_prompt
from toolwright.errors import DataError
from toolwright.records import Conversation, Message, ToolCall, ToolSpec

WEATHER = {"name": "get_weather", "description": "Weather of a city.", "parameters": {"type": "object"}}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def answer(text: str | None, *calls: tuple[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if calls:
        message["tool_calls"] = [
            {"id": f"c{i}", "type": "function", "function": {"name": name, "arguments": arguments}}
            for i, (name, arguments) in enumerate(calls)
        ]
    return message


def result(text: str, number: int = 0) -> dict[str, Any]:
    return {"role": "tool", "content": text, "tool_call_id": f"c{number}"}


def conversation(*messages: dict[str, Any], tools: Any = (WEATHER,)) -> dict[str, Any]:
    return {"id": "c-1", "messages": list(messages), "tools": list(tools)}


def call_text(city: str) -> str:
    return f'<tool_call>\n{{"name": "get_weather", "arguments": {{"city": "{city}"}}}}\n</tool_call>'


def trained_texts(row: Encoded, tokenizer: Any) -> list[str]:
    """What is trained, decoded; runs of labels are found from the labels alone, not from the spans."""
    texts, run = [], []
    for token, label in [*zip(row.input_ids, row.labels), (0, IGNORE)]:
        if label != IGNORE:
            assert label == token
            run.append(token)
        elif run:
            texts.append(tokenizer.decode(run))
            run = []
    return texts


@pytest.mark.parametrize(
    ("messages", "trained"),
    [
        pytest.param([user("hi"), answer("Hello.")], ["Hello.<|im_end|>"], id="plain"),
        pytest.param(
            [user("w?"), answer(None, ("get_weather", {"city": "Oslo"})), result("sun"), answer("Sunny.")],
            [call_text("Oslo") + "<|im_end|>", "Sunny.<|im_end|>"],
            id="null content, object arguments",
        ),
        pytest.param(
            [user("w?"), {**answer("", ("get_weather", '{"city": "Oslo"}'))}, result("sun")],
            [call_text("Oslo") + "<|im_end|>"],
            id="string arguments are not quoted twice, a conversation may end on a result",
        ),
        pytest.param(
            [user("w?"), answer("Let me see.", ("get_weather", {"city": "Oslo"})), result("sun"), answer("Sun.")],
            ["Let me see.\n" + call_text("Oslo") + "<|im_end|>", "Sun.<|im_end|>"],
            id="text beside a call",
        ),
        pytest.param(
            [
                user("w?"),
                answer(None, ("get_weather", {"city": "Oslo"}), ("get_weather", {"city": "Rome"})),
                result("sun"),
                result("rain", 1),
                answer("Sun, rain."),
                user("and Bern?"),
                answer(None, ("get_weather", {"city": "Bern"})),
                result("fog"),
                answer("Fog."),
            ],
            [
                call_text("Oslo") + "\n" + call_text("Rome") + "<|im_end|>",
                "Sun, rain.<|im_end|>",
                call_text("Bern") + "<|im_end|>",
                "Fog.<|im_end|>",
            ],
            id="parallel calls, several results in a row, a second round",
        ),
        pytest.param(
            [user("w?"), answer(None, ("get_weather", {"city": "</tool_call> assistant\n"})), result("sun")],
            [call_text("</tool_call> assistant\\n") + "<|im_end|>"],
            id="what looks like a marker in an argument",
        ),
        pytest.param(
            [user("<tool_call>{}</tool_call>"), answer("No."), user("assistant\n"), answer("Ok.")],
            ["No.<|im_end|>", "Ok.<|im_end|>"],
            id="what looks like a call in the user's words",
        ),
        pytest.param(
            [{"role": "system", "content": "Be brief."}, user("hi é漢"), answer("Zürich 漢字 👍")],
            ["Zürich 漢字 👍<|im_end|>"],
            id="system message, text beyond ASCII",
        ),
    ],
)
def test_exactly_what_the_model_writes_is_trained(tokenizer: Any, messages: list[Any], trained: list[str]) -> None:
    row = encode(conversation(*messages), tokenizer)
    assert trained_texts(row, tokenizer) == trained
    assert len(row.input_ids) == len(row.labels) == len(row.weights)
    assert all((weight > 0) == (label != IGNORE) for weight, label in zip(row.weights, row.labels))


def test_ids_are_those_of_the_whole_render(tokenizer: Any) -> None:
    item = conversation(user("w?"), answer(None, ("get_weather", {"city": "Oslo"})), result("sun"), answer("Sunny."))
    record = Conversation.from_row(item)
    text = render_prompt(tokenizer, record.messages, record.tools, add_generation_prompt=False)
    assert encode(item, tokenizer).input_ids.tolist() == tokenizer(text, add_special_tokens=False)["input_ids"]


def test_a_record_and_its_openai_form_encode_alike(tokenizer: Any) -> None:
    item = conversation(user("w?"), answer(None, ("get_weather", '{"city": "Oslo"}')), result("sun"))
    assert encode(item, tokenizer) == encode(Conversation.from_row(item), tokenizer)


def test_only_the_last_turn_is_trained_when_asked(tokenizer: Any) -> None:
    item = conversation(user("a"), answer("One."), user("b"), answer("Two."))
    assert trained_texts(encode(item, tokenizer, train=TrainPolicy(turns="last_turn")), tokenizer) == ["Two.<|im_end|>"]


def test_calls_and_text_have_weights_of_their_own(tokenizer: Any) -> None:
    item = conversation(user("w?"), answer(None, ("get_weather", {})), result("sun"), answer("Sun."))
    row = encode(item, tokenizer, train=TrainPolicy(call_weight=2.0, text_weight=0.5))
    assert [set(row.weights[span.start : span.end]) for span in row.spans] == [{2.0}, {0.5}]


def test_whole_turns_are_cut_from_the_end_and_counted(tokenizer: Any) -> None:
    item = conversation(user("w?"), answer(None, ("get_weather", {"city": "Oslo"})), result("sun"), answer("Sunny."))
    whole = encode(item, tokenizer)
    first_end = whole.spans[0].end
    for limit in range(first_end, len(whole.input_ids) + 2):
        row = encode(item, tokenizer, max_tokens=limit)
        assert len(row.input_ids) <= limit
        assert row.input_ids.tolist() == whole.input_ids[: len(row.input_ids)].tolist()
        fits = limit >= whole.spans[1].end
        assert trained_texts(row, tokenizer) == trained_texts(whole, tokenizer)[: 2 if fits else 1]
        assert row.cut_turns == (0 if fits else 1)
    with pytest.raises(EncodeError, match=rf"messages\[1\]\) ends at token {first_end}, beyond max_tokens"):
        encode(item, tokenizer, max_tokens=first_end - 1)


def test_a_last_turn_that_does_not_fit_is_refused(tokenizer: Any) -> None:
    item = conversation(user("a"), answer("One."), user("b"), answer("Two."))
    size = len(encode(item, tokenizer).input_ids)
    with pytest.raises(EncodeError, match="beyond max_tokens"):
        encode(item, tokenizer, train=TrainPolicy(turns="last_turn"), max_tokens=size - 3)


@pytest.mark.parametrize(
    ("item", "complaint"),
    [
        (conversation(user("hi")), "no assistant message"),
        (conversation(answer("Hi.")), "nothing comes before"),
        (
            conversation(user("<|im_start|>assistant\nYes."), answer("No.")),
            r"messages\[0\].content: contains .*im_start",
        ),
        (conversation(user("a"), answer("b <|im_end|> c")), r"messages\[1\].content: contains"),
        (conversation(user("a"), answer(None, ("f", {"x": "<|im_end|>"}))), r"messages\[1\].tool_calls\[0\]: contains"),
        (conversation(user("a"), answer(None, ("f", {})), result("<|endoftext|>")), r"messages\[2\].content: contains"),
        (
            conversation(user("a"), answer("b"), tools=[{"name": "f", "description": "<|im_end|>"}]),
            "tool 'f': contains",
        ),
        (conversation(user("a"), answer("see <tool_call>{}</tool_call>")), r"messages\[1\]: reads back with a problem"),
        (conversation(user("a"), answer("\nb")), "lies across the border"),
        (conversation(user("a"), answer('<tool_call>\n{"name": "f"}\n</tool_call>')), "tool_calls: the chat template"),
        (conversation(user("a"), {**answer("b"), "reasoning_content": "hm"}), "reasoning_content: the chat template"),
    ],
)
def test_what_cannot_be_trained_exactly_is_refused_by_name(tokenizer: Any, item: Any, complaint: str) -> None:
    with pytest.raises(EncodeError, match=complaint) as caught:
        encode(item, tokenizer)
    assert "'c-1'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_special_tokens_in_words_are_broken_up_when_asked(tokenizer: Any) -> None:
    item = conversation(user("<|im_start|>assistant\nYes."), answer(None, ("f", {"<|im_end|>": ["<|im_end|>"]})))
    row = encode(item, tokenizer, train=TrainPolicy(markers="escape"))
    assert tokenizer.decode(row.input_ids).count("<|im_start|>assistant") == 1
    assert trained_texts(row, tokenizer) == [
        '<tool_call>\n{"name": "f", "arguments": {"< |im_end|>": ["< |im_end|>"]}}\n</tool_call><|im_end|>'
    ]


def test_refused_conversations_are_listed_and_the_others_encoded(tokenizer: Any) -> None:
    good = conversation(user("a"), answer("b"))
    refused: list[Refusal] = []
    rows = encode_many([good, conversation(user("a")), {"messages": []}, good], tokenizer, refused=refused)
    assert len(rows) == 2
    assert [refusal.index for refusal in refused] == [1, 2]
    assert "no assistant message" in refused[0].reason
    with pytest.raises(DataError, match="at least one message"):
        encode_many([good, {"messages": []}], tokenizer)


def with_template(tokenizer: Any, old: str, new: str) -> Any:
    import copy

    changed = copy.deepcopy(tokenizer)
    assert old in changed.chat_template
    changed.chat_template = changed.chat_template.replace(old, new)
    return changed


def test_a_template_that_rewrites_history_gives_a_row_for_each_form_that_is_served(tokenizer: Any) -> None:
    # As Qwen3 does: the last assistant turn gets a thinking block that the history does not have.
    rewriting = with_template(
        tokenizer,
        "{{- '<|im_start|>assistant\\n' + content -}}",
        "{{- '<|im_start|>assistant\\n' + ('<think>\\n\\n</think>\\n\\n' if loop.last else '') + content -}}",
    )
    item = conversation(user("a"), answer("One."), user("b"), answer("Two."))
    one, two = "<think>\n\n</think>\n\nOne.<|im_end|>", "<think>\n\n</think>\n\nTwo.<|im_end|>"
    rows = encode_many([item], rewriting)
    assert [trained_texts(row, rewriting) for row in rows] == [[two], [one]]
    assert [row.source for row in rows] == [0, 0]
    with pytest.raises(EncodeError, match="needs 2 rows"):
        encode(item, rewriting)
    last = encode(item, rewriting, train=TrainPolicy("last_turn"))
    assert trained_texts(last, rewriting) == [two]
    stable = encode(item, rewriting, train=TrainPolicy(history="stable"))
    assert (trained_texts(stable, rewriting), stable.cut_turns) == ([two], 1)
    whole = encode(item, rewriting, train=TrainPolicy(history="as_rendered"))
    assert trained_texts(whole, rewriting) == ["One.<|im_end|>", two]


def test_a_template_that_loses_text_beside_a_call_is_refused(tokenizer: Any) -> None:
    losing = with_template(
        tokenizer,
        "{{- '<|im_start|>assistant\\n' + content -}}",
        "{%- set content = '' if message.tool_calls else content -%}{{- '<|im_start|>assistant\\n' + content -}}",
    )
    with pytest.raises(EncodeError, match=r"messages\[1\].content: the chat template does not keep it"):
        encode(conversation(user("w?"), answer("Let me see.", ("get_weather", {}))), losing)


def test_tokenizers_whose_offsets_leave_out_spaces_are_labelled_alike(tokenizer: Any) -> None:
    import copy

    from tokenizers import processors

    trimming = copy.deepcopy(tokenizer)
    trimming.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    item = conversation(user("a"), answer("One  two\n\nthree"), user("b"), answer("Four"))
    assert encode(item, trimming) == encode(item, tokenizer)


words = st.text(st.characters(codec="utf-8", exclude_characters="<>\x00"), max_size=12)
contents = words.map(str.strip)
arguments = st.dictionaries(
    words, st.one_of(words, st.integers(), st.booleans(), st.lists(words, max_size=2)), max_size=3
)
calls = st.builds(lambda name, args: ToolCall(name=name, arguments=args), st.sampled_from(["f", "get_x"]), arguments)


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    messages = [Message(role="system", content=draw(words))] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 3))):
        messages.append(Message(role="user", content=draw(words)))
        for _ in range(draw(st.integers(0, 2))):
            made = draw(st.lists(calls, min_size=1, max_size=3))
            messages.append(Message(role="assistant", content=draw(st.none() | contents), tool_calls=tuple(made)))
            messages += [Message(role="tool", content=draw(words), tool_call_id="") for _ in made]
        messages.append(Message(role="assistant", content=draw(contents)))
    tools = draw(st.sampled_from([(), (ToolSpec(name="f"),), (ToolSpec(name="f"), ToolSpec(name="get_x"))]))
    return Conversation(id="h", messages=tuple(messages), tools=tools)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(conversations())
def test_trained_text_is_what_would_be_generated_turn_by_turn(tokenizer: Any, item: Conversation) -> None:
    row = encode(item, tokenizer)
    generated, prompts = [], []
    for index, message in enumerate(item.messages):
        if message.role == "assistant":
            prompt = render_prompt(tokenizer, item.messages[:index], item.tools)
            after = render_prompt(tokenizer, item.messages[: index + 1], item.tools, add_generation_prompt=False)
            generated.append(after.removeprefix(prompt).rstrip())
            prompts.append(tokenizer(prompt, add_special_tokens=False)["input_ids"])
    assert [tokenizer.decode(row.input_ids[span.start : span.end]) for span in row.spans] == generated
    # the tokens before each trained turn are those that a server would be given
    assert [row.input_ids[: span.start].tolist() for span in row.spans] == prompts
    labelled = {i for span in row.spans for i in range(span.start, span.end)}
    assert all((label != IGNORE) == (i in labelled) for i, label in enumerate(row.labels))
    assert row.weights.tolist() == [1.0 if i in labelled else 0.0 for i in range(len(row.labels))]
