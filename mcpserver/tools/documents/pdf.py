"""Reading PDF files: what they are, their text, outline and pictures."""

from typing import Annotated, Any

from annotated_types import Ge, Le, Len

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.toolbox.formats import parsing, readable
from mcpserver.tools.documents._blocks import FilePath
from mcpserver.tools.documents._pdf import Pages, Password, chosen, open_pdf
from toolwright.words import cut

MAX_TEXT = 8000
MAX_HITS = 50


def pdf_info(context: Context, path: FilePath, password: Password | None = None) -> dict[str, Any]:
    """Say pages, page size, title and author of a PDF.

    Args:
        path: PDF file
        password: if it is encrypted

    Example:
        {"path": "docs/annual_report.pdf"}
    """
    reader = open_pdf(context, path, password)
    with parsing("path", path, "PDF"):
        box = reader.pages[0].mediabox
        found = {str(key).lstrip("/").lower(): readable(str(value)) for key, value in (reader.metadata or {}).items()}
        info = {key: cut(value, 200) for key, value in sorted(found.items())[:20]}
        size = [round(float(box.width), 1), round(float(box.height), 1)]
    if not all(abs(part) < 1e6 for part in size):
        raise ToolError("tool_error", f"path: {path!r} has pages of impossible size")
    return {
        **{"path": path, "pages": len(reader.pages), "page_size_points": size, "encrypted": reader.is_encrypted},
        **{"metadata": info, "bytes": context.files.existing_file(path).stat().st_size},
    }


def pdf_read(
    context: Context, path: FilePath, pages: Pages = "all", password: Password | None = None
) -> dict[str, Any]:
    """Read the text of the pages of a PDF.

    Args:
        path: PDF file
        pages: all, page numbers from 1, or first and last
        password: if it is encrypted

    Example:
        {"path": "docs/annual_report.pdf", "pages": [1]}
        {"path": "docs/annual_report.pdf", "pages": {"first": 2, "last": 3}}
    """
    reader = open_pdf(context, path, password)
    found, left = [], MAX_TEXT
    wanted = chosen(pages, len(reader.pages))
    for position, index in enumerate(wanted):
        text = _text(reader, path, index)
        found.append({"page": index + 1, "text": cut(text, max(left, 200))})
        left -= len(text)
        if left <= 0 and position + 1 < len(wanted):
            return {"pages": found, "total": len(reader.pages), "next_page": wanted[position + 1] + 1}
    return {"pages": found, "total": len(reader.pages)}


def pdf_search(
    context: Context,
    path: FilePath,
    text: Annotated[str, Len(1, 200)],
    ignore_case: bool = True,
    password: Password | None = None,
) -> dict[str, Any]:
    """Find words in a PDF, with page and what stands around them.

    Args:
        path: PDF file
        text: words to find
        ignore_case: whether capital letters do not count
        password: if it is encrypted

    Example:
        {"path": "docs/annual_report.pdf", "text": "revenue"}
    """
    reader = open_pdf(context, path, password)
    wanted, hits = " ".join(text.lower().split() if ignore_case else text.split()), []
    if not wanted:
        raise ToolError("bad_arguments", "text: must hold more than spaces")
    for index in range(len(reader.pages)):
        words = " ".join(_text(reader, path, index).split())
        within, start = (words.lower() if ignore_case else words), -1
        while (start := within.find(wanted, start + 1)) >= 0:
            around = words[max(0, start - 40) : start + len(wanted) + 40]
            hits.append({"page": index + 1, "around": around})
    return {"hits": hits[:MAX_HITS], "total": len(hits)}


def pdf_outline(context: Context, path: FilePath, password: Password | None = None) -> dict[str, Any]:
    """List the bookmarks of a PDF with their pages.

    Args:
        path: PDF file
        password: if it is encrypted

    Example:
        {"path": "docs/annual_report.pdf"}
    """
    reader = open_pdf(context, path, password)
    entries: list[dict[str, Any]] = []

    def walk(items: list[Any], level: int) -> None:
        for item in items if level < 20 else ():
            if isinstance(item, list):
                walk(item, level + 1)
            elif len(entries) < 200:
                page = reader.get_destination_page_number(item)
                title = cut(readable(str(item.title)), 120)
                entries.append({"title": title, "level": level, "page": None if page is None else page + 1})

    with parsing("path", path, "PDF"):
        walk(reader.outline, 1)
    return {"entries": entries, "total": len(entries)}


def pdf_extract_images(
    context: Context,
    path: FilePath,
    folder: FilePath | None = None,
    min_bytes: Annotated[int, Ge(0), Le(1_000_000)] = 0,
    password: Password | None = None,
) -> dict[str, Any]:
    """Count the pictures in a PDF and write them as files if wanted.

    Args:
        path: PDF file
        folder: where to write them, left out to count only
        min_bytes: leave out smaller ones
        password: if it is encrypted

    Example:
        {"path": "docs/annual_report.pdf"}
        {"path": "docs/datasheet.pdf", "folder": "docs/pictures"}
    """
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = 8_000_000  # pypdf opens the pictures with Pillow, which then refuses twice as many
    reader = open_pdf(context, path, password)
    found: list[dict[str, Any]] = []
    for index in range(len(reader.pages)):
        with parsing("path", path, "PDF"):
            images = [(image.name, image.data) for image in list(reader.pages[index].images)[:50]]
        for name, content in images:
            if len(content) >= min_bytes and len(found) < 100:
                suffix = name.rpartition(".")[2] if name.rpartition(".")[2].isalnum() else "bin"
                entry = {"page": index + 1, "name": f"page-{index + 1:03}-{len(found) + 1:02}.{suffix}"}
                found.append({**entry, "bytes": len(content)})
                if folder is not None:
                    context.files.write(f"{folder.rstrip('/')}/{entry['name']}", content, "folder")
    return {"images": found, "total": len(found)}


def _text(reader: Any, path: str, index: int) -> str:
    with parsing("path", path, "PDF"):
        return readable(reader.pages[index].extract_text())
