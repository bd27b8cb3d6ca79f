"""The company world on disk: made once for each version of its generator, then read-only.

``<cache>/toolwright/company-<hash>/`` holds ``world/`` (``files/`` and ``databases/``), ``catalogue.json`` and
``manifest.json`` with the SHA-256 of everything. ``<cache>`` is ``$XDG_CACHE_HOME`` or ``~/.cache``; where neither can
be written, a temporary directory that goes with the process. The folder is written beside and renamed at the end, and
checked against its manifest when it is opened: half of it is never seen, and a damaged one is made anew.
"""

import atexit
import fcntl
import hashlib
import json
import os
import shutil
import sqlite3
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from mcpserver import baseworld
from mcpserver.baseworld import write_base
from toolwright.errors import ConfigError

_LIBRARIES = ("fpdf2", "lxml", "openpyxl", "pillow", "pyarrow", "pypdf", "python-docx", "pyyaml")
_WORLD, _CATALOGUE, _MANIFEST = "world", "catalogue.json", "manifest.json"
_NAME, _HALF = "company-", ".half-"
_WAIT_S = 60.0
_OLD_HALF_S, _OLD_WORLD_S = 3600.0, 30 * 86400.0


class Opened(NamedTuple):
    """A world that agreed with its manifest when it was read."""

    folder: Path
    base: Mapping[str, bytes]
    catalogue: bytes


@lru_cache(maxsize=1)
def open_company() -> Opened:
    """The world in the cache, made first where it is missing or damaged.

    Raises:
        ConfigError: neither the user's cache nor a temporary directory can be written.
    """
    problems = []
    for find_parent in (_user_cache, _temporary):
        try:
            return open_below(find_parent())
        except OSError as error:
            problems.append(f"{error.filename or ''} {error.strerror or error}".strip())
    raise ConfigError(
        f"no place for the company world ({'; '.join(problems)}); set XDG_CACHE_HOME to a writable folder"
    )


def _user_cache() -> Path:
    wanted = (os.environ.get("XDG_CACHE_HOME", ""), os.path.expanduser("~/.cache"))
    absolute = [folder for folder in wanted if os.path.isabs(folder)]
    if not absolute:
        raise FileNotFoundError("no home directory")
    return Path(absolute[0], "toolwright")


def _temporary() -> Path:
    """A directory that goes with this process."""
    temporary = Path(tempfile.mkdtemp(prefix="toolwright-"))
    temporary.chmod(0o755)
    owner = os.getpid()
    atexit.register(lambda: _remove(temporary) if os.getpid() == owner else None)
    return temporary


def open_below(parent: Path) -> Opened:
    """The world below a directory that may not exist yet.

    Raises:
        OSError: it cannot be read or written.
    """
    target = parent / f"{_NAME}{generator_hash()}"
    found = _read(target)
    if found is None:
        parent.mkdir(parents=True, exist_ok=True)
        with _alone(parent):
            found = _read(target) or _make(parent, target)
    with suppress(OSError):
        os.utime(target)  # so that what is in use does not grow old
    return found


@lru_cache(maxsize=1)
def generator_hash() -> str:
    """A hash of everything that decides the bytes of the world: our sources and the versions of what they use."""
    folder = Path(__file__).parent
    sources = [*sorted(folder.glob("*.py")), Path(baseworld.__file__)]
    versions = [f"{name} {metadata.version(name)}" for name in _LIBRARIES]
    versions += [sys.version, sqlite3.sqlite_version, zlib.ZLIB_RUNTIME_VERSION]
    total = hashlib.sha256("\n".join(versions).encode())
    for source in sources:
        total.update(hashlib.sha256(source.read_bytes()).digest())
    return total.hexdigest()[:16]


def _read(target: Path) -> Opened | None:
    """Read a world and compare it with its manifest; nothing when it is missing or differs in any way."""
    try:
        manifest = json.loads((target / _MANIFEST).read_bytes())
        catalogue = (target / _CATALOGUE).read_bytes()
        world = target / _WORLD
        plain = [path for path in world.rglob("*") if path.is_symlink() or not path.is_dir()]
        base = {
            name: _read_plain(world / name) for name in sorted(path.relative_to(world).as_posix() for path in plain)
        }
    except (OSError, ValueError):
        return None
    if manifest != _manifest(base, catalogue):
        return None
    return Opened(world, MappingProxyType(base), catalogue)


def _read_plain(path: Path) -> bytes:
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        return file.read()


def _manifest(base: Mapping[str, bytes], catalogue: bytes) -> dict[str, Any]:
    files = {path: hashlib.sha256(content).hexdigest() for path, content in base.items()}
    return {"world": files, "catalogue": hashlib.sha256(catalogue).hexdigest()}


def _make(parent: Path, target: Path) -> Opened:
    """Generate the world beside its place, move a damaged one out of the way, and rename."""
    _remove_old(parent)
    half = Path(tempfile.mkdtemp(prefix=_HALF, dir=parent))
    try:
        _write(half)
        if target.exists():
            damaged = Path(tempfile.mkdtemp(prefix=_HALF, dir=parent))
            target.chmod(0o755)  # a directory that cannot be written cannot change its parent either
            target.rename(damaged / "damaged")
            _remove(damaged)
        try:
            half.rename(target)
            target.chmod(0o555)
        except OSError:
            if not target.exists():  # else somebody who did not wait for the lock was faster; theirs is checked below
                raise
    finally:
        _remove(half)
    found = _read(target)
    if found is None:
        raise OSError(f"{target} differs from what was just written")
    return found


def _write(half: Path) -> None:
    from mcpserver.company.describe import describe_folder
    from mcpserver.company.world import generate

    made = generate()
    base = {path: file.content for path, file in made.items()}
    write_base(base, half / _WORLD)
    entries = [entry | {"summary": made[entry["path"]].summary} for entry in describe_folder(half / _WORLD)]
    catalogue = json.dumps(entries, ensure_ascii=False).encode()
    (half / _CATALOGUE).write_bytes(catalogue)
    (half / _MANIFEST).write_text(json.dumps(_manifest(base, catalogue)))
    for top, folders, names in os.walk(half):
        for name in names:
            os.chmod(os.path.join(top, name), 0o444)
        for name in folders:
            os.chmod(os.path.join(top, name), 0o555)
    half.chmod(0o755)  # not every system renames a directory that cannot be written


@contextmanager
def _alone(parent: Path) -> Iterator[None]:
    """Wait while another process makes the world; after a minute, or without locks, go on: renaming is safe anyway."""
    with open(parent / ".lock", "a") as lock:
        deadline = time.monotonic() + _WAIT_S
        while time.monotonic() < deadline:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.05)
            except OSError:
                break
        yield


def _remove_old(parent: Path) -> None:
    """Remove what crashed processes left, and worlds of other versions that nobody opened for a month."""
    for prefix, age in ((_HALF, _OLD_HALF_S), (_NAME, _OLD_WORLD_S)):
        for path in parent.glob(f"{prefix}*"):
            with suppress(OSError):
                if time.time() - path.lstat().st_mtime > age:
                    _remove(path)


def _remove(tree: Path) -> None:
    """Remove a tree whose directories may be read-only; what cannot be removed stays."""
    for top, _, _ in os.walk(tree):
        with suppress(OSError):
            os.chmod(top, 0o700)
    shutil.rmtree(tree, ignore_errors=True)
