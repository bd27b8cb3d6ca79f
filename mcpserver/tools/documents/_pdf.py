"""What the PDF tools share: opening, choosing pages, writing the same bytes each time, laying out blocks."""

import datetime
import importlib.util
import io
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Le, Len
from typing_extensions import TypedDict

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.toolbox.formats import encode, parsing
from mcpserver.tools.documents._blocks import Block
from toolwright.words import shorten

if TYPE_CHECKING:
    from fpdf import FPDF
    from pypdf import PdfReader, PdfWriter

MAX_PAGES = 500
PageNumber = Annotated[int, Ge(1), Le(MAX_PAGES)]
Password = Annotated[str, Len(1, 60)]


class PageRange(TypedDict):
    """Pages from first to last, both included, counted from 1."""

    first: PageNumber
    last: PageNumber


Pages = Literal["all"] | Annotated[list[PageNumber], Len(1, 100)] | PageRange


class SavedPdf(TypedDict):
    """A PDF that was written."""

    path: str
    pages: int
    bytes: int


def open_pdf(context: Context, path: str, password: str | None = None, parameter: str = "path") -> "PdfReader":
    """Open a PDF, with its password if it has one.

    Raises:
        ToolError: no PDF, a broken one, a wrong or missing password, or more than 500 pages.
    """
    from pypdf import PdfReader

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    content = context.files.read_bytes(path, parameter)
    with parsing(parameter, path, "PDF"):
        if b"%PDF-" not in content[:1024]:
            raise ToolError("tool_error", f"{parameter}: {path!r} is no PDF")
        reader = PdfReader(io.BytesIO(content))
        if reader.is_encrypted and not reader.decrypt(password or ""):
            hint = "the password is wrong" if password else "it needs a password"
            raise ToolError("denied", f"{parameter}: {path!r} is encrypted; {hint}")
        pages = len(reader.pages)
    if pages > MAX_PAGES:
        raise ToolError("limit", f"{parameter}: {path!r} has {pages} pages; at most {MAX_PAGES} are read")
    if pages == 0:
        raise ToolError("tool_error", f"{parameter}: {path!r} has no pages")
    return reader


def chosen(pages: "Pages", total: int, parameter: str = "pages") -> list[int]:
    """The indices of the chosen pages, from 0.

    Raises:
        ToolError: ``bad_arguments`` for pages that are not there.
    """
    if pages == "all":
        return list(range(total))
    if isinstance(pages, dict):
        if pages["last"] < pages["first"]:
            raise ToolError("bad_arguments", f"{parameter}: last {pages['last']} is before first {pages['first']}")
        numbers = list(range(pages["first"], pages["last"] + 1))
    else:
        numbers = list(pages)
    if max(numbers) > total:
        raise ToolError("bad_arguments", f"{parameter}: page {max(numbers)} of {total}; count from 1 to {total}")
    return [number - 1 for number in numbers]


def write_pdf(context: Context, writer: "PdfWriter", path: str, parameter: str = "save_as") -> SavedPdf:
    """Write a PDF without times and random identities.

    Raises:
        ToolError: a name that does not end in .pdf, or what cannot be written.
    """
    check_name(path, parameter)
    buffer = io.BytesIO()
    with parsing(parameter, path, "PDF that can be written"):
        writer.write(buffer)
        pages = len(writer.pages)
    context.files.write(path, buffer.getvalue(), parameter)
    return SavedPdf(path=path, pages=pages, bytes=len(buffer.getvalue()))


def check_name(path: str, parameter: str = "save_as", extension: str = ".pdf") -> None:
    """Refuse a name with another ending.

    Raises:
        ToolError: ``bad_arguments``.
    """
    if not path.lower().endswith(extension):
        raise ToolError("bad_arguments", f"{parameter}: {shorten(path, 60)} must end in {extension}")


def new_document(context: Context, texts: str, **options: Any) -> "tuple[FPDF, str]":
    """An empty document at the environment's time, and the font that can write the texts."""
    from fpdf import FPDF

    for name in ("fpdf", "fontTools"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    document = FPDF(**options)
    document.set_creation_date(context.now.replace(tzinfo=datetime.UTC))
    document.set_producer("toolwright")
    encode(texts)
    try:
        texts.encode("latin-1")
    except UnicodeEncodeError:
        spec = importlib.util.find_spec("matplotlib")  # for its fonts only: nothing of it is imported
        fonts = Path(str(spec.origin if spec else "")).parent / "mpl-data" / "fonts" / "ttf"
        document.add_font("DejaVu", "", fonts / "DejaVuSans.ttf")
        document.add_font("DejaVu", "B", fonts / "DejaVuSans-Bold.ttf")
        return document, "DejaVu"
    return document, "Helvetica"


def lay_out(document: "FPDF", font: str, blocks: list[Block]) -> None:
    """Write blocks below each other onto the pages of a document."""
    for block in blocks:
        if block["kind"] == "heading":
            level = block.get("level", 1)
            document.set_font(font, "B", max(11, 22 - 3 * level))
            document.start_section(block["text"], level=0)
            _write(document, block["text"], 1.4)
        elif block["kind"] == "table":
            document.set_font(font, "", 10)
            with document.table() as table:
                for row in block["rows"]:
                    table.row(row)
            document.ln(3)
        elif block["kind"] == "list":
            document.set_font(font, "", 11)
            for number, item in enumerate(block["items"], 1):
                _write(document, f"{number}. {item}" if block.get("ordered") else f"-  {item}", 1.3)
        else:
            document.set_font("Courier" if block["kind"] == "code" and font == "Helvetica" else font, "", 11)
            _write(document, block["text"], 1.3)


def _write(document: "FPDF", text: str, spacing: float) -> None:
    height = document.font_size * spacing
    document.multi_cell(0, height, text, new_x="LMARGIN", new_y="NEXT")
    document.ln(height * 0.4)
