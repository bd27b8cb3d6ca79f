import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from sft.encode import IGNORE, encode_many
from sft.frame import learn_frame
from sft.inspect import main
from sft.survey import Encoder, choose_rows, group_refusals, read_rows_again, survey
from sft.survey_words import histogram, quantiles
from sft.token_page import build_page, embed_rows, served_words, show_row
from sft.token_roles import ROLES, describe_tokens, serving_differences, turn_parts
from toolwright.config import RunConfig
from toolwright.errors import DataError
from toolwright.records import Conversation, Message

REPOSITORY = Path(__file__).resolve().parents[1]
PAYLOAD = "</script><img src=x onerror=\"document.title='owned'\"> & <b>ünï 🌊</b>"
WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}


def call(city: str, number: int = 0) -> dict[str, Any]:
    function = {"name": "get_weather", "arguments": json.dumps({"city": city})}
    return {"id": f"c{number}", "type": "function", "function": function}


TALK = {"messages": [{"role": "user", "content": PAYLOAD}, {"role": "assistant", "content": "No."}]}
CALLS = {
    "id": "oslo",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "I look.", "tool_calls": [call("Oslo")]},
        {"role": "tool", "content": "sunny", "tool_call_id": "c0"},
        {"role": "assistant", "content": "Sunny."},
    ],
    "tools": [WEATHER],
}
NO_ANSWER = {"messages": [{"role": "user", "content": "hi"}]}
UNKNOWN_ROLE = {"messages": [{"role": "bot", "content": "hi"}]}
HALF_CHARACTER = {"messages": [{"role": "user", "content": "\ud800"}, {"role": "assistant", "content": "x"}]}


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Lines 1 to 3 are good, the third repeats the first; an empty line 4; the rest is refused."""
    rows = [json.dumps(row) for row in (TALK, CALLS, TALK)]
    bad = [json.dumps(row) for row in (NO_ANSWER, UNKNOWN_ROLE, HALF_CHARACTER)]
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join([*rows, "", *bad, "[1]", "{broken"]))
    return path


def encoder_of(tokenizer: Any, **settings: Any) -> Encoder:
    return Encoder.of(RunConfig.model_validate({"sft": settings}), tokenizer)


def page_of(path: Path, encoder: Encoder, count: int = 20) -> str:
    found = survey([path], encoder)
    chosen = choose_rows(found, count, seed=1)
    facts = [found.rows[index] for index, _ in chosen]
    rows = [
        show_row(index, why, fact, *again, encoder)
        for (index, why), fact, again in zip(chosen, facts, read_rows_again([path], facts, encoder))
    ]
    return build_page(path.name, "a model", found, rows, encoder)


class Page(HTMLParser):
    """What a browser would make of a page: its elements, and the text of each script by its type."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.scripts: dict[str, str] = {}
        self._script: str | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self._script = dict(attrs).get("type") or "" if tag == "script" else None

    def handle_data(self, data: str) -> None:
        if self._script is not None:
            self.scripts[self._script] = self.scripts.get(self._script, "") + data

    def handle_endtag(self, tag: str) -> None:
        self._script = None

    @property
    def data(self) -> Any:
        return json.loads(self.scripts["application/json"])


def unfold(row: dict[str, Any], texts: dict[str, str]) -> list[tuple[int, str, str, int, float, int]]:
    """``(id, text, role, message, weight, label)`` of each token, as the page's script reads a row."""
    marks = [run[1:] for run in row["runs"] for _ in range(run[0])]
    return [
        (token, row["odd"].get(str(at), texts[str(token)]), ROLES[role], message, weight, token if trained else IGNORE)
        for at, (token, (role, message, weight, trained)) in enumerate(zip(row["ids"], marks, strict=True))
    ]


def by_role(tokens: list[tuple[int, str, str, int, float, int]]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for _, text, role, *_ in tokens:
        texts[role] = texts.get(role, "") + text
    return texts


def test_statistics_are_those_of_rows_counted_by_hand(dataset: Path, tokenizer: Any) -> None:
    found = survey([dataset], encoder_of(tokenizer))
    count = lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"])  # noqa: E731
    assert (found.lines, len(found.rows)) == (8, 3)
    assert [row.where for row in found.rows] == ["data.jsonl:1", "data.jsonl:2", "data.jsonl:3"]
    assert [row.turns for row in found.rows] == [1, 2, 1]
    assert found.tools == [0, 1, 0]
    assert found.repeats == [("data.jsonl:3", "data.jsonl:1")]
    the_call = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
    assert found.by_role["end"] == 4
    assert found.by_role["text"] == 2 * count("No.") + count("I look.") + count("Sunny.")
    assert found.by_role["call"] == count("I look.\n" + the_call) - count("I look.")
    assert found.trained == sum(found.by_role.values())
    assert found.tokens == 2 * found.rows[0].tokens + found.rows[1].tokens
    assert (found.cut_turns, found.cut_tokens) == (0, 0)


def test_what_is_refused_is_named_with_its_line_and_grouped(dataset: Path, tokenizer: Any) -> None:
    found = survey([dataset], encoder_of(tokenizer))
    assert [each.where for each in found.refused] == [f"data.jsonl:{line}" for line in (5, 6, 7, 8, 9)]
    words = ["no assistant", "role: expected", "surrogate", "expected an object, got [1]", "cut short"]
    assert all(word in each.reason for word, each in zip(words, found.refused, strict=True))
    dataset.write_text("{broken\n{also\n" + json.dumps(UNKNOWN_ROLE))
    groups = group_refusals(survey([dataset], encoder_of(tokenizer)).refused)
    assert [(count, first.where) for count, first in groups] == [(2, "data.jsonl:1"), (1, "data.jsonl:3")]


def test_what_max_tokens_costs_is_counted_in_turns_and_tokens(dataset: Path, tokenizer: Any) -> None:
    whole = survey([dataset], encoder_of(tokenizer))
    limit = whole.rows[1].tokens - 2  # the last token is the newline after the terminator
    cut = survey([dataset], encoder_of(tokenizer, max_tokens=limit))
    assert cut.cut_turns == 1
    assert cut.cut_tokens == whole.trained - cut.trained == len(tokenizer("Sunny.")["input_ids"]) + 1
    gone = survey([dataset], encoder_of(tokenizer, max_tokens=5))
    assert (len(gone.rows), gone.cut_turns, gone.cut_tokens) == (0, 4, whole.trained)


def test_each_token_of_the_page_is_that_of_the_encoded_row(dataset: Path, tokenizer: Any) -> None:
    encoder = encoder_of(tokenizer, call_weight=2.5)
    data = Page(page_of(dataset, encoder)).data
    rows = encode_many([TALK, CALLS, TALK], tokenizer, train=encoder.train)
    assert sorted(row["index"] for row in data["rows"]) == [0, 1, 2]
    for shown in data["rows"]:
        row, tokens = rows[shown["index"]], unfold(shown, data["texts"])
        assert [token[0] for token in tokens] == row.input_ids.tolist()
        assert [token[5] for token in tokens] == row.labels.tolist()
        assert [token[4] for token in tokens] == row.weights.tolist()
        assert "".join(token[1] for token in tokens) == tokenizer.decode(row.input_ids)
        for span in row.spans:
            assert {token[3] for token in tokens[span.start : span.end]} == {span.message}


def test_tokens_have_the_role_of_what_they_say(dataset: Path, tokenizer: Any) -> None:
    data = Page(page_of(dataset, encoder_of(tokenizer))).data
    texts = by_role(unfold(next(row for row in data["rows"] if row["id"] == "oslo"), data["texts"]))
    assert texts["system"] == "Be brief."
    assert texts["user"] == "Weather?"
    assert texts["result"] == "sunny"
    assert texts["text"] == "I look.Sunny."
    assert texts["end"] == "<|im_end|>" * 2
    assert '"name": "get_weather", "description"' in texts["tools"]
    assert texts["call"].strip().startswith("<tool_call>")
    assert "assistant\n" in texts["structure"]


@pytest.mark.parametrize(
    ("text", "message", "parts"),
    [
        ("Hi.", Message(role="assistant", content="Hi."), {"text": "Hi."}),
        (
            "<think>\nWhy?\n</think>\n\nSo.",
            Message(role="assistant", reasoning_content="Why?", content="So."),
            {"reasoning": "<think>\nWhy?\n</think>\n\n", "text": "So."},
        ),
        (
            "<think>Why?</think>So.",
            Message(role="assistant", content="<think>Why?</think>So."),
            {"reasoning": "<think>Why?</think>", "text": "So."},
        ),
        (
            "<think>\n\n</think>\n\nSo.",
            Message(role="assistant", content="So."),
            {"reasoning": "<think>\n\n</think>\n\n", "text": "So."},
        ),
    ],
)
def test_a_turn_has_reasoning_text_and_calls(text: str, message: Message, parts: dict[str, str]) -> None:
    role_of: list[str] = [""] * len(text)
    for start, end, role in turn_parts(text, message):
        role_of[start:end] = [role] * (end - start)
    assert parts == {role: "".join(c for c, r in zip(text, role_of) if r == role) for role in parts}


REWRITES = """{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\n' -}}
{%- set asked_after = messages[loop.index:] | selectattr('role', 'equalto', 'user') | list -%}
{%- if message.reasoning_content and not asked_after -%}
{{- '<think>' + message.reasoning_content + '</think>' -}}
{%- endif -%}
{{- message.content -}}
{%- for call in message.tool_calls or [] -%}
{{- '<tool_call>{"name": "' + call.function.name + '", "arguments": ' + call.function.arguments | tojson -}}
{{- '}</tool_call>' -}}
{%- endfor -%}
{{- '<|im_end|>\n' -}}{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}"""
THOUGHTS = {
    "messages": [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "", "reasoning_content": "I call.", "tool_calls": [call("Oslo")]},
        {"role": "tool", "content": "sunny", "tool_call_id": "c0"},
        {"role": "assistant", "content": "Sunny.", "reasoning_content": "It is sunny."},
        {"role": "user", "content": "Sure?"},
        {"role": "assistant", "content": "Yes.", "reasoning_content": "It is."},
    ]
}


@pytest.fixture
def rewriting(small_model_dir: Path, tmp_path: Path) -> Path:
    """A model directory whose template drops the reasoning of all turns before the last question."""
    directory = tmp_path / "rewriting"
    shutil.copytree(small_model_dir, directory, ignore=shutil.ignore_patterns("*.safetensors"))
    (directory / "chat_template.jinja").write_text(REWRITES)
    return directory


def test_a_template_that_rewrites_history_gives_rows_that_are_shown_apart(rewriting: Path, tmp_path: Path) -> None:
    from toolwright.model import load_tokenizer

    path = tmp_path / "thoughts.jsonl"
    path.write_text(json.dumps(THOUGHTS))
    page = Page(page_of(path, encoder_of(load_tokenizer(rewriting, need_tools=False))))
    first, second = page.data["rows"]
    assert (first["part"], second["part"]) == ([1, 2], [2, 2])
    for row in (first, second):
        assert "<think>" in by_role(unfold(row, page.data["texts"]))["reasoning"]
        assert row["different"] == []


def test_what_a_server_would_not_show_is_named_and_red(dataset: Path, tokenizer: Any) -> None:
    row = encode_many([CALLS], tokenizer)[0]
    conversation, frame = Conversation.from_row(CALLS), learn_frame(tokenizer)
    assert serving_differences(row, conversation, frame) == []
    changed = row.input_ids.copy()
    at = row.spans[1].start - 3
    changed[at] = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    (difference,) = serving_differences(replace(row, input_ids=changed), conversation, frame)
    assert (difference.message, difference.start, difference.end) == (4, at, row.spans[1].start)
    assert difference.row.startswith("<|endoftext|>")
    assert difference.served == tokenizer.decode(row.input_ids[at : row.spans[1].start].tolist())


def test_differences_of_the_whole_render_stand_on_the_page(
    rewriting: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "thoughts.jsonl", tmp_path / "page.html"
    path.write_text(json.dumps(THOUGHTS))
    words = [str(path), "--model", str(rewriting), "--out", str(out)]
    assert main([*words, "sft.history=as_rendered"]) == 0
    assert "1 difference in 3 turns" in capsys.readouterr().out
    (row,) = Page(out.read_text(encoding="utf-8")).data["rows"]
    (difference,) = row["different"]
    assert difference["message"] == 3
    assert difference["row"].startswith("<tool_call>")
    assert difference["served"].startswith("<think>I call.</think><tool_call>")
    assert main(words) == 0
    assert "0 differences in 3 turns" in capsys.readouterr().out


def test_what_data_holds_does_not_steer_the_terminal(
    small_model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "escape.jsonl"
    messages = [{"role": "user", "content": "\x1b[2J[bold]hi"}, {"role": "assistant", "content": "Hi."}]
    path.write_text(json.dumps({"messages": messages}))
    words = [str(path), "--model", str(small_model_dir), "--out", str(tmp_path / "page.html")]
    assert main([*words, "--row", "0"]) == 0
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "␛[2J[bold]hi" in printed


def test_a_row_that_is_not_there_is_a_mistake_and_one_that_is_comes_first(
    dataset: Path, small_model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "page.html"
    words = [str(dataset), "--model", str(small_model_dir), "--out", str(out)]
    assert main([*words, "--row", "1"]) == 0
    assert "Sunny.<|im_end|>" in capsys.readouterr().out
    assert Page(out.read_text(encoding="utf-8")).data["rows"][0]["index"] == 1
    assert main([*words, "--row", "3"]) == 2
    assert "--row 3: there are 3 rows, counted from 0" in capsys.readouterr().err


def test_what_data_holds_is_inert(dataset: Path, tokenizer: Any) -> None:
    dataset.write_text(dataset.read_text() + "\n" + json.dumps({"messages": [{"role": PAYLOAD}]}))
    html = page_of(dataset, encoder_of(tokenizer))
    page = Page(html)
    assert "img" not in page.tags
    assert not {name for name in page.attributes if name.startswith("on")}
    assert page.tags.count("script") == 2
    assert not re.search(r"(?:src|href)\s*=|https?://|url\(", html.replace("src=x", ""))
    assert "default-src 'none'" in html
    shown = unfold(next(row for row in page.data["rows"] if row["index"] == 0), page.data["texts"])
    assert PAYLOAD in "".join(token[1] for token in shown)


def test_a_character_of_several_tokens_is_shown_once(tokenizer: Any) -> None:
    row = encode_many([TALK], tokenizer)[0]
    tokens = describe_tokens(row, Conversation.from_row(TALK), learn_frame(tokenizer))
    assert "".join(tokens.pieces) == tokenizer.decode(row.input_ids)
    assert "".join(tokens.pieces).count("🌊") == 1


def test_rows_that_do_not_fit_are_shown_in_part_and_it_says_so(dataset: Path, tokenizer: Any) -> None:
    encoder = encoder_of(tokenizer)
    fact = survey([dataset], encoder).rows[1]
    row = show_row(1, "sample", fact, *read_rows_again([dataset], [fact], encoder)[0], encoder)
    text, note = embed_rows([row], max_tokens=10)
    entry = json.loads(text)["rows"][0]
    assert (len(entry["ids"]), sum(run[0] for run in entry["runs"]), entry["total"]) == (10, 10, fact.tokens)
    assert "0 of 1 rows are shown whole" in note
    assert embed_rows([row])[1] == ""
    assert served_words([row]) == "0 differences in 2 turns"


def test_rows_to_look_at_are_the_notable_ones_and_a_sample_without_any_twice(tmp_path: Path, tokenizer: Any) -> None:
    path = tmp_path / "many.jsonl"
    rows = [
        {"messages": [{"role": "user", "content": "word " * n}, {"role": "assistant", "content": "x"}]}
        for n in (5, 9, 30, 2, *range(10, 20))
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    found = survey([path], encoder_of(tokenizer))
    chosen = choose_rows(found, 6, seed=3, asked=7)
    assert dict(chosen[:4]) == {7: "asked for", 0: "first", 2: "longest", 3: "shortest"}
    assert len({index for index, _ in chosen}) == 6
    assert chosen == choose_rows(found, 6, seed=3, asked=7)
    assert len(choose_rows(found, 99, seed=3)) == len(rows)


def test_a_histogram_counts_every_value_once() -> None:
    bins = histogram([5, 9, 10, 55, 119], 12)
    assert bins[0] == (0, 9, 2)
    assert bins[-1] == (110, 119, 1)
    assert sum(count for *_, count in bins) == 5
    assert histogram([7], 12) == [(7, 7, 1)]
    assert quantiles(list(range(101))) == "min 0 · median 50 · p90 90 · max 100"


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_an_empty_file_is_an_error_of_one_line(text: str, tmp_path: Path, tokenizer: Any) -> None:
    path = tmp_path / "empty.jsonl"
    path.write_text(text)
    with pytest.raises(DataError, match=r"empty\.jsonl: no conversation in it"):
        survey([path], encoder_of(tokenizer))


def test_the_command_shows_anybodys_file(
    dataset: Path, small_model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "page.html"
    assert main([str(dataset), "--model", str(small_model_dir), "--out", str(out), "--rows", "2"]) == 0
    printed = capsys.readouterr().out
    for words in ("5 refused", "data.jsonl:3 = data.jsonl:1", "0 differences in", "page with 2 rows"):
        assert words in printed
    assert len(Page(out.read_text(encoding="utf-8")).data["rows"]) == 2


@pytest.mark.parametrize("text", ["{broken", json.dumps(NO_ANSWER)])
def test_a_file_with_nothing_to_train_gives_a_page_that_says_why(
    text: str, small_model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "bad.jsonl", tmp_path / "page.html"
    path.write_text(text)
    assert main([str(path), "--model", str(small_model_dir), "--out", str(out)]) == 0
    assert "1 refused" in capsys.readouterr().out
    assert "No row to train on" in out.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file"),
        ("", "no conversation"),
        ('[{"messages": []}]', "a JSON array; write one object on each line"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(
    content: str | None, words: str, small_model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.jsonl"
    if content is not None:
        path.write_text(content)
    assert main([str(path), "--model", str(small_model_dir)]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_the_modules_name_hides_no_library_from_the_training_script() -> None:
    """``accelerate launch sft/train.py`` puts sft/ first on the path, where ``inspect`` would be this module."""
    head = (REPOSITORY / "sft/train.py").read_text().split("\nimport torch")[0]
    code = f"__file__ = 'sft/train.py'\n{head}\nimport inspect, torch\nprint(inspect.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\nsys.path[0] = 'sft'\nexec({code!r})"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "sft/inspect.py" not in done.stdout


@pytest.mark.parametrize("calls", [3, "x", [3], [None], {"a": 1}, True])
def test_tool_calls_of_another_form_are_refused(calls: Any, tmp_path: Path, tokenizer: Any) -> None:
    path = tmp_path / "calls.jsonl"
    path.write_text(
        json.dumps({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": calls}]})
    )
    (refused,) = survey([path], encoder_of(tokenizer)).refused
    assert refused.reason.startswith("messages[1].tool_calls: expected a list of calls")
