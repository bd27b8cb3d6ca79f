import os

import pytest
from tool_calls import World
from tool_checks import check_example, check_random_calls, examples_of, refused, small_world, tools_of

from mcpserver.toolbox.globs import matches_glob
from mcpserver.tools.files import finding, folders


@pytest.fixture
def world(tmp_path):
    return World(tmp_path / "env", small_world())


@pytest.mark.parametrize(("tool", "example"), examples_of(folders, finding))
def test_examples_work_and_are_repeatable(tool, example, tmp_path):
    check_example(tool, example, tmp_path)


@pytest.mark.parametrize("tool", tools_of(folders, finding), ids=lambda tool: tool.spec.name)
def test_random_calls_fail_in_the_typed_way_only(tool, tmp_path):
    check_random_calls(tool, tmp_path)


@pytest.mark.parametrize(
    ("path", "pattern", "fits"),
    [
        ("a.csv", "*.csv", True),
        ("x/a.csv", "*.csv", False),
        ("x/a.csv", "**/*.csv", True),
        ("a.csv", "**/*.csv", True),
        ("x/y/a.csv", "x/**/a.csv", True),
        ("x/a.csv", "x/**/**/a.csv", True),
        ("x/a.csv", "x/**", True),
        ("x/a.csv", "?/[ab].csv", True),
        ("x/a.csv", "x", False),
        ("x/A.csv", "x/a.csv", False),
        ("/".join("a" * 8), "/".join(["**"] * 90), True),
        ("a" * 100, "*a" * 80 + "b", False),
    ],
)
def test_patterns(path, pattern, fits):
    assert matches_glob(path, pattern) is fits


def test_tree_shows_levels_and_hides_files(world):
    assert "  storage.md" in world.call(folders.show_tree)["tree"]
    assert world.call(folders.show_tree, show_files=False, folder="")["tree"][0] == "archives/"
    assert world.call(folders.show_tree, folder="config")["tree"] == ["desk.json", "limits.json"]


@pytest.mark.parametrize("pattern", ["../../**/*", "/etc/*", "~/*", "a/../../*", "..\\*"])
def test_patterns_that_lead_out_are_denied(world, pattern):
    with refused("denied", "leads out"):
        world.call(finding.glob_files, pattern=pattern)


def test_links_are_neither_listed_nor_followed(world, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.txt").write_text("secret")
    top = world.workspace.files
    os.symlink(tmp_path / "outside", top / "notes" / "door")
    os.symlink("/etc/passwd", top / "notes" / "passwd")
    os.symlink("loop", top / "notes" / "loop")
    os.mkfifo(top / "notes" / "pipe")
    (top / "notes" / os.fsdecode(b"\xff.txt")).write_text("x")
    assert not [path for path in world.call(finding.glob_files, pattern="**/*")["files"] if "secret" in path]
    names = world.call(finding.glob_files, pattern="notes/*")["files"]
    assert names == ["notes/credit.md", "notes/pipeline.md", "notes/storage.md", "notes/\\xff.txt"]
    world.call(folders.show_tree, depth=5)
    for tool in (finding.find_duplicates, finding.count_kinds, finding.measure_folders):
        assert "secret" not in str(world.call(tool, folder="notes"))
    with refused("denied", "link"):
        world.call(finding.describe_file, path="notes/passwd")
    with refused("denied", "link"):
        world.call(folders.create_folder, path="notes/door/new")
    with refused("denied", "link"):
        world.call(folders.copy_path, source="notes/door", target="copy")
    with refused("tool_error", "plain file"):
        world.call(finding.describe_file, path="notes/pipe")
    world.call(folders.remove_folder, path="notes", recursive=True)
    assert (tmp_path / "outside" / "secret.txt").read_text() == "secret"


def test_folders_are_created_and_removed(world):
    assert world.call(folders.create_folder, path="a/b/") == {"created": "a/b"}
    with refused("tool_error", "exists already"):
        world.call(folders.create_folder, path="a")
    with refused("tool_error", "is a file"):
        world.call(folders.create_folder, path="notes/storage.md/x")
    with refused("tool_error", "recursive"):
        world.call(folders.remove_folder, path="a")
    assert world.call(folders.remove_folder, path="a", recursive=True) == {"removed": "a", "files": 0}
    with refused("denied", "top folder"):
        world.call(folders.remove_folder, path="", recursive=True)
    with refused("tool_error", "no folder"):
        world.call(folders.remove_folder, path="note", recursive=True)


def test_copies_hold_the_same_bytes_and_replace_only_when_told(world):
    result = world.call(folders.copy_path, source="reports", target="backup")
    assert result["files"] == 5
    assert world.workspace.read_bytes("backup/2024-12.md") == world.workspace.read_bytes("reports/2024-12.md")
    with refused("tool_error", "exists already"):
        world.call(folders.copy_path, source="reports", target="backup")
    assert world.call(folders.copy_path, source="reports", target="backup", overwrite=True)["files"] == 5
    with refused("bad_arguments", "lies in"):
        world.call(folders.copy_path, source="reports", target="reports/copy")
    with refused("denied", "leads out"):
        world.call(folders.copy_path, source="notes/storage.md", target="../../x")


def test_folders_move_with_their_content(world):
    before = world.workspace.read_bytes("reports/2024-12.md")
    world.call(folders.move_folder, source="reports", target="archive/r")
    assert world.workspace.read_bytes("archive/r/2024-12.md") == before
    with refused("tool_error", "exists already"):
        world.call(folders.move_folder, source="archive", target="notes")
    with refused("bad_arguments", "lies in"):
        world.call(folders.move_folder, source="archive", target="archive/r/x")
    with refused("bad_arguments", "too deep"):
        world.call(folders.move_folder, source="archive", target="1/2/3/4/5/6/7")


def test_find_files_applies_every_condition(world):
    def find(**where):
        return [item["path"] for item in world.call(finding.find_files, where=where)["files"]]

    assert find(name="*2025*", contains="Storage") == ["reports/2025-01.md", "reports/2025-03.md"]
    assert find(kind="png") == ["images/logo.png"]
    assert find(extensions=[".TOML", "ini"]) == ["data/app.ini", "data/app.toml"]
    assert find(max_bytes=0) == ["data/empty.csv"]
    found = world.call(finding.find_files, where={"extensions": ["csv"]}, sort_by="largest", limit=1)
    assert found["files"][0]["path"] == "data/sales.csv"
    assert (found["total"], found["next_offset"]) == (4, 1)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("images/logo.png", {"kind": "png"}),
        ("archives/reports.zip", {"kind": "zip"}),
        ("archives/old.tar", {"kind": "tar"}),
        ("data/empty.csv", {"kind": "empty", "bytes": 0}),
        ("data/latin.txt", {"kind": "text", "encoding": "cp1252", "lines": 1}),
        ("text/german.txt", {"kind": "text", "encoding": "utf-8", "lines": 1}),
        ("text/names.txt", {"encoding": "ascii", "lines": 5, "longest_line": 4}),
    ],
)
def test_kinds_come_from_the_content(world, path, expected):
    result = world.call(finding.describe_file, path=path)
    assert {key: result[key] for key in expected} == expected


def test_compare_and_mirror(world):
    world.call(folders.copy_path, source="reports", target="b")
    world.write("b/2024-11.md", "changed")
    world.write("b/extra.md", "extra")
    world.write("reports/new.md", "new")
    result = world.call(finding.compare_folders, first="reports", second="b")
    assert result["counts"] == {"different": 1, "only in first": 1, "only in second": 1, "same": 4}
    assert result["files"][0] == {"path": "2024-11.md", "status": "different"}
    mirrored = world.call(folders.mirror_folder, source="reports", target="b", delete_others=True)
    assert mirrored == {"copied": ["2024-11.md", "new.md"], "deleted": ["b/extra.md"], "files": 6}
    assert world.call(finding.compare_folders, first="reports", second="b")["counts"] == {"same": 6}


def test_renaming_many_survives_a_ring_of_names_and_refuses_clashes(world):
    for name in "abc":
        world.write(f"ring/{name}1.txt", name)
    change = {"template": "{number}{extension}", "start": 1, "digits": 2}
    dry = world.call(folders.rename_files, folder="ring", change=change, dry_run=True)
    assert dry["names"][0] == {"old": "a1.txt", "new": "01.txt"}
    assert world.workspace.read_text("ring/a1.txt") == "a"
    world.call(folders.rename_files, folder="ring", change=change)
    world.call(folders.rename_files, folder="ring", change={**change, "start": 2})
    assert [world.workspace.read_text(f"ring/0{number}.txt") for number in (2, 3, 4)] == ["a", "b", "c"]
    with refused("tool_error", "taken"):
        world.call(folders.rename_files, folder="ring", change={"find": "0", "replace": "../"})
    with refused("tool_error", "taken"):
        world.call(folders.rename_files, folder="reports", change={"template": "same", "start": 1, "digits": 1})
    assert len(world.workspace.names()) == len(small_world()) + 3


def test_duplicates_and_counts(world):
    world.write("x/copy.md", world.workspace.read_bytes("notes/storage.md"))
    groups = world.call(finding.find_duplicates)["groups"]
    assert ["notes/storage.md", "x/copy.md"] in [group["files"] for group in groups]
    kinds = {row["kind"]: row["files"] for row in world.call(finding.count_kinds)["groups"]}
    assert (kinds["png"], kinds["tar"], kinds["empty"]) == (1, 1, 1)
    sizes = world.call(finding.measure_folders)
    assert sizes["files"] == len(small_world()) + 1
    assert sum(row["bytes"] for row in sizes["folders"]) == sizes["bytes"]


def test_nothing_is_written_when_there_is_no_room(world):
    for number in range(7):
        world.write(f"big/{number}", bytes(4 * 1024 * 1024))
    before = world.workspace.hashes()
    with refused("limit", "no room"):
        world.call(folders.copy_path, source="big", target="more")
    with refused("limit", "no room"):
        world.call(folders.mirror_folder, source="big", target="more")
    assert world.workspace.hashes() == before
