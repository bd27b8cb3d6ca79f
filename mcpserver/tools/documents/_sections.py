"""Headings and sections of a Markdown file, by line."""

import re
import unicodedata
from dataclasses import dataclass
from itertools import pairwise

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.toolbox.formats import readable
from mcpserver.tools.documents._blocks import parse_markdown, plain_inline
from toolwright.words import nearest

MAX_BYTES = 512 * 1024


@dataclass(frozen=True)
class Section:
    """A heading and what belongs to it.

    Attributes:
        start: line of the heading, from 0.
        body: first line below the heading.
        end: line after the section, inner sections included.
    """

    level: int
    title: str
    anchor: str
    start: int
    body: int
    end: int


def read_markdown(context: Context, path: str, parameter: str = "path") -> str:
    """The text of a Markdown file, with line ends as ``\\n``.

    Raises:
        ToolError: no such file, no UTF-8, or too long.
    """
    text = context.files.read_text(path, parameter, limit=MAX_BYTES)
    return readable(text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n"))


def sections(text: str) -> list[Section]:
    """The sections of a Markdown text in order."""
    tokens, found, anchors = parse_markdown(text), list[tuple[int, str, int, int]](), dict[str, int]()
    for token, inline in pairwise(tokens):
        if token.type == "heading_open" and token.level == 0 and token.map:
            found.append((int(token.tag[1]), plain_inline(inline), token.map[0], token.map[1]))
    total, made = len(text.split("\n")), []
    for number, (level, title, start, body) in enumerate(found):
        later = (other[2] for other in found[number + 1 :] if other[0] <= level)
        anchor = slug(title)
        anchors[anchor] = anchors.get(anchor, -1) + 1
        unique = f"{anchor}-{anchors[anchor]}" if anchors[anchor] else anchor
        made.append(Section(level, title, unique, start, body, next(later, total)))
    return made


def slug(title: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    kept = (letter for letter in title.lower() if letter in " -_" or unicodedata.category(letter)[0] in "LN")
    return re.sub(" ", "-", "".join(kept).strip())


def find_section(text: str, heading: str, path: str) -> Section:
    """The first section with a heading, capital letters and marks aside.

    Raises:
        ToolError: ``tool_error`` with the nearest headings.
    """
    wanted = heading.lstrip("#").strip().casefold()
    found = sections(text)
    for section in found:
        if section.title.casefold() == wanted or section.anchor == wanted:
            return section
    hint = nearest(heading.lstrip("#").strip(), [section.title for section in found])
    raise ToolError("tool_error", f"heading: no heading {heading!r} in {path!r}{hint}")
