"""Several files of an environment at once: found below a folder, read whatever their names, written all or none.

Nothing but the standard library, since it is used by sandboxed workers.
"""

import os
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from mcpserver.tool_error import ToolError
from mcpserver.workspace import MAX_FILE_BYTES, MAX_FILES, MAX_TOTAL_BYTES, Workspace

_STAGED = ".staged-{}"


def files_below(files: Workspace, folder: str, parameter: str = "folder") -> dict[str, Path]:
    """The plain files below a folder by their name relative to it, sorted; bytes that are no UTF-8 are escaped.

    Raises:
        ToolError: no such folder, or a path that leads out.
    """
    top = files.existing_folder(folder, parameter)
    prefix = files.name(top) + "/" if top != files.files else ""
    return {files.name(path).removeprefix(prefix): path for path in files.plain_files() if path.is_relative_to(top)}


def files_at(files: Workspace, path: str, parameter: str = "path") -> dict[str, Path]:
    """A file, or the plain files below a folder, by name below the top.

    Raises:
        ToolError: neither exists.
    """
    if files.resolve(path, parameter).is_dir():
        return {files.name(found): found for found in files_below(files, path, parameter).values()}
    found = files.existing_file(path, parameter)
    return {files.name(found): found}


def read_plain(files: Workspace, path: Path) -> bytes:
    """The content of a plain file found by a walk; a link put in its place meanwhile is not followed.

    Raises:
        ToolError: it cannot be read, is no plain file any more, or is too large.
    """
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            plain = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            content = file.read(MAX_FILE_BYTES + 1) if plain else b""
    except OSError as error:
        raise ToolError("tool_error", f"{files.name(path)!r} cannot be read ({error.strerror})") from None
    if not plain:
        raise ToolError("tool_error", f"{files.name(path)!r} is not a plain file")
    if len(content) > MAX_FILE_BYTES:
        raise ToolError("limit", f"{files.name(path)!r} holds more than {MAX_FILE_BYTES} bytes")
    return content


def used(files: Workspace) -> dict[Path, int]:
    """The size in bytes of each plain file below ``files/``."""
    return {path: path.lstat().st_size for path in files.plain_files()}


def check_room(files: Workspace, sizes: Mapping[Path, int], without: Iterable[Path] = ()) -> None:
    """Refuse what would be too much to write.

    Args:
        files: the workspace.
        sizes: bytes of the files that are to be written.
        without: files that will be gone.

    Raises:
        ToolError: ``limit``: a file, the sum or the number of files.
    """
    for path, size in sizes.items():
        if size > MAX_FILE_BYTES:
            raise ToolError("limit", f"{files.name(path)!r}: a file holds at most {MAX_FILE_BYTES} bytes, not {size}")
    gone = set(without)
    after = {path: size for path, size in used(files).items() if path not in gone} | dict(sizes)
    if sum(after.values()) > MAX_TOTAL_BYTES or len(after) > MAX_FILES:
        raise ToolError("limit", f"no room: at most {MAX_FILES} files and {MAX_TOTAL_BYTES} bytes together")


def write_all(
    files: Workspace, contents: Mapping[str, bytes], parameter: str = "path", *, overwrite: bool = True
) -> list[Path]:
    """Write several files, or none of them; their folders are made.

    Args:
        files: the workspace.
        contents: by path below the top.
        parameter: what errors name.
        overwrite: whether files that exist may be replaced.

    Returns:
        The paths, in the order given.

    Raises:
        ToolError: a path that cannot be written, two that cannot be together, or no room.
    """
    targets: dict[Path, bytes] = {}
    for path, content in contents.items():
        target = files.new_file(path, parameter)
        if target in targets:
            raise ToolError("tool_error", f"{parameter}: {path!r} would be written twice")
        if not overwrite and target.exists():
            raise ToolError("tool_error", f"{parameter}: {path!r} exists already")
        targets[target] = content
    for target in targets:
        if both := targets.keys() & set(target.parents):
            raise ToolError("tool_error", f"{parameter}: {files.name(both.pop())!r} would be a file and a folder")
    check_room(files, {target: len(content) for target, content in targets.items()})
    _put_all(files, targets, parameter)
    return list(targets)


def _put_all(files: Workspace, targets: Mapping[Path, bytes], parameter: str) -> None:
    """Write everything beside the files first: what can fail for want of room fails before anything is changed."""
    staged = [files.root / _STAGED.format(number) for number in range(len(targets))]
    try:
        for half, content in zip(staged, targets.values()):
            half.write_bytes(content)
        for target in targets:
            target.parent.mkdir(parents=True, exist_ok=True)
        for half, target in zip(staged, targets):
            half.replace(target)
    except OSError as error:
        raise ToolError("limit", f"{parameter}: the files cannot be written ({error.strerror})") from None
    finally:
        for half in staged:
            with suppress(OSError):
                half.unlink(missing_ok=True)
