"""What the Word tools share: opening and writing, blocks read from a document and added to one."""

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from typing_extensions import TypedDict

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.toolbox.formats import check_zip, parsing, readable, same_zip
from mcpserver.tools.documents._blocks import (
    Block,
    CodeBlock,
    Heading,
    ListBlock,
    Paragraph,
    TableBlock,
)
from toolwright.words import shorten

if TYPE_CHECKING:
    from docx.document import Document

MAX_PARAGRAPHS = 20_000


class SavedWord(TypedDict):
    """A Word document that was written."""

    path: str
    blocks: int
    bytes: int


def open_word(context: Context, path: str, parameter: str = "path") -> "Document":
    """Open a Word document.

    Raises:
        ToolError: no .docx file, a broken one, or one that unpacks to too much.
    """
    from docx import Document

    content = context.files.read_bytes(path, parameter)
    check_zip(content, parameter, path, "Word document (.docx)")
    with parsing(parameter, path, "Word document (.docx)"):
        document = Document(io.BytesIO(content))
        if sum(1 for _ in document.element.body.iter()) > 20 * MAX_PARAGRAPHS:
            raise ToolError("limit", f"{parameter}: {path!r} has too many parts")
        return document


def save_word(context: Context, document: "Document", path: str, parameter: str = "save_as") -> SavedWord:
    """Write a Word document without the time of writing.

    Raises:
        ToolError: a name that does not end in .docx, or what cannot be written.
    """
    if not path.lower().endswith(".docx"):
        raise ToolError("bad_arguments", f"{parameter}: {shorten(path, 60)} must end in .docx")
    buffer = io.BytesIO()
    with parsing(parameter, path, "Word document that can be written"):
        document.save(buffer)
        content = same_zip(buffer.getvalue())
        blocks = sum(1 for _ in document.iter_inner_content())
    context.files.write(path, content, parameter)
    return SavedWord(path=path, blocks=blocks, bytes=len(content))


def read_blocks(document: "Document", path: str) -> list[Block]:
    """Headings, paragraphs, lists and tables in their order; empty paragraphs are left out.

    Raises:
        ToolError: a broken document.
    """
    with parsing("path", path, "Word document (.docx)"):
        return list(_merged(_blocks(document)))


def _blocks(document: "Document") -> Iterator[Block]:
    for item in document.iter_inner_content():
        if hasattr(item, "_tbl"):
            yield TableBlock(kind="table", rows=table_rows(item))
            continue
        text, style = readable(item.text).strip(), str(item.style.name if item.style is not None else "")
        if not text:
            continue
        if style == "Title" or style.startswith("Heading"):
            number = style.rpartition(" ")[2]
            yield Heading(kind="heading", text=text, level=min(6, int(number)) if number.isdecimal() else 1)
        elif style.startswith("List"):
            yield ListBlock(kind="list", items=[text], ordered="Number" in style)
        elif style.startswith(("Macro", "macro", "HTML Preformatted")):
            yield CodeBlock(kind="code", text=text)
        else:
            yield Paragraph(kind="paragraph", text=text)


def _merged(blocks: Iterator[Block]) -> Iterator[Block]:
    """Items of one list, which are paragraphs of their own in a document, become one block."""
    last: Block | None = None
    for block in blocks:
        if last is not None and last["kind"] == block["kind"] == "list" and last.get("ordered") == block.get("ordered"):
            last["items"] = [*last["items"], *block["items"]]
            continue
        if last is not None:
            yield last
        last = block
    if last is not None:
        yield last


def table_rows(table: Any) -> list[list[str]]:
    """The texts of a table's cells; a cell over several columns counts once."""
    from docx.oxml.ns import qn

    def text(cell: Any) -> str:
        return readable("\n".join("".join(t.text or "" for t in p.iter(qn("w:t"))) for p in cell.iter(qn("w:p"))))

    return [[text(cell) for cell in row.tc_lst] for row in table._tbl.tr_lst]


def add_blocks(document: "Document", blocks: list[Block]) -> None:
    """Add blocks at the end of a document, in its own styles where it has them."""
    styles = {style.name for style in document.styles}

    def style(name: str) -> str | None:
        return name if name in styles else None

    for block in blocks:
        if block["kind"] == "heading":
            document.add_paragraph(block["text"], style(f"Heading {block.get('level', 1)}"))
        elif block["kind"] == "list":
            for item in block["items"]:
                document.add_paragraph(item, style("List Number" if block.get("ordered") else "List Bullet"))
        elif block["kind"] == "table":
            rows = block["rows"]
            table = document.add_table(0, len(rows[0]), style("Table Grid"))
            for row in rows:
                for cell, text in zip(table.add_row().cells, row):
                    cell.text = text
        elif block["kind"] == "code":
            document.add_paragraph(block["text"], style("macro") or style("No Spacing"))
        else:
            document.add_paragraph(block["text"])
