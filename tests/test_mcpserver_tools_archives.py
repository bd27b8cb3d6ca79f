import bz2
import gzip
import io
import lzma
import os
import random
import stat
import struct
import tarfile
import zipfile
import zlib

import pytest
from tool_calls import World
from tool_checks import check_example, check_random_calls, examples_of, refused, small_world, tools_of

from mcpserver.tool_error import ToolError
from mcpserver.toolbox.archive_files import pack
from mcpserver.tools.archives import archives, packing

FORMATS = ("zip", "tar", "tar.gz", "tar.bz2", "tar.xz")


@pytest.fixture
def world(tmp_path):
    return World(tmp_path / "env", small_world())


@pytest.mark.parametrize(("tool", "example"), examples_of(archives, packing))
def test_examples_work_and_are_repeatable(tool, example, tmp_path):
    check_example(tool, example, tmp_path)


@pytest.mark.parametrize("tool", tools_of(archives, packing), ids=lambda tool: tool.spec.name)
def test_random_calls_fail_in_the_typed_way_only(tool, tmp_path):
    check_random_calls(tool, tmp_path)


@pytest.mark.parametrize("archive_format", FORMATS)
def test_what_is_packed_comes_out_again(world, archive_format):
    world.call(archives.create_archive, path="a", sources=["notes", "images"], archive_format=archive_format)
    listed = world.call(archives.list_archive, path="a")
    assert listed["format"] == archive_format
    assert listed["entries"][0]["name"] == "notes/credit.md"
    world.call(archives.extract_archive, path="a", folder="out")
    for name in ("notes/storage.md", "images/logo.png"):
        assert world.workspace.read_bytes(f"out/{name}") == world.workspace.read_bytes(name)
    assert world.call(archives.verify_archive, path="a")["ok"] is True
    assert world.call(archives.compare_archive, path="a", folder="out")["same"] is True
    assert pack({"x": b"1" * 9999}, archive_format) == pack({"x": b"1" * 9999}, archive_format)


@pytest.mark.parametrize("archive_format", FORMATS)
def test_archives_carry_no_time_but_1980(world, archive_format):
    world.call(archives.create_archive, path="a", sources=["notes"], archive_format=archive_format)
    content = world.workspace.read_bytes("a")
    if archive_format == "zip":
        assert zipfile.ZipFile(io.BytesIO(content)).infolist()[0].date_time == (1980, 1, 1, 0, 0, 0)
    else:
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            info = archive.next()
        assert (info.mtime, info.uid, info.uname) == (315532800, 0, "")


def test_some_members_are_chosen_by_name_or_pattern(world):
    result = world.call(archives.extract_archive, path="archives/reports.zip", folder="x", members=["old/*"])
    assert result["files"] == ["x/old/2024-10.md"]
    with refused("tool_error", "did you mean"):
        world.call(archives.extract_archive, path="archives/reports.zip", folder="x", members=["2024-1.md"])
    with refused("tool_error", "exists already"):
        world.call(archives.extract_archive, path="archives/reports.zip", folder="x")
    assert not world.workspace.resolve("x/2024-11.md").exists()
    world.call(archives.extract_archive, path="archives/reports.zip", folder="x", overwrite=True)
    assert world.call(archives.read_archive_member, path="archives/old.tar", member="2024-11.md")["text"].startswith(
        "#"
    )


def test_members_are_added_removed_and_the_format_changed(world):
    world.call(packing.add_to_archive, path="archives/old.tar", sources=["notes/storage.md"], keep_folders=False)
    with refused("tool_error", "set replace"):
        world.call(packing.add_to_archive, path="archives/old.tar", sources=["notes/storage.md"], keep_folders=False)
    world.call(packing.remove_from_archive, path="archives/old.tar", members=["old/**"])
    world.call(packing.convert_archive, path="archives/old.tar", target="new.zip", archive_format="zip")
    names = [row["name"] for row in world.call(archives.list_archive, path="new.zip")["entries"]]
    assert names == ["2024-11.md", "storage.md"]
    found = world.call(archives.search_archive, path="new.zip", text="OPERATOR", ignore_case=True)
    assert found["matches"] == [{"member": "storage.md", "line": 4, "text": "Action: call the operator."}]


@pytest.mark.parametrize(("method", "module"), [("gzip", gzip), ("bz2", bz2), ("xz", lzma)])
def test_single_files_are_compressed(world, method, module):
    content = world.workspace.read_bytes("logs/server.log")
    target = world.call(packing.compress_file, path="logs/server.log", method=method, keep=False)["target"]
    assert module.decompress(world.workspace.read_bytes(target)) == content
    assert not world.workspace.resolve("logs/server.log").exists()
    assert world.call(packing.decompress_file, path=target)["target"] == "logs/server.log"
    assert world.workspace.read_bytes("logs/server.log") == content
    with refused("tool_error", "exists already"):
        world.call(packing.decompress_file, path=target)
    world.write("twice.xz", module.compress(b"a") + module.compress(b"b"))
    world.call(packing.decompress_file, path="twice.xz", target="twice")
    assert world.workspace.read_bytes("twice") == b"ab"


def zip_of(*entries):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content, mode in entries:
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr, info.compress_type = 3, mode << 16, zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return out.getvalue()


def tar_of(*entries, compression=""):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=f"w:{compression}") as archive:
        for name, kind, value in entries:
            info = tarfile.TarInfo(name)
            info.type = kind
            if kind == tarfile.REGTYPE:
                info.size = len(value)
            else:
                info.linkname = value
            archive.addfile(info, io.BytesIO(value if kind == tarfile.REGTYPE else b""))
    return out.getvalue()


FILE, REG = 0o100644, tarfile.REGTYPE
BAD_NAMES = ("../../pwned.txt", "/tmp/pwned.txt", "a/../../pwned.txt", "~/pwned", "C:\\pwned", "..\\pwned", "/", "..")
HOSTILE = {
    **{f"zip {name}": zip_of(("good.txt", b"x", FILE), (name, b"x", FILE)) for name in BAD_NAMES},
    **{f"tar {name}": tar_of(("good.txt", REG, b"x"), (name, REG, b"x")) for name in BAD_NAMES},
    "zip link": zip_of(("good.txt", b"x", FILE), ("l", b"/etc/passwd", stat.S_IFLNK | 0o777)),
    "zip pipe": zip_of(("good.txt", b"x", FILE), ("p", b"", stat.S_IFIFO | 0o644)),
    "tar link": tar_of(("good.txt", REG, b"x"), ("l", tarfile.SYMTYPE, "/etc/passwd")),
    "tar link inside": tar_of(("good.txt", REG, b"x"), ("l", tarfile.SYMTYPE, "good.txt")),
    "tar hard link": tar_of(("good.txt", REG, b"x"), ("h", tarfile.LNKTYPE, "../../secret")),
    "tar link then file": tar_of(("d", tarfile.SYMTYPE, "/tmp"), ("d/pwned", REG, b"x")),
    "tar device": tar_of(("good.txt", REG, b"x"), ("d", tarfile.CHRTYPE, "")),
    "tar.gz device": tar_of(("d", tarfile.BLKTYPE, ""), compression="gz"),
    "tar pipe": tar_of(("p", tarfile.FIFOTYPE, "")),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_members_that_lead_out_and_links_are_denied_and_nothing_is_unpacked(world, tmp_path, name):
    world.write("e", HOSTILE[name])
    before = world.workspace.hashes()
    with refused("denied"):
        world.call(archives.extract_archive, path="e", folder="out")
    assert world.workspace.hashes() == before
    assert not world.workspace.resolve("out").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"env"}
    assert not os.path.exists("/tmp/pwned.txt")
    assert world.call(archives.verify_archive, path="e")["ok"] is False


@pytest.mark.parametrize("name", ["nul#byte.txt", "\u202efdp.exe", "a/b/c/d/e/f/g/h/i/j", "x" * 150, "back\\slash"])
def test_names_that_no_file_can_have_are_refused(world, name):
    world.write("e", zip_of(("good.txt", b"x", FILE), (name, b"x", FILE)).replace(b"#", b"\0"))
    with refused("bad_arguments"):
        world.call(archives.extract_archive, path="e", folder="out")
    assert not world.workspace.resolve("out").exists()


def zeros(size):
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = bytes(1 << 20)
    return b"".join(packer.compress(block) for _ in range(size >> 20)) + packer.flush()


BOMBS = {
    "zip": zip_of(("z", bytes(64 << 20), FILE)),
    "zip of many": zip_of(*((f"z{number}", bytes(1 << 20), FILE) for number in range(40))),
    "gzip": zeros(64 << 20),
    "xz": lzma.compress(bytes(64 << 20), preset=1),
    "bz2": bz2.compress(bytes(32 << 20)),
    "tar.gz": tar_of(("z", REG, bytes(20 << 20)), compression="gz"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_stopped_by_what_comes_out(world, name):
    world.write("b.gz", BOMBS[name])
    before = world.workspace.hashes()
    function = archives.extract_archive if "zip of" in name or name in ("zip", "tar.gz") else packing.decompress_file
    arguments = {"folder": "out"} if function is archives.extract_archive else {"target": "out"}
    with refused("limit", "unpacking was stopped"):
        world.call(function, path="b.gz", **arguments)
    assert world.workspace.hashes() == before


def test_a_declared_size_is_not_believed(world):
    content = bytearray(zip_of(("z", bytes(64 << 20), FILE)))
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        start = content.index(signature) + offset
        content[start : start + 4] = struct.pack("<I", 10)
    world.write("lie.zip", bytes(content))
    assert world.call(archives.list_archive, path="lie.zip")["entries"][0]["bytes"] == 10
    before = world.workspace.hashes()
    with pytest.raises(ToolError):
        world.call(archives.extract_archive, path="lie.zip", folder="out")
    assert world.workspace.hashes() == before


@pytest.mark.parametrize("count", [1001, 20_000])
@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_entries_are_capped(world, kind, count):
    names = [f"{number}" for number in range(count)]
    many = (
        zip_of(*((n, b"", FILE) for n in names))
        if kind == "zip"
        else tar_of(*((n, REG, b"") for n in names), compression="gz")
    )
    world.write("m", many)
    for function, arguments in ((archives.extract_archive, {"folder": "out"}), (archives.list_archive, {})):
        with refused("limit"):
            world.call(function, path="m", **arguments)
    assert not world.workspace.resolve("out").exists()


def test_damaged_archives_of_all_formats_fail_with_words(world):
    rng = random.Random(5)
    for archive_format in FORMATS:
        good = pack({f"f{number}.txt": bytes(rng.choices(range(64), k=300)) for number in range(5)}, archive_format)
        for _ in range(60):
            bad = bytearray(good)
            for _ in range(rng.randint(1, 4)):
                bad[rng.randrange(len(bad))] = rng.randrange(256)
            world.write("bad", bytes(bad[: rng.choice((len(bad), rng.randrange(len(bad))))]))
            result = world.call(archives.verify_archive, path="bad")
            assert result["ok"] or result["problems"][0].startswith("path: 'bad'")
            for function, arguments in (
                (archives.list_archive, {}),
                (archives.extract_archive, {"folder": "out", "overwrite": True}),
                (packing.decompress_file, {"target": f"t{rng.random()}"}),
                (packing.remove_from_archive, {"members": ["f1.txt"]}),
            ):
                try:
                    world.call(function, path="bad", **arguments)
                except ToolError as error:
                    assert error.kind in ("tool_error", "limit", "denied", "bad_arguments")  # noqa: PT017


def test_broken_ends_and_wrong_sums_are_found(world):
    assert world.call(archives.verify_archive, path="archives/broken.zip")["ok"] is False
    content = bytearray(pack({"a.txt": b"hello" * 50}, "zip"))
    content[40] ^= 1
    world.write("bad.zip", bytes(content))
    assert world.call(archives.verify_archive, path="bad.zip")["ok"] is False
    tar = bytearray(pack({"a": b"1", "b": b"2"}, "tar"))
    tar[1024 + 10] ^= 1  # the header of the second entry
    world.write("bad.tar", bytes(tar))
    assert world.call(archives.verify_archive, path="bad.tar")["problems"] == [
        "path: 'bad.tar' is damaged or no archive ('an entry has a wrong header')"
    ]
    with refused("tool_error", "neither by gzip"):
        world.call(packing.decompress_file, path="notes/credit.md")


def test_an_xz_that_asks_for_gigabytes_is_refused(world):
    packer = lzma.LZMACompressor(lzma.FORMAT_XZ, filters=[{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 20}])
    content = bytearray(packer.compress(b"x" * 100) + packer.flush())
    place = content.index(bytes([0x21, 0x01]), 12) + 2  # the dictionary size of the LZMA2 filter in the block header
    content[place] = 38  # 2 GiB
    header = content[12 : 12 + (content[12] + 1) * 4]
    content[12 + len(header) - 4 : 12 + len(header)] = struct.pack("<I", zlib.crc32(bytes(header[:-4])))
    world.write("x.xz", bytes(content))
    with refused("tool_error", "emory"):
        world.call(packing.decompress_file, path="x.xz")


def test_nothing_is_unpacked_when_there_is_no_room(world):
    for number in range(7):
        world.write(f"big/{number}", bytes(4 << 20))
    rng = random.Random(1)
    world.write("x.zip", pack({f"{n}": rng.randbytes(1 << 20) for n in range(3)}, "zip"))
    before = world.workspace.hashes()
    with refused("limit", "no room"):
        world.call(archives.extract_archive, path="x.zip", folder="out")
    assert world.workspace.hashes() == before
