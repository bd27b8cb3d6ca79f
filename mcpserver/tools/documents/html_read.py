"""Reading HTML files: text, links, tables, elements by selector. Nothing is fetched and no entity is expanded."""

import re
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, Len

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.toolbox.formats import readable
from mcpserver.tools.documents._blocks import FilePath
from mcpserver.tools.documents._html import marked, open_html, page_blocks, plain, select, table_cells
from mcpserver.tools.documents._markdown import to_markdown
from toolwright.words import cut

MAX_TEXT = 9000
Selector = Annotated[str, Len(1, 200)]


def html_info(context: Context, path: FilePath) -> dict[str, Any]:
    """Say title, language, meta data and what a page consists of.

    Args:
        path: HTML file

    Example:
        {"path": "docs/index.html"}
    """
    root = open_html(context, path)
    meta: dict[str, str] = {}
    for element in root.iter("meta"):
        name = element.get("name") or element.get("property") or element.get("http-equiv")
        if name and element.get("content") is not None and len(meta) < 30:
            meta[cut(readable(name), 60)] = cut(readable(element.get("content")), 200)
    tags = ("a", "img", "table", "form", "script", "p")
    return {
        **{"title": cut(" ".join(plain(title) for title in root.iter("title")), 200)},
        **{"language": cut(readable(root.get("lang") or ""), 30), "meta": meta},
        **{"elements": {tag: sum(1 for _ in root.iter(tag)) for tag in tags}, "words": len(_words(root).split())},
    }


def html_text(context: Context, path: FilePath, selector: Selector | None = None) -> dict[str, Any]:
    """Read the text of a page, or of the elements that a selector means.

    Args:
        path: HTML file
        selector: such as main p or #products, left out for the whole page

    Example:
        {"path": "docs/faq.html"}
        {"path": "docs/products.html", "selector": "h1"}
    """
    root = open_html(context, path)
    if selector is None:
        text = _words(root)
    else:
        found = select(root, selector)
        if not found:
            raise ToolError("tool_error", f"selector: nothing in {path!r} fits {selector!r}")
        text = "\n".join(map(plain, found))
    return {"text": cut(text, MAX_TEXT), "characters": len(text)}


def html_links(
    context: Context, path: FilePath, kind: Literal["all", "web", "local", "mail", "anchor"] = "all"
) -> dict[str, Any]:
    """List the links of a page.

    Args:
        path: HTML file
        kind: to the web, to files, to mail addresses, or within the page

    Example:
        {"path": "docs/index.html"}
        {"path": "docs/index.html", "kind": "local"}
    """
    links = []
    for element in open_html(context, path).iter("a"):
        if element.get("href") is not None:
            target = readable(element.get("href")).strip()
            links.append({"text": cut(plain(element), 100), "target": cut(target, 200), "kind": _kind(target)})
    wanted = [link for link in links if kind in ("all", link["kind"])]
    return {"links": wanted[:60], "total": len(wanted)}


def html_tables(
    context: Context,
    path: FilePath,
    table: Annotated[int, Ge(1), Le(1000)] | Literal["all"] = "all",
    header: bool = True,
    limit: Annotated[int, Ge(1), Le(200)] = 50,
) -> dict[str, Any]:
    """Read the tables of a page as rows.

    Args:
        path: HTML file
        table: its number from 1, or all
        header: whether the first row names the columns
        limit: most rows to give of each

    Example:
        {"path": "docs/products.html", "table": 1, "limit": 5}
    """
    tables = [table_cells(found) for found in open_html(context, path).iter("table")]
    if table != "all" and table > len(tables):
        raise ToolError("bad_arguments", f"table: {table}, but {path!r} has {len(tables)}")
    given = []
    for number in list(range(1, len(tables) + 1) if table == "all" else [table])[:20]:
        rows = [[cut(cell, 200) for cell in row[:30]] for row in tables[number - 1]]
        names = rows[0] if header and rows else []
        body = rows[1:] if header else rows
        if names and len(set(names)) == len(names):
            shown: list[Any] = [dict(zip(names, row)) for row in body[:limit]]
        else:
            shown = body[:limit]
        given.append({"table": number, "columns": names, "rows": shown, "total_rows": len(body)})
    return {"tables": given, "total": len(tables)}


def html_outline(context: Context, path: FilePath) -> dict[str, Any]:
    """List the headings of a page.

    Args:
        path: HTML file

    Example:
        {"path": "docs/index.html"}
    """
    headings = [
        {
            "level": int(element.tag[1]),
            "text": cut(plain(element), 120),
            "id": cut(readable(element.get("id") or ""), 60),
        }
        for element in open_html(context, path).iter("h1", "h2", "h3", "h4", "h5", "h6")
    ]
    return {"headings": headings[:100], "total": len(headings)}


def html_select(
    context: Context,
    path: FilePath,
    selector: Selector,
    attribute: Annotated[str, Len(1, 60)] | None = None,
    limit: Annotated[int, Ge(1), Le(100)] = 20,
) -> dict[str, Any]:
    """Find elements of a page by a CSS selector.

    Args:
        path: HTML file
        selector: tags, .class, #id, [attribute=value], a space or > between them, commas
        attribute: give this attribute of each as well
        limit: most elements to give

    Example:
        {"path": "docs/products.html", "selector": "table#products th"}
        {"path": "docs/index.html", "selector": "nav > a[href$='.html']", "attribute": "href"}
    """
    found = [element for element in select(open_html(context, path), selector) if isinstance(element.tag, str)]
    if attribute is not None and not re.fullmatch(r"[a-zA-Z_:][\w:.-]*", attribute):
        raise ToolError("bad_arguments", f"attribute: {attribute!r} is no name of an attribute such as href")
    given = []
    for element in found[:limit]:
        entry = {"tag": element.tag, "line": element.sourceline or 0, "text": cut(plain(element), 200)}
        if attribute is not None:
            entry["value"] = cut(readable(element.get(attribute.lower()) or ""), 200)
        given.append(entry)
    return {"elements": given, "total": len(found)}


def html_to_markdown(context: Context, path: FilePath, save_as: FilePath | None = None) -> dict[str, Any]:
    """Turn a page into Markdown.

    Args:
        path: HTML file
        save_as: file to write, left out to get the text only

    Example:
        {"path": "docs/faq.html"}
        {"path": "docs/products.html", "save_as": "docs/products.md"}
    """
    text = to_markdown(page_blocks(open_html(context, path), marked))
    if save_as is not None:
        context.files.write(save_as, text.encode(), "save_as")
        return {"path": save_as, "characters": len(text)}
    return {"text": cut(text, MAX_TEXT), "characters": len(text)}


def _words(root: Any) -> str:
    lines = []
    for block in page_blocks(root, plain):
        if block["kind"] == "table":
            lines += [" | ".join(row) for row in block["rows"]]
        elif block["kind"] == "list":
            lines += [f"- {item}" for item in block["items"]]
        else:
            lines.append(block["text"])
    return "\n".join(lines)


def _kind(target: str) -> str:
    scheme = target.partition(":")[0].lower() if ":" in target.partition("/")[0] else ""
    if target.startswith("#"):
        return "anchor"
    if scheme == "mailto":
        return "mail"
    return "web" if scheme or target.startswith("//") else "local"
