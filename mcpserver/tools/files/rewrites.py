"""Text files written anew: merged, split, sorted, converted to another encoding."""

import base64
import binascii
import re
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, Len

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.toolbox.file_kinds import decodes, encoding_of
from mcpserver.toolbox.file_sets import write_all
from mcpserver.toolbox.natural import natural_key
from mcpserver.toolbox.patches import split_lines
from mcpserver.workspace import MAX_FILE_BYTES

Encoding = Literal["utf-8", "utf-8-sig", "utf-16", "latin-1", "cp1252", "ascii"]
Step = Literal[
    "strip", "drop_empty", "unique", "sort", "sort_naturally", "sort_by_length", "reverse", "lower", "number"
]


def merge_files(
    context: Context,
    sources: Annotated[list[str], Len(2, 50)],
    target: str,
    separator: Annotated[str, Len(0, 200)] = "",
) -> dict[str, Any]:
    """Write several files one after the other into one.

    Args:
        sources: files to merge, in order
        target: file to write; it is replaced if it exists
        separator: line to put between the files; empty for none

    Example:
        {"sources": ["reports/2025-01.md", "reports/2025-02.md"], "target": "reports/merged.md", "separator": "---"}
    """
    parts = [context.files.read_bytes(path, "sources") for path in sources]
    if sum(map(len, parts)) > MAX_FILE_BYTES:
        raise ToolError("limit", f"sources: together they have more than {MAX_FILE_BYTES} bytes")
    between = separator.encode() + b"\n" if separator else b""
    ended = [part if part.endswith(b"\n") or not part else part + b"\n" for part in parts]
    content = between.join(ended)
    context.files.write(target, content, "target")
    return {"target": target, "files": len(parts), "bytes": len(content)}


def split_file(
    context: Context,
    path: str,
    lines_each: Annotated[int, Ge(1), Le(1_000_000)],
    header_lines: Annotated[int, Ge(0), Le(10)] = 0,
) -> dict[str, Any]:
    """Split a text file into files of some lines each.

    Args:
        path: file path; the parts are named after it, such as sales-1.csv
        lines_each: lines per part, without the header
        header_lines: lines at the beginning that every part repeats

    Example:
        {"path": "data/sales.csv", "lines_each": 100, "header_lines": 1}
    """
    lines = [f"{line}\n" for line in split_lines(context.files.read_text(path))]
    header, body = lines[:header_lines], lines[header_lines:]
    folder, slash, name = path.rpartition("/")
    stem, dot, extension = name.rpartition(".") if "." in name[1:] else (name, "", "")
    starts = range(0, len(body), lines_each)
    if len(starts) > 100:
        raise ToolError(
            "limit", f"lines_each: {len(starts)} parts would be made, at most 100 are; take more lines each"
        )
    contents = {
        f"{folder}{slash}{stem}-{number}{dot}{extension}": "".join(header + body[start : start + lines_each]).encode()
        for number, start in enumerate(starts, 1)
    }
    write_all(context.files, contents, overwrite=False)
    return {"parts": list(contents), "lines": len(lines)}


def rearrange_lines(
    context: Context, path: str, steps: Annotated[list[Step], Len(1, 9)], target: str | None = None
) -> dict[str, Any]:
    """Sort, filter or change the lines of a text file.

    Args:
        path: file path
        steps: done one after the other; sort_naturally puts item 2 before item 10
        target: file to write; left out, the file itself

    Example:
        {"path": "text/names.txt", "steps": ["strip", "drop_empty", "sort", "unique"]}
    """
    lines = before = [line.removesuffix("\r") for line in split_lines(context.files.read_text(path))]
    for step in steps:
        lines = _rearranged(lines, step)
    context.files.write(target or path, "".join(f"{line}\n" for line in lines).encode(), "target" if target else "path")
    return {"path": target or path, "lines_before": len(before), "lines": len(lines)}


def _rearranged(lines: list[str], step: Step) -> list[str]:
    match step:
        case "strip":
            return [line.strip() for line in lines]
        case "lower":
            return [line.lower() for line in lines]
        case "drop_empty":
            return [line for line in lines if line.strip()]
        case "unique":
            return list(dict.fromkeys(lines))
        case "reverse":
            return lines[::-1]
        case "number":
            return [f"{number} {line}" for number, line in enumerate(lines, 1)]
        case "sort":
            return sorted(lines)
        case "sort_naturally":
            return sorted(lines, key=natural_key)
        case "sort_by_length":
            return sorted(lines, key=len)


def convert_encoding(
    context: Context,
    path: str,
    encoding: Encoding = "utf-8",
    newline: Literal["keep", "lf", "crlf"] = "keep",
    source_encoding: Encoding | None = None,
) -> dict[str, Any]:
    """Convert the encoding or the line ends of a text file.

    Args:
        path: file path
        encoding: encoding to write
        newline: line ends to write
        source_encoding: encoding that the file has; left out, it is detected

    Example:
        {"path": "text/german.txt", "encoding": "utf-16", "newline": "crlf"}
    """
    content = context.files.read_bytes(path)
    source = source_encoding or encoding_of(content)
    if source is None or not decodes(content, source):
        raise ToolError("tool_error", f"path: {path!r} is no text in {source or 'any known encoding'}")
    text = content.decode(source)
    if newline != "keep":
        text = re.sub(r"\r\n|\r|\n", "\n" if newline == "lf" else "\r\n", text)
    try:
        # "utf-16" alone would follow the byte order of the machine
        new = b"\xff\xfe" + text.encode("utf-16-le") if encoding == "utf-16" else text.encode(encoding)
    except UnicodeEncodeError as error:
        raise ToolError(
            "tool_error", f"encoding: {encoding} has no {text[error.start]!r}, which {path!r} holds"
        ) from None
    context.files.write(path, new)
    return {"path": path, "from": source, "to": encoding, "bytes": len(new)}


def convert_base64(
    context: Context, path: str, target: str, direction: Literal["encode", "decode"] = "encode"
) -> dict[str, Any]:
    """Write a file as Base64 text, or back.

    Args:
        path: file to read
        target: file to write
        direction: encode makes a Base64 text, decode reads one

    Example:
        {"path": "images/logo.png", "target": "images/logo.b64", "direction": "encode"}
    """
    content = context.files.read_bytes(path)
    if direction == "encode":
        new = base64.encodebytes(content)
    else:
        try:
            new = base64.b64decode(b"".join(content.split()), validate=True)
        except binascii.Error as error:
            raise ToolError("tool_error", f"path: {path!r} holds no Base64 ({error})") from None
    context.files.write(target, new, "target")
    return {"target": target, "bytes": len(new)}
