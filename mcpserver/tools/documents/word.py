"""Reading Word documents (.docx): text, structure, tables, properties."""

from typing import Annotated, Any, Literal

from annotated_types import Ge, Le

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.toolbox.formats import parsing, readable
from mcpserver.tools.documents._blocks import FilePath
from mcpserver.tools.documents._markdown import to_markdown
from mcpserver.tools.documents._word import open_word, read_blocks, table_rows
from toolwright.words import cut

MAX_TEXT = 9000


def word_info(context: Context, path: FilePath) -> dict[str, Any]:
    """Say title, author, words, headings, tables and pictures of a Word document.

    Args:
        path: .docx file

    Example:
        {"path": "docs/handbook.docx"}
    """
    document = open_word(context, path)
    blocks = read_blocks(document, path)
    with parsing("path", path, "Word document (.docx)"):
        properties = document.core_properties
        names = ("title", "author", "subject", "keywords", "category", "last_modified_by")
        found = {name: cut(readable(str(getattr(properties, name))), 200) for name in names}
        dates = {name: str(getattr(properties, name) or "") for name in ("created", "modified")}
        pictures = len(document.inline_shapes)
    kinds = [block["kind"] for block in blocks]
    words = sum(len(_text(block).split()) for block in blocks)
    return {
        **{"path": path, "words": words, "headings": kinds.count("heading"), "tables": kinds.count("table")},
        **{"pictures": pictures, "properties": {name: value for name, value in (found | dates).items() if value}},
    }


def word_read(
    context: Context,
    path: FilePath,
    offset: Annotated[int, Ge(0), Le(100_000)] = 0,
    limit: Annotated[int, Ge(1), Le(200)] = 50,
) -> dict[str, Any]:
    """Read a Word document as headings, paragraphs, lists and tables.

    Args:
        path: .docx file
        offset: blocks to leave out
        limit: most blocks to give

    Example:
        {"path": "docs/handbook.docx"}
        {"path": "docs/offer.docx", "offset": 2, "limit": 3}
    """
    blocks = read_blocks(open_word(context, path), path)
    given: list[Any] = []
    left = MAX_TEXT
    for block in blocks[offset : offset + limit]:
        left -= len(str(block))
        if left < 0 and given:
            break
        given.append(block if left >= 0 else {"kind": block["kind"], "text": cut(_text(block), MAX_TEXT)})
    end = offset + len(given)
    more = {"next_offset": end} if end < len(blocks) else {}
    return {"blocks": given, "total": len(blocks), **more}


def word_outline(context: Context, path: FilePath) -> dict[str, Any]:
    """List the headings of a Word document.

    Args:
        path: .docx file

    Example:
        {"path": "docs/handbook.docx"}
    """
    blocks = read_blocks(open_word(context, path), path)
    headings = [
        {"level": block.get("level", 1), "text": cut(block["text"], 120), "block": number}
        for number, block in enumerate(blocks)
        if block["kind"] == "heading"
    ]
    return {"headings": headings[:150], "total": len(headings)}


def word_tables(
    context: Context,
    path: FilePath,
    table: Annotated[int, Ge(1), Le(1000)] | Literal["all"] = "all",
    limit: Annotated[int, Ge(1), Le(200)] = 50,
) -> dict[str, Any]:
    """Read the tables of a Word document as rows.

    Args:
        path: .docx file
        table: its number from 1, or all
        limit: most rows to give of each

    Example:
        {"path": "docs/offer.docx"}
        {"path": "docs/minutes.docx", "table": 1, "limit": 5}
    """
    document = open_word(context, path)
    with parsing("path", path, "Word document (.docx)"):
        tables = [table_rows(found) for found in document.tables]
    if table != "all" and table > len(tables):
        raise ToolError("bad_arguments", f"table: {table}, but {path!r} has {len(tables)}")
    wanted = range(1, len(tables) + 1) if table == "all" else [table]
    given = []
    for number in list(wanted)[:20]:
        rows = [[cut(cell, 200) for cell in row[:20]] for row in tables[number - 1]]
        given.append({"table": number, "rows": rows[:limit], "total_rows": len(rows)})
    return {"tables": given, "total": len(tables)}


def word_to_markdown(context: Context, path: FilePath, save_as: FilePath | None = None) -> dict[str, Any]:
    """Turn a Word document into Markdown.

    Args:
        path: .docx file
        save_as: file to write, left out to get the text only

    Example:
        {"path": "docs/minutes.docx"}
        {"path": "docs/handbook.docx", "save_as": "docs/handbook.md"}
    """
    text = to_markdown(read_blocks(open_word(context, path), path))
    if save_as is not None:
        context.files.write(save_as, text.encode(), "save_as")
        return {"path": save_as, "characters": len(text)}
    return {"text": cut(text, MAX_TEXT), "characters": len(text)}


def _text(block: Any) -> str:
    if block["kind"] == "table":
        return "\n".join(" ".join(row) for row in block["rows"])
    return "\n".join(block["items"]) if block["kind"] == "list" else str(block["text"])
