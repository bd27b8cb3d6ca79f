"""Writing Word documents (.docx): made from Markdown or blocks, texts replaced, tables edited."""

from typing import TYPE_CHECKING, Annotated, Any, Literal, NotRequired

from annotated_types import Ge, Le, Len
from typing_extensions import TypedDict

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.toolbox.formats import encode, parsing, readable
from mcpserver.tools.documents._blocks import Cell, Content, FilePath, Words, to_blocks
from mcpserver.tools.documents._word import SavedWord, add_blocks, open_word, save_word

if TYPE_CHECKING:
    from docx.document import Document

Title = Annotated[str, Len(0, 200)]
Index = Annotated[int, Ge(1), Le(1000)]


class Replacement(TypedDict):
    """A text and what comes in its place."""

    find: Annotated[str, Len(1, 500)]
    replace: Words


class Properties(TypedDict):
    """What a document says of itself."""

    title: NotRequired[Title]
    author: NotRequired[Title]
    subject: NotRequired[Title]
    keywords: NotRequired[Title]
    category: NotRequired[Title]


class SetCell(TypedDict):
    """Write a cell; row and column count from 1."""

    do: Literal["set_cell"]
    row: Index
    column: Index
    text: Cell


class AddRow(TypedDict):
    """Add a row at the end."""

    do: Literal["add_row"]
    cells: Annotated[list[Cell], Len(1, 60)]


class DeleteRow(TypedDict):
    """Delete a row, counted from 1."""

    do: Literal["delete_row"]
    row: Index


def word_create(context: Context, save_as: FilePath, content: Content, title: Title = "") -> SavedWord:
    """Make a Word document from Markdown or from headings, paragraphs, lists and tables.

    Args:
        save_as: .docx file to write
        content: Markdown text, or blocks
        title: in the file's properties

    Example:
        {"save_as": "docs/note.docx", "content": "# Note\\n\\nThe pump is *fixed*.\\n\\n- tested\\n- cleaned"}
        {"save_as": "docs/stock.docx", "title": "Stock", "content": [{"kind": "heading", "text": "Stock", "level": 1},
         {"kind": "table", "rows": [["sku", "units"], ["P-101", "12"]]}]}
    """
    from docx import Document

    blocks, document = to_blocks(content), Document()
    encode(title, "title")
    with parsing("content", save_as, "text for a Word document"):
        properties = document.core_properties
        properties.author, properties.comments, properties.title = "", "", readable(title)
        properties.created = properties.modified = context.now
        add_blocks(document, blocks)
    return save_word(context, document, save_as)


def word_append(context: Context, path: FilePath, content: Content, save_as: FilePath | None = None) -> SavedWord:
    """Add headings, paragraphs, lists and tables to the end of a Word document.

    Args:
        path: .docx file
        content: Markdown text, or blocks
        save_as: .docx file to write, default the file itself

    Example:
        {"path": "docs/minutes.docx", "content": "## Next meeting\\n\\nMonday at nine."}
        {"path": "docs/minutes.docx", "content": [{"kind": "list", "items": ["Call the supplier"], "ordered": true}]}
    """
    document, blocks = open_word(context, path), to_blocks(content)
    with parsing("path", path, "Word document (.docx)"):
        add_blocks(document, blocks)
    return save_word(context, document, save_as or path)


def word_replace_text(
    context: Context,
    path: FilePath,
    replacements: Annotated[list[Replacement], Len(1, 50)],
    save_as: FilePath | None = None,
) -> dict[str, Any]:
    """Replace texts in a Word document, in tables too, keeping the format.

    Args:
        path: .docx file
        replacements: texts with what comes in their place, one after the other
        save_as: .docx file to write, default the file itself

    Example:
        {"path": "docs/offer.docx", "replacements": [{"find": "Offer", "replace": "Quotation"}]}
    """
    from docx.oxml.ns import qn
    from docx.text.paragraph import Paragraph

    document, counts = open_word(context, path), []
    for number, pair in enumerate(replacements):
        encode(pair["replace"], f"replacements[{number}].replace")
        with parsing("path", path, "Word document (.docx)"):
            paragraphs = [Paragraph(element, document) for element in document.element.body.iter(qn("w:p"))]
            counts.append(sum(_replace(found, pair["find"], readable(pair["replace"])) for found in paragraphs))
    if not any(counts):
        raise ToolError("tool_error", f"replacements: none of the {len(counts)} texts is in {path!r}")
    return {**save_word(context, document, save_as or path), "replaced": counts}


def word_edit_table(
    context: Context,
    path: FilePath,
    edits: Annotated[list[SetCell | AddRow | DeleteRow], Len(1, 100)],
    table: Index = 1,
    save_as: FilePath | None = None,
) -> SavedWord:
    """Set cells and add or delete rows of a table in a Word document.

    Args:
        path: .docx file
        edits: what to do, one after the other
        table: its number from 1
        save_as: .docx file to write, default the file itself

    Example:
        {"path": "docs/offer.docx", "edits": [{"do": "set_cell", "row": 2, "column": 1, "text": "Hydra 80"},
         {"do": "add_row", "cells": ["Delivery", "1"]}]}
    """
    document = open_word(context, path)
    with parsing("path", path, "Word document (.docx)"):
        tables = list(document.tables)
    if table > len(tables):
        raise ToolError("bad_arguments", f"table: {table}, but {path!r} has {len(tables)}")
    for number, edit in enumerate(edits):
        with parsing("path", path, "Word document (.docx)"):
            _edit(tables[table - 1], edit, f"edits[{number}]")
    return save_word(context, document, save_as or path)


def word_set_properties(
    context: Context, path: FilePath, properties: Properties, save_as: FilePath | None = None
) -> SavedWord:
    """Set title, author, subject, keywords or category of a Word document.

    Args:
        path: .docx file
        properties: what to set; the rest stays
        save_as: .docx file to write, default the file itself

    Example:
        {"path": "docs/offer.docx", "properties": {"title": "Offer 2025-117", "author": "Sales"}}
    """
    if not properties:
        raise ToolError("bad_arguments", "properties: give title, author, subject, keywords or category")
    document: Document = open_word(context, path)
    for name, value in properties.items():
        encode(str(value), f"properties.{name}")
        with parsing("path", path, "Word document (.docx)"):
            setattr(document.core_properties, name, readable(str(value)))
    return save_word(context, document, save_as or path)


def _replace(paragraph: Any, find: str, replace: str) -> int:
    """Replace a text that may begin in one run (a stretch of one format) and end in another; gives how often."""
    runs, places = paragraph.runs, []
    whole = "".join(run.text for run in runs)
    at = whole.find(find)
    while at >= 0:
        places.append(at)
        at = whole.find(find, at + len(find))
    for place in reversed(places):
        start, first = 0, True
        for run in runs:
            text = run.text
            low, high = max(place, start), min(place + len(find), start + len(text))
            if low < high:
                run.text = text[: low - start] + (replace if first else "") + text[high - start :]
                first = False
            start += len(text)
    return len(places)


def _edit(table: Any, edit: SetCell | AddRow | DeleteRow, where: str) -> None:
    from docx.table import _Cell

    rows = table._tbl.tr_lst
    if edit["do"] != "add_row" and edit["row"] > len(rows):
        raise ToolError("bad_arguments", f"{where}.row: {edit['row']}, but the table has {len(rows)}")
    if edit["do"] == "delete_row":
        table._tbl.remove(rows[edit["row"] - 1])
        return
    if edit["do"] == "add_row":
        table.add_row()
        row, texts = table._tbl.tr_lst[-1], dict(enumerate(edit["cells"], 1))
    else:
        row, texts = rows[edit["row"] - 1], {edit["column"]: edit["text"]}
    cells = row.tc_lst
    if max(texts) > len(cells):
        raise ToolError("bad_arguments", f"{where}: {max(texts)} cells, but the row has {len(cells)}")
    for column, text in texts.items():
        encode(text, where)
        _Cell(cells[column - 1], table).text = readable(text)
