"""The cache of the company world: written once, checked when opened, safe against crashes and crowds."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mcpserver.company import cache, company_base
from mcpserver.company.cache import open_below


@pytest.fixture(name="parent")
def make_parent(tmp_path: Path) -> Path:
    """A cache that holds the world already, copied, since making it takes a second."""
    place = tmp_path / "cache"
    target = place / f"company-{cache.generator_hash()}"
    shutil.copytree(cache.open_company().folder.parent, target)
    return place


def target_of(parent: Path) -> Path:
    (found,) = parent.glob("company-*")
    return found


def make_writable(tree: Path) -> None:
    for path in [tree, *tree.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)


def test_a_world_that_is_there_is_opened_and_not_made_again(parent: Path) -> None:
    before = target_of(parent).stat().st_ino
    opened = open_below(parent)
    assert opened.base == company_base()
    assert target_of(parent).stat().st_ino == before


def spoil_a_file(target: Path) -> None:
    (target / "world/files/data/sales.csv").write_bytes(b"spoilt")


def cut_a_database(target: Path) -> None:
    database = target / "world/databases/shop.db"
    database.write_bytes(database.read_bytes()[:-1])


def remove_a_file(target: Path) -> None:
    (target / "world/files/docs/terms.txt").unlink()


def add_a_file(target: Path) -> None:
    (target / "world/files/extra.txt").write_text("extra")


def put_a_link(target: Path) -> None:
    file = target / "world/files/docs/terms.txt"
    file.rename(target / "terms.txt")
    file.symlink_to(target / "terms.txt")


def spoil_the_catalogue(target: Path) -> None:
    (target / "catalogue.json").write_text("[]")


def lose_the_manifest(target: Path) -> None:
    (target / "manifest.json").unlink()


def empty_the_manifest(target: Path) -> None:
    (target / "manifest.json").write_text("")


def put_a_file_in_its_place(target: Path) -> None:
    shutil.rmtree(target)
    target.write_text("no directory")


@pytest.mark.parametrize(
    "damage",
    [
        spoil_a_file,
        cut_a_database,
        remove_a_file,
        add_a_file,
        put_a_link,
        spoil_the_catalogue,
        lose_the_manifest,
        empty_the_manifest,
        put_a_file_in_its_place,
    ],
)
def test_a_damaged_world_is_made_anew(parent: Path, damage: object) -> None:
    target = target_of(parent)
    make_writable(target)
    damage(target)  # type: ignore[operator]
    if target.is_dir():
        target.chmod(0o555)
    opened = open_below(parent)
    assert opened.base == company_base()
    assert not list(parent.glob(".half-*"))


OPEN = "from mcpserver.company import company_folder; print(company_folder())"


def start(home: Path, code: str = OPEN, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "XDG_CACHE_HOME": str(home), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_world_in_a_cache_that_cannot_be_written_is_opened(parent: Path) -> None:
    parent.chmod(0o555)
    assert open_below(parent).base == company_base()
    parent.chmod(0o755)


def test_processes_that_start_at_once_share_one_whole_world(tmp_path: Path) -> None:
    running = [start(tmp_path) for _ in range(3)]
    answers = [process.communicate() for process in running]
    assert {answer for answer, _ in answers} == {f"{target_of(tmp_path / 'toolwright') / 'world'}\n"}, answers
    assert not list((tmp_path / "toolwright").glob(".half-*"))


DIE = """
import os
from mcpserver.company import cache
rename = cache.Path.rename
cache.Path.rename = lambda *names: os._exit(9)
cache.open_company()
"""


def test_a_process_that_dies_before_renaming_leaves_nothing_that_is_taken_for_a_world(tmp_path: Path) -> None:
    died = start(tmp_path, DIE)
    died.communicate()
    assert died.returncode == 9
    (half,) = (tmp_path / "toolwright").glob(".half-*")
    assert not list((tmp_path / "toolwright").glob("company-*"))
    os.utime(half, (0, 0))
    opened = open_below(tmp_path / "toolwright")
    assert opened.base == company_base()
    assert not half.exists()


def test_worlds_of_other_versions_go_when_nobody_opened_them_for_a_month(parent: Path) -> None:
    current = target_of(parent)
    for name in ("company-old", "company-young"):
        shutil.copytree(current, parent / name)
    os.utime(parent / "company-old", (0, 0))
    os.utime(parent / "company-young")
    make_writable(current)
    shutil.rmtree(current)
    open_below(parent)
    assert {path.name for path in parent.glob("company-*")} == {"company-young", current.name}


def test_without_a_cache_the_world_goes_to_a_temporary_directory_that_goes_with_the_process(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no directory")
    (tmp_path / "tmp").mkdir()
    process = start(blocked, OPEN + "; import json; from mcpserver.company import company_catalogue, company_base\n"
                    "print(len(company_catalogue()) == len(company_base()))", TMPDIR=str(tmp_path / "tmp"))  # fmt: skip
    answer, errors = process.communicate()
    assert answer.startswith(str(tmp_path / "tmp")), errors
    assert answer.endswith("True\n")
    assert not list((tmp_path / "tmp").iterdir())


def test_where_nothing_can_be_written_one_line_says_what_to_set(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no directory")
    code = "import tempfile; from mcpserver.company.__main__ import main\n"
    code += f"tempfile.tempdir = {str(blocked)!r}; raise SystemExit(main(['--describe']))"
    process = start(blocked, code)
    _, errors = process.communicate()
    assert (process.returncode, errors.count("\n")) == (2, 1)
    assert errors.endswith("set XDG_CACHE_HOME to a writable folder\n")


def test_the_manifest_names_every_file_with_its_hash(parent: Path) -> None:
    manifest = json.loads((target_of(parent) / "manifest.json").read_text())
    assert set(manifest["world"]) == set(company_base())
