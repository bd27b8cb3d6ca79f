"""Archives and packed files as setup steps; see ``inside``."""

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from typing import Any

from attacks.inside import put

Members = list[list[str]]


def zip(name: str, members: Members) -> None:
    with zipfile.ZipFile(name, "w") as archive:
        for member, content in members:
            info = zipfile.ZipInfo("x")
            info.filename = member  # as it is: the constructor cuts at NUL and turns separators
            archive.writestr(info, content)


def zip_symlink(name: str, member: str, target: str, *more: str) -> None:
    with zipfile.ZipFile(name, "w") as archive:
        info = zipfile.ZipInfo(member)
        info.create_system, info.external_attr = 3, 0o120777 << 16
        archive.writestr(info, target)
        if more:
            archive.writestr(more[0], more[1] if len(more) > 1 else "x")


def zip_zeros(name: str, size: int, member: str = "zeros", declared: int | None = None) -> None:
    """A member of zeros, made without compressing them all."""
    block, body = 1 << 20, io.BytesIO()
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packer.compress(bytes(block))
    packer.flush(zlib.Z_FULL_FLUSH)
    chunk = packer.compress(bytes(block)) + packer.flush(zlib.Z_FULL_FLUSH)
    crc = 0
    for _ in range(size // block):
        body.write(chunk)
        crc = zlib.crc32(bytes(block), crc)
    rest = bytes(size % block)
    crc = zlib.crc32(rest, crc)
    body.write(packer.compress(rest) + packer.flush())
    shown = min(size if declared is None else declared, 0xFFFFFFFE)
    _raw_zip(name, [(member.encode(), body.getvalue(), crc, shown, 8)])


def zip_many(name: str, count: int) -> None:
    _raw_zip(name, [(b"%d" % number, b"", 0, 0, 0) for number in range(count)])


def zip_nested(name: str, depth: int = 10, size: int = 1 << 20) -> None:
    content = bytes(size)
    for level in range(depth):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for copy in range(2):
                archive.writestr(f"{level}-{copy}.zip", content)
        content = buffer.getvalue()
    put(name, content)


def zip_duplicate(name: str, member: str = "a.txt", *contents: str) -> None:
    zip(name, [[member, content] for content in contents or ("one", "two")])


def zip_overlap(name: str, count: int = 1000, size: int = 1 << 20) -> None:
    """Many members of the directory that are one and the same data."""
    packed = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = packed.compress(bytes(size)) + packed.flush()
    _raw_zip(name, [(b"a", data, zlib.crc32(bytes(size)), size, 8)], repeat=count)


def _raw_zip(name: str, members: list[tuple[bytes, bytes, int, int, int]], repeat: int = 1) -> None:
    with open(name, "wb") as file:
        entries, position = [], 0
        for member, data, crc, size, method in members:
            fields = struct.pack("<HHHHHIIIHH", 20, 0, method, 0, 33, crc, len(data), size, len(member), 0)
            entries.append(b"PK\1\2\x14\3" + fields + struct.pack("<HHHII", 0, 0, 0, 0o100644 << 16, position) + member)
            local = b"PK\3\4" + fields + member + data
            file.write(local)
            position += len(local)
        directory = b"".join(entries) * repeat
        count = len(entries) * repeat
        file.write(directory)
        after = position + len(directory)
        large = struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, count, count, len(directory), position)
        file.write(b"PK\6\6" + large + b"PK\6\7" + struct.pack("<IQI", 0, after, 1))
        shown = min(count, 0xFFFF)
        file.write(b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, shown, shown, len(directory), position, 0))


def tar(name: str, members: Members) -> None:
    with tarfile.open(name, _mode(name)) as archive:
        for member, content in members:
            info = tarfile.TarInfo(member)
            info.size = len(content.encode())
            archive.addfile(info, io.BytesIO(content.encode()))


def tar_hardlink(name: str, member: str, target: str, *more: str) -> None:
    _tar_special(name, member, tarfile.LNKTYPE, target, *more)


def tar_symlink(name: str, member: str, target: str, *more: str) -> None:
    _tar_special(name, member, tarfile.SYMTYPE, target, *more)


def tar_device(name: str, member: str = "device", *_numbers: object) -> None:
    _tar_special(name, member, tarfile.CHRTYPE, "")


def tar_fifo(name: str, member: str = "pipe") -> None:
    _tar_special(name, member, tarfile.FIFOTYPE, "")


def tar_setuid(name: str, member: str = "s", *_more: object) -> None:
    with tarfile.open(name, _mode(name)) as archive:
        info = tarfile.TarInfo(member)
        info.mode, info.size = 0o4777, 1
        archive.addfile(info, io.BytesIO(b"x"))


def _tar_special(name: str, member: str, kind: bytes, target: str, *more: str) -> None:
    with tarfile.open(name, _mode(name)) as archive:
        info = tarfile.TarInfo(member)
        info.type, info.linkname, info.devmajor, info.devminor = kind, target, 1, 5
        archive.addfile(info)
        if more:  # a file that goes through the link
            file = tarfile.TarInfo(more[0])
            content = (more[1] if len(more) > 1 else "x").encode()
            file.size = len(content)
            archive.addfile(file, io.BytesIO(content))


def tar_zeros(name: str, size: int) -> None:
    info = tarfile.TarInfo("zeros")
    info.size = size
    with gzip.open(name, "wb", 6) as file:
        file.write(info.tobuf())
        for _ in range(size >> 20):
            file.write(bytes(1 << 20))
        file.write(bytes((size & ((1 << 20) - 1)) + 1024))


def tar_many(name: str, count: int) -> None:
    with gzip.open(name, "wb", 1) as file:
        for number in range(count):
            file.write(tarfile.TarInfo(str(number)).tobuf(tarfile.USTAR_FORMAT))
        file.write(bytes(1024))


def gzip_zeros(name: str, size: int) -> None:
    with gzip.open(name, "wb") as file:
        for _ in range(max(1, size >> 20)):
            file.write(bytes(min(size, 1 << 20)))


def bz2_zeros(name: str, size: int) -> None:
    packed = bz2.compress(bytes(min(size, 45_000_000)))
    put(name, packed * max(1, size // 45_000_000))


def xz_zeros(name: str, size: int) -> None:
    packed = lzma.compress(bytes(min(size, 16 << 20)), preset=0)
    put(name, packed * max(1, size // (16 << 20)))


def _mode(name: str) -> Any:
    ending = {"gz": "gz", "tgz": "gz", "bz2": "bz2", "xz": "xz"}.get(name.rpartition(".")[2], "")
    return f"w:{ending}"


def xlsx_zeros(name: str, size: int = 1 << 30) -> None:
    zip_zeros(name, size, "xl/worksheets/sheet1.xml")
