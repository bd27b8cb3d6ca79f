import hashlib
import os
import zlib

import pytest
from tool_calls import World
from tool_checks import LOG, check_example, check_random_calls, examples_of, refused, small_world, tools_of

from mcpserver.toolbox.natural import natural_key
from mcpserver.tools.files import contents, edits, rewrites


@pytest.fixture
def world(tmp_path):
    return World(tmp_path / "env", small_world())


@pytest.mark.parametrize(("tool", "example"), examples_of(contents, edits, rewrites))
def test_examples_work_and_are_repeatable(tool, example, tmp_path):
    check_example(tool, example, tmp_path)


@pytest.mark.parametrize("tool", tools_of(contents, edits, rewrites), ids=lambda tool: tool.spec.name)
def test_random_calls_fail_in_the_typed_way_only(tool, tmp_path):
    check_random_calls(tool, tmp_path)


def test_lines_are_read_by_number_and_paged(world):
    result = world.call(contents.read_lines, path="text/names.txt", first=2, last=3)
    assert result == {"lines": ["Anna", "Tom"], "first": 2, "total_lines": 5}
    with refused("bad_arguments", "5 lines"):
        world.call(contents.read_lines, path="text/names.txt", first=6)
    world.write("long.txt", "".join(f"{number} {'x' * 200}\n" for number in range(300)))
    lines, first = [], 1
    while first:
        result = world.call(contents.read_lines, path="long.txt", first=first)
        lines += result["lines"]
        first = result.get("next_line")
    assert [line.split()[0] for line in lines] == [str(number) for number in range(300)]


def test_head_and_tail(world):
    lines = LOG.splitlines()
    assert world.call(contents.read_end, path="logs/server.log", lines=3)["lines"] == lines[-3:]
    assert world.call(contents.read_end, path="logs/server.log", lines=2, end="head")["lines"] == lines[:2]
    assert world.call(contents.read_end, path="data/empty.csv") == {"lines": [], "total_lines": 0}
    with refused("tool_error", "no text file"):
        world.call(contents.read_end, path="images/logo.png")


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (
            {"pattern": "Storage", "path": "reports"},
            ["reports/2024-11.md:2", "reports/2025-01.md:2", "reports/2025-03.md:2"],
        ),
        ({"pattern": "storage", "path": "reports"}, []),
        ({"pattern": "storage", "path": "notes", "ignore_case": True}, ["notes/storage.md:1"]),
        (
            {"pattern": "rose|full", "path": "reports", "mode": "regex"},
            ["reports/2025-01.md:2", "reports/2025-03.md:2"],
        ),
        ({"pattern": "Ann", "path": "text/names.txt", "mode": "word"}, []),
        ({"pattern": "Anna", "path": "text/names.txt", "mode": "word"}, ["text/names.txt:2", "text/names.txt:4"]),
        ({"pattern": "-f/etc/passwd", "path": "text"}, []),
        ({"pattern": "port", "names": "*.ini"}, ["data/app.ini:3"]),
        ({"pattern": "Straße", "path": "data/latin.txt"}, ["data/latin.txt:1"]),
    ],
)
def test_grep(world, arguments, lines):
    result = world.call(contents.grep_files, **arguments)
    assert [f"{match['path']}:{match['line']}" for match in result["matches"]] == lines
    assert result["total"] == len(lines)


def test_grep_shows_the_lines_around_and_refuses_wrong_patterns_and_shell_words(world, tmp_path):
    result = world.call(contents.grep_files, pattern="Tom", path="text/names.txt", before=1, after=2)
    assert result["matches"][0] == {
        "path": "text/names.txt", "line": 3, "text": "Tom", "before": ["Anna"], "after": ["Anna", "ben"],
    }  # fmt: skip
    with refused("bad_arguments", "no regular expression"):
        world.call(contents.grep_files, pattern="(", mode="regex")
    with refused("tool_error", "no file"):
        world.call(contents.grep_files, pattern="x", path=f"text/names.txt; touch {tmp_path}/pwned")
    assert not (tmp_path / "pwned").exists()


def test_a_diff_can_be_applied_as_a_patch(world):
    old, new = "".join(f"line {n}\n" for n in range(30)), "".join(f"line {n}\n" for n in range(1, 31) if n != 12)
    world.write("a.txt", old)
    world.write("b.txt", new)
    diff = world.call(contents.compare_files, first="a.txt", second="b.txt")
    assert (diff["added"], diff["removed"], diff["same"]) == (1, 2, False)
    assert world.call(edits.apply_patch, path="a.txt", patch=diff["text"])["hunks"] == 3
    assert world.workspace.read_text("a.txt") == new
    assert world.call(contents.compare_files, first="a.txt", second="b.txt") == {
        "same": True, "added": 0, "removed": 0, "text": "",
    }  # fmt: skip
    with refused("tool_error", "does not fit"):
        world.call(edits.apply_patch, path="a.txt", patch=diff["text"])
    assert world.workspace.read_text("a.txt") == new


@pytest.mark.parametrize(
    "patch",
    ["", "@@ -1 +1 @@\n-x", "no diff", "@@ -1,2 +1,2 @@\n-x\n+y\n", "@@ -1 +1 @@\n?x\n", "@@ -99999 +1 @@\n-a\n+b"],
)
def test_wrong_patches_change_nothing(world, patch):
    before = world.workspace.hashes()
    with pytest.raises(Exception, match="patch"):
        world.call(edits.apply_patch, path="text/names.txt", patch=patch)
    assert world.workspace.hashes() == before


def test_whitespace_and_case_can_be_ignored(world):
    world.write("a", "One  two\n")
    world.write("b", "one two \n")
    assert not world.call(contents.compare_files, first="a", second="b", ignore="space")["same"]
    world.write("b", "ONE  TWO\n")
    assert world.call(contents.compare_files, first="a", second="b", ignore="case")["same"]


def test_counts_and_checksums(world):
    row = world.call(contents.count_in_files, paths=["text/german.txt"])["files"][0]
    assert row == {"path": "text/german.txt", "lines": 1, "words": 4, "characters": 22, "bytes": 24}
    content = world.workspace.read_bytes("config/desk.json")
    for method in ("md5", "sha1", "sha256", "sha512"):
        rows = world.call(contents.checksum_files, paths=["config/desk.json"], method=method)["checksums"]
        assert rows[0]["checksum"] == hashlib.new(method, content).hexdigest()
    crc = f"{zlib.crc32(content):08X}"
    expected = {"config/desk.json": crc, "config/none.json": crc, "config/limits.json": crc}
    result = world.call(contents.verify_checksums, expected=expected, method="crc32")
    assert [row["status"] for row in result["files"]] == ["ok", "missing", "different"]
    assert result["all_ok"] is False
    with refused("denied"):
        world.call(contents.verify_checksums, expected={"/etc/passwd": crc}, method="crc32")


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (b"", "ascii"),
        ("é".encode(), "utf-8"),
        (b"\xef\xbb\xbfa", "utf-8-sig"),
        ("aé".encode("utf-16"), "utf-16"),
        (b"\xff\xfea", "binary"),
        ("abcdef".encode("utf-16-be"), "utf-16-be"),
        ("€ é".encode("cp1252"), "cp1252"),
        (b"a\x81b", "latin-1"),
        (bytes(range(256)), "binary"),
    ],
)
def test_encodings(world, content, encoding):
    world.write("x.txt", content)
    assert world.call(contents.detect_encoding, path="x.txt")["encoding"] == encoding


def test_bytes_are_dumped(world):
    result = world.call(contents.dump_bytes, path="images/logo.png", length=20)
    assert result["dump"][0] == "00000000  89 50 4e 47 0d 0a 1a 0a 00 01 02 03 04 05 06 07  .PNG............"
    assert len(result["dump"]) == 2


def test_replacing_counts(world):
    world.write("x.txt", "a-a-a")
    assert world.call(edits.replace_in_file, path="x.txt", find="a", replace="b", count=2) == {
        "path": "x.txt", "replaced": 2, "left": 1,
    }  # fmt: skip
    assert world.workspace.read_text("x.txt") == "b-b-a"
    with refused("tool_error", "does not occur"):
        world.call(edits.replace_in_file, path="x.txt", find="z", replace="b")
    world.write("x.txt", "a" * 100_000)
    with refused("limit", "at most"):
        world.call(edits.replace_in_file, path="x.txt", find="a", replace="b" * 100_000)


def test_edits_are_done_all_or_none(world):
    world.write("x.txt", "one\ntwo\nthree\n")
    good = [
        {"edit": "insert", "line": 1, "text": "zero"},
        {"edit": "replace", "find": "two", "text": "2"},
        {"edit": "delete", "first": 4, "last": 4},
        {"edit": "insert", "line": 4, "text": "end\nof it\n"},
    ]
    with refused("bad_arguments", "edits[4]"):
        world.call(edits.apply_edits, path="x.txt", edits=[*good, {"edit": "delete", "first": 9, "last": 9}])
    assert world.workspace.read_text("x.txt") == "one\ntwo\nthree\n"
    world.call(edits.apply_edits, path="x.txt", edits=good)
    assert world.workspace.read_text("x.txt") == "zero\none\n2\nend\nof it\n"


def test_a_replacement_must_be_unique(world):
    world.write("x.txt", "aa")
    with refused("tool_error", "2 times"):
        world.call(edits.apply_edits, path="x.txt", edits=[{"edit": "replace", "find": "a", "text": ""}])


def test_files_are_merged_and_split_back(world):
    world.call(rewrites.split_file, path="data/sales.csv", lines_each=10, header_lines=1)
    parts = [f"data/sales-{number}.csv" for number in (1, 2, 3)]
    assert world.workspace.read_text(parts[2]).startswith("order_id,")
    with refused("tool_error", "exists already"):
        world.call(rewrites.split_file, path="data/sales.csv", lines_each=10)
    world.call(rewrites.merge_files, sources=parts, target="m.csv", separator="--")
    assert world.workspace.read_text("m.csv").count("--\n") == 2
    world.write("many.txt", "x\n" * 200)
    with refused("limit", "parts"):
        world.call(rewrites.split_file, path="many.txt", lines_each=1)


def test_lines_are_rearranged(world):
    world.write("x.txt", "item 10\r\nitem 2\n\n item 2 \nItem 1\n")
    world.call(
        rewrites.rearrange_lines, path="x.txt", steps=["strip", "drop_empty", "unique", "sort_naturally"], target="y"
    )
    assert world.workspace.read_text("y") == "Item 1\nitem 2\nitem 10\n"
    assert sorted(["a10", "a9", "A9", "a" + "9" * 5000], key=natural_key)[-1].startswith("a999")


def test_encodings_are_converted_and_losses_refused(world):
    world.call(rewrites.convert_encoding, path="data/latin.txt", newline="crlf")
    assert world.workspace.read_bytes("data/latin.txt") == "Straße für 5 €\r\n".encode()
    with refused("tool_error", "'ß'"):
        world.call(rewrites.convert_encoding, path="data/latin.txt", encoding="ascii")
    world.call(rewrites.convert_encoding, path="data/latin.txt", encoding="utf-16")
    assert world.workspace.read_bytes("data/latin.txt").startswith(b"\xff\xfeS\0")


def test_base64_goes_and_comes_back(world):
    world.call(rewrites.convert_base64, path="images/logo.png", target="x.b64")
    world.call(rewrites.convert_base64, path="x.b64", target="y.png", direction="decode")
    assert world.workspace.read_bytes("y.png") == world.workspace.read_bytes("images/logo.png")
    with refused("tool_error", "no Base64"):
        world.call(rewrites.convert_base64, path="text/german.txt", target="z", direction="decode")


def test_links_and_pipes_are_refused(world):
    os.symlink("/etc/passwd", world.workspace.files / "link")
    os.mkfifo(world.workspace.files / "pipe")
    for path, kind in (("link", "denied"), ("pipe", "tool_error"), ("../x", "denied"), ("~/x", "denied")):
        for tool in (contents.read_end, contents.detect_encoding, contents.dump_bytes):
            with refused(kind):
                world.call(tool, path=path)
        with refused(kind):
            world.call(rewrites.merge_files, sources=["text/names.txt", "text/poem.txt"], target=path)
