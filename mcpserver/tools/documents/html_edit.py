"""Writing HTML files: pages built and changed, and pages checked for faults."""

import html
import posixpath
from html.parser import HTMLParser
from typing import Annotated, Any, Literal

from annotated_types import Len
from typing_extensions import TypedDict

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.toolbox.formats import encode, parsing, readable
from mcpserver.tools.documents._blocks import Content, FilePath, Words, to_blocks
from mcpserver.tools.documents._html import block_html, open_html, select
from toolwright.words import cut

Selector = Annotated[str, Len(1, 200)]
Name = Annotated[str, Len(1, 60)]
_VOID = {
    *("area", "base", "br", "col", "embed", "hr", "img", "input", "link"),
    *("meta", "source", "track", "wbr"),
}
_OPTIONAL = {
    *("html", "head", "body", "p", "li", "dt", "dd", "option", "thead"),
    *("tbody", "tfoot", "tr", "td", "th", "colgroup"),
}
_STYLES = {
    "plain": "",
    "report": "body{font:16px/1.5 sans-serif;max-width:46em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse}td,th{border:1px solid #999;padding:.3em .6em;text-align:left}",
    "compact": "body{font:13px/1.3 sans-serif;margin:1em}table{border-collapse:collapse}"
    "td,th{border-bottom:1px solid #ccc;padding:.1em .5em;text-align:left}",
}


class SetText(TypedDict):
    """Replace all that is in the elements by a text."""

    do: Literal["set_text"]
    selector: Selector
    text: Words


class SetAttribute(TypedDict):
    """Set an attribute of the elements."""

    do: Literal["set_attribute"]
    selector: Selector
    name: Name
    value: Words


class Remove(TypedDict):
    """Remove the elements."""

    do: Literal["remove"]
    selector: Selector


class Append(TypedDict):
    """Add Markdown or blocks at the end of the elements."""

    do: Literal["append"]
    selector: Selector
    content: Content


Edit = SetText | SetAttribute | Remove | Append


def html_build(
    context: Context,
    save_as: FilePath,
    title: Annotated[str, Len(1, 200)],
    content: Content,
    style: Literal["plain", "report", "compact"] = "report",
    language: Annotated[str, Len(2, 10)] = "en",
) -> dict[str, Any]:
    """Build a web page from Markdown or from headings, paragraphs, lists and tables.

    Args:
        save_as: .html file to write
        title: of the page
        content: Markdown text, or blocks
        style: how it looks
        language: such as en or de

    Example:
        {"save_as": "docs/news.html", "title": "News", "content": "# News\\n\\nThe *Hydra 80* is here."}
        {"save_as": "docs/list.html", "title": "Stock", "style": "compact", "content":
         [{"kind": "table", "rows": [["sku", "units"], ["P-101", "12"]]}]}
    """
    if not save_as.lower().endswith((".html", ".htm")):
        raise ToolError("bad_arguments", f"save_as: {save_as!r} must end in .html")
    encode(title, "title")
    encode(language, "language")
    look = f"<style>{_STYLES[style]}</style>\n" if _STYLES[style] else ""
    page = (
        f'<!DOCTYPE html>\n<html lang="{html.escape(readable(language))}">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{html.escape(readable(title))}</title>\n{look}</head>\n<body>\n{_body(content)}\n</body>\n</html>\n"
    )
    context.files.write(save_as, page.encode(), "save_as")
    return {"path": save_as, "bytes": len(page.encode())}


def html_edit(
    context: Context,
    path: FilePath,
    edits: Annotated[list[Edit], Len(1, 50)],
    save_as: FilePath | None = None,
) -> dict[str, Any]:
    """Change the elements of a page that selectors mean: text, attributes, new content, removal.

    Args:
        path: HTML file
        edits: what to do, one after the other
        save_as: file to write, default the file itself

    Example:
        {"path": "docs/products.html", "edits": [{"do": "set_text", "selector": "h1", "text": "Our products"},
         {"do": "set_attribute", "selector": "#products", "name": "class", "value": "wide"}]}
        {"path": "docs/index.html", "edits": [{"do": "append", "selector": "body", "content": "See you **soon**."}]}
    """
    from lxml.html import tostring

    root, changed = open_html(context, path), []
    for number, edit in enumerate(edits):
        found = [element for element in select(root, edit["selector"], f"edits[{number}].selector")]
        if not found:
            raise ToolError("tool_error", f"edits[{number}].selector: nothing in {path!r} fits {edit['selector']!r}")
        if len(found) > 2000:
            raise ToolError("limit", f"edits[{number}].selector: {len(found)} elements; at most 2000 are changed")
        with parsing(f"edits[{number}]", path, "HTML file that can be changed so"):
            _apply(found, edit, f"edits[{number}]")
        changed.append(len(found))
    with parsing("path", path, "HTML file"):
        content = tostring(root, encoding="utf-8", doctype="<!DOCTYPE html>")
    context.files.write(save_as or path, content, "save_as")
    return {"path": save_as or path, "changed": changed, "bytes": len(content)}


def html_check(context: Context, path: FilePath) -> dict[str, Any]:
    """Check a page: tags left open, missing title and alt texts, double ids, broken links to files.

    Args:
        path: HTML file

    Example:
        {"path": "docs/index.html"}
    """
    root = open_html(context, path)
    problems = _Tags().problems(context.files.read_text(path))
    if not any((title.text or "").strip() for title in root.iter("title")):
        problems.append({"line": 1, "problem": "the page has no title"})
    problems += [
        {"line": image.sourceline or 0, "problem": "a picture has no alt text"}
        for image in root.iter("img")
        if image.get("alt") is None
    ]
    problems += _ids_and_links(root, path, set(context.files.names()))
    problems.sort(key=lambda problem: (problem["line"], problem["problem"]))
    return {"ok": not problems, "problems": problems[:60], "total": len(problems)}


def _body(content: Any) -> str:
    if not isinstance(content, str):
        return "\n".join(block_html(block) for block in to_blocks(content))
    from markdown_it import MarkdownIt

    encode(content, "content")
    rendered: str = MarkdownIt("commonmark", {"html": False}).enable("table").render(readable(content))
    return rendered.strip()


def _apply(found: list[Any], edit: Edit, where: str) -> None:
    from lxml.html import fragments_fromstring

    for element in found:
        if edit["do"] == "set_text":
            encode(edit["text"], where)
            for child in list(element):
                element.remove(child)
            element.text = readable(edit["text"])
        elif edit["do"] == "set_attribute":
            encode(edit["value"], where)
            element.set(edit["name"], readable(edit["value"]))
        elif edit["do"] == "append":
            for part in fragments_fromstring(_body(edit["content"]), no_leading_text=True):
                element.append(part)
        elif element.getparent() is None or element.tag == "body":
            raise ToolError("bad_arguments", f"{where}.selector: the whole page cannot be removed")
        else:
            element.drop_tree()


def _ids_and_links(root: Any, path: str, names: set[str]) -> list[dict[str, Any]]:
    problems, ids = [], set[str]()
    for element in root.iter():
        name = element.get("id") if isinstance(element.tag, str) else None
        if name is not None and name in ids:
            problems.append(
                {"line": element.sourceline or 0, "problem": f"the id {cut(readable(name), 60)!r} is double"}
            )
        ids.add(name or "")
    for element in root.xpath("//*[@href or @src]"):
        target = readable(element.get("href") or element.get("src") or "").strip()
        file, _, anchor = target.partition("#")
        if ":" in file or file.startswith("/") or (not file and anchor in ids):
            continue
        if not file or posixpath.normpath(posixpath.join(posixpath.dirname(path), file.partition("?")[0])) not in names:
            problems.append({"line": element.sourceline or 0, "problem": f"nothing is at {cut(target, 80)!r}"})
    return problems


class _Tags(HTMLParser):
    """Finds tags that are left open or closed without having been opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[tuple[str, int]] = []
        self.found: list[dict[str, Any]] = []

    def problems(self, text: str) -> list[dict[str, Any]]:
        with parsing("path", "page", "HTML file"):
            self.feed(text)
            self.close()
        self._left(self.open)
        return self.found

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _VOID:
            self.open.append((tag, self.getpos()[0]))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        places = [
            place for place, (name, _) in enumerate(self.open[-200:], max(0, len(self.open) - 200)) if name == tag
        ]
        if not places:
            if tag not in _OPTIONAL and tag not in _VOID:
                self.found.append({"line": self.getpos()[0], "problem": f"</{cut(tag, 40)}> closes nothing"})
            return
        self._left(self.open[places[-1] + 1 :])
        del self.open[places[-1] :]

    def _left(self, tags: list[tuple[str, int]]) -> None:
        self.found += [
            {"line": line, "problem": f"<{cut(tag, 40)}> is not closed"} for tag, line in tags if tag not in _OPTIONAL
        ]
