"""The parts of a document (headings, paragraphs, lists, tables, code) and how Markdown becomes such parts."""

from typing import TYPE_CHECKING, Annotated, Literal, NotRequired

from annotated_types import Ge, Le, Len
from typing_extensions import TypedDict

from mcpserver.toolbox.formats import encode, readable

if TYPE_CHECKING:
    from markdown_it.token import Token

FilePath = Annotated[str, Len(1, 200)]
Words = Annotated[str, Len(0, 5000)]
Cell = Annotated[str, Len(0, 500)]


class Heading(TypedDict):
    """A heading; level 1 is the largest."""

    kind: Literal["heading"]
    text: Annotated[str, Len(1, 300)]
    level: NotRequired[Annotated[int, Ge(1), Le(6)]]


class Paragraph(TypedDict):
    """Running text."""

    kind: Literal["paragraph"]
    text: Words


class ListBlock(TypedDict):
    """A list with bullets or numbers."""

    kind: Literal["list"]
    items: Annotated[list[Words], Len(1, 200)]
    ordered: NotRequired[bool]


class TableBlock(TypedDict):
    """A table; the first row is the header."""

    kind: Literal["table"]
    rows: Annotated[list[Annotated[list[Cell], Len(1, 20)]], Len(1, 500)]


class CodeBlock(TypedDict):
    """Text with fixed letter width."""

    kind: Literal["code"]
    text: Words


Block = Heading | Paragraph | ListBlock | TableBlock | CodeBlock
MarkdownText = Annotated[str, Len(1, 60_000)]
Content = MarkdownText | Annotated[list[Block], Len(1, 200)]


def to_blocks(content: str | list[Block], parameter: str = "content") -> list[Block]:
    """The blocks of a document, given as such or as Markdown; without characters that no document holds.

    Raises:
        ToolError: ``bad_arguments`` when half a character is in a text.
    """
    if isinstance(content, str):
        encode(content, parameter)
        return markdown_blocks(content)
    return [_checked(block, f"{parameter}[{number}]") for number, block in enumerate(content)]


def _checked(block: Block, where: str) -> Block:
    def pure(text: str) -> str:
        encode(text, where)
        return readable(text)

    if block["kind"] == "list":
        return {**block, "items": [pure(item) for item in block["items"]]}
    if block["kind"] == "table":
        width = max(len(row) for row in block["rows"])
        return {**block, "rows": [[pure(cell) for cell in row] + [""] * (width - len(row)) for row in block["rows"]]}
    if block["kind"] == "heading":
        return {**block, "text": pure(block["text"])}
    if block["kind"] == "code":
        return {**block, "text": pure(block["text"])}
    return {**block, "text": pure(block["text"])}


def parse_markdown(text: str) -> "list[Token]":
    """The tokens of a Markdown text (CommonMark with tables)."""
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark").enable("table").parse(text)


def plain_inline(token: "Token") -> str:
    """The words of a line of Markdown without its marks."""
    parts = []
    for child in token.children or ():
        if child.type in ("softbreak", "hardbreak"):
            parts.append(" ")
        elif child.type != "html_inline":
            parts.append(child.content)
    return "".join(parts)


def markdown_blocks(text: str) -> list[Block]:
    """The blocks of a Markdown text; items of inner lists become items of the outer one."""
    tokens, blocks, at = parse_markdown(readable(text)), list[Block](), 0
    while at < len(tokens):
        token = tokens[at]
        if token.type == "heading_open":
            blocks.append(Heading(kind="heading", text=plain_inline(tokens[at + 1]) or "-", level=int(token.tag[1])))
            at += 1
        elif token.type == "paragraph_open":
            blocks.append(Paragraph(kind="paragraph", text=plain_inline(tokens[at + 1])))
            at += 1
        elif token.type in ("fence", "code_block"):
            blocks.append(CodeBlock(kind="code", text=token.content.rstrip("\n")))
        elif token.type in ("bullet_list_open", "ordered_list_open", "table_open"):
            end = _closing(tokens, at)
            blocks.append(_collected(tokens[at : end + 1]))
            at = end
        at += 1
    return blocks


def _closing(tokens: "list[Token]", at: int) -> int:
    closing = tokens[at].type.replace("_open", "_close")
    return next(n for n in range(at, len(tokens)) if tokens[n].type == closing and tokens[n].level == tokens[at].level)


def _collected(tokens: "list[Token]") -> Block:
    """A list or a table from its tokens."""
    inlines = [token for token in tokens if token.type in ("inline", "tr_open")]
    if tokens[0].type != "table_open":
        items = [plain_inline(token) for token in inlines] or [""]
        return ListBlock(kind="list", items=items, ordered=tokens[0].type == "ordered_list_open")
    rows: list[list[str]] = []
    for token in inlines:
        if token.type == "tr_open":
            rows.append([])
        else:
            rows[-1].append(plain_inline(token))
    return TableBlock(kind="table", rows=rows)
