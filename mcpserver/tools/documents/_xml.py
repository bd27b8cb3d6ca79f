"""XML files opened without DTD, entities and network, and written again."""

from typing import Any

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.toolbox.formats import parsing

MAX_BYTES = 1024 * 1024


def open_xml(context: Context, path: str, parameter: str = "path") -> Any:
    """The root element of an XML file.

    Raises:
        ToolError: broken XML, or ``denied`` for a document type, which could name other files and grow without bound.
    """
    from lxml import etree

    content = context.files.read_bytes(path, parameter, limit=MAX_BYTES)
    refusal = ToolError("denied", f"{parameter}: {path!r} has a document type (<!DOCTYPE); such XML is not read")
    if b"<!DOCTYPE" in content.replace(b"\0", b"").upper():
        raise refusal
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, remove_pis=True)
    with parsing(parameter, path, "XML file"):
        root = etree.fromstring(content, parser)
        if root.getroottree().docinfo.internalDTD is not None:
            raise refusal
        return root


def write_xml(context: Context, root: Any, path: str) -> int:
    """Write an XML file; gives its bytes.

    Raises:
        ToolError: it cannot be written.
    """
    from lxml import etree

    content: bytes = etree.tostring(root.getroottree(), xml_declaration=True, encoding="UTF-8")
    context.files.write(path, content.rstrip(b"\n") + b"\n", "save_as")
    return len(content)


def find(root: Any, query: str, parameter: str = "query") -> list[Any]:
    """The elements that a simple path means, seen from the root element.

    Raises:
        ToolError: ``bad_arguments`` for what is no simple path.
    """
    if query in ("", "."):
        return [root]
    example = "use a path such as item/title, .//total or invoice[@id='1001'], seen from inside the root"
    if query.startswith("/") or not query.isprintable() or query.count("//") > 3:
        raise ToolError("bad_arguments", f"{parameter}: {query!r} is no simple path; {example}")
    try:
        with parsing(parameter, query, "simple path"):
            return [element for element in root.findall(query) if isinstance(element.tag, str)]
    except ToolError:
        raise ToolError("bad_arguments", f"{parameter}: {query!r} is no simple path; {example}") from None


def local(tag: Any) -> str:
    """The name of an element without its namespace."""
    return str(tag).rpartition("}")[2]


def text_of(element: Any) -> str:
    """All text in an element, without spaces around it."""
    return " ".join("".join(element.itertext()).split())


def below(element: Any, name: str) -> str:
    """The text of the first child with a name, whatever its namespace."""
    for child in element:
        if isinstance(child.tag, str) and local(child.tag) == name:
            return text_of(child)
    return ""


def add_child(parent: Any, child: Any) -> None:
    """Add an element at the end, indented like its brothers and sisters."""
    if len(parent):
        last = parent[-1]
        child.tail, inner = last.tail, parent.text
        last.tail = inner if inner and not inner.strip() else last.tail
    parent.append(child)
