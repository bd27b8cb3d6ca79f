"""What is in the files of an environment: lines, matches, differences, checksums and bytes."""

import difflib
import hashlib
import re
import zlib
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, Len

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.toolbox.file_kinds import TextEncoding, encoding_of
from mcpserver.toolbox.file_sets import files_at, read_plain
from mcpserver.toolbox.globs import matches_glob
from mcpserver.toolbox.regular import compile_pattern
from mcpserver.toolbox.results import clip, page, part

MAX_DIFF_LINES = 5000

Line = Annotated[int, Ge(1), Le(10_000_000)]
Few = Annotated[int, Ge(0), Le(10)]
Paths = Annotated[list[str], Len(1, 50)]
Method = Literal["md5", "sha1", "sha256", "sha512", "crc32"]


def read_lines(context: Context, path: str, first: Line = 1, last: Line | None = None) -> dict[str, Any]:
    """Read some lines of a text file.

    Args:
        path: file path
        first: number of the first line
        last: number of the last line; left out, as many as fit

    Example:
        {"path": "logs/server.log", "first": 11, "last": 20}
    """
    lines = _lines(context, path)
    if first > max(1, len(lines)) or (last is not None and last < first):
        raise ToolError(
            "bad_arguments", f"first: {path!r} has {len(lines)} lines; there are no lines {first} to {last}"
        )
    wanted = [clip(line) for line in lines[first - 1 : last]]
    shown = page("lines", wanted, limit=1000)
    end = {"next_line": first + shown["next_offset"]} if "next_offset" in shown else {}
    return {"lines": shown["lines"], "first": first, "total_lines": len(lines), **end}


def read_end(
    context: Context, path: str, end: Literal["head", "tail"] = "tail", lines: Annotated[int, Ge(1), Le(200)] = 10
) -> dict[str, Any]:
    """Read the first or the last lines of a text file.

    Args:
        path: file path
        end: head for the first lines, tail for the last
        lines: how many

    Example:
        {"path": "logs/server.log", "end": "tail", "lines": 5}
    """
    found = _lines(context, path)
    wanted = found[:lines] if end == "head" else found[-lines:]
    shown = page("lines", [clip(line) for line in wanted], limit=lines)["lines"]
    return {"lines": shown, "total_lines": len(found)}


def _lines(context: Context, path: str, parameter: str = "path") -> list[str]:
    """The lines of a text file in whatever encoding, without their ends."""
    lines = _text(context.files.read_bytes(path, parameter), path, parameter).split("\n")
    return [line.removesuffix("\r") for line in (lines[:-1] if lines[-1] == "" else lines)]


def _text(content: bytes, path: str, parameter: str) -> str:
    encoding = encoding_of(content)
    if encoding is None:
        raise ToolError("tool_error", f"{parameter}: {path!r} is no text file")
    return content.decode(encoding)


def grep_files(
    context: Context,
    pattern: Annotated[str, Len(1, 500)],
    path: str = "",
    mode: Literal["text", "word", "regex"] = "text",
    ignore_case: bool = False,
    names: Annotated[str, Len(1, 200)] = "*",
    before: Few = 0,
    after: Few = 0,
    limit: Annotated[int, Ge(1), Le(200)] = 30,
) -> dict[str, Any]:
    """Search lines in a file or in all text files of a folder, with the lines around.

    Args:
        pattern: what to search
        path: file or folder; empty for all files
        mode: text as it stands, a whole word, or a regular expression (Python)
        ignore_case: whether upper and lower case are the same
        names: which files, by a pattern for their name such as *.log
        before: lines to show before each match
        after: lines to show after each match
        limit: how many matches to show at most

    Example:
        {"pattern": "ERROR", "path": "logs/server.log", "after": 1}
        {"pattern": "price|limit", "path": "contracts", "mode": "regex", "ignore_case": true}
    """
    search = _searcher(pattern, mode, ignore_case)
    matches: list[dict[str, Any]] = []
    total = searched = 0
    for name, found in files_at(context.files, path).items():
        content = read_plain(context.files, found) if matches_glob(name.rpartition("/")[2], names) else b"\0"
        if (encoding := encoding_of(content)) is None:
            continue
        context.check_deadline()
        searched += 1
        lines = content.decode(encoding).split("\n")
        for index in (index for index, line in enumerate(lines) if search(line)):
            total += 1
            if len(matches) < limit:
                matches.append({"path": name, "line": index + 1, **_around(lines, index, before, after)})
    shown = page("matches", matches, limit=limit)["matches"]
    return {"matches": shown, "total": total, "files_searched": searched}


def _searcher(pattern: str, mode: str, ignore_case: bool) -> Callable[[str], object]:
    if mode == "text":
        wanted = pattern.casefold() if ignore_case else pattern
        return lambda line: wanted in (line.casefold() if ignore_case else line)
    expression = pattern if mode == "regex" else rf"(?<!\w){re.escape(pattern)}(?!\w)"
    return compile_pattern(expression, re.IGNORECASE if ignore_case else 0).search


def _around(lines: list[str], index: int, before: int, after: int) -> dict[str, Any]:
    shown: dict[str, Any] = {"text": clip(lines[index].rstrip("\r"))}
    if before:
        shown["before"] = [clip(line) for line in lines[max(0, index - before) : index]]
    if after:
        shown["after"] = [clip(line) for line in lines[index + 1 : index + 1 + after]]
    return shown


def compare_files(
    context: Context, first: str, second: str, around: Few = 3, ignore: Literal["nothing", "space", "case"] = "nothing"
) -> dict[str, Any]:
    """Show the differences between two text files as a unified diff.

    Args:
        first: the old file
        second: the new file
        around: how many equal lines to show around each difference
        ignore: differences that do not count

    Example:
        {"first": "reports/2025-01.md", "second": "reports/2025-02.md"}
    """
    one, two = _lines(context, first, "first"), _lines(context, second, "second")
    if max(len(one), len(two)) > MAX_DIFF_LINES:
        raise ToolError("limit", f"first, second: at most {MAX_DIFF_LINES} lines are compared")
    one, two = ([_without(line, ignore) for line in lines] for lines in (one, two))
    lines = list(difflib.unified_diff(one, two, first, second, n=around, lineterm=""))
    signs = [line[:1] for line in lines[2:]]
    text = "\n".join(clip(line) for line in lines)
    return {"same": not lines, "added": signs.count("+"), "removed": signs.count("-"), **part(text)}


def _without(line: str, ignore: str) -> str:
    if ignore == "case":
        return line.casefold()
    return " ".join(line.split()) if ignore == "space" else line


def count_in_files(context: Context, paths: Paths) -> dict[str, Any]:
    """Count the lines, words, characters and bytes of text files.

    Args:
        paths: files or folders

    Example:
        {"paths": ["notes", "text/poem.txt"]}
    """
    rows: list[dict[str, Any]] = []
    for path in paths:
        for name, found in files_at(context.files, path, "paths").items():
            content = read_plain(context.files, found)
            if encoding := encoding_of(content):
                text = content.decode(encoding)
                lines = text.count("\n") + (not text.endswith("\n") and text != "")
                counts = {"lines": lines, "words": len(text.split()), "characters": len(text), "bytes": len(content)}
                rows.append({"path": name, **counts})
    sums = {key: sum(row[key] for row in rows) for key in ("lines", "words", "characters", "bytes")}
    return {"sum": sums, **page("files", rows)}


def checksum_files(context: Context, paths: Paths, method: Method = "sha256") -> dict[str, Any]:
    """Compute the checksums of files.

    Args:
        paths: files or folders
        method: kind of checksum

    Example:
        {"paths": ["config/desk.json", "prices"], "method": "md5"}
    """
    found = {name: file for path in paths for name, file in files_at(context.files, path, "paths").items()}
    rows = [
        {"path": name, "checksum": _checksum(read_plain(context.files, file), method)} for name, file in found.items()
    ]
    return {"method": method, **page("checksums", rows)}


def verify_checksums(
    context: Context,
    expected: Annotated[dict[str, Annotated[str, Len(8, 128)]], Len(1, 50)],
    method: Method = "sha256",
) -> dict[str, Any]:
    """Check files against the checksums that they should have.

    Args:
        expected: checksum in hexadecimal digits by file path
        method: kind of checksum

    Example:
        {"expected": {"config/desk.json": "00000000"}, "method": "crc32"}
    """
    rows = []
    for path, checksum in expected.items():
        if not context.files.resolve(path, "expected").is_file():
            rows.append({"path": path, "status": "missing"})
            continue
        actual = _checksum(context.files.read_bytes(path, "expected"), method)
        rows.append({"path": path, "status": "ok" if actual == checksum.strip().lower() else "different"})
    return {"all_ok": all(row["status"] == "ok" for row in rows), "files": rows}


def _checksum(content: bytes, method: Method) -> str:
    if method == "crc32":
        return f"{zlib.crc32(content):08x}"
    return hashlib.new(method, content, usedforsecurity=False).hexdigest()


def detect_encoding(context: Context, path: str) -> dict[str, Any]:
    """Tell the encoding, byte order mark, line ends and non-ASCII characters of a text file.

    Args:
        path: file path

    Example:
        {"path": "text/german.txt"}
    """
    content = context.files.read_bytes(path)
    encoding: TextEncoding | None = encoding_of(content)
    if encoding is None:
        return {"path": path, "encoding": "binary"}
    text = content.decode(encoding)
    ends = {"crlf": text.count("\r\n"), "lf": text.count("\n") - text.count("\r\n")}
    ends["cr"] = text.count("\r") - ends["crlf"]
    strange = sorted({character for character in text if ord(character) > 127})
    return {
        "path": path,
        "encoding": encoding,
        "byte_order_mark": encoding in ("utf-8-sig", "utf-16"),
        "line_ends": {name: count for name, count in ends.items() if count},
        "ends_with_newline": text.endswith("\n"),
        "non_ascii": "".join(strange[:50]),
    }


def dump_bytes(
    context: Context, path: str, offset: Annotated[int, Ge(0)] = 0, length: Annotated[int, Ge(1), Le(1024)] = 128
) -> dict[str, Any]:
    """Show bytes of a file in hexadecimal digits.

    Args:
        path: file path
        offset: where to begin, in bytes
        length: how many bytes

    Example:
        {"path": "images/logo.png", "offset": 0, "length": 32}
    """
    content = context.files.read_bytes(path)
    if offset > len(content):
        raise ToolError("bad_arguments", f"offset: {path!r} has only {len(content)} bytes")
    return {"total_bytes": len(content), "dump": list(_dump(content[offset : offset + length], offset))}


def _dump(content: bytes, offset: int) -> Iterator[str]:
    for start in range(0, len(content), 16):
        row = content[start : start + 16]
        shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        yield f"{offset + start:08x}  {row.hex(' '):<47}  {shown}"
