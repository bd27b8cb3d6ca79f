"""From JSONL files to rows: the cache, several processes, mixtures, splits, and what is said of bad lines."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sft import chunks
from sft.chunks import encode_chunks, read_chunks
from sft.data import Data, data_files, load_data, recipe_of
from sft.encode import Encoded, encode_many
from sft.encoded import keep_shares
from toolwright.artifacts import read_lines
from toolwright.config import RunConfig
from toolwright.config_file import load_config
from toolwright.errors import ConfigError, DataError, ModelError, StageError

Row = dict[str, Any]
REPOSITORY = Path(__file__).resolve().parents[1]
CITIES = ["Oslo", "Rome", "Bern", "Lima", "Kyiv"]


def row_of(number: int, **more: Any) -> Row:
    """A conversation that no other number gives."""
    messages: list[Row] = [
        {"role": "user", "content": f"Question {number} about {CITIES[number % 5]}?"},
        {"role": "assistant", "content": f"Answer {number}" + " indeed" * (number % 7) + "."},
    ]
    return {"id": f"c{number}", "messages": messages, **more}


def write(path: Path, rows: list[Row | str | bytes]) -> Path:
    lines = [
        row if isinstance(row, bytes) else (row if isinstance(row, str) else json.dumps(row)).encode() for row in rows
    ]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


@pytest.fixture
def load(tmp_path: Path, tokenizer: Any) -> Callable[..., Data]:
    """``load(rows or path, "sft.key=value"…)``: the data of a run in ``tmp_path``."""

    def run(data: Any, *words: str) -> Data:
        return load_data(config_of(tmp_path, data, *words), tokenizer)

    return run


def config_of(tmp_path: Path, data: Any, *words: str) -> RunConfig:
    if isinstance(data, list) and not (data and isinstance(data[0], dict) and "path" in data[0]):
        data = write(tmp_path / "train.jsonl", data)
    named = f"sft.data={json.dumps(data) if isinstance(data, list) else data}"
    return load_config(None, [f"runs_dir={tmp_path}/runs", "name=t", named, *words])


def stores(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "runs/t/sft/encoded").iterdir() if path.is_dir())


def numbers_of(rows: Any, tokenizer: Any) -> list[int]:
    """The numbers of the conversations that rows were made from."""
    return [int(tokenizer.decode(row.input_ids).split("Question ")[1].split()[0]) for row in rows]


def test_rows_are_those_that_the_encoder_gives(load: Callable[..., Data], tokenizer: Any) -> None:
    rows = [row_of(number) for number in range(30)]
    data = load(rows, "sft.call_weight=2.0")
    expected = encode_many(rows, tokenizer)
    assert list(data.train) == expected
    assert data.train.lengths.tolist() == [len(row.input_ids) for row in expected]
    assert len(data.dev) == 0
    counts = data.counts
    assert counts["rows"] == 30
    assert counts["tokens"] == sum(len(row.input_ids) for row in expected)
    assert counts["trained_tokens"] == sum(row.trained for row in expected)
    assert list(counts["sources"].values()) == [30]


def test_a_second_start_reads_the_rows_and_says_so(
    load: Callable[..., Data], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load([row_of(1), row_of(2)])
    assert "train: 2 conversations encoded" in capsys.readouterr().out
    monkeypatch.setattr("sft.encoded.encode_chunks", None)
    assert list(load(tmp_path / "train.jsonl").train) == list(first.train)
    assert "train: 2 rows encoded before" in capsys.readouterr().out


@pytest.mark.parametrize(
    "change", ["sft.call_weight=3.0", "sft.max_tokens=100", "sft.template_kwargs.x=1", "content", "template"]
)
def test_what_rows_depend_on_has_them_encoded_anew_and_the_old_ones_removed(
    load: Callable[..., Data], tmp_path: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    load([row_of(1), row_of(2)])
    old = stores(tmp_path)
    (tmp_path / "runs/t/sft/encoded/.train-killed.abc").mkdir()
    if change == "content":
        load([row_of(1), row_of(3)])
    elif change == "template":
        monkeypatch.setattr(tokenizer, "chat_template", tokenizer.chat_template + "{# other #}")
        load(tmp_path / "train.jsonl")
    else:
        load(tmp_path / "train.jsonl", change)
    assert len(stores(tmp_path)) == 1
    assert stores(tmp_path) != old


def test_the_number_of_processes_and_the_weights_of_files_change_no_row(
    load: Callable[..., Data], tmp_path: Path
) -> None:
    load([row_of(1), row_of(2)])
    old = stores(tmp_path)
    load(tmp_path / "train.jsonl", "sft.encode_processes=2")
    load([{"path": str(tmp_path / "train.jsonl"), "weight": 2.0}])
    assert stores(tmp_path) == old


def test_damaged_rows_are_encoded_anew(
    load: Callable[..., Data], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = list(load([row_of(1), row_of(2)]).train)
    ids = next((tmp_path / "runs/t/sft/encoded").glob("*/rows/ids"))
    ids.write_bytes(ids.read_bytes()[:-4])
    assert list(load(tmp_path / "train.jsonl").train) == first
    assert "encoding anew" in capsys.readouterr().out


def test_any_number_of_processes_gives_the_same_rows_in_the_same_order(
    load: Callable[..., Data], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "_MOST_LINES", 5)
    rows: list[Any] = [row_of(number) for number in range(43)]
    rows[7], rows[21] = "{", {"id": "x"}
    alone = load(rows, "sft.on_error=skip", "sft.dev_share=0.2")
    (tmp_path / "runs").rename(tmp_path / "before")
    both = load(rows, "sft.on_error=skip", "sft.dev_share=0.2", "sft.encode_processes=2")
    assert list(both.train) == list(alone.train)
    assert list(both.dev) == list(alone.dev)
    assert both.refused == alone.refused
    assert [each.line for each in both.refused] == [8, 22]


def test_a_killed_process_is_an_error_and_no_hang(
    tmp_path: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "_MOST_LINES", 4)
    path = write(tmp_path / "a.jsonl", [row_of(number) for number in range(400)])
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def remember(*args: Any, **kwargs: Any) -> Any:
        started.append(popen(*args, **kwargs))
        return started[-1]

    monkeypatch.setattr("sft.chunks.subprocess.Popen", remember)
    recipe = recipe_of(config_of(tmp_path, path).sft, tokenizer)
    outcomes = encode_chunks(read_chunks([path]), recipe, 2)
    next(outcomes)
    os.kill(started[1].pid, signal.SIGKILL)
    with pytest.raises(StageError, match=r"ended \(killed by SIGKILL\) at lines \d+ to \d+; .*sft\.encode_processes=1"):
        list(outcomes)
    assert all(process.poll() is not None for process in started)


def test_processes_end_with_their_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = subprocess.Popen(
        [sys.executable, "-P", "-m", "sft.chunks"],
        stdin=subprocess.PIPE,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stderr=subprocess.DEVNULL,
    )
    assert worker.stdin is not None
    worker.stdin.close()
    assert worker.wait(timeout=60) != 0  # not even a recipe came


def test_what_goes_wrong_in_a_process_is_raised_by_its_parent(
    tmp_path: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "_MOST_LINES", 1)
    path = write(tmp_path / "a.jsonl", [row_of(1), row_of(2), row_of(3)])
    monkeypatch.setattr(tokenizer, "chat_template", "{% for message in messages %}{{ message.content }}{% endfor %}")
    recipe = recipe_of(config_of(tmp_path, path).sft, tokenizer)
    with pytest.raises(ModelError, match="the chat template ends an assistant turn with no special token"):
        list(encode_chunks(read_chunks([path]), recipe, 2))


def test_starts_at_the_same_time_encode_once(
    tmp_path: Path, tokenizer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_of(tmp_path, [row_of(number) for number in range(20)])
    found: list[list[Encoded]] = []
    threads = [
        threading.Thread(target=lambda: found.append(list(load_data(config, tokenizer).train))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert found[0] == found[1] == found[2]
    assert capsys.readouterr().out.count("conversations encoded in") == 1


# --- bad lines -------------------------------------------------------------------------------------------------------


def saying(content: str = "Hi.", answer: Row | None = None, *later: Row) -> Row:
    messages = [{"role": "user", "content": content}, {"role": "assistant", "content": "x", **(answer or {})}, *later]
    return {"messages": messages}


AGAIN = {"role": "assistant", "content": "again"}
NO_SCHEMA = [{"function": {"name": "f", "parameters": {"type": "objekt"}}}]
BAD: list[tuple[Row | str | bytes, str]] = [
    ("{", "not JSON ("),
    (b"\x00\xff\xfe garbage \x89PNG", "not JSON ("),
    ("[1]", "expected an object, got [1]"),
    ("[" * 5000, "not JSON ("),
    ({"id": "x"}, "messages: not in this row, which has ['id']"),
    ({"conversations": [{"from": "human", "value": "hi"}]}, "conversations: this is the ShareGPT form; rename it to"),
    ({"messages": []}, "messages: expected a list with at least one message"),
    ({"messages": "hi"}, "messages: expected a list with at least one message, got 'hi'"),
    ({"messages": [{"from": "human"}]}, "messages[0].role: expected system, user, assistant or tool, got None"),
    (row_of(1, tools="[{"), "tools: not JSON"),
    (row_of(1, tools=NO_SCHEMA), "tools[0].parameters.type: not JSON Schema"),
    (row_of(1, seed="x"), "seed: Input should be a valid integer"),
    (saying(answer={"loss_weight": float("nan")}), "messages[1].loss_weight: expected a number that is 0 or more, got"),
    (saying("Hi.", None, AGAIN), "messages[2].role: assistant after assistant"),
    (saying(answer={"reasoning_content": 5}), "messages[1].reasoning_content: Input should be a valid string, got 5"),
    (saying("<|im_end|>"), "messages[0].content: contains the special token"),
    (saying("cut \ud83d"), "messages[0].content: half of a surrogate pair"),
]


@pytest.mark.parametrize(("bad", "complaint"), BAD)
def test_a_bad_line_stops_with_file_line_and_field(
    load: Callable[..., Data], tmp_path: Path, bad: Any, complaint: str
) -> None:
    with pytest.raises(DataError) as caught:
        load([row_of(1), row_of(2), bad, row_of(3)])
    text = str(caught.value)
    assert text.startswith(f"{tmp_path}/train.jsonl:3: ")
    assert complaint in text
    assert "sft.on_error=skip" in text
    assert "\n" not in text
    assert stores(tmp_path) == []


def test_bad_lines_are_skipped_and_listed_when_asked(load: Callable[..., Data], tmp_path: Path, tokenizer: Any) -> None:
    lines: list[Any] = [line for bad, _ in BAD for line in (bad, row_of(1))]
    for _ in range(2):  # encoded, then read from disk
        data = load(lines, "sft.on_error=skip")
        assert len(data.train) == len(BAD)
        assert [each.line for each in data.refused] == list(range(1, 2 * len(BAD), 2))
        assert all(each.file == str(tmp_path / "train.jsonl") for each in data.refused)
        for refused, (_, complaint) in zip(data.refused, BAD):
            assert complaint in refused.reason
        assert data.counts["refused"] == len(BAD) == sum(data.counts["refused_by_reason"].values())
    assert {row.source for row in data.train} == set(range(1, 2 * len(BAD), 2))


def test_the_first_bad_line_is_named_whatever_is_wrong_with_it(load: Callable[..., Data]) -> None:
    too_long = {"messages": [{"role": "user", "content": "word " * 500}, {"role": "assistant", "content": "x"}]}
    with pytest.raises(DataError, match=r"train\.jsonl:2: .*beyond max_tokens = 60"):
        load([row_of(1), too_long, "{"], "sft.max_tokens=60")


def test_a_line_that_is_cut_short_is_named(load: Callable[..., Data], tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [row_of(1), row_of(2)])
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DataError, match=r"a\.jsonl:2: the last line is cut short"):
        load(path)


def test_a_last_line_without_its_end_is_read_and_blank_lines_are_not(load: Callable[..., Data], tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [row_of(1), "", "  \t", row_of(2)])
    path.write_bytes(path.read_bytes()[:-1])
    assert len(load(path).train) == 2


@pytest.mark.parametrize(("content", "complaint"), [(b"", "no row in it"), (b"\n\n", "no row in it")])
def test_a_file_without_rows_is_an_error(
    load: Callable[..., Data], tmp_path: Path, content: bytes, complaint: str
) -> None:
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.jsonl: {complaint}"):
        load(tmp_path / "a.jsonl", "sft.on_error=skip")
    full = write(tmp_path / "b.jsonl", [row_of(1)])
    with pytest.raises(DataError, match=rf"a\.jsonl: {complaint}"):
        load([{"path": str(full)}, {"path": str(tmp_path / "a.jsonl")}], "sft.on_error=skip")


def test_a_list_of_rows_that_is_no_jsonl_gets_a_hint(load: Callable[..., Data], tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([row_of(1)], indent=1))
    with pytest.raises(DataError, match=r"a\.json:1: not JSON .*one row on each line"):
        load(tmp_path / "a.json")


@pytest.mark.parametrize("word", ["sft.data=", "sft.dev_data="])
def test_files_that_are_not_there_or_are_directories_are_named(tmp_path: Path, word: str) -> None:
    good = write(tmp_path / "g.jsonl", [row_of(1)])
    with pytest.raises(DataError, match=r"none\.jsonl: no such file"):
        data_files(config_of(tmp_path, good, f"{word}{tmp_path}/none.jsonl"))
    with pytest.raises(DataError, match=": a directory; name a JSONL file"):
        data_files(config_of(tmp_path, good, f"{word}{tmp_path}"))


def test_nothing_left_is_an_error_even_where_bad_lines_are_skipped(load: Callable[..., Data]) -> None:
    with pytest.raises(DataError, match=r"all 2 conversations are refused; the first: .*train\.jsonl:1: not JSON"):
        load(["{", "}"], "sft.on_error=skip")


def test_a_template_that_raises_names_the_line(load: Callable[..., Data], tokenizer: Any, monkeypatch: Any) -> None:
    refuses = "{% if 'Question 2' in messages[0].content %}{{ raise_exception('no twos') }}{% endif %}"
    monkeypatch.setattr(tokenizer, "chat_template", refuses + tokenizer.chat_template)
    with pytest.raises(DataError, match=r"train\.jsonl:2: .*no twos"):
        load([row_of(1), row_of(2), row_of(3)])
    assert [each.line for each in load([row_of(1), row_of(2), row_of(3)], "sft.on_error=skip").refused] == [2]


# --- mixtures and splits ---------------------------------------------------------------------------------------------


def test_weights_take_whole_copies_and_a_seeded_sample(
    load: Callable[..., Data], tmp_path: Path, tokenizer: Any
) -> None:
    one = write(tmp_path / "one.jsonl", [row_of(number) for number in range(10)])
    two = write(tmp_path / "two.jsonl", [row_of(number) for number in range(100, 120)])
    sources = [{"path": str(one), "weight": 2.5}, {"path": str(two), "weight": 0.25}]
    data = load(sources)
    numbers = numbers_of(data.train, tokenizer)
    counted = np.bincount(numbers, minlength=120)
    assert sorted(counted[:10]) == [2] * 5 + [3] * 5
    assert sorted(counted[100:]) == [0] * 15 + [1] * 5
    assert data.counts["sources"] == {str(one): 25, str(two): 5}
    assert numbers_of(load(sources).train, tokenizer) == numbers
    assert numbers_of(load(sources, "seed=5").train, tokenizer) != numbers
    assert len(data.train.store) == 30


def test_weights_that_leave_nothing_are_an_error(load: Callable[..., Data], tmp_path: Path) -> None:
    one = write(tmp_path / "one.jsonl", [row_of(1)])
    with pytest.raises(DataError, match=r"sft\.data: the weights leave no conversation"):
        load([{"path": str(one), "weight": 0.25}])


def test_a_dev_share_is_cut_off_by_content(load: Callable[..., Data], tokenizer: Any) -> None:
    rows = [row_of(number % 40) | {"id": str(number), "seed": number} for number in range(100)]
    data = load(rows, "sft.dev_share=0.25")
    train, dev = set(numbers_of(data.train, tokenizer)), set(numbers_of(data.dev, tokenizer))
    assert len(dev) == 10
    assert train | dev == set(range(40))
    assert not train & dev
    assert len(data.train) + len(data.dev) == 100
    assert data.counts["dev_rows"] == len(data.dev)
    assert set(numbers_of(load(rows, "sft.dev_share=0.25").dev, tokenizer)) == dev
    assert set(numbers_of(load(rows, "sft.dev_share=0.25", "seed=3").dev, tokenizer)) != dev
    assert set(numbers_of(load(rows, "sft.dev_share=0.001").dev, tokenizer)) <= dev


def test_the_rows_of_a_split_conversation_stay_together(tmp_path: Path) -> None:
    from tests.families import family_tokenizer

    def thinking(number: int) -> Row:
        turns: list[Row] = []
        for turn in range(3):
            turns += [
                {"role": "user", "content": f"Question {number} asks {turn}"},
                {
                    "role": "assistant",
                    "content": f"Answer {turn}.",
                    "reasoning_content": f"Let me see {number} {turn}.",
                },
            ]
        return {"messages": turns}

    qwen = family_tokenizer("qwen3")
    one = write(tmp_path / "one.jsonl", [thinking(number) for number in range(12)])
    config = config_of(tmp_path, [{"path": str(one), "weight": 1.5}], "sft.dev_share=0.25")
    data = load_data(config, qwen)
    train, dev = numbers_of(data.train, qwen), numbers_of(data.dev, qwen)
    assert len(dev) > len(set(dev)) == 3
    assert not set(train) & set(dev)
    counted = np.bincount(train, minlength=12)
    whole = counted[counted > 0].min()
    assert sorted(counted[counted > 0].tolist()) == [whole] * 5 + [2 * whole] * 4  # round(4.5) is 4


def test_one_conversation_cannot_be_split(load: Callable[..., Data]) -> None:
    with pytest.raises(DataError, match=r"sft\.dev_share: there is one conversation only"):
        load([row_of(1), row_of(1)], "sft.dev_share=0.5")


def test_dev_data_is_encoded_whole_and_apart(load: Callable[..., Data], tmp_path: Path, tokenizer: Any) -> None:
    dev = write(tmp_path / "dev.jsonl", [row_of(number) for number in (7, 8)])
    data = load([row_of(number) for number in range(6)], f"sft.dev_data={dev}", "sft.max_conversations=3")
    assert numbers_of(data.train, tokenizer) == [0, 1, 2]
    assert numbers_of(data.dev, tokenizer) == [7, 8]
    with pytest.raises(ConfigError, match=r"sft\.dev_share and sft\.dev_data"):
        load(tmp_path / "train.jsonl", f"sft.dev_data={dev}", "sft.dev_share=0.1")
    write(dev, [row_of(9), "{"])
    with pytest.raises(DataError, match=r"dev\.jsonl:2: not JSON"):
        load(tmp_path / "train.jsonl", f"sft.dev_data={dev}")


def test_few_conversations_are_taken_from_the_start_of_each_file(
    load: Callable[..., Data], tmp_path: Path, tokenizer: Any
) -> None:
    one = write(tmp_path / "one.jsonl", [row_of(number) for number in range(10)])
    two = write(tmp_path / "two.jsonl", [row_of(number) for number in range(100, 130)])
    data = load([{"path": str(one)}, {"path": str(two)}], "sft.max_conversations=8")
    assert numbers_of(data.train, tokenizer) == [0, 1, 100, 101, 102, 103, 104, 105]


def test_kinds_of_which_a_share_is_kept_are_thinned_before_they_are_encoded(
    load: Callable[..., Data], tokenizer: Any
) -> None:
    rows = [row_of(number, mode="missing_parameter" if number % 2 else "single") for number in range(40)]
    data = load(rows, "sft.keep.missing_parameter=0.25")
    numbers = numbers_of(data.train, tokenizer)
    assert [number for number in numbers if number % 2 == 0] == list(range(0, 40, 2))
    assert len([number for number in numbers if number % 2]) == 5
    assert len(data.train.store) == 25
    with pytest.raises(DataError, match=r"sft\.keep and sft\.max_conversations leave no conversation"):
        load(rows, "sft.keep.missing_parameter=0.0", "sft.keep.single=0.0")


def test_a_share_of_a_kind_is_kept_in_order_and_by_seed() -> None:
    modes = ["missing_parameter"] * 20 + ["single"] * 5
    kept = keep_shares(modes, {"missing_parameter": 0.25}, seed=1)
    assert kept[-5:] == list(range(20, 25))
    assert len(kept) == 10
    assert kept == sorted(kept)
    assert kept != keep_shares(modes, {"missing_parameter": 0.25}, seed=2)


def test_an_empty_list_of_files_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"sft\.data: an empty list"):
        data_files(load_config(None, [f"runs_dir={tmp_path}", "sft.data=[]"]))


def test_files_and_their_weights_are_what_a_job_depends_on(tmp_path: Path) -> None:
    one, two = (write(tmp_path / name, [row_of(1)]) for name in ("one.jsonl", "two.jsonl"))
    assert data_files(config_of(tmp_path, one)).inputs == {"train": one}
    both = [{"path": str(one), "weight": 1.0}, {"path": str(two), "weight": 0.5}]
    inputs = data_files(config_of(tmp_path, both, f"sft.dev_data={one}")).inputs
    assert inputs == {"train[0]": one, "train[1]": two, "train[1].weight": "0.5", "dev": one}


# --- much data -------------------------------------------------------------------------------------------------------


def test_lines_are_read_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolwright.artifacts._LONGEST_LINE", 2**20)
    path = tmp_path / "large.jsonl"
    with path.open("wb") as stream:
        stream.write(b'{"messages": 1}\n')
        stream.truncate(50 * 2**30)  # sparse: 50 GB of zeros, which no memory holds
    lines = read_lines(path)
    assert next(lines) == (1, b'{"messages": 1}\n')
    with pytest.raises(DataError, match=r"large\.jsonl:2: a line of more than 1 GiB"):
        next(lines)


def test_messages_of_ten_megabytes_are_encoded_or_refused_in_time(load: Callable[..., Data]) -> None:
    large = {"messages": [{"role": "user", "content": "wörd 12, " * 300_000}, {"role": "assistant", "content": "x"}]}
    started = time.monotonic()
    data = load([row_of(1), large], "sft.on_error=skip")
    assert "beyond max_tokens" in data.refused[0].reason
    assert time.monotonic() - started < 30
