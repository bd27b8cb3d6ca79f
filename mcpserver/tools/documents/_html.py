"""What the HTML tools share: parsing without network, selectors, and pages read as blocks."""

import html
import re
from collections.abc import Callable, Iterator
from typing import Any

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.toolbox.formats import encode, parsing, readable
from mcpserver.tools.documents._blocks import Block, CodeBlock, Heading, ListBlock, Paragraph, TableBlock
from toolwright.words import shorten

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 100
_INLINE = {
    *("a", "abbr", "b", "bdi", "bdo", "br", "button", "cite", "code", "data", "dfn"),
    *("em", "i", "img", "input", "kbd", "label", "mark", "q", "s", "samp", "small"),
    *("span", "strong", "sub", "sup", "time", "u", "var", "wbr", "select", "textarea"),
}
_COMPOUND = re.compile(
    r"(?P<tag>[a-zA-Z][\w-]*|\*)?(?P<rest>(?:[.#][\w-]+|\[[\w:-]+(?:[~^$*]?=(?:\"[^\"]*\"|'[^']*'|[\w./#:-]+))?\])*)"
)
_PART = re.compile(r"([.#])([\w-]+)|\[([\w:-]+)(?:([~^$*]?=)(?:\"([^\"]*)\"|'([^']*)'|([\w./#:-]+)))?\]")
_TESTS = {
    "": "@{name}",
    "=": "@{name}=${value}",
    "~=": "contains(concat(' ',normalize-space(@{name}),' '),concat(' ',${value},' '))",
    "^=": "starts-with(@{name},${value})",
    "*=": "contains(@{name},${value})",
    "$=": "substring(@{name},string-length(@{name})-string-length(${value})+1)=${value}",
}


def open_html(context: Context, path: str, parameter: str = "path") -> Any:
    """The root element of an HTML file.

    Raises:
        ToolError: no UTF-8 text with tags in it.
    """
    from lxml import etree
    from lxml.html import HTMLParser, document_fromstring

    text = context.files.read_text(path, parameter, limit=MAX_BYTES)
    if not re.search(r"<[a-zA-Z!]", text):
        raise ToolError("tool_error", f"{parameter}: {path!r} is no HTML; there is no tag in it")
    with parsing(parameter, path, "HTML file"):
        root = document_fromstring(text.encode(), parser=HTMLParser(encoding="utf-8", no_network=True))
        etree.strip_tags(root, etree.ProcessingInstruction)
        return root


def select(root: Any, selector: str, parameter: str = "selector") -> list[Any]:
    """The elements that a simple CSS selector means, in the order of the document.

    Tags, ``.class``, ``#id``, ``[attribute]`` with ``= ~= ^= $= *=``, descendants, ``>`` and commas.

    Raises:
        ToolError: ``bad_arguments`` for others.
    """
    encode(selector, parameter)
    paths, values = [], dict[str, str]()
    for alternative in selector.split(","):
        path = _path(alternative.strip(), values)
        if path is None:
            raise ToolError(
                "bad_arguments",
                f"{parameter}: {shorten(selector, 60)} is not understood; use tag, .class, #id, [attribute=value], "
                "a space or > between them, and commas",
            )
        paths.append(path)
    with parsing(parameter, selector, "selector"):
        return list(root.xpath(" | ".join(paths), **values))


def _path(selector: str, values: dict[str, str]) -> str | None:
    steps, axis = "", "descendant-or-self::"
    for piece in re.findall(r">|[^\s>\[]*(?:\[[^\]]*\][^\s>\[]*)+|[^\s>]+", selector):
        if piece == ">":
            if axis == "child::" or not steps:
                return None
            axis = "child::"
            continue
        match = _COMPOUND.fullmatch(piece)
        if not match:
            return None
        steps += f"/{axis}{(match['tag'] or '*').lower()}{''.join(_tests(match['rest'], values))}"
        axis = "descendant::"
    return f".{steps}" if steps and axis != "child::" else None


def _tests(rest: str, values: dict[str, str]) -> Iterator[str]:
    for sign, word, name, test, *quoted in _PART.findall(rest):
        value = f"v{len(values)}"
        values[value] = word or "".join(quoted)
        if sign:
            name, test = ("id", "=") if sign == "#" else ("class", "~=")
        yield f"[{_TESTS[test].format(name=name.lower(), value=value)}]"


def plain(element: Any) -> str:
    """The text of an element in one line."""
    return " ".join(readable("".join(element.itertext())).split())


def marked(element: Any) -> str:
    """The text of an element in one line, with Markdown for links, emphasis, code and pictures."""
    return " ".join("".join(_marked(element, 0)).split())


def _marked(element: Any, depth: int) -> Iterator[str]:
    yield readable(element.text or "")
    for child in element if depth < MAX_DEPTH else ():
        tag = child.tag if isinstance(child.tag, str) else "!"
        inner = "" if tag in ("!", "script", "style") else "".join(_marked(child, depth + 1))
        sign = {"strong": "**", "b": "**", "em": "*", "i": "*", "code": "`"}.get(tag)
        if tag == "a" and child.get("href") and inner.strip():
            yield f"[{inner.strip()}]({readable(child.get('href'))})"
        elif tag == "img":
            yield f"![{readable(child.get('alt') or '')}]({readable(child.get('src') or '')})"
        else:
            yield " " if tag == "br" else f"{sign}{inner.strip()}{sign}" if sign and inner.strip() else inner
        yield readable(child.tail or "")


def page_blocks(root: Any, words: Callable[[Any], str]) -> list[Block]:
    """Headings, paragraphs, lists, tables and code of a page; ``words`` gives the text of an element."""
    bodies = root.xpath("self::body | body") or [root]
    return list(_blocks(bodies[0], words, 0))


def _blocks(element: Any, words: Callable[[Any], str], depth: int) -> Iterator[Block]:
    loose = [readable(element.text or "")]
    for child in element if depth < MAX_DEPTH else ():
        tag = child.tag if isinstance(child.tag, str) else "!"
        if tag in ("!", "script", "style", "head", "template"):
            loose.append(readable(child.tail or ""))
            continue
        if tag in _INLINE:
            loose += [words(child), readable(child.tail or "")]
            continue
        yield from _paragraph(loose)
        loose = [readable(child.tail or "")]
        yield from _block(child, tag, words, depth)
    yield from _paragraph(loose)


def _block(child: Any, tag: str, words: Callable[[Any], str], depth: int) -> Iterator[Block]:
    if re.fullmatch("h[1-6]", tag) and words(child):
        yield Heading(kind="heading", text=words(child), level=int(tag[1]))
    elif tag == "p":
        yield from _paragraph([words(child)])
    elif tag in ("ul", "ol"):
        items = [text for text in map(words, child.iter("li")) if text]
        yield from [ListBlock(kind="list", items=items, ordered=tag == "ol")] if items else []
    elif tag == "table":
        rows = table_cells(child, words)
        yield from [TableBlock(kind="table", rows=rows)] if rows else []
    elif tag == "pre":
        yield CodeBlock(kind="code", text=readable("".join(child.itertext())).strip("\n"))
    else:
        yield from _blocks(child, words, depth + 1)


def _paragraph(parts: list[str]) -> Iterator[Block]:
    text = " ".join("".join(parts).split())
    if text:
        yield Paragraph(kind="paragraph", text=text)


def table_cells(table: Any, words: Callable[[Any], str] = plain) -> list[list[str]]:
    """The rows of a table, header included; cells over several columns count once."""
    rows = ([words(cell) for cell in row.iterchildren("td", "th")] for row in table.iter("tr"))
    return [row for row in rows if row]


def block_html(block: Block) -> str:
    """A block as HTML."""
    if block["kind"] == "heading":
        level = block.get("level", 1)
        return f"<h{level}>{html.escape(block['text'])}</h{level}>"
    if block["kind"] == "list":
        tag = "ol" if block.get("ordered") else "ul"
        return f"<{tag}>\n" + "".join(f"<li>{html.escape(item)}</li>\n" for item in block["items"]) + f"</{tag}>"
    if block["kind"] == "table":
        head, *rows = (["".join(f"<@>{html.escape(cell)}</@>" for cell in row)] for row in block["rows"])
        lines = [head[0].replace("<@>", "<th>").replace("</@>", "</th>")]
        lines += [row[0].replace("<@>", "<td>").replace("</@>", "</td>") for row in rows]
        return "<table>\n" + "".join(f"<tr>{line}</tr>\n" for line in lines) + "</table>"
    if block["kind"] == "code":
        return f"<pre><code>{html.escape(block['text'])}</code></pre>"
    return f"<p>{html.escape(block['text'])}</p>"
