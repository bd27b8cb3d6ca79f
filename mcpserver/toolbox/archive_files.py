"""Zip and tar archives as models may meet them: hostile, huge, damaged. Bytes in, bytes out; no file is touched.

Unpacking counts what really comes out and believes no size that an archive declares. Packing uses fixed times, owners
and modes, so that the bytes depend on nothing but the members.
"""

import bz2
import gzip
import io
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

from mcpserver.tool_error import ToolError
from toolwright.words import shorten

Format = Literal["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"]
Method = Literal["gzip", "bz2", "xz"]
Kind = Literal["file", "folder", "link", "special"]

MAX_ENTRIES = 1000
MAX_UNPACKED_BYTES = 16 * 1024 * 1024
MAX_RATIO = 250
"""Of unpacked to packed bytes, above ``_SMALL_BYTES``; deflate reaches 1032, honest files rarely 100."""
_SMALL_BYTES = 1024 * 1024
_CHUNK = 64 * 1024
_XZ_MEMORY_BYTES = 64 * 1024 * 1024
_ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)
_TIME_1980 = 315532800
_METHODS: dict[bytes, Method] = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ\0": "xz"}
_DAMAGES = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, OverflowError),
    *(NotImplementedError, RuntimeError, IndexError, KeyError, MemoryError),
)


class _Stream(Protocol):
    def read(self, size: int, /) -> bytes: ...


class Budget:
    """Counts what comes out of packed bytes, and stops what is too much."""

    def __init__(self, packed: int) -> None:
        self._packed = packed
        self._total = 0

    def take(self, size: int) -> None:
        """Count some more bytes.

        Raises:
            ToolError: ``limit``.
        """
        self._total += size
        if self._total > MAX_UNPACKED_BYTES:
            raise ToolError("limit", f"more than {MAX_UNPACKED_BYTES} bytes come out of it; unpacking was stopped")
        if self._total > max(_SMALL_BYTES, self._packed * MAX_RATIO):
            text = f"more than {MAX_RATIO} times its size comes out of it; unpacking was stopped"
            raise ToolError("limit", text)

    def read(self, file: _Stream) -> bytes:
        """All that comes out of a stream."""
        chunks = []
        while chunk := file.read(_CHUNK):
            self.take(len(chunk))
            chunks.append(chunk)
        return b"".join(chunks)


@dataclass(frozen=True)
class Member:
    """An entry of an archive.

    Attributes:
        name: as written in the archive; bytes that are no UTF-8 are escaped.
        size: unpacked bytes as declared.
        packed: packed bytes as declared; nothing for members of tar.
        read: gives the content; may refuse.
    """

    name: str
    kind: Kind
    size: int
    packed: int | None
    read: Callable[[], bytes]


@contextmanager
def damage(path: str) -> Iterator[None]:
    """Turn what the libraries say about broken archives into words for a model."""
    try:
        yield
    except ToolError as error:
        raise ToolError(error.kind, f"path: {path!r}: {error.message}") from None
    except _DAMAGES as error:
        raise ToolError("tool_error", f"path: {path!r} is damaged or no archive ({shorten(str(error), 80)})") from None


def format_of(content: bytes) -> Format:
    """The format of an archive, by its first bytes."""
    if content.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    formats: dict[Method | None, Format] = {None: "tar", "gzip": "tar.gz", "bz2": "tar.bz2", "xz": "tar.xz"}
    return formats[method_of(content)]


def method_of(content: bytes) -> Method | None:
    """How a single file is compressed, by its first bytes; nothing if it is not."""
    return next((method for mark, method in _METHODS.items() if content.startswith(mark)), None)


def members_of(content: bytes) -> Iterator[Member]:
    """The entries of an archive of any format; use it within ``damage``.

    Raises:
        ToolError: ``limit`` for more than ``MAX_ENTRIES`` entries or too much content.
    """
    budget = Budget(len(content))
    members = _zip_members(content, budget) if format_of(content) == "zip" else _tar_members(content, budget)
    for number, member in enumerate(members):
        if number >= MAX_ENTRIES:
            raise ToolError("limit", f"it has more than {MAX_ENTRIES} entries")
        yield member


def _zip_members(content: bytes, budget: Budget) -> Iterator[Member]:
    # 46 bytes a record at least; reading hundreds of thousands of them would take the memory of the worker
    if content.count(b"PK\x01\x02") > 2 * MAX_ENTRIES:
        raise ToolError("limit", f"it has more than {MAX_ENTRIES} entries")
    archive = zipfile.ZipFile(io.BytesIO(content))
    for info in archive.infolist():
        mode = stat.S_IFMT(info.external_attr >> 16)
        kind: Kind = "file" if mode in (0, stat.S_IFREG) else "link" if stat.S_ISLNK(mode) else "special"
        if info.is_dir():
            kind = "folder"
        read = _zip_reader(archive, info, budget)
        yield Member(info.orig_filename, kind, info.file_size, info.compress_size, read)


def _zip_reader(archive: zipfile.ZipFile, info: zipfile.ZipInfo, budget: Budget) -> Callable[[], bytes]:
    def read() -> bytes:
        if info.flag_bits & 1:
            raise ToolError("tool_error", f"member {info.filename!r} is encrypted")
        if info.compress_type not in _ZIP_METHODS:
            raise ToolError("tool_error", f"member {info.filename!r} is packed by an unknown method")
        with archive.open(info) as file:
            return budget.read(file)

    return read


def _tar_members(content: bytes, budget: Budget) -> Iterator[Member]:
    method = method_of(content)
    plain = _expand(content, method, Budget(len(content))) if method else content
    archive = tarfile.TarFile(fileobj=io.BytesIO(plain))
    while (info := archive.next()) is not None:
        kind: Kind = "file" if info.isreg() else "folder" if info.isdir() else "link" if _is_link(info) else "special"
        name = info.name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        yield Member(name, kind, info.size, None, _tar_reader(archive, info, budget))
    if plain[archive.offset : archive.offset + tarfile.BLOCKSIZE].strip(b"\0"):
        raise tarfile.ReadError("an entry has a wrong header")  # tarfile takes it for the end


def _is_link(info: tarfile.TarInfo) -> bool:
    return info.issym() or info.islnk()


def _tar_reader(archive: tarfile.TarFile, info: tarfile.TarInfo, budget: Budget) -> Callable[[], bytes]:
    def read() -> bytes:
        file = archive.extractfile(info)
        return budget.read(file) if file else b""

    return read


def decompress(content: bytes) -> bytes:
    """Unpack one compressed file; use it within ``damage``.

    Raises:
        ToolError: it is not compressed, or too much comes out.
    """
    method = method_of(content)
    if method is None:
        raise ToolError("tool_error", "it is compressed neither by gzip nor by bz2 nor by xz")
    return _expand(content, method, Budget(len(content)))


def _expand(content: bytes, method: Method, budget: Budget) -> bytes:
    if method == "xz":
        return _expand_xz(content, budget)
    file = io.BytesIO(content)
    with gzip.GzipFile(fileobj=file) if method == "gzip" else bz2.BZ2File(file) as stream:
        return budget.read(stream)


def _expand_xz(content: bytes, budget: Budget) -> bytes:
    """As ``lzma.decompress``, which cannot be told how much memory a hostile file may ask for."""
    chunks = []
    while content:
        stream = lzma.LZMADecompressor(memlimit=_XZ_MEMORY_BYTES)
        while not stream.eof:
            chunks.append(stream.decompress(content, _CHUNK))
            budget.take(len(chunks[-1]))
            content = b""
            if stream.needs_input and not stream.eof:
                raise EOFError("it ends too early")
        content = stream.unused_data.lstrip(b"\0")
    return b"".join(chunks)


def compress(content: bytes, method: Method) -> bytes:
    """Compress one file; the bytes depend on nothing else."""
    if method == "gzip":
        return gzip.compress(content, mtime=_TIME_1980)
    return bz2.compress(content) if method == "bz2" else lzma.compress(content, preset=2)


def pack(members: Mapping[str, bytes], archive_format: Format) -> bytes:
    """Make an archive of files; the bytes depend on nothing else."""
    if archive_format == "zip":
        return _pack_zip(members)
    plain = _pack_tar(members)
    methods: dict[str, Method] = {"tar.gz": "gzip", "tar.bz2": "bz2", "tar.xz": "xz"}
    return compress(plain, methods[archive_format]) if archive_format in methods else plain


def _pack_zip(members: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.compress_type, info.create_system, info.external_attr = zipfile.ZIP_DEFLATED, 3, 0o100644 << 16
            archive.writestr(info, content)
    return out.getvalue()


def _pack_tar(members: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.mode = len(content), _TIME_1980, 0o644
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()
