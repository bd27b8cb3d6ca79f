"""Writing PDF files: made from Markdown, put together, taken apart, turned, stamped, locked."""

import io
from typing import TYPE_CHECKING, Annotated, Any, Literal, NotRequired

from annotated_types import Ge, Le, Len
from typing_extensions import TypedDict

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.toolbox.formats import beside, encode, parsing, readable
from mcpserver.tools.documents._blocks import Content, FilePath, to_blocks
from mcpserver.tools.documents._pdf import (
    MAX_PAGES,
    Pages,
    Password,
    SavedPdf,
    check_name,
    chosen,
    lay_out,
    new_document,
    open_pdf,
    write_pdf,
)
from toolwright.words import shorten

if TYPE_CHECKING:
    from pypdf import PdfWriter

Title = Annotated[str, Len(0, 200)]


class Part(TypedDict):
    """Some pages of a PDF."""

    path: FilePath
    pages: Pages


class Metadata(TypedDict):
    """What a PDF says of itself."""

    title: NotRequired[Title]
    author: NotRequired[Title]
    subject: NotRequired[Title]
    keywords: NotRequired[Title]


def pdf_create(
    context: Context,
    save_as: FilePath,
    content: Content,
    title: Title = "",
    page_size: Literal["A4", "Letter", "Legal"] = "A4",
    orientation: Literal["portrait", "landscape"] = "portrait",
) -> SavedPdf:
    """Make a PDF from Markdown or from headings, paragraphs, lists and tables.

    Args:
        save_as: PDF file to write
        content: Markdown text, or blocks
        title: in the file's properties
        page_size: size of the paper
        orientation: of the paper

    Example:
        {"save_as": "docs/note.pdf", "content": "# Note\\n\\nThe pump is *fixed*.\\n\\n- tested\\n- cleaned"}
        {"save_as": "docs/table.pdf", "title": "Stock", "content": [{"kind": "heading", "text": "Stock"},
         {"kind": "table", "rows": [["sku", "units"], ["P-101", "12"]]}]}
    """
    from pypdf import PdfReader, PdfWriter

    check_name(save_as)
    encode(title, "title")
    blocks = to_blocks(content)
    document, font = new_document(context, title + str(blocks), orientation=orientation, format=page_size)
    with parsing("content", save_as, "text that fits on pages"):
        document.add_page()
        document.set_title(readable(title))
        lay_out(document, font, blocks)
        writer = PdfWriter(clone_from=PdfReader(io.BytesIO(bytes(document.output()))))
    return write_pdf(context, writer, save_as)


def pdf_merge(context: Context, parts: Annotated[list[FilePath | Part], Len(2, 30)], save_as: FilePath) -> SavedPdf:
    """Put PDF files, or some of their pages, one behind the other.

    Args:
        parts: files, or objects of path and pages
        save_as: PDF file to write

    Example:
        {"parts": ["docs/invoice_1001.pdf", "docs/invoice_1002.pdf"], "save_as": "docs/invoices.pdf"}
        {"parts": ["docs/datasheet.pdf", {"path": "docs/annual_report.pdf", "pages": [1, 3]}], "save_as": "m.pdf"}
    """
    from pypdf import PdfWriter

    writer = PdfWriter()
    for number, part in enumerate(parts):
        path, where = part if isinstance(part, str) else part["path"], f"parts[{number}]"
        reader = open_pdf(context, path, None, where)
        pages = chosen("all" if isinstance(part, str) else part["pages"], len(reader.pages), f"{where}.pages")
        if len(writer.pages) + len(pages) > MAX_PAGES:
            raise ToolError("limit", f"parts: more than {MAX_PAGES} pages together")
        with parsing(where, path, "PDF"):
            for index in pages:
                writer.add_page(reader.pages[index])
    return write_pdf(context, writer, save_as)


def pdf_split(
    context: Context, path: FilePath, folder: FilePath, pages_per_file: Annotated[int, Ge(1), Le(100)] = 1
) -> dict[str, Any]:
    """Cut a PDF into files of some pages each.

    Args:
        path: PDF file
        folder: where the files part-01.pdf … go
        pages_per_file: pages in each

    Example:
        {"path": "docs/annual_report.pdf", "folder": "docs/parts", "pages_per_file": 2}
    """
    from pypdf import PdfWriter

    reader = open_pdf(context, path)
    starts = range(0, len(reader.pages), pages_per_file)
    if len(starts) > 100:
        raise ToolError("limit", f"pages_per_file: would make {len(starts)} files, at most 100")
    written = []
    for number, start in enumerate(starts, 1):
        writer = PdfWriter()
        with parsing("path", path, "PDF"):
            for page in reader.pages[start : start + pages_per_file]:
                writer.add_page(page)
        written.append(write_pdf(context, writer, f"{folder.rstrip('/')}/part-{number:02}.pdf", "folder"))
    return {"files": written, "total": len(written)}


def pdf_extract_pages(
    context: Context,
    path: FilePath,
    pages: Pages,
    mode: Literal["keep", "remove"] = "keep",
    save_as: FilePath | None = None,
) -> SavedPdf:
    """Keep or remove pages of a PDF; kept pages come in the order given.

    Args:
        path: PDF file
        pages: page numbers from 1, or first and last
        mode: what happens to these pages
        save_as: PDF file to write, default the name with -pages

    Example:
        {"path": "docs/annual_report.pdf", "pages": [3, 1]}
        {"path": "docs/annual_report.pdf", "pages": {"first": 1, "last": 2}, "mode": "remove"}
    """
    from pypdf import PdfWriter

    reader = open_pdf(context, path)
    named = chosen(pages, len(reader.pages))
    kept = named if mode == "keep" else [index for index in range(len(reader.pages)) if index not in named]
    if not kept:
        raise ToolError("bad_arguments", "pages: no page would remain")
    writer = PdfWriter()
    with parsing("path", path, "PDF"):
        for index in kept:
            writer.add_page(reader.pages[index])
    return write_pdf(context, writer, save_as or beside(path, "-pages"))


def pdf_rotate(
    context: Context,
    path: FilePath,
    degrees: Literal[90, 180, 270],
    pages: Pages = "all",
    save_as: FilePath | None = None,
) -> SavedPdf:
    """Turn pages of a PDF clockwise.

    Args:
        path: PDF file
        degrees: angle, clockwise
        pages: all, page numbers from 1, or first and last
        save_as: PDF file to write, default the name with -rotated

    Example:
        {"path": "docs/datasheet.pdf", "degrees": 90}
    """
    writer = _copy(context, path)
    with parsing("path", path, "PDF"):
        for index in sorted(set(chosen(pages, len(writer.pages)))):
            writer.pages[index].rotate(degrees)
    return write_pdf(context, writer, save_as or beside(path, "-rotated"))


def pdf_stamp(
    context: Context,
    path: FilePath,
    text: Annotated[str, Len(1, 100)],
    place: Literal["diagonal", "header", "footer"] = "diagonal",
    pages: Pages = "all",
    save_as: FilePath | None = None,
) -> SavedPdf:
    """Write a watermark, header or footer onto the pages of a PDF.

    Args:
        path: PDF file
        text: words; {page} and {pages} become numbers
        place: across the page, at its top or at its bottom
        pages: all, page numbers from 1, or first and last
        save_as: PDF file to write, default the name with -stamped

    Example:
        {"path": "docs/annual_report.pdf", "text": "CONFIDENTIAL"}
        {"path": "docs/annual_report.pdf", "text": "page {page} of {pages}", "place": "footer"}
    """
    writer = _copy(context, path)
    encode(text)
    for index in sorted(set(chosen(pages, len(writer.pages)))):
        words = readable(text).replace("\n", " ").replace("{pages}", str(len(writer.pages)))
        with parsing("path", path, "PDF"):
            box = writer.pages[index].mediabox
            size = float(box.width), float(box.height)
            if not all(20 <= side <= 20_000 for side in size):
                raise ToolError("tool_error", f"path: page {index + 1} of {path!r} has an impossible size")
            stamp = _stamp(context, words.replace("{page}", str(index + 1)), place, size)
            writer.pages[index].merge_page(stamp)
    return write_pdf(context, writer, save_as or beside(path, "-stamped"))


def pdf_set_metadata(context: Context, path: FilePath, metadata: Metadata, save_as: FilePath | None = None) -> SavedPdf:
    """Set title, author, subject or keywords of a PDF.

    Args:
        path: PDF file
        metadata: what to set; the rest stays
        save_as: PDF file to write, default the file itself

    Example:
        {"path": "docs/datasheet.pdf", "metadata": {"title": "Data sheet Hydra 40", "author": "Sales"}}
    """
    if not metadata:
        raise ToolError("bad_arguments", "metadata: give title, author, subject or keywords")
    writer = _copy(context, path)
    for name, value in metadata.items():
        encode(str(value), f"metadata.{name}")
    with parsing("path", path, "PDF"):
        writer.add_metadata({f"/{name.capitalize()}": readable(str(value)) for name, value in metadata.items()})
    return write_pdf(context, writer, save_as or path)


def pdf_encrypt(
    context: Context, path: FilePath, password: Password, allow_printing: bool = True, save_as: FilePath | None = None
) -> SavedPdf:
    """Lock a PDF with a password.

    Args:
        path: PDF file
        password: to open it
        allow_printing: whether it may be printed
        save_as: PDF file to write, default the name with -locked

    Example:
        {"path": "docs/invoice_1001.pdf", "password": "march-2025"}
    """
    from pypdf.constants import UserAccessPermissions
    from pypdf.generic import ArrayObject, ByteStringObject

    if not password.isascii() or not password.isprintable():
        raise ToolError(
            "bad_arguments", f"password: {shorten(password, 20)} must be of plain letters, digits and signs"
        )
    writer = _copy(context, path)
    permissions = UserAccessPermissions.all()
    if not allow_printing:
        permissions &= ~(UserAccessPermissions.PRINT | UserAccessPermissions.PRINT_TO_REPRESENTATION)
    with parsing("path", path, "PDF"):
        # RC4, not AES, and a fixed identity: without random numbers one document always has the same bytes
        identity = ArrayObject([ByteStringObject(b"toolwright-pdf-1")] * 2)
        writer._ID = identity
        writer.encrypt(password, algorithm="RC4-128", permissions_flag=permissions)
        writer._ID = identity
    return write_pdf(context, writer, save_as or beside(path, "-locked"))


def pdf_decrypt(context: Context, path: FilePath, password: Password, save_as: FilePath | None = None) -> SavedPdf:
    """Unlock a PDF with its password.

    Args:
        path: PDF file
        password: that opens it
        save_as: PDF file to write, default the name with -open

    Example:
        {"path": "docs/invoice_1001.pdf", "password": "march-2025"}
    """
    return write_pdf(context, _copy(context, path, password), save_as or beside(path, "-open"))


def _copy(context: Context, path: str, password: str | None = None) -> "PdfWriter":
    """A PDF that can be changed."""
    from pypdf import PdfWriter

    reader = open_pdf(context, path, password)
    with parsing("path", path, "PDF"):
        return PdfWriter(clone_from=reader)


def _stamp(context: Context, words: str, place: str, size: tuple[float, float]) -> Any:
    """A page of a given size, in points, with nothing but the words."""
    from pypdf import PdfReader

    width, height = size
    document, font = new_document(context, words, unit="pt", format=size)
    document.set_auto_page_break(False)
    document.add_page()
    points = max(4.0, min(12.0, height / 30)) if place != "diagonal" else max(6.0, min(60.0, width / 8))
    document.set_font(font, "B" if place == "diagonal" else "", points)
    points = min(points, points * 0.9 * width / max(1.0, document.get_string_width(words)))
    document.set_font_size(max(1.0, points))
    left = (width - document.get_string_width(words)) / 2
    if place == "diagonal":
        with document.local_context(fill_opacity=0.2), document.rotation(45, width / 2, height / 2):
            document.text(left, height / 2, words)
    else:
        document.text(left, 1.5 * points + 6 if place == "header" else height - 12, words)
    return PdfReader(io.BytesIO(bytes(document.output()))).pages[0]
