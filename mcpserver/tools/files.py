"""The small text files of an environment: list, read, write, move, delete and search."""

from typing import Annotated, Any

from pydantic import Field

from mcpserver.environment import Environment
from mcpserver.tool_error import ToolError

FilePath = Annotated[str, Field(description="file path")]
Folder = Annotated[str, Field(description="folder name")]
MAX_MATCHES = 20
MAX_LINE = 200
MAX_LISTED = 200


def list_files(env: Environment, folder: Folder) -> dict[str, Any]:
    """List the files in a folder.

    Example:
        {"folder": "notes"}
    """
    entries = sorted(env.workspace.existing_folder(folder).iterdir())
    names = [f"{entry.name}/" if entry.is_dir() else entry.name for entry in entries]
    cut = {"total": len(names)} if len(names) > MAX_LISTED else {}
    return {"files": names[:MAX_LISTED], **cut}


def read_file(env: Environment, path: FilePath) -> dict[str, Any]:
    """Read a text file.

    Example:
        {"path": "config/desk.json"}
    """
    return {"text": _read(env, path)}


def write_file(
    env: Environment, path: FilePath, text: Annotated[str, Field(description="new content")]
) -> dict[str, Any]:
    """Write a text file, replacing what was there.

    Example:
        {"path": "notes/todo.md", "text": "Call the operator"}
    """
    target = env.workspace.resolve(path)
    _check_is_file_path(path)
    env.write_file(target, text.encode())
    return {"path": path, "bytes": len(text.encode())}


def append_line(
    env: Environment, path: FilePath, text: Annotated[str, Field(description="line to add")]
) -> dict[str, Any]:
    """Add a line to the end of a file.

    Example:
        {"path": "notes/storage.md", "text": "Action: check the level"}
    """
    old = _read(env, path)
    separator = "" if not old or old.endswith("\n") else "\n"
    new = f"{old}{separator}{text}\n"
    env.write_file(env.workspace.resolve(path), new.encode())
    return {"path": path, "lines": new.count("\n")}


def move_file(
    env: Environment,
    source: Annotated[str, Field(description="old path")],
    target: Annotated[str, Field(description="new path")],
) -> dict[str, Any]:
    """Move or rename a file.

    Example:
        {"source": "reports/2024-11.md", "target": "archive/2024-11.md"}
    """
    old = env.workspace.existing_file(source, "source")
    new = env.workspace.resolve(target, "target")
    _check_is_file_path(target, "target")
    if new.exists():
        raise ToolError("tool_error", f"target: {target!r} exists already")
    env.write_file(new, old.read_bytes())
    old.unlink()
    return {"moved": source, "to": target}


def delete_file(env: Environment, path: FilePath) -> dict[str, Any]:
    """Delete a file.

    Example:
        {"path": "reports/2024-12.md"}
    """
    target = env.workspace.existing_file(path)
    env.check_deadline()
    target.unlink()
    return {"deleted": path}


def find_text(
    env: Environment, pattern: Annotated[str, Field(description="plain text to find", min_length=1)], folder: Folder
) -> dict[str, Any]:
    """Find text in the files of a folder.

    Example:
        {"pattern": "Hub: TTF", "folder": "contracts"}
    """
    top = env.workspace.existing_folder(folder)
    files = env.workspace.files
    matches = []
    for name in env.workspace.names():
        env.check_deadline()
        if not (files / name).is_relative_to(top):
            continue
        lines = (files / name).read_bytes().decode(errors="replace").split("\n")
        found = ((number, line) for number, line in enumerate(lines, 1) if pattern in line)
        matches += [{"path": name, "line": number, "text": line[:MAX_LINE]} for number, line in found]
    return {"matches": matches[:MAX_MATCHES], "total": len(matches)}


def _read(env: Environment, path: str) -> str:
    try:
        return env.workspace.existing_file(path).read_bytes().decode()
    except UnicodeDecodeError:
        raise ToolError("tool_error", f"path: {path!r} is not a text file") from None


def _check_is_file_path(path: str, parameter: str = "path") -> None:
    if path.split("/")[-1] in ("", "."):
        raise ToolError("bad_arguments", f"{parameter}: {path!r} names a folder; write a path such as notes/plan.md")
