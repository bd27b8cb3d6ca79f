import json
from pathlib import Path

import pytest

from toolwright.artifacts import (
    fingerprint,
    manifest_path,
    read_records,
    read_rows,
    replacing,
    require,
    write_rows,
)
from toolwright.config import RunConfig
from toolwright.errors import ArtifactError, DataError
from toolwright.records import Conversation
from toolwright.stage import Job

GOOD = {"messages": [{"role": "user", "content": "hi"}]}


def job(tmp_path: Path, **settings: object) -> Job:
    config = RunConfig(runs_dir=str(tmp_path))
    return Job.of(config, "demo", output="out.jsonl", command="make it", settings=settings, inputs={"x": "1"})


def finish(job: Job, rows: int = 1) -> None:
    with job.running() as counts:
        counts["rows"] = write_rows(job.output, [{"n": n} for n in range(rows)])


def test_rows_come_back_with_their_line_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [{"text": "ü\u2028x\x85"}, {"n": 1.5}]
    assert write_rows(path, rows) == 2
    assert list(read_rows(path)) == [(1, rows[0]), (2, rows[1])]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1}\n{"a": \n', r"a\.jsonl:2: not JSON .*: '\{\"a\": '"),
        ('{"a": 1}\n{"a": 2', r"a\.jsonl:2: the last line is cut short"),
        ('{"a": 1}\n\n[1]\n', r"a\.jsonl:3: expected an object, got \[1\]"),
    ],
)
def test_a_broken_line_is_named_with_file_and_number(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.jsonl").write_text(text)
    with pytest.raises(DataError, match=message):
        list(read_rows(tmp_path / "a.jsonl"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.jsonl: No such file"):
        list(read_rows(tmp_path / "a.jsonl"))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"messages": []}, r":2: messages: expected a list"),
        ({"messages": [{"role": "robot", "content": ""}]}, r":2: messages\[0\]\.role: expected system.*'robot'"),
        (GOOD | {"tools": "[{"}, r":2: tools: not JSON"),
        (GOOD | {"tools": [{"type": "function"}]}, r":2: tool without a name"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}]},
            r":2: messages\[0\]\.arguments of call 'f' are not JSON",
        ),
    ],
)
def test_a_wrong_conversation_is_named_with_line_and_field(
    tmp_path: Path, row: dict[str, object], message: str
) -> None:
    path = tmp_path / "c.jsonl"
    write_rows(path, [GOOD, row])
    with pytest.raises(DataError, match=message):
        read_records(path, Conversation.from_row)


def test_nothing_half_written_is_left_when_writing_fails(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.write_text("old")
    with pytest.raises(RuntimeError), replacing(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_directory_is_replaced_in_one_piece(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "stale").touch()
    with replacing(target) as temporary:
        temporary.mkdir()
        (temporary / "fresh").touch()
    assert [path.name for path in target.iterdir()] == ["fresh"]


def test_a_finished_job_is_current_until_settings_inputs_or_content_change(tmp_path: Path) -> None:
    first = job(tmp_path, a=1)
    assert not first.is_current()
    finish(first)
    assert job(tmp_path, a=1).is_current()
    assert not job(tmp_path, a=2).is_current()
    first.output.write_text("{}\n")
    assert not job(tmp_path, a=1).is_current()


def test_a_job_that_fails_leaves_no_manifest(tmp_path: Path) -> None:
    first = job(tmp_path)
    finish(first)
    with pytest.raises(RuntimeError), first.running():
        raise RuntimeError
    assert not first.is_current()


def test_a_job_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"out\.jsonl was not written; run again: make it"), job(tmp_path).running():
        pass


def test_two_processes_cannot_make_the_same_artifact_at_once(tmp_path: Path) -> None:
    with (
        pytest.raises(ArtifactError, match=r"is being made by process \d+"),
        job(tmp_path).running(),
        job(tmp_path).running(),
    ):
        pass


def test_readers_refuse_what_is_absent_unfinished_or_changed(tmp_path: Path) -> None:
    first = job(tmp_path)
    with pytest.raises(ArtifactError, match=r"does not exist; make it with: cmd"):
        require(first.output, made_by="cmd")
    finish(first, rows=3)
    assert require(first.output, made_by="cmd").counts == {"rows": 3}
    first.output.write_text("{}\n")
    with pytest.raises(ArtifactError, match=r"was changed after its stage finished"):
        require(first.output, made_by="cmd")
    manifest_path(first.output).unlink()
    with pytest.raises(ArtifactError, match=r"has no manifest"):
        require(first.output, made_by="cmd")


def test_the_fingerprint_of_a_model_is_about_the_model(tmp_path: Path) -> None:
    for name in ("model", "folder"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tokenizer.json").write_text("{}")
    (tmp_path / "model/config.json").write_text("{}")
    before = fingerprint(tmp_path / "model"), fingerprint(tmp_path / "folder")
    for path in ("LICENSE", "assets/logo.png", ".cache/huggingface/x.lock", ".gitattributes"):
        for name in ("model", "folder"):
            (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / path).write_text("x")
    assert fingerprint(tmp_path / "model") == before[0]
    assert fingerprint(tmp_path / "folder") != before[1]
    (tmp_path / "model/chat_template.jinja").write_text("x")
    assert fingerprint(tmp_path / "model") != before[0]


def test_the_fingerprint_of_a_directory_sees_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a").write_text("1")
    before = fingerprint(tmp_path / "d")
    (tmp_path / "d" / "a").rename(tmp_path / "d" / "b")
    renamed = fingerprint(tmp_path / "d")
    (tmp_path / "d" / "b").write_text("2")
    changed = fingerprint(tmp_path / "d")
    (tmp_path / "d" / "README.md").write_text("a card")
    assert len({before, renamed, changed}) == 3
    assert fingerprint(tmp_path / "d") == changed


def test_conversations_survive_the_way_to_disk_and_back(tmp_path: Path) -> None:
    call = {"id": "call_0", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
    row = {
        "id": "c1",
        "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "content": "2", "tool_call_id": "call_0"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
    }
    conversation = Conversation.from_row(row)
    assert conversation.messages[1].tool_calls[0].arguments == {"x": 1}
    again = Conversation.from_row(json.loads(json.dumps(conversation.to_row())))
    assert again == conversation
