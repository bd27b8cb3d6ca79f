"""The base of environments: a folder of files and databases on this machine, read-only, and the hashes of its content.

``desk`` is the small generated world, ``company`` the large one, anything else a folder of a user's own, with
``files/`` and ``databases/`` in it.
"""

import atexit
import hashlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from mcpserver.baseworld import default_base, load_base, write_base
from mcpserver.context import draw
from mcpserver.databases import hash_folder
from mcpserver.sandbox.launch import Content
from mcpserver.workspace import DATABASES, FILES, MAX_FILE_BYTES, Workspace
from toolwright.errors import ConfigError, DataError
from toolwright.words import shorten

ATTACHMENTS = "attachments"
GENERATED = ("desk", "company")


@dataclass(frozen=True)
class Base:
    """A base world on disk.

    Attributes:
        folder: readable by everybody, written by nobody.
        names: what is in it, below ``files/`` and ``databases/``.
        hashes: ``file:…`` and ``table:…`` as ``Environment.snapshot`` gives them.
    """

    folder: Path
    names: tuple[str, ...]
    hashes: Mapping[str, str]
    attachments: Mapping[str, bytes] = field(default_factory=dict)

    def attach(self, attachments: Mapping[str, bytes]) -> "Base":
        """A world with what a user sent along, as ``attachments/<name>`` among its files.

        Raises:
            DataError: a name that is no plain file name, or too much.
        """
        found = {}
        for name, content in attachments.items():
            if not name or "/" in name or name.startswith(".") or not name.isprintable():
                raise DataError(f"attachment {shorten(name)}: expected a file name such as offer.pdf")
            if len(content) > MAX_FILE_BYTES:
                raise DataError(f"attachment {name!r}: {len(content)} bytes; at most {MAX_FILE_BYTES} are taken")
            found[f"{ATTACHMENTS}/{name}"] = content
        hashes = {f"file:{name}": hashlib.sha256(content).hexdigest() for name, content in found.items()}
        return replace(self, hashes={**self.hashes, **hashes}, attachments=found)

    def sample(self, seed: int, count: int | None) -> "Base":
        """A world with ``count`` of the files, drawn by the seed, and all databases; None means all."""
        files = [name for name in self.names if name.startswith(f"{FILES}/")]
        if count is None or count >= len(files):
            return self
        kept = set(draw(seed, "files").sample(files, count))
        names = tuple(name for name in self.names if name in kept or name not in files)
        gone = {f"file:{name.removeprefix(f'{FILES}/')}" for name in files if name not in kept}
        return replace(
            self, names=names, hashes={name: value for name, value in self.hashes.items() if name not in gone}
        )

    @property
    def content(self) -> Content:
        """What a sandbox copies."""
        return Content(self.folder, self.names, self.attachments)


@lru_cache(maxsize=8)
def open_base(world: str | Path = "desk") -> Base:
    """A base world by name, or from a folder.

    Raises:
        ConfigError: no such folder, or something in it that cannot be used.
    """
    if world == "desk":
        return _put_down(default_base())
    if world == "company":
        from mcpserver.company import company_folder

        return _look(company_folder())
    return _put_down(load_base(Path(world)))


def _put_down(content: Mapping[str, bytes]) -> Base:
    """Write a world to a folder that lives as long as this process."""
    folder = Path(tempfile.mkdtemp(prefix="toolwright-base-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    write_base(content, folder)
    for path in (folder, *folder.rglob("*")):
        os.chmod(path, 0o755 if path.is_dir() else 0o444)
    return _look(folder)


def _look(folder: Path) -> Base:
    workspace = Workspace(folder)
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    try:
        tables = hash_folder(workspace.databases, must_read=True)
    except sqlite3.Error as error:
        raise ConfigError(f"base world {folder}: a database cannot be read ({error}); replace it") from None
    hashes = {f"file:{name}": value for name, value in workspace.hashes().items()}
    hashes |= {f"table:{name}": value for name, value in tables.items()}
    inside = tuple(name for name in names if name.split("/")[0] in (FILES, DATABASES))
    return Base(folder, inside, hashes)
