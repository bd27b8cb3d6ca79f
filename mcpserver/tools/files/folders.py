"""Folders of an environment: look at them, make, move, copy, mirror and remove them, rename what is in them."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, final

from annotated_types import Ge, Le, Len
from typing_extensions import TypedDict

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.toolbox.file_sets import check_room, files_below, read_plain, write_all
from mcpserver.toolbox.globs import matches_glob
from mcpserver.toolbox.results import page
from mcpserver.workspace import Workspace

MAX_FOLDERS = 500


def show_tree(
    context: Context, folder: str = "", depth: Annotated[int, Ge(1), Le(8)] = 2, show_files: bool = True
) -> dict[str, Any]:
    """Show a folder and what is in it as a tree.

    Args:
        folder: folder path; empty for the top
        depth: how many levels to show
        show_files: whether files are shown, or folders only

    Example:
        {"folder": "", "depth": 1}
        {"folder": "data", "show_files": false}
    """
    top = context.files.existing_folder(folder)
    lines: list[str] = []
    _draw(context.files, top, depth, show_files, lines)
    return {"folder": folder or ".", **page("tree", lines, limit=500)}


def _draw(files: Workspace, folder: Path, depth: int, show_files: bool, lines: list[str], indent: str = "") -> None:
    for entry in _entries(files, folder):
        name = files.name(entry).rpartition("/")[2]
        if entry.is_dir() and not entry.is_symlink():
            lines.append(f"{indent}{name}/")
            if depth > 1:
                _draw(files, entry, depth - 1, show_files, lines, indent + "  ")
        elif show_files:
            lines.append(f"{indent}{name}")


def _entries(files: Workspace, folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise ToolError("tool_error", f"folder: {files.name(folder)!r} cannot be listed ({error.strerror})") from None


def create_folder(context: Context, path: str) -> dict[str, Any]:
    """Create a folder, with the folders above it.

    Args:
        path: new folder, such as archive/2025

    Example:
        {"path": "archive/2025"}
    """
    files = context.files
    target = files.resolve(path)
    if target.is_dir():
        raise ToolError("tool_error", f"path: the folder {path!r} exists already")
    files.new_file(f"{path.rstrip('/')}/x")  # no file is in the way
    if len(files.folders()) >= MAX_FOLDERS:
        raise ToolError("limit", f"at most {MAX_FOLDERS} folders are kept")
    _try("path", path, lambda: target.mkdir(parents=True))
    return {"created": files.name(target)}


def _try(parameter: str, path: str, action: Callable[[], object]) -> None:
    """Do something to a path, whatever the file system says to it."""
    try:
        action()
    except OSError as error:
        raise ToolError("tool_error", f"{parameter}: {path!r} cannot be changed ({error.strerror})") from None


def remove_folder(context: Context, path: str, recursive: bool = False) -> dict[str, Any]:
    """Remove a folder.

    Args:
        path: folder path
        recursive: whether what is in it goes too; else it must be empty

    Example:
        {"path": "reports", "recursive": true}
    """
    folder = context.files.existing_folder(path, "path")
    if folder == context.files.files:
        raise ToolError("denied", "path: the top folder stays")
    inside = _entries(context.files, folder)
    if inside and not recursive:
        text = f"path: {path!r} holds {len(inside)} entries; remove them first, or set recursive to true"
        raise ToolError("tool_error", text)
    count = len(files_below(context.files, path, "path"))
    _try("path", path, lambda: shutil.rmtree(folder))
    return {"removed": path, "files": count}


def copy_path(context: Context, source: str, target: str, overwrite: bool = False) -> dict[str, Any]:
    """Copy a file, or a folder with all that is in it.

    Args:
        source: file or folder to copy
        target: path of the copy
        overwrite: whether files that exist there may be replaced

    Example:
        {"source": "notes/storage.md", "target": "backup/storage.md"}
        {"source": "reports", "target": "backup/reports"}
    """
    files = context.files
    if files.resolve(source, "source").is_dir():
        top = files.existing_folder(source, "source")
        if files.resolve(target, "target").is_relative_to(top):
            raise ToolError("bad_arguments", f"target: {target!r} lies in {source!r}")
        below = files_below(files, source, "source")
        contents = {f"{target.rstrip('/')}/{name}": read_plain(files, path) for name, path in below.items()}
    else:
        contents = {target: files.read_bytes(source, "source")}
    write_all(files, contents, "target", overwrite=overwrite)
    return {"copied": source, "to": target, "files": len(contents), "bytes": sum(map(len, contents.values()))}


def move_folder(context: Context, source: str, target: str) -> dict[str, Any]:
    """Move or rename a folder with all that is in it.

    Args:
        source: folder path
        target: new path, which must not exist yet

    Example:
        {"source": "reports", "target": "archive/reports"}
    """
    files = context.files
    folder, new = files.existing_folder(source, "source"), files.resolve(target, "target")
    if folder == files.files or new.is_relative_to(folder):
        raise ToolError("bad_arguments", f"target: {target!r} lies in {source!r}")
    if new.exists():
        raise ToolError("tool_error", f"target: {target!r} exists already")
    files.new_file(target.rstrip("/"), "target")
    deepest = max((len(name.split("/")) for name in files_below(files, source)), default=1)
    files.resolve("/".join([target.rstrip("/"), *["x"] * deepest]), "target")  # nothing becomes too deep to reach
    _try("target", target, lambda: new.parent.mkdir(parents=True, exist_ok=True))
    _try("target", target, lambda: folder.rename(new))
    return {"moved": source, "to": target}


def mirror_folder(context: Context, source: str, target: str, delete_others: bool = False) -> dict[str, Any]:
    """Bring a folder up to date with another: copy what is new or different.

    Args:
        source: the folder to follow
        target: the folder to change; it need not exist
        delete_others: whether files that are only in the target are deleted

    Example:
        {"source": "reports", "target": "backup/reports", "delete_others": true}
    """
    files = context.files
    wanted = files_below(files, source, "source")
    goal = files.resolve(target, "target")
    top = files.existing_folder(source, "source")
    if goal.is_relative_to(top) or top.is_relative_to(goal):
        raise ToolError("bad_arguments", f"target: {target!r} and {source!r} lie in one another")
    present = files_below(files, target, "target") if goal.is_dir() else {}
    new = {name: read_plain(files, path) for name, path in wanted.items()}
    changed = {n: content for n, content in new.items() if n not in present or read_plain(files, present[n]) != content}
    others = [present[name] for name in present if name not in wanted] if delete_others else []
    check_room(files, {goal / name: len(content) for name, content in changed.items()}, others)
    write_all(files, {f"{target.rstrip('/')}/{name}": content for name, content in changed.items()}, "target")
    for path in others:
        _try("target", target, path.unlink)
    return {"copied": list(changed)[:100], "deleted": [files.name(path) for path in others][:100], "files": len(wanted)}


@final
class ReplaceText(TypedDict):
    """Replace a text in each name."""

    find: Annotated[str, Len(1, 100)]
    replace: Annotated[str, Len(0, 100)]


@final
class Number(TypedDict):
    """Give names by a template with {name}, {extension} and {number}, such as report-{number}{extension}."""

    template: Annotated[str, Len(1, 100)]
    start: Annotated[int, Ge(0), Le(1_000_000)]
    digits: Annotated[int, Ge(1), Le(8)]


def rename_files(
    context: Context,
    folder: str,
    change: ReplaceText | Number,
    pattern: Annotated[str, Len(1, 200)] = "*",
    dry_run: bool = False,
) -> dict[str, Any]:
    """Rename many files of a folder by one rule.

    Args:
        folder: folder path; its own files are renamed, not those of folders below
        change: {"find", "replace"} to replace a text in the names, or {"template", "start", "digits"} to number them
        pattern: which files, by name
        dry_run: only show what would be done

    Example:
        {"folder": "reports", "change": {"find": "2025-", "replace": "report-2025-"}}
        {"folder": "prices", "change": {"template": "{number}-{name}{extension}", "start": 1, "digits": 2}}
    """
    files = context.files
    top = files.existing_folder(folder)
    below = [name for name in files_below(files, folder) if "/" not in name and matches_glob(name, pattern)]
    renamed = {name: _new_name(name, change, index) for index, name in enumerate(below)}
    renamed = {old: new for old, new in renamed.items() if old != new}
    taken = {entry.name for entry in _entries(files, top)} - renamed.keys()
    for old, new in renamed.items():
        if not new or "/" in new or new in taken:
            raise ToolError("tool_error", f"change: {old!r} would become {new!r}, which is taken or no name")
        files.new_file(f"{folder}/{new}" if folder else new, "change")
        taken.add(new)
    if not dry_run:
        _try("folder", folder, lambda: _rename(files, top, renamed))
    return {"renamed": len(renamed), **page("names", [{"old": old, "new": new} for old, new in renamed.items()])}


def _new_name(name: str, change: ReplaceText | Number, index: int) -> str:
    if "find" in change:
        return name.replace(change["find"], change["replace"])
    stem, dot, extension = name.rpartition(".") if "." in name[1:] else (name, "", "")
    number = str(change["start"] + index).zfill(change["digits"])
    values = {"{name}": stem, "{extension}": dot + extension, "{number}": number}
    new = change["template"]
    for key, value in values.items():
        new = new.replace(key, value)
    return new


def _rename(files: Workspace, top: Path, renamed: dict[str, str]) -> None:
    """Through names of its own, since one file's new name can be another's old one."""
    halves = {files.root / f".renamed-{index}": old for index, old in enumerate(renamed)}
    for half, old in halves.items():
        (top / old).rename(half)
    for half, old in halves.items():
        half.rename(top / renamed[old])
