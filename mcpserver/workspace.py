"""The files of one conversation: a private directory copy, plain paths only, and hard limits on what is written.

The copy is made on first use, since most conversations never touch a file, and removed by ``close``.
Layout below the root: ``files/`` (what file tools see) and ``databases/`` (what database tools see).
"""

import hashlib
import os
import shutil
import stat
import tempfile
import threading
import unicodedata
import weakref
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from mcpserver.baseworld import DATABASES, FILES, Base, write_base
from mcpserver.tool_error import ToolError
from toolwright.explain import nearest
from toolwright.records import shorten

MAX_FILE_BYTES = 64 * 1024
MAX_TOTAL_BYTES = 4 * 1024 * 1024
MAX_FILES = 500
MAX_PATH = 200
MAX_DEPTH = 8
PREFIX = "toolwright-env-"


class Workspace:
    """A private copy of a base world; every path that a tool gives goes through it."""

    def __init__(self, base: Base) -> None:
        self._base = base
        self._lock = threading.Lock()
        self._root: Path | None = None
        self._remove: weakref.finalize[..., Workspace] | None = None  # also runs when a process ends without close
        self._closed = False

    @property
    def copied(self) -> bool:
        """Whether the copy on disk exists; until then the content is the base's."""
        return self._root is not None

    @property
    def root(self) -> Path:
        """The private directory; the first access makes the copy."""
        with self._lock:
            if self._closed:
                raise ToolError("tool_error", "this environment is closed")
            if self._root is None:
                root = Path(os.path.realpath(tempfile.mkdtemp(prefix=PREFIX, dir=_fast_folder())))
                self._remove = weakref.finalize(self, shutil.rmtree, root, ignore_errors=True)
                write_base(self._base, root)
                self._root = root
            return self._root

    @property
    def files(self) -> Path:
        """The folder that the file tools see."""
        return self.root / FILES

    @property
    def databases(self) -> Path:
        """The folder with the databases."""
        return self.root / DATABASES

    def close(self) -> None:
        """Remove the copy; further use is an error."""
        with self._lock:
            self._closed = True
            self._root = None
        if self._remove is not None:
            self._remove()

    def resolve(self, path: str, parameter: str = "path") -> Path:
        """Turn a path that a model wrote into a path inside ``files/``; it need not exist.

        Raises:
            ToolError: ``denied`` for absolute paths, ``..`` and links that lead out; ``bad_arguments`` for others.
        """
        hidden = any(unicodedata.category(character) in ("Cc", "Cf") for character in path)
        if hidden or "\\" in path or len(path) > MAX_PATH:
            raise ToolError("bad_arguments", f"{parameter}: {shorten(path, 60)} is not a path such as notes/plan.md")
        parts = path.split("/")
        if path.startswith(("/", "~")) or ".." in parts:
            raise ToolError("denied", f"{parameter}: {shorten(path, 60)} leads out of the files; use a path like notes")
        if len(parts) > MAX_DEPTH or any(len(part.encode()) > 100 for part in parts):
            raise ToolError("bad_arguments", f"{parameter}: {shorten(path, 60)} is too deep or too long")
        target = self.files.joinpath(*parts)
        if not Path(os.path.realpath(target)).is_relative_to(self.files):
            raise ToolError("denied", f"{parameter}: {shorten(path, 60)} leads out of the files")
        return target

    def existing_file(self, path: str, parameter: str = "path") -> Path:
        """A file that exists.

        Raises:
            ToolError: ``tool_error`` with the nearest names when it does not, or is a folder.
        """
        target = self.resolve(path, parameter)
        if target.is_dir():
            raise ToolError("tool_error", f"{parameter}: {path!r} is a folder, not a file")
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
            raise ToolError("tool_error", f"{parameter}: no folder {path!r}{nearest(path, self._folders())}")
        return target

    def names(self) -> list[str]:
        """The paths of all files below ``files/``, sorted."""
        return [path.relative_to(self.files).as_posix() for path in _plain_files(self.files)]

    def _folders(self) -> list[str]:
        found = (path for path in sorted(self.files.rglob("*")) if path.is_dir())
        return [path.relative_to(self.files).as_posix() for path in found]

    def write(self, target: Path, content: bytes) -> None:
        """Write a resolved path, making its folders.

        Raises:
            ToolError: ``limit`` when the file, the sum or the number of files would be too large.
        """
        if len(content) > MAX_FILE_BYTES:
            raise ToolError("limit", f"a file holds at most {MAX_FILE_BYTES} bytes, this would be {len(content)}")
        sizes = {path: path.stat().st_size for path in _plain_files(self.files)}
        sizes[target] = len(content)
        if sum(sizes.values()) > MAX_TOTAL_BYTES or len(sizes) > MAX_FILES:
            raise ToolError("limit", f"no room: at most {MAX_FILES} files and {MAX_TOTAL_BYTES} bytes together")
        for parent in reversed(target.relative_to(self.files).parents):
            if (self.files / parent).is_file():
                raise ToolError("tool_error", f"{parent.as_posix()!r} is a file, not a folder")
        if target.is_dir():
            raise ToolError("tool_error", f"{target.relative_to(self.files).as_posix()!r} is a folder, not a file")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)

    def hashes(self) -> dict[str, str]:
        """The SHA-256 of each file, by path below ``files/``."""
        if self._root is None:
            inside = {n.removeprefix(f"{FILES}/"): c for n, c in self._base.items() if n.startswith(f"{FILES}/")}
        else:
            inside = {path.relative_to(self.files).as_posix(): path.read_bytes() for path in _plain_files(self.files)}
        return {name: hashlib.sha256(content).hexdigest() for name, content in inside.items()}


@lru_cache(maxsize=1)
def _fast_folder() -> str:
    """Where copies lie: in memory where Linux offers that (3 ms a copy instead of 30), unless TMPDIR is set."""
    memory = "/dev/shm"
    if "TMPDIR" not in os.environ and os.path.isdir(memory) and os.access(memory, os.W_OK | os.X_OK):
        return memory
    return tempfile.gettempdir()


def _plain_files(folder: Path) -> Iterator[Path]:
    """The plain files below a folder, sorted; links, pipes and devices are left out."""
    for directory, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(directory, name)
            if stat.S_ISREG(path.lstat().st_mode):
                yield path
