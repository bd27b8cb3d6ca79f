"""What a file is, by its first bytes rather than by its name. Reads and writes nothing.

Signatures as in the formats' own specifications; a text is told apart by its encoding.
"""

import codecs
from typing import Literal

TextEncoding = Literal["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252", "latin-1", "ascii"]

_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"SQLite format 3\0", "sqlite"),
    (0, b"\x89PNG\r\n\x1a\n", "png"),
    (0, b"\xff\xd8\xff", "jpeg"),
    (0, b"GIF87a", "gif"),
    (0, b"GIF89a", "gif"),
    (0, b"II*\0", "tiff"),
    (0, b"MM\0*", "tiff"),
    (0, b"%PDF-", "pdf"),
    (0, b"PAR1", "parquet"),
    (0, b"\x1f\x8b\x08", "gzip"),
    (0, b"BZh", "bzip2"),
    (0, b"\xfd7zXZ\0", "xz"),
    (0, b"\x28\xb5\x2f\xfd", "zstandard"),
    (0, b"7z\xbc\xaf\x27\x1c", "7z"),
    (0, b"\x7fELF", "elf"),
    (257, b"ustar", "tar"),
    (8, b"WEBP", "webp"),
    (8, b"WAVE", "wav"),
    (0, b"BM", "bmp"),
    (0, b"{\\rtf", "rtf"),
)
_ZIPPED = ((b"word/", "docx"), (b"xl/", "xlsx"), (b"ppt/", "pptx"), (b"META-INF/container.xml", "epub"))
_MARKUP = (
    ("<?xml", "xml"),
    ("<!doctype html", "html"),
    ("<html", "html"),
    ("<svg", "svg"),
    ("begin:vcalendar", "icalendar"),
    ("begin:vcard", "vcard"),
    ("#!", "script"),
)


def kind_of(content: bytes) -> str:
    """The kind of a file in one word: a format such as ``png``, else ``text``, ``empty`` or ``binary``."""
    if not content:
        return "empty"
    if content.startswith(b"PK\x03\x04") or content.startswith(b"PK\x05\x06"):
        return next((kind for mark, kind in _ZIPPED if mark in content), "zip")
    for offset, signature, kind in _SIGNATURES:
        if content.startswith(signature, offset):
            return kind
    if encoding_of(content) is None:
        return "binary"
    beginning = content[:100].decode("latin-1").lstrip("\ufeff\u00ef\u00bb\u00bf \t\r\n").lower()
    return next((kind for mark, kind in _MARKUP if beginning.startswith(mark)), "text")


def encoding_of(content: bytes) -> TextEncoding | None:
    """The encoding of a text, or nothing for what is no text.

    A byte order mark decides; then what is valid UTF-8; then the zeros of UTF-16 in Latin script; else a
    single-byte encoding, unless control characters show that it is none.
    """
    if content.startswith(codecs.BOM_UTF8) and decodes(content, "utf-8-sig"):
        return "utf-8-sig"
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16" if decodes(content, "utf-16") else None
    if b"\0" in content:
        return _utf16(content)
    if _controls(content) * 100 > len(content):
        return None
    if content.isascii():
        return "ascii"
    for encoding in ("utf-8", "cp1252"):
        if decodes(content, encoding):
            return "utf-8" if encoding == "utf-8" else "cp1252"
    return "latin-1"


def _controls(content: bytes) -> int:
    return sum(content.count(byte) for byte in range(32) if byte not in b"\t\n\r\f\b\x1b")


def _utf16(content: bytes) -> TextEncoding | None:
    low, high = content[0::2], content[1::2]
    if len(content) % 2 or low.count(0) == high.count(0):
        return None
    little = high.count(0) > low.count(0)
    zeros = max(low.count(0), high.count(0))
    if zeros * 5 < len(low) * 4 or not decodes(content, "utf-16-le" if little else "utf-16-be"):
        return None
    return "utf-16-le" if little else "utf-16-be"


def decodes(content: bytes, encoding: str) -> bool:
    """Whether bytes are a text in an encoding."""
    try:
        content.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True
