"""Descriptions of texts, documents, messages, calendars and programs."""

import ast
import email.policy
import io
import logging
import re
from email.message import EmailMessage
from html.parser import HTMLParser
from typing import Any

from mcpserver.company.describe_media import check_zip
from mcpserver.company.plain import MAX_LISTED, decode, first_lines, plain
from toolwright.words import cut

_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*\s*$")


def read_text(content: bytes) -> dict[str, Any]:
    """Lines, words and first lines of a text."""
    return first_lines(decode(content))


def read_markdown(content: bytes) -> dict[str, Any]:
    """The headings of a Markdown text beside its first lines."""
    text = decode(content)
    outside = "".join(text.split("```")[::2])  # what is in code blocks is no heading
    found = [match[1] for line in outside.splitlines() if (match := _HEADING.match(line))]
    return {"headings": _short(found), **first_lines(text)}


class _Page(HTMLParser):
    """Collects title, headings, the header rows of tables, and counts links."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, list[str]] = {"title": [], "heading": [], "th": [], "text": []}
        self.links = self.tables = 0
        self._inside = "text"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += tag == "a"
        self.tables += tag == "table"
        kind = "heading" if re.fullmatch("h[1-6]", tag) else tag
        self._inside = kind if kind in ("title", "heading", "th", "script", "style") else "text"

    def handle_endtag(self, tag: str) -> None:
        self._inside = "text"

    def handle_data(self, data: str) -> None:
        if data.strip() and self._inside in self.found:
            self.found[self._inside].append(" ".join(data.split()))


def read_html(content: bytes) -> dict[str, Any]:
    """Title, headings, links and tables of a web page, and its first texts."""
    page = _Page()
    page.feed(decode(content))
    found = page.found
    return {
        "title": cut(" ".join(found["title"]), 160),
        "headings": _short(found["heading"]),
        "links": page.links,
        "html_tables": page.tables,
        "table_headers": _short(found["th"]),
        "first_lines": _short(found["text"])[:5],
    }


def read_word(content: bytes) -> dict[str, Any]:
    """Headings, paragraphs and tables of a Word document."""
    from docx import Document

    check_zip(content)
    document = Document(io.BytesIO(content))
    texts = [(str(paragraph.style.name), paragraph.text) for paragraph in document.paragraphs if paragraph.text.strip()]
    titled = ("Heading", "Title")
    return {
        "headings": _short([text for style, text in texts if style.startswith(titled)]),
        "paragraphs": len(texts),
        "document_tables": [
            {"rows": len(table.rows), "header": [cell.text for cell in table.rows[0].cells][:MAX_LISTED]}
            for table in document.tables[:MAX_LISTED]
            if table.rows
        ],
        "first_lines": _short([text for style, text in texts if not style.startswith(titled)])[:5],
    }


def read_pdf(content: bytes) -> dict[str, Any]:
    """Pages and title of a PDF, and the first lines of its first page."""
    from pypdf import PdfReader

    log = logging.getLogger("pypdf")
    level = log.level
    log.setLevel(logging.CRITICAL)  # it warns of every oddity on the terminal
    try:
        reader = PdfReader(io.BytesIO(content))
        text = reader.pages[0].extract_text() if reader.pages else ""
        title = plain(reader.metadata.title) if reader.metadata and reader.metadata.title else None
        return {"pages": len(reader.pages), "title": title, "first_lines": first_lines(text)["first_lines"]}
    finally:
        log.setLevel(level)


def read_email(content: bytes) -> dict[str, Any]:
    """Sender, receiver, subject, date, attachments and first lines of a message."""
    message = email.message_from_bytes(content, EmailMessage, policy=email.policy.default)
    body = message.get_body(("plain", "html"))
    return {
        **{key.lower(): plain(message[key]) for key in ("From", "To", "Subject", "Date")},
        "attachments": [str(part.get_filename()) for part in message.iter_attachments()][:MAX_LISTED],
        "first_lines": first_lines(str(body.get_content()))["first_lines"] if body else [],
    }


def read_calendar(content: bytes) -> dict[str, Any]:
    """The events of a calendar: start and title."""
    events: list[dict[str, str]] = []
    for name, value in _properties(decode(content)):
        if (name, value) == ("BEGIN", "VEVENT"):
            events.append({})
        elif events and name in ("DTSTART", "SUMMARY"):
            events[-1].setdefault({"DTSTART": "start", "SUMMARY": "title"}[name], cut(value, 160))
    return {"count": len(events), "events": events[:MAX_LISTED]}


def read_contacts(content: bytes) -> dict[str, Any]:
    """The names on contact cards."""
    names = [value for name, value in _properties(decode(content)) if name == "FN"]
    return {"count": len(names), "keys": _short(names)}


def _properties(text: str) -> list[tuple[str, str]]:
    """Name and value of each line of a calendar or card, whose long lines are folded; parameters are left out."""
    unfolded = re.sub(r"\r?\n[ \t]", "", text)
    parts = [line.partition(":") for line in unfolded.splitlines()]
    return [(name.partition(";")[0].upper(), value.replace("\\,", ",")) for name, _, value in parts]


def read_python(content: bytes) -> dict[str, Any]:
    """The functions and classes of a Python file, or where its syntax is wrong."""
    text = decode(content)
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        return {"syntax_error": f"line {error.lineno}: {error.msg}", **first_lines(text)}
    named = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)]
    return {"defines": _short(named), **first_lines(text)}


def _short(texts: list[str]) -> list[str]:
    return [cut(text, 160) for text in texts[:MAX_LISTED]]
