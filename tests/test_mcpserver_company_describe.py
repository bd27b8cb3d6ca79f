"""Descriptions of folders: of the formats, and of files that are broken, huge or no files at all."""

import gzip
import io
import json
import os
import random
import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mcpserver.company import company_base, describe_folder
from mcpserver.company import describe as describing
from mcpserver.company.plain import MAX_READ_BYTES
from toolwright.errors import ConfigError


def describe(folder: Path, name: str, content: bytes | str) -> dict[str, Any]:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    (entry,) = describe_folder(folder)
    json.dumps(entry, allow_nan=False)
    return entry


@pytest.mark.parametrize(
    ("name", "content", "wanted"),
    [
        ("a.csv", "n,when,x\n1,2025-01-02,a\n2,2025-01-03,\n", {"rows": 2, "format": "csv"}),
        ("a.csv", "a;b\n1,5;2\n", {"delimiter": ";", "rows": 1}),
        ("A.CSV", "\ufeffname\nx\n", {"columns": [{"name": "name", "type": "text"}]}),
        ("a.csv", "a,b\n1\n1,2,3\n\n", {"rows": 2}),
        ("a.json", '{"a": [1, 2], "b": {"c": null}}', {"keys": ["a", "b"]}),
        ("a.json", "[1, 2]", {"length": 2}),
        ("a.jsonl", '{"a": 1}\n{"b": "x"}\n', {"rows": 2}),
        ("a.jsonl", "1\n2\n", {"lines": 2}),
        ("a.toml", "x = 1\n[t]\ny = 2025-01-01\n", {"keys": ["x", "t"]}),
        ("a.ini", "[one]\na = %%\n", {"keys": ["one"]}),
        ("a.xml", "<r><i/><i/></r>", {"root": "r", "elements": {"r": 1, "i": 2}}),
        ("a.md", "# One\n```\n# no\n```\n## Two #\n", {"headings": ["One", "Two"]}),
        ("a.html", "<h1>A <b>b</b></h1><table><tr><th>x</th></tr></table>", {"table_headers": ["x"], "html_tables": 1}),
        ("a.py", "def f(): pass\nclass C: pass\n", {"defines": ["f", "C"]}),
        ("a.py", "def f(:\n", {"format": "python", "lines": 1}),
        ("a.eml", "Subject: =?utf-8?q?=C3=A4?=\n\nhello\n", {"subject": "ä", "first_lines": ["hello"]}),
        ("a.ics", "BEGIN:VEVENT\r\nSUMMARY:long\r\n  er\r\nEND:VEVENT\r\n", {"events": [{"title": "long er"}]}),
        ("notes", "some text", {"format": "other", "first_lines": ["some text"]}),
        ("blob.xyz", b"\0\1\2", {"content": "binary"}),
        ("a.txt.gz", gzip.compress(b"inside"), {"unpacked_bytes": 6, "first_lines": ["inside"]}),
        ("u.txt", "ä".encode("utf-16"), {"first_lines": ["ä"]}),
    ],
)
def test_a_file_is_described_by_what_it_holds(
    tmp_path: Path, name: str, content: bytes | str, wanted: dict[str, Any]
) -> None:
    entry = describe(tmp_path, name, content)
    assert "problem" not in entry, entry
    assert entry.items() >= wanted.items()
    assert entry["summary"]


def test_types_and_few_values_of_columns_are_found(tmp_path: Path) -> None:
    rows = "".join(f"{n},{n / 2},2025-01-{n + 10},{'ab'[n % 2]},2025-01-01T10:00:00,\n" for n in range(1, 9))
    entry = describe(tmp_path, "a.csv", f"i,x,day,kind,time,none\n{rows}")
    assert [column["type"] for column in entry["columns"]] == ["integer", "number", "date", "text", "datetime", "empty"]
    assert [column["name"] for column in entry["columns"] if "values" in column] == ["kind"]
    assert entry["columns"][3]["values"] == ["a", "b"]


SUFFIXES = sorted(describing._READERS)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_rubbish_with_any_ending_is_listed_with_a_reason_or_as_text(tmp_path: Path, suffix: str) -> None:
    rng = random.Random(suffix)
    for n, size in enumerate((0, 1, 7, 300, 5000)):
        (tmp_path / f"r{n}.{suffix}").write_bytes(rng.randbytes(size))
    (tmp_path / f"brackets.{suffix}").write_bytes(b"[" * 200_000)
    (tmp_path / f"braces.{suffix}").write_bytes(b'{"a":' * 50_000)
    (tmp_path / f"lines.{suffix}").write_bytes(b"\n" * 1000)
    entries = describe_folder(tmp_path)
    assert len(entries) == 8
    assert next(entry for entry in entries if entry["path"] == f"r0.{suffix}")["problem"] == "empty"
    assert len(json.dumps(entries, allow_nan=False)) < 40_000


@pytest.mark.parametrize("path", [path for path in company_base() if not path.startswith("files/prices/")])
def test_a_file_that_was_cut_or_spoilt_is_listed_and_raises_nothing(tmp_path: Path, path: str) -> None:
    rng = random.Random(path)
    content = company_base()[path]
    name = path.rpartition("/")[2]
    for n in range(6):
        (tmp_path / str(n)).mkdir()
        spoilt = bytearray(content)
        for _ in range(1 + n):
            spoilt[rng.randrange(len(spoilt))] = rng.randrange(256)
        (tmp_path / str(n) / name).write_bytes(spoilt if n % 2 else content[: rng.randrange(len(content))])
    entries = describe_folder(tmp_path)
    assert len(entries) == 6
    json.dumps(entries, allow_nan=False)


def test_links_pipes_and_strange_names_are_listed_and_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "link.txt").symlink_to(secret)
    (folder / "up").symlink_to(tmp_path)
    (folder / "gone.csv").symlink_to("nowhere")
    os.mkfifo(folder / "pipe.csv")
    (folder / "directory.csv").mkdir()
    Path(os.fsdecode(os.fsencode(folder) + b"/bad\xff name.txt")).write_text("fine")
    entries = {entry["path"]: entry for entry in describe_folder(folder)}
    assert {path: entry["problem"] for path, entry in entries.items() if "problem" in entry} == {
        "link.txt": "a link; none is followed",
        "up": "a link; none is followed",
        "gone.csv": "a link; none is followed",
        "pipe.csv": "not a plain file",
    }
    assert "secret" not in json.dumps(list(entries.values())).replace("secret.txt", "")
    assert entries["bad� name.txt"]["first_lines"] == ["fine"]


def test_a_file_that_nobody_may_read_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "a.txt").write_text("x")
    monkeypatch.setattr(os, "open", refuse)
    (entry,) = describe_folder(tmp_path)
    assert entry["problem"] == "cannot be read (Permission denied)"


def zip_of_zeros() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("xl/workbook.xml", "w") as member:
        for _ in range(70):
            member.write(bytes(1024 * 1024))
    return out.getvalue()


@pytest.mark.parametrize("name", ["a.xlsx", "a.docx", "a.zip", "a.gz", "a.tar.gz"])
def test_a_file_that_unpacks_to_very_much_is_not_unpacked(tmp_path: Path, name: str) -> None:
    content = gzip.compress(bytes(70 * 1024 * 1024)) if name.endswith("gz") else zip_of_zeros()
    assert describe(tmp_path, name, content)["problem"] == "not read: unpacks to more than 64 MiB"


def test_entities_and_document_types_are_refused(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE a [<!ENTITY b "x"><!ENTITY c "&b;&b;">]><a>&c;</a>'
    assert describe(tmp_path, "a.xml", bomb)["problem"] == "not read: XML with a document type"


def test_large_files_and_those_after_the_first_thousands_are_listed_without_detail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "big.csv").open("wb") as file:
        file.truncate(MAX_READ_BYTES + 1)
    assert describe_folder(tmp_path)[0]["problem"] == "not read: larger than 8 MiB"
    monkeypatch.setattr(describing, "MAX_DESCRIBED_FILES", 0)
    assert describe_folder(tmp_path)[0]["problem"] == "not read: only 0 files are"


def test_databases_of_users_are_read_without_changing_them_even_with_a_write_ahead_log(tmp_path: Path) -> None:
    path = tmp_path / "mine.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute('CREATE TABLE "odd ""name" (a, b BLOB)')
        connection.execute('INSERT INTO "odd ""name" VALUES (9e999, x\'0102\')')
        connection.execute(
            "CREATE VIEW endless AS WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n FROM t) SELECT * FROM t"
        )
        connection.commit()
    before = sorted((file.name, file.read_bytes()) for file in tmp_path.iterdir())
    (entry,) = (entry for entry in describe_folder(tmp_path) if entry["format"] == "sqlite")
    assert sorted((file.name, file.read_bytes()) for file in tmp_path.iterdir()) == before
    (table,) = entry["tables"]
    assert table["name"] == 'odd "name'
    assert table["first_rows"] == [{"a": "inf", "b": "<2 bytes>"}]


def test_tools_are_told_the_names_that_they_use(tmp_path: Path) -> None:
    for path in ("files/data/a.csv", "databases/shop.db", "loose.csv"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("a\n1\n")
    assert {entry["path"]: entry["name"] for entry in describe_folder(tmp_path)} == {
        "files/data/a.csv": "data/a.csv",
        "databases/shop.db": "shop",
        "loose.csv": "loose.csv",
    }


def test_a_folder_that_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such directory"):
        describe_folder(tmp_path / "none")
    assert describe_folder(tmp_path) == []
