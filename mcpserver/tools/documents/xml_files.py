"""XML files and news feeds: query, edit, list items, add one."""

import datetime
import re
from email.utils import format_datetime, parsedate_to_datetime
from typing import Annotated, Any, Literal, NotRequired

from annotated_types import Ge, Le, Len
from typing_extensions import TypedDict

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.toolbox.formats import encode, parsing, readable
from mcpserver.tools.documents._blocks import FilePath, Words
from mcpserver.tools.documents._xml import add_child, below, find, local, open_xml, text_of, write_xml
from toolwright.words import cut, shorten

Query = Annotated[str, Len(0, 200)]
Name = Annotated[str, Len(1, 60)]


class SetText(TypedDict):
    """Replace the text of the elements."""

    do: Literal["set_text"]
    query: Query
    text: Words


class SetAttribute(TypedDict):
    """Set an attribute of the elements."""

    do: Literal["set_attribute"]
    query: Query
    name: Name
    value: Words


class Remove(TypedDict):
    """Remove the elements."""

    do: Literal["remove"]
    query: Query


class AddElement(TypedDict):
    """Add an element inside of each of the elements."""

    do: Literal["add"]
    query: Query
    tag: Name
    text: NotRequired[Words]
    attributes: NotRequired[Annotated[dict[str, Words], Len(0, 20)]]


class FeedItem(TypedDict):
    """A piece of news."""

    title: Annotated[str, Len(1, 200)]
    link: NotRequired[Annotated[str, Len(1, 300)]]
    description: NotRequired[Words]
    published: NotRequired[Annotated[str, Len(10, 30)]]


def xml_outline(context: Context, path: FilePath) -> dict[str, Any]:
    """List the paths of elements in an XML file, how often each occurs, and its attributes.

    Args:
        path: XML file

    Example:
        {"path": "data/invoices.xml"}
    """
    root, counts, attributes = open_xml(context, path), dict[str, int](), dict[str, set[str]]()
    todo = [(root, local(root.tag), 0)]
    while todo:
        element, where, depth = todo.pop()
        counts[where] = counts.get(where, 0) + 1
        attributes.setdefault(where, set()).update(local(name) for name in element.attrib)
        if depth < 30:
            children = [child for child in element if isinstance(child.tag, str)]
            todo += [(child, f"{where}/{local(child.tag)}", depth + 1) for child in reversed(children)]
    paths = [
        {
            "path": cut(where, 150),
            "count": count,
            "attributes": [cut(name, 40) for name in sorted(attributes[where])[:8]],
        }
        for where, count in counts.items()
    ]
    return {"paths": paths[:60], "total": len(paths)}


def xml_query(
    context: Context,
    path: FilePath,
    query: Query,
    fields: Annotated[dict[str, Annotated[str, Len(1, 100)]], Len(1, 20)] | None = None,
    limit: Annotated[int, Ge(1), Le(100)] = 20,
) -> dict[str, Any]:
    """Find elements of an XML file by a simple path, seen from inside the root element.

    Args:
        path: XML file
        query: such as item/title, .//total or invoice[@id='1001']; {*}name for any namespace
        fields: columns to give, each a path seen from the element, or @ and an attribute
        limit: most elements to give

    Example:
        {"path": "data/invoices.xml", "query": "invoice[@id='1001']/total"}
        {"path": "data/invoices.xml", "query": "invoice", "fields": {"number": "@id", "who": "customer"}, "limit": 5}
    """
    found = find(open_xml(context, path), query)
    given: list[dict[str, Any]] = []
    for element in found[:limit]:
        if fields is not None:
            given.append({cut(readable(name), 60): _field(element, part, name) for name, part in fields.items()})
            continue
        attributes = {cut(local(name), 60): cut(readable(value), 100) for name, value in list(element.items())[:10]}
        entry = {"tag": local(element.tag), "text": cut(readable(text_of(element)), 300), "attributes": attributes}
        given.append({**entry, "line": element.sourceline or 0})
    return {"elements": given, "total": len(found)}


def xml_edit(
    context: Context,
    path: FilePath,
    edits: Annotated[list[SetText | SetAttribute | Remove | AddElement], Len(1, 50)],
    save_as: FilePath | None = None,
) -> dict[str, Any]:
    """Change an XML file: texts, attributes, new elements, removal.

    Args:
        path: XML file
        edits: what to do, one after the other; queries as in xml_query
        save_as: file to write, default the file itself

    Example:
        {"path": "data/invoices.xml", "edits": [{"do": "set_text", "query": "invoice[@id='1001']/date",
         "text": "2025-01-07"}, {"do": "add", "query": "invoice[@id='1001']", "tag": "paid", "text": "yes"}]}
    """
    root, changed = open_xml(context, path), []
    for number, edit in enumerate(edits):
        where = f"edits[{number}]"
        found = find(root, edit["query"], f"{where}.query")
        if not 0 < len(found) <= 2000:
            raise ToolError("tool_error", f"{where}.query: {len(found)} elements fit; from 1 to 2000 are changed")
        for element in found:
            _apply(element, edit, where)
        changed.append(len(found))
    return {"path": save_as or path, "changed": changed, "bytes": write_xml(context, root, save_as or path)}


def feed_items(
    context: Context,
    path: FilePath,
    search: Annotated[str, Len(1, 100)] | None = None,
    since: Annotated[str, Len(10, 30)] | None = None,
    limit: Annotated[int, Ge(1), Le(50)] = 20,
) -> dict[str, Any]:
    """List the items of an RSS or Atom feed.

    Args:
        path: XML file
        search: only items with these words
        since: only items from this day on, such as 2025-03-05
        limit: most items to give

    Example:
        {"path": "data/feed.xml"}
        {"path": "data/feed.xml", "since": "2025-03-05", "search": "warehouse"}
    """
    root, first = open_xml(context, path), None if since is None else _day(since, "since")
    items = []
    for element in root.iter("{*}item", "{*}entry"):
        date = _published(below(element, "pubDate") or below(element, "published") or below(element, "updated"))
        links = [child.get("href") for child in element if local(child.tag) == "link" and child.get("href")]
        item = {
            **{"title": below(element, "title"), "link": below(element, "link") or (links or [""])[0]},
            **{"published": date.isoformat() if date else None},
            **{"description": below(element, "description") or below(element, "summary")},
        }
        words = f"{item['title']} {item['description']}".casefold()
        if (search is None or search.casefold() in words) and (first is None or (date is not None and date >= first)):
            items.append({key: cut(readable(value), 300) if value is not None else None for key, value in item.items()})
    title = next((below(channel, "title") for channel in [*root.iter("{*}channel"), root]), "")
    return {"feed": cut(readable(title), 200), "items": items[:limit], "total": len(items)}


def feed_add_item(context: Context, path: FilePath, item: FeedItem, save_as: FilePath | None = None) -> dict[str, Any]:
    """Add a piece of news to an RSS feed, above the others.

    Args:
        path: RSS file
        item: title, link, description, and day of publishing, default now
        save_as: file to write, default the file itself

    Example:
        {"path": "data/feed.xml", "item": {"title": "New catalogue", "link": "https://www.alderwick.example/news/50",
         "published": "2025-03-14"}}
    """
    from lxml import etree

    root = open_xml(context, path)
    channel = next(iter(root.iterchildren("channel")), None)
    if channel is None:
        raise ToolError("tool_error", f"path: {path!r} is no RSS feed; it has no channel")
    date = (
        _day(item["published"], "item.published") if "published" in item else context.now.replace(tzinfo=datetime.UTC)
    )
    old = list(channel.iterchildren("item"))
    element = etree.Element("item")
    for name, value in (("title", item["title"]), ("link", item.get("link")), ("guid", item.get("link"))):
        if value is not None:
            etree.SubElement(element, name).text = _pure(value, f"item.{name}")
    etree.SubElement(element, "pubDate").text = format_datetime(date, usegmt=True)
    if "description" in item:
        etree.SubElement(element, "description").text = _pure(item["description"], "item.description")
    if old:
        element.tail = old[0].tail if len(old) > 1 else "\n    "
        old[0].addprevious(element)
    else:
        add_child(channel, element)
    etree.indent(element, "  ", level=2)
    size = write_xml(context, root, save_as or path)
    return {"path": save_as or path, "items": len(old) + 1, "bytes": size}


def _field(element: Any, part: str, name: str) -> str | None:
    if part.startswith("@"):
        value = next((value for key, value in element.items() if local(key) == part[1:]), None)
    else:
        value = next((text_of(found) for found in find(element, part, f"fields.{shorten(name, 30)}")), None)
    return None if value is None else cut(readable(value), 200)


def _apply(element: Any, edit: Any, where: str) -> None:
    from lxml import etree

    with parsing(where, edit["query"], "element that can be changed so"):
        if edit["do"] == "set_text":
            for child in list(element):
                element.remove(child)
            element.text = _pure(edit["text"], where)
        elif edit["do"] == "set_attribute":
            element.set(edit["name"], _pure(edit["value"], where))
        elif edit["do"] == "add":
            child = etree.Element(edit["tag"])
            child.text = _pure(edit["text"], where) if "text" in edit else None
            for name, value in edit.get("attributes", {}).items():
                child.set(name, _pure(value, where))
            add_child(element, child)
        elif element.getparent() is None:
            raise ToolError("bad_arguments", f"{where}.query: the root element cannot be removed")
        else:
            _remove(element)


def _remove(element: Any) -> None:
    before, parent = element.getprevious(), element.getparent()
    if element.tail and element.tail.strip():  # text after it stays
        if before is not None:
            before.tail = (before.tail or "") + element.tail
        else:
            parent.text = (parent.text or "") + element.tail
    elif before is not None and element.getnext() is None:
        before.tail = element.tail
    parent.remove(element)


def _pure(text: str, where: str) -> str:
    encode(text, where)
    return readable(text)


def _published(text: str) -> datetime.datetime | None:
    for read in (parsedate_to_datetime, datetime.datetime.fromisoformat):
        try:
            moment = read(text)
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
        return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
    return None


def _day(text: str, parameter: str) -> datetime.datetime:
    try:
        moment = datetime.datetime.fromisoformat(re.sub(r"Z$", "+00:00", text.strip()))
    except ValueError:
        raise ToolError("bad_arguments", f"{parameter}: {shorten(text, 30)} is no day such as 2025-03-14") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
    if not 1900 <= moment.year <= 2200:
        raise ToolError("bad_arguments", f"{parameter}: the year must lie between 1900 and 2200")
    return moment.astimezone(datetime.UTC)
