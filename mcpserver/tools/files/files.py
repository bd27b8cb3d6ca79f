"""The small text files of an environment: list, read, write, move, delete and search."""

from typing import Annotated, Any

from annotated_types import MinLen

from mcpserver.context import Context
from mcpserver.tool_error import ToolError

MAX_TEXT_BYTES = 64 * 1024
MAX_MATCHES = 20
MAX_LINE = 200
MAX_LISTED = 200


def list_files(context: Context, folder: str) -> dict[str, Any]:
    """List the files in a folder.

    Args:
        folder: folder name

    Example:
        {"folder": "notes"}
    """
    files = context.files
    entries = sorted(files.existing_folder(folder).iterdir())
    names = [files.name(entry).rpartition("/")[2] + ("/" if entry.is_dir() else "") for entry in entries]
    cut = {"total": len(names)} if len(names) > MAX_LISTED else {}
    return {"files": names[:MAX_LISTED], **cut}


def read_file(context: Context, path: str) -> dict[str, Any]:
    """Read a text file.

    Args:
        path: file path

    Example:
        {"path": "config/desk.json"}
    """
    return {"text": _read(context, path)}


def write_file(context: Context, path: str, text: str) -> dict[str, Any]:
    """Write a text file, replacing what was there.

    Args:
        path: file path
        text: new content

    Example:
        {"path": "notes/todo.md", "text": "Call the operator"}
    """
    content = text.encode()
    _write(context, path, content)
    return {"path": path, "bytes": len(content)}


def append_line(context: Context, path: str, text: str) -> dict[str, Any]:
    """Add a line to the end of a file.

    Args:
        path: file path
        text: line to add

    Example:
        {"path": "notes/storage.md", "text": "Action: check the level"}
    """
    old = _read(context, path)
    separator = "" if not old or old.endswith("\n") else "\n"
    new = f"{old}{separator}{text}\n"
    _write(context, path, new.encode())
    return {"path": path, "lines": new.count("\n")}


def move_file(context: Context, source: str, target: str) -> dict[str, Any]:
    """Move or rename a file.

    Args:
        source: old path
        target: new path

    Example:
        {"source": "reports/2024-11.md", "target": "archive/2024-11.md"}
    """
    files = context.files
    old, new = files.existing_file(source, "source"), files.new_file(target, "target")
    if new.exists():
        raise ToolError("tool_error", f"target: {target!r} exists already")
    new.parent.mkdir(parents=True, exist_ok=True)
    old.rename(new)
    return {"moved": source, "to": target}


def delete_file(context: Context, path: str) -> dict[str, Any]:
    """Delete a file.

    Args:
        path: file path

    Example:
        {"path": "reports/2024-12.md"}
    """
    context.files.existing_file(path).unlink()
    return {"deleted": path}


def find_text(context: Context, pattern: Annotated[str, MinLen(1)], folder: str) -> dict[str, Any]:
    """Find text in the files of a folder.

    Args:
        pattern: plain text to find
        folder: folder name

    Example:
        {"pattern": "Hub: TTF", "folder": "contracts"}
    """
    files = context.files
    top = files.existing_folder(folder)
    matches = []
    for path in (path for path in files.plain_files() if path.is_relative_to(top)):
        lines = path.read_bytes().decode(errors="replace").split("\n")
        found = ((number, line) for number, line in enumerate(lines, 1) if pattern in line)
        matches += [{"path": files.name(path), "line": number, "text": line[:MAX_LINE]} for number, line in found]
    return {"matches": matches[:MAX_MATCHES], "total": len(matches)}


def _read(context: Context, path: str) -> str:
    return context.files.read_text(path, limit=MAX_TEXT_BYTES)


def _write(context: Context, path: str, content: bytes) -> None:
    if len(content) > MAX_TEXT_BYTES:
        raise ToolError("limit", f"a text file holds at most {MAX_TEXT_BYTES} bytes, this would be {len(content)}")
    context.files.write(path, content)
