"""Reading Markdown files: outline, sections, links, code, tables, tasks; and what it looks like as HTML."""

import html
import posixpath
from typing import Annotated, Any, Literal
from urllib.parse import unquote

from annotated_types import Ge, Le, Len

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.toolbox.formats import encode, readable
from mcpserver.tools.documents._blocks import FilePath, markdown_blocks, parse_markdown
from mcpserver.tools.documents._sections import find_section, read_markdown, sections
from toolwright.words import cut

MAX_TEXT = 9000
Heading = Annotated[str, Len(1, 300)]


def markdown_outline(context: Context, path: FilePath, max_level: Annotated[int, Ge(1), Le(6)] = 6) -> dict[str, Any]:
    """List the headings of a Markdown file with their lines and anchors.

    Args:
        path: .md file
        max_level: leave out deeper headings

    Example:
        {"path": "docs/guide.md"}
        {"path": "docs/guide.md", "max_level": 2}
    """
    found = [section for section in sections(read_markdown(context, path)) if section.level <= max_level]
    headings = [
        {"level": s.level, "title": cut(s.title, 120), "anchor": cut(s.anchor, 120), "line": s.start + 1} for s in found
    ]
    return {"headings": headings[:80], "total": len(headings)}


def markdown_section(context: Context, path: FilePath, heading: Heading, subsections: bool = True) -> dict[str, Any]:
    """Read one section of a Markdown file.

    Args:
        path: .md file
        heading: its title or anchor
        subsections: give the sections inside it as well

    Example:
        {"path": "docs/guide.md", "heading": "Keys"}
    """
    text = read_markdown(context, path)
    section, end = find_section(text, heading, path), 0
    inner = [other.start for other in sections(text) if section.start < other.start < section.end]
    end = section.end if subsections or not inner else inner[0]
    body = "\n".join(text.split("\n")[section.body : end]).strip("\n")
    lines = {"first_line": section.start + 1, "last_line": end}
    return {"title": section.title, "level": section.level, "text": cut(body, MAX_TEXT), **lines}


def markdown_links(context: Context, path: FilePath, kind: Literal["all", "link", "image"] = "all") -> dict[str, Any]:
    """List the links and pictures of a Markdown file.

    Args:
        path: .md file
        kind: what to list

    Example:
        {"path": "docs/guide.md"}
        {"path": "docs/readme.md", "kind": "link"}
    """
    found = [link for link in _links(read_markdown(context, path)) if kind in ("all", link["kind"])]
    given = [{**link, "text": cut(link["text"], 100), "target": cut(link["target"], 200)} for link in found[:60]]
    return {"links": given, "total": len(found)}


def markdown_check_links(context: Context, paths: Annotated[list[FilePath], Len(1, 30)]) -> dict[str, Any]:
    """Find links of Markdown files to files and headings that are not there; the web is not asked.

    Args:
        paths: .md files

    Example:
        {"paths": ["docs/readme.md", "docs/guide.md"]}
    """
    names, broken, checked = set(context.files.names()), [], 0
    for number, path in enumerate(paths):
        text = read_markdown(context, path, f"paths[{number}]")
        for link in _links(text):
            file, _, anchor = unquote(link["target"]).partition("#")
            if ":" in file or file.startswith("//"):
                continue
            checked += 1
            target = posixpath.normpath(posixpath.join(posixpath.dirname(path), file)) if file else path
            reason = "no such file" if target not in names and not _is_folder(target, names) else ""
            if not reason and anchor and target.lower().endswith(".md"):
                there = text if target == path else read_markdown(context, target)
                reason = "" if anchor in {section.anchor for section in sections(there)} else "no such heading"
            if reason:
                entry = {"path": path, "line": link["line"], "target": cut(readable(link["target"]), 150)}
                broken.append({**entry, "reason": reason})
    return {"broken": broken[:60], "total": len(broken), "checked": checked}


def markdown_code_blocks(
    context: Context, path: FilePath, language: Annotated[str, Len(0, 40)] | None = None
) -> dict[str, Any]:
    """Take the code blocks out of a Markdown file.

    Args:
        path: .md file
        language: only those marked so, such as python

    Example:
        {"path": "docs/guide.md"}
        {"path": "docs/guide.md", "language": "python"}
    """
    blocks = []
    for token in parse_markdown(read_markdown(context, path)):
        marked = (token.info.split() or [""])[0].lower()
        if token.type in ("fence", "code_block") and (language is None or language.lower() == marked):
            line = (token.map or [0])[0] + 1
            blocks.append({"language": cut(marked, 40), "line": line, "code": cut(token.content, 2000)})
    return {"blocks": blocks[:10], "total": len(blocks)}


def markdown_tables(
    context: Context,
    path: FilePath,
    table: Annotated[int, Ge(1), Le(1000)] | Literal["all"] = "all",
    limit: Annotated[int, Ge(1), Le(200)] = 50,
) -> dict[str, Any]:
    """Read the tables of a Markdown file as rows.

    Args:
        path: .md file
        table: its number from 1, or all
        limit: most rows to give of each

    Example:
        {"path": "docs/guide.md", "table": 1}
    """
    tables = [block["rows"] for block in markdown_blocks(read_markdown(context, path)) if block["kind"] == "table"]
    if table != "all" and table > len(tables):
        raise ToolError("bad_arguments", f"table: {table}, but {path!r} has {len(tables)}")
    given = []
    for number in list(range(1, len(tables) + 1) if table == "all" else [table])[:20]:
        head, *rows = ([cut(cell, 200) for cell in row[:30]] for row in tables[number - 1])
        given.append({"table": number, "columns": head, "rows": rows[:limit], "total_rows": len(rows)})
    return {"tables": given, "total": len(tables)}


def markdown_to_html(
    context: Context,
    path: FilePath,
    save_as: FilePath | None = None,
    page: bool = True,
    allow_html: bool = False,
) -> dict[str, Any]:
    """Turn a Markdown file into HTML.

    Args:
        path: .md file
        save_as: file to write, left out to get the HTML only
        page: a whole page, not only what goes into its body
        allow_html: let tags in the Markdown through

    Example:
        {"path": "docs/guide.md", "save_as": "docs/guide.html"}
        {"path": "docs/readme.md", "page": false}
    """
    from markdown_it import MarkdownIt

    text = read_markdown(context, path)
    body: str = MarkdownIt("commonmark", {"html": allow_html}).enable("table").render(text)
    if page:
        title = next((section.title for section in sections(text)), path.rpartition("/")[2])
        head = f'<meta charset="utf-8">\n<title>{html.escape(title)}</title>'
        body = f"<!DOCTYPE html>\n<html>\n<head>\n{head}\n</head>\n<body>\n{body}</body>\n</html>\n"
    if save_as is not None:
        context.files.write(save_as, encode(body), "save_as")
        return {"path": save_as, "bytes": len(encode(body))}
    return {"html": cut(body, MAX_TEXT), "characters": len(body)}


def _links(text: str) -> list[dict[str, Any]]:
    """Kind, text, target and line of the links and pictures."""
    found = []
    for token in parse_markdown(text):
        children, line = token.children or [], (token.map or [0])[0] + 1
        for number, child in enumerate(children):
            if child.type == "softbreak":
                line += 1
            elif child.type == "image":
                target = str(child.attrGet("src") or "")
                found.append({"kind": "image", "text": child.content, "target": target, "line": line})
            elif child.type == "link_open":
                words = []
                for inner in children[number + 1 :]:
                    if inner.type == "link_close":
                        break
                    words.append(inner.content)
                target = str(child.attrGet("href") or "")
                found.append({"kind": "link", "text": "".join(words), "target": target, "line": line})
    return found


def _is_folder(target: str, names: set[str]) -> bool:
    return any(name.startswith(f"{target}/") for name in names)
