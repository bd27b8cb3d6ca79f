"""The operating system inside the environment: clock, room, paths, permissions, links, command lines."""

import os
import posixpath
import re
import shlex
import stat
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Len
from typing_extensions import TypedDict

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.toolbox.file_sets import used
from mcpserver.toolbox.results import page, whole
from mcpserver.workspace import MAX_FILE_BYTES, MAX_FILES, MAX_TOTAL_BYTES, Workspace, walk
from toolwright.words import shorten

Who = Literal["owner", "group", "others"]
Right = Literal["read", "write", "execute"]

_BITS = {("owner", "read"): 0o400, ("owner", "write"): 0o200, ("owner", "execute"): 0o100}
_BITS |= {("group", right): bit >> 3 for (_, right), bit in _BITS.items()}
_BITS |= {("others", right): bit >> 3 for (who, right), bit in _BITS.items() if who == "group"}


class PermissionChange(TypedDict):
    """Rights to give or to take away."""

    change: Literal["give", "take"]
    who: Annotated[list[Who], Len(1, 3)]
    rights: Annotated[list[Right], Len(1, 3)]


def read_clock(context: Context) -> dict[str, Any]:
    """Tell date, time, weekday and week of the environment's clock, which stands still.

    Example:
        {}
    """
    now = context.now
    year, week, _ = now.isocalendar()
    return {
        "date": now.date().isoformat(),
        "time": now.time().isoformat("minutes"),
        "weekday": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")[now.weekday()],
        "iso_week": f"{year}-W{week:02}",
        "day_of_year": now.timetuple().tm_yday,
        "quarter": (now.month + 2) // 3,
    }


def show_free_space(context: Context) -> dict[str, Any]:
    """Tell how many bytes and files can still be written.

    Example:
        {}
    """
    sizes = used(context.files)
    return {
        "used_bytes": sum(sizes.values()),
        "free_bytes": max(0, MAX_TOTAL_BYTES - sum(sizes.values())),
        "files": len(sizes),
        "free_files": max(0, MAX_FILES - len(sizes)),
        "largest_file_bytes": MAX_FILE_BYTES,
    }


def join_paths(context: Context, parts: Annotated[list[Annotated[str, Len(1, 200)]], Len(1, 20)]) -> dict[str, Any]:
    """Join parts to a path, without . and .. and double slashes, and tell what is there.

    Args:
        parts: folders and a name, in order

    Example:
        {"parts": ["reports", "../data", "sales.csv"]}
    """
    path = posixpath.normpath("/".join(parts))
    if path.startswith(("/", "..", "~")):
        raise ToolError("denied", f"parts: {shorten(path, 60)} leads out of the files")
    target = context.files.resolve(path, "parts")
    kind = (
        "folder" if target.is_dir() else "file" if target.is_file() else "nothing" if not target.exists() else "other"
    )
    name = posixpath.basename(path)
    stem, extension = posixpath.splitext(name)
    return {
        "path": path,
        "folder": posixpath.dirname(path),
        "name": name,
        "stem": stem,
        "extension": extension,
        "is": kind,
    }


def relate_paths(path: Annotated[str, Len(1, 200)], start: Annotated[str, Len(1, 200)]) -> dict[str, Any]:
    """Tell how to get to a path from a folder, and what both have in common.

    Args:
        path: file or folder
        start: folder to begin in

    Example:
        {"path": "docs/guide.md", "start": "reports"}
    """
    clean, begin = (posixpath.normpath("/" + part.lstrip("/")) for part in (path, start))
    common = posixpath.commonpath([clean, begin])
    return {"relative": posixpath.relpath(clean, begin), "common": common.strip("/") or "."}


def list_permissions(context: Context, folder: str = "") -> dict[str, Any]:
    """List the permissions of the files and folders in a folder.

    Args:
        folder: folder path; empty for the top

    Example:
        {"folder": "code"}
    """
    files = context.files
    try:
        entries = sorted(files.existing_folder(folder).iterdir())
        rows = [{"path": files.name(entry), **_permissions(entry)} for entry in entries if not entry.is_symlink()]
    except OSError as error:
        raise ToolError("tool_error", f"folder: {folder!r} cannot be listed ({error.strerror})") from None
    return page("entries", rows, limit=200)


def _permissions(path: Path) -> dict[str, str]:
    mode = path.lstat().st_mode
    return {"permissions": stat.filemode(mode), "octal": f"{stat.S_IMODE(mode):03o}"}


def set_permissions(context: Context, path: str, mode: Annotated[str, Len(3, 4)] | PermissionChange) -> dict[str, Any]:
    """Change the permissions of a file or folder.

    Args:
        path: file or folder; its owner keeps the right to read, and to use a folder
        mode: octal digits such as 644, or rights to give or take

    Example:
        {"path": "code/fib.py", "mode": "755"}
        {"path": "config/desk.json", "mode": {"change": "take", "who": ["owner", "group"], "rights": ["write"]}}
    """
    target = _existing(context.files, path)
    old = stat.S_IMODE(target.lstat().st_mode)
    if isinstance(mode, str):
        if not re.fullmatch("0?[0-7]{3}", mode):
            raise ToolError("bad_arguments", f"mode: {mode!r} is not three octal digits such as 644")
        new = int(mode, 8)
    else:
        bits = sum(_BITS[who, right] for who in set(mode["who"]) for right in set(mode["rights"]))
        new = old | bits if mode["change"] == "give" else old & ~bits
    needed = 0o700 if target.is_dir() else 0o400
    if new & needed != needed:
        keep = "read, write and use the folder" if target.is_dir() else "read the file"
        raise ToolError("denied", f"mode: the owner must keep the right to {keep}")
    try:
        os.chmod(target, new)
    except OSError as error:
        raise ToolError("denied", f"path: the permissions of {path!r} cannot be changed ({error.strerror})") from None
    return {"path": path, "octal_before": f"{old:03o}", **_permissions(target)}


def _existing(files: Workspace, path: str) -> Path:
    """A file or folder that exists, but not the top."""
    target = files.resolve(path)
    if target == files.files:
        raise ToolError("denied", "path: the top folder stays as it is")
    return target if target.is_dir() else files.existing_file(path)


def list_links(context: Context, folder: str = "") -> dict[str, Any]:
    """List the symbolic links below a folder and what they name; none is followed.

    Args:
        folder: where to look, with all folders below; empty for the top

    Example:
        {"folder": ""}
    """
    files = context.files
    rows = []
    for top, _, names in walk(files.existing_folder(folder)):
        for entry in (Path(top, name) for name in names):
            if entry.is_symlink():
                target = os.fsencode(os.readlink(entry)).decode("utf-8", "backslashreplace")
                rows.append({"path": files.name(entry), "target": shorten(target, 200)[1:-1]})
    return page("links", rows, limit=200)


def split_command(text: Annotated[str, Len(1, 4000)], comments: bool = False) -> dict[str, Any]:
    """Split a command line into its words as a shell does; nothing is run.

    Args:
        text: command line
        comments: whether what follows # is left out

    Example:
        {"text": "grep -n 'day ahead' \\"notes/gas price.md\\""}
    """
    try:
        words = shlex.split(text, comments=comments)
    except ValueError as error:
        raise ToolError("bad_arguments", f"text: {error}") from None
    options = [word for word in words[1:] if word.startswith("-") and word != "-"]
    return {"words": words, "options": options, "count": len(words)}


def quote_command(words: Annotated[list[Annotated[str, Len(0, 1000)]], Len(1, 100)]) -> dict[str, Any]:
    """Write words as a command line in which a shell takes each as it is; nothing is run.

    Args:
        words: program and arguments

    Example:
        {"words": ["grep", "-n", "day ahead", "it's.md"]}
    """
    return {"command": whole(shlex.join(words))}
