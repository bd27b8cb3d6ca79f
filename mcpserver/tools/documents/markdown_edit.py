"""Changing Markdown files: sections, contents, tables."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, Len

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.toolbox.formats import encode, readable
from mcpserver.tools.documents._blocks import Cell, FilePath, MarkdownText, parse_markdown
from mcpserver.tools.documents._markdown import table_lines
from mcpserver.tools.documents._sections import find_section, read_markdown, sections
from toolwright.words import nearest

Heading = Annotated[str, Len(1, 300)]
_BEGIN, _END = "<!-- contents -->", "<!-- end of contents -->"


def markdown_edit_section(
    context: Context,
    path: FilePath,
    heading: Heading,
    mode: Literal["replace", "append", "insert_before", "insert_after", "delete"],
    text: MarkdownText | None = None,
    save_as: FilePath | None = None,
) -> dict[str, Any]:
    """Replace, extend, surround or delete a section of a Markdown file.

    Args:
        path: .md file
        heading: title or anchor of the section
        mode: replace its body, append to it, put text before or after it, or delete it
        text: Markdown; not for delete
        save_as: file to write, default the file itself

    Example:
        {"path": "docs/guide.md", "heading": "Keys", "mode": "append", "text": "Ask the help desk for more."}
        {"path": "docs/guide.md", "heading": "Keys", "mode": "insert_before", "text": "## Mouse\\n\\nClick."}
        {"path": "docs/guide.md", "heading": "Keys", "mode": "delete"}
    """
    if (text is None) != (mode == "delete"):
        raise ToolError("bad_arguments", f"text: {'not for delete' if text is not None else f'is needed to {mode}'}")
    whole = read_markdown(context, path)
    section, lines = find_section(whole, heading, path), whole.split("\n")
    encode(text or "")
    new = (text or "").replace("\r\n", "\n").strip("\n").split("\n") if text else []
    before, body, after = lines[: section.start], lines[section.start : section.end], lines[section.end :]
    head = body[: section.body - section.start]
    changed = {
        "replace": [*before, *head, "", *new, "", *after],
        "append": [*before, *_stripped(body), "", *new, "", *after],
        "insert_before": [*before, *new, "", *body, *after],
        "insert_after": [*before, *_stripped(body), "", *new, "", *after],
        "delete": [*before, *after],
    }[mode]
    return _write(context, save_as or path, "\n".join(changed)) | {"section": section.title}


def markdown_add_contents(
    context: Context,
    path: FilePath,
    max_level: Annotated[int, Ge(2), Le(6)] = 3,
    title: Annotated[str, Len(0, 100)] = "Contents",
    save_as: FilePath | None = None,
) -> dict[str, Any]:
    """Put a table of contents below the first heading of a Markdown file, or bring an old one up to date.

    Args:
        path: .md file
        max_level: deepest headings in it
        title: in bold above it
        save_as: file to write, default the file itself

    Example:
        {"path": "docs/guide.md", "max_level": 2}
    """
    encode(title, "title")
    lines = read_markdown(context, path).split("\n")
    if _BEGIN in lines and _END in lines[lines.index(_BEGIN) :]:
        start = lines.index(_BEGIN)
        end = lines.index(_END, start)
        del lines[start : end + 2 if lines[end + 1 : end + 2] == [""] else end + 1]
    found = sections("\n".join(lines))
    if not found:
        raise ToolError("tool_error", f"path: {path!r} has no headings")
    entries = [
        f"{'  ' * (section.level - 2)}- [{section.title}](#{section.anchor})"
        for section in found
        if 2 <= section.level <= max_level
    ]
    contents = [_BEGIN, *([f"**{' '.join(title.split())}**", ""] if title.strip() else []), *entries, _END, ""]
    at = found[0].body if found[0].level == 1 else 0
    gap = [""] if at else []
    rest = lines[at + 1 :] if gap and lines[at : at + 1] == [""] else lines[at:]
    return _write(context, save_as or path, "\n".join([*lines[:at], *gap, *contents, *rest])) | {
        "entries": len(entries)
    }


def markdown_format_tables(context: Context, path: FilePath, save_as: FilePath | None = None) -> dict[str, Any]:
    """Make the columns of all tables of a Markdown file equally wide.

    Args:
        path: .md file
        save_as: file to write, default the file itself

    Example:
        {"path": "docs/guide.md"}
    """
    lines = read_markdown(context, path).split("\n")
    tables = _tables(lines)
    for table in reversed(tables):
        table.put(lines)
    return _write(context, save_as or path, "\n".join(lines)) | {"tables": len(tables)}


def markdown_add_row(
    context: Context,
    path: FilePath,
    row: Annotated[list[Cell], Len(1, 30)] | Annotated[dict[str, Cell], Len(1, 30)],
    table: Annotated[int, Ge(1), Le(1000)] = 1,
    place: Literal["last", "first"] = "last",
    save_as: FilePath | None = None,
) -> dict[str, Any]:
    """Add a row to a table of a Markdown file.

    Args:
        path: .md file
        row: cells in order, or cells by the name of their column
        table: its number from 1
        place: below or above the other rows
        save_as: file to write, default the file itself

    Example:
        {"path": "docs/guide.md", "row": ["F7", "Copy the order"]}
        {"path": "docs/guide.md", "row": {"Key": "F8"}, "place": "first"}
    """
    lines = read_markdown(context, path).split("\n")
    tables = _tables(lines)
    if table > len(tables):
        raise ToolError("bad_arguments", f"table: {table}, but {path!r} has {len(tables)}")
    found = tables[table - 1]
    header = found.rows[0]
    for name in row if isinstance(row, dict) else ():
        if name not in header:
            raise ToolError("bad_arguments", f"row: no column {name!r}{nearest(name, header)}")
    cells = [row.get(name, "") for name in header] if isinstance(row, dict) else list(row)
    if len(cells) > len(header):
        raise ToolError("bad_arguments", f"row: {len(cells)} cells, but the table has {len(header)} columns")
    for cell in cells:
        encode(cell, "row")
    found.rows.insert(1 if place == "first" else len(found.rows), list(map(readable, cells)))
    found.put(lines)
    return _write(context, save_as or path, "\n".join(lines)) | {"rows": len(found.rows) - 1}


@dataclass
class _Table:
    """A table in the lines from start to end: cells, header first, and the alignment of the columns."""

    start: int
    end: int
    rows: list[list[str]]
    align: list[str]

    def put(self, lines: list[str]) -> None:
        """Write the table back where it was."""
        lines[self.start : self.end] = table_lines(self.rows, self.align)


def _tables(lines: list[str]) -> list[_Table]:
    tables = []
    for token in parse_markdown("\n".join(lines)):
        if token.type == "table_open" and token.level == 0 and token.map:
            start = token.map[0]
            written = [_cells(line) for line in lines[start : token.map[1]] if line.strip()]
            width = len(written[0])
            rows = [row[:width] for row in (written[0], *written[2:])]
            tables.append(_Table(start, start + len(written), rows, [_side(mark) for mark in written[1]]))
    return tables


def _stripped(lines: list[str]) -> list[str]:
    """Lines without the empty ones at the end."""
    kept = list(lines)
    while kept and not kept[-1].strip():
        kept.pop()
    return kept


def _write(context: Context, path: str, text: str) -> dict[str, Any]:
    content = encode(text.rstrip("\n") + "\n")
    context.files.write(path, content, "save_as")
    return {"path": path, "bytes": len(content)}


def _cells(line: str) -> list[str]:
    """The cells of a line of a table; ``\\|`` is no border."""
    inner = line.strip().removeprefix("|")
    inner = inner[:-1] if inner.endswith("|") and not inner.endswith("\\|") else inner
    cells = [""]
    for place, letter in enumerate(inner):
        if letter == "|" and inner[place - 1 : place] != "\\":
            cells.append("")
        else:
            cells[-1] += letter
    return [cell.strip().replace("\\|", "|") for cell in cells]


def _side(mark: str) -> str:
    if mark.startswith(":") and mark.endswith(":"):
        return "center"
    return "left" if mark.startswith(":") else "right" if mark.endswith(":") else ""
