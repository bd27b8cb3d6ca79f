"""The files of one environment: plain paths only, no links followed, and limits on what is written.

Layout below the root: ``files/`` (what file tools see), ``databases/`` (what database tools see). Nothing but the
standard library, since it is used by sandboxed workers. The sandbox holds without this module, which gives models an
error that they understand, and which is all there is where no sandbox can run.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from mcpserver.tool_error import ToolError
from toolwright.words import nearest, shorten

FILES, DATABASES = "files", "databases"
MAX_FILE_BYTES = 4 * 1024 * 1024
MAX_TOTAL_BYTES = 32 * 1024 * 1024
MAX_FILES = 2000
MAX_PATH = 200
MAX_DEPTH = 8
MAX_WALKED = 64
"""Levels of folders that are looked into; tools make ``MAX_DEPTH``."""
_HALF = ".half-written"


class Workspace:
    """The directory of an environment; every path that a tool gives goes through it."""

    def __init__(self, root: Path) -> None:
        self.root = Path(os.path.realpath(root))
        self.files = self.root / FILES
        self.databases = self.root / DATABASES

    def resolve(self, path: str, parameter: str = "path") -> Path:
        """Turn a path that a model wrote into a path inside ``files/``; it need not exist.

        Raises:
            ToolError: ``denied`` for absolute paths, ``..`` and links; ``bad_arguments`` for others.
        """
        import unicodedata

        hidden = any(unicodedata.category(character) in ("Cc", "Cf") for character in path)
        if hidden or "\\" in path or len(path) > MAX_PATH:
            raise ToolError("bad_arguments", f"{parameter}: {shorten(path, 60)} is not a path such as notes/plan.md")
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if path.startswith(("/", "~")) or ".." in parts:
            raise ToolError("denied", f"{parameter}: {shorten(path, 60)} leads out of the files; use a path like notes")
        if len(parts) > MAX_DEPTH or any(len(os.fsencode(part)) > 100 for part in parts):
            raise ToolError("bad_arguments", f"{parameter}: {shorten(path, 60)} is too deep or too long")
        target = self.files
        for part in parts:
            target = target / part
            if target.is_symlink():
                raise ToolError("denied", f"{parameter}: {shorten(path, 60)} is or passes a link; none is followed")
        return target

    def existing_file(self, path: str, parameter: str = "path") -> Path:
        """A plain file that exists.

        Raises:
            ToolError: ``tool_error`` with the nearest names when it does not, or is something else.
        """
        target = self.resolve(path, parameter)
        if target.is_dir():
            raise ToolError("tool_error", f"{parameter}: {path!r} is a folder, not a file")
        if target.exists() and not target.is_file():
            raise ToolError("tool_error", f"{parameter}: {path!r} is not a plain file")
        if not target.is_file():
            raise ToolError("tool_error", f"{parameter}: no file {path!r}{nearest(path, self.names())}")
        return target

    def existing_folder(self, path: str, parameter: str = "folder") -> Path:
        """A folder that exists; ``""`` and ``"."`` are the top.

        Raises:
            ToolError: ``tool_error`` with the nearest names when it does not, or is a file.
        """
        target = self.resolve(path, parameter)
        if target.is_file():
            raise ToolError("tool_error", f"{parameter}: {path!r} is a file, not a folder")
        if not target.is_dir():
            raise ToolError("tool_error", f"{parameter}: no folder {path!r}{nearest(path, self.folders())}")
        return target

    def read_bytes(self, path: str, parameter: str = "path", *, limit: int = MAX_FILE_BYTES) -> bytes:
        """The content of a file; no link in its path is followed even if it is put there meanwhile.

        Raises:
            ToolError: no such file, or ``limit`` when it holds more than ``limit`` bytes.
        """
        target = self.existing_file(path, parameter)
        try:
            descriptor = self._open(target)
        except OSError as error:
            raise ToolError("denied", f"{parameter}: {shorten(path, 60)} cannot be opened ({error.strerror})") from None
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ToolError("tool_error", f"{parameter}: {path!r} is not a plain file")
            content = file.read(limit + 1)
        if len(content) > limit:
            raise ToolError("limit", f"{parameter}: {path!r} holds more than {limit} bytes")
        return content

    def read_text(self, path: str, parameter: str = "path", *, limit: int = MAX_FILE_BYTES) -> str:
        """The content of a UTF-8 text file.

        Raises:
            ToolError: as ``read_bytes``, or ``tool_error`` when it is no UTF-8.
        """
        try:
            return self.read_bytes(path, parameter, limit=limit).decode()
        except UnicodeDecodeError as error:
            raise ToolError("tool_error", f"{parameter}: {path!r} is no UTF-8 text ({error.reason})") from None

    def _open(self, target: Path) -> int:
        """Open a path below the files step by step, so that a link swapped in on the way is refused."""
        folder = os.open(self.files, os.O_RDONLY | os.O_DIRECTORY)
        parts = target.relative_to(self.files).parts
        try:
            for part in parts[:-1]:
                inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
                os.close(folder)
                folder = inner
            return os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        finally:
            os.close(folder)

    def names(self) -> list[str]:
        """The paths of all plain files below ``files/``, sorted."""
        return [self.name(path) for path in self.plain_files()]

    def plain_files(self) -> list[Path]:
        """All plain files below ``files/``, sorted; links, pipes and devices are left out."""
        return list(_plain_files(self.files))

    def folders(self) -> list[str]:
        """The paths of all folders below ``files/``, sorted."""
        found = (Path(top, name) for top, names, _ in walk(self.files) for name in names)
        return sorted(self.name(path) for path in found)

    def name(self, path: Path) -> str:
        """How a tool's result names a path below ``files/``: with slashes, bytes that are no UTF-8 escaped."""
        return os.fsencode(path.relative_to(self.files)).decode("utf-8", "backslashreplace")

    def write(self, path: str, content: bytes, parameter: str = "path") -> Path:
        """Write a file whole or not at all, making its folders.

        Raises:
            ToolError: as ``resolve``; ``tool_error`` when the path or a folder in it is something else; ``limit`` when
                the file, the sum or the number of files would be too large.
        """
        target = self.new_file(path, parameter)
        if len(content) > MAX_FILE_BYTES:
            raise ToolError("limit", f"a file holds at most {MAX_FILE_BYTES} bytes, this would be {len(content)}")
        sizes = {file: file.stat().st_size for file in _plain_files(self.files)}
        sizes[target] = len(content)
        if sum(sizes.values()) > MAX_TOTAL_BYTES or len(sizes) > MAX_FILES:
            raise ToolError("limit", f"no room: at most {MAX_FILES} files and {MAX_TOTAL_BYTES} bytes together")
        half = self.root / _HALF
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            half.write_bytes(content)
            half.replace(target)
        except OSError as error:
            with suppress(OSError):
                half.unlink()
            raise ToolError("limit", f"{parameter}: {path!r} cannot be written ({error.strerror})") from None
        return target

    def new_file(self, path: str, parameter: str = "path") -> Path:
        """A path where a plain file is or can be; it need not exist, nor its folders.

        Raises:
            ToolError: as ``resolve``; ``tool_error`` when it, or a folder in it, is something else.
        """
        target = self.resolve(path, parameter)
        if path.endswith("/") or target == self.files:
            raise ToolError("bad_arguments", f"{parameter}: {path!r} names a folder; give a file such as notes/plan.md")
        for parent in reversed(target.relative_to(self.files).parents):
            if (self.files / parent).exists() and not (self.files / parent).is_dir():
                raise ToolError("tool_error", f"{parameter}: {parent.as_posix()!r} is a file, not a folder")
        if target.is_dir():
            raise ToolError("tool_error", f"{parameter}: {path!r} is a folder, not a file")
        if target.exists() and not target.is_file():
            raise ToolError("tool_error", f"{parameter}: {path!r} is not a plain file")
        return target

    def hashes(self) -> dict[str, str]:
        """The SHA-256 of each plain file (and whether it may be executed), by path below ``files/``.

        A link has its target, an empty folder (its path ends with a slash) the word ``folder``, as one has that is so
        deep that nobody looks into it.
        """
        import hashlib

        found = {}
        for top, folders, names in walk(self.files):
            if not folders and not names and top != str(self.files):
                found[f"{self.name(Path(top))}/"] = "folder"
            for path in (Path(top, name) for name in names):
                mode = path.lstat().st_mode
                if stat.S_ISREG(mode):
                    try:
                        digest = hashlib.sha256(path.read_bytes()).hexdigest()
                    except OSError:  # code took the right to read it away
                        digest = "unreadable"
                    found[self.name(path)] = f"{digest} executable" if mode & stat.S_IXUSR else digest
                elif stat.S_ISLNK(mode):
                    found[self.name(path)] = f"link to {os.readlink(path)}"
        return found


def walk(folder: Path | str) -> Iterator[tuple[str, list[str], list[str]]]:
    """As ``os.walk``: each folder with the names of its folders and of all else (links, too), sorted.

    Code may make folders that are deeper than Python's stack and the kernel's paths: it ends at ``MAX_WALKED`` levels.
    """
    todo = [(str(folder), 0)]
    while todo:
        top, level = todo.pop()
        folders: list[str] = []
        names: list[str] = []
        try:
            with os.scandir(top) as entries:
                for entry in entries:
                    (folders if entry.is_dir(follow_symlinks=False) else names).append(entry.name)
        except OSError:  # code took the right to look into it away
            pass
        folders.sort()
        names.sort()
        yield top, folders, names
        if level < MAX_WALKED:
            todo += [(f"{top}/{name}", level + 1) for name in reversed(folders)]


def _plain_files(folder: Path) -> Iterator[Path]:
    """The plain files below a folder, sorted; links, pipes and devices are left out."""
    for top, _, names in walk(folder):
        for path in (Path(top, name) for name in names):
            if stat.S_ISREG(path.lstat().st_mode):
                yield path
