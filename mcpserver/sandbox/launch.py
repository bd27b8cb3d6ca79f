"""How a keeper is started at each level of the sandbox: the command line, the environment variables, its configuration.

Nothing here runs inside the sandbox.
"""

import atexit
import itertools
import os
import py_compile
import random
import shutil
import stat
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import psutil

from mcpserver.sandbox.limits import MIB, Limits

Level = Literal["bwrap", "landlock", "none"]
LEVELS: tuple[Level, ...] = ("bwrap", "landlock", "none")
PREFIX = "toolwright-env-"
CODE = Path(__file__).resolve().parents[2]
_BOOT = f"import sys; sys.path.append({str(CODE)!r}); from mcpserver.sandbox.keeper import main; main()"
_SHELL = 'n=0; again=; until "$@" $again; do again=again; n=$((n + 1)); [ $n -lt 1000 ] || exit 1; done'
"""Holds the sandbox, and with it the files, while the keeper is replaced."""
_SYSTEM_FILES = ("/etc/ld.so.cache", "/etc/alternatives", "/etc/fonts", "/etc/mime.types", "/etc/localtime")


@dataclass(frozen=True)
class Content:
    """What an environment begins with.

    Attributes:
        folder: on the host.
        names: what is copied from below it.
        attachments: further files and their content, by path below ``files/``.
    """

    folder: Path
    names: tuple[str, ...]
    attachments: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Launch:
    """A keeper to start: command, variables, and its first message; ``arguments`` go to bwrap by a pipe."""

    command: tuple[str, ...]
    variables: Mapping[str, str]
    config: dict[str, Any]
    arguments: tuple[str, ...] = ()


def plan(
    level: Level, content: Content, limits: Limits, tool_paths: Sequence[str] = (), python: str = "light"
) -> Launch:
    """How to start a keeper.

    Args:
        level: of the sandbox.
        content: what to copy.
        limits: of the environment.
        tool_paths: folders of users' own tools, readable inside and first on the path of imports.
        python: ``light``, or ``jupyter`` for an IPython kernel.
    """
    _compile()
    root = "/env" if level == "bwrap" else _make_folder()
    temporary = "/tmp" if level == "bwrap" else root
    as_root = os.geteuid() == 0 and level != "none"
    user = _free_user() if as_root else None
    if level == "landlock" and user is not None:
        os.chown(root, user, user)
    config = {
        "root": root,
        "remove": level != "bwrap",
        "temporary": temporary,
        "base": "/base" if level == "bwrap" else str(content.folder),
        "files": list(content.names),
        "attachments": dict(content.attachments),
        "user": user,
        "paths": _import_paths(),
        "tool_paths": list(tool_paths),
        "landlock": _readable(content, tool_paths) if level == "landlock" else None,
        "seccomp": level != "none",
        "sockets": level == "bwrap",
        "memory_bytes": limits.memory_bytes,
        "disk_bytes": limits.disk_bytes,
        "limits": _rlimits(limits, own_count=level == "bwrap" or as_root),
        "alarm_s": int(limits.call_timeout_s) + 60,
        "jupyter": python == "jupyter",
    }
    keeper = ("/bin/sh", "-c", _SHELL, "keeper", _python(), "-I", "-S", "-c", _BOOT)
    variables = _variables(root, temporary)
    if level != "bwrap":
        return Launch(keeper, variables, config)
    return Launch(("bwrap", *keeper), variables, config, tuple(_bwrap(content, limits, tool_paths)))


def _bwrap(content: Content, limits: Limits, tool_paths: Sequence[str]) -> list[str]:
    """bwrap's arguments up to the command. Order matters: /tmp before what is bound below it, read-only at the end."""
    arguments = ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    arguments += ["--die-with-parent", "--new-session", "--hostname", "toolwright", "--cap-drop", "ALL"]
    if os.geteuid() == 0:  # root becomes a user of its own inside, so that the limit on processes counts
        arguments += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        arguments += ["--unshare-user", "--disable-userns"]
    arguments += ["--ro-bind", "/usr", "/usr"]
    for name in ("/bin", "/sbin", "/lib", "/lib32", "/lib64"):
        if os.path.islink(name):
            arguments += ["--symlink", os.readlink(name), name]
        elif os.path.isdir(name):
            arguments += ["--ro-bind", name, name]
    for name in _SYSTEM_FILES:
        arguments += ["--ro-bind-try", name, name]
    arguments += ["--proc", "/proc", "--dev", "/dev"]
    for folder, size in (("/dev/shm", 16 * MIB), ("/tmp", limits.disk_bytes), ("/env", limits.disk_bytes)):
        arguments += ["--perms", "1777", "--size", str(size), "--tmpfs", folder]
    fonts = _font_list()
    if fonts:
        arguments += ["--ro-bind", fonts, f"/tmp/{os.path.basename(fonts)}"]
    sources = {path: _readable_copy(path) for path in tool_paths}
    bound = [*_libraries(), *_code(), *tool_paths]
    for parent in sorted({str(parent) for path in bound for parent in Path(path).parents} - {"/", "/tmp"}):
        arguments += ["--perms", "0755", "--dir", parent]
    for path in bound:
        arguments += ["--ro-bind", sources.get(path, path), path]
    arguments += ["--ro-bind", str(content.folder), "/base", "--remount-ro", "/", "--remount-ro", "/dev"]
    return [*arguments, "--chdir", "/env"]


@lru_cache(maxsize=64)
def _readable_copy(folder: str) -> str:
    """A folder of a user's tools; for root, whose folders others may not read, a copy that the sandbox's user can."""
    if os.geteuid() != 0:
        return folder
    copy = tempfile.mkdtemp(prefix="toolwright-tools-")
    atexit.register(shutil.rmtree, copy, ignore_errors=True)
    shutil.copytree(folder, copy, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    for path in (Path(copy), *Path(copy).rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return copy


def _readable(content: Content, tool_paths: Sequence[str]) -> list[str]:
    system = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", *_SYSTEM_FILES]
    return [*system, *_libraries(), *_code(), str(content.folder), *tool_paths]


def _code() -> list[str]:
    return [str(CODE / "mcpserver"), str(CODE / "toolwright")]


def _font_list() -> str:
    """matplotlib's list of fonts, which takes it a second to make; empty when it has not made one on this machine."""
    found = sorted(Path.home().glob(".cache/matplotlib/fontlist-*.json"))
    return str(found[-1]) if found else ""


@lru_cache(maxsize=1)
def _libraries() -> tuple[str, ...]:
    """Where Python and its libraries lie, outside ``/usr``."""
    found = dict.fromkeys(os.path.realpath(path) for path in (sys.base_prefix, sys.prefix))
    return tuple(path for path in found if not path.startswith("/usr/") and path != "/usr")


def _python() -> str:
    return os.path.realpath(sys.executable)


def root_only_folder() -> str:
    """For root: a folder of Python or of our own that other users cannot enter; else empty."""
    if os.geteuid() != 0:
        return ""
    needed = [Path(os.path.realpath(path)) for path in (sys.base_prefix, sys.prefix, *_code())]
    folders = {folder for path in needed for folder in (path, *path.parents)}
    return next((str(folder) for folder in sorted(folders) if not folder.stat().st_mode & stat.S_IXOTH), "")


@lru_cache(maxsize=1)
def _compile() -> None:
    """Write the byte code of what runs inside only, which no import of ours writes: a start costs half with it."""
    for path in Path(__file__).parent.glob("*.py"):
        with suppress(OSError, py_compile.PyCompileError):  # a read-only installation
            py_compile.compile(str(path), doraise=True)


@lru_cache(maxsize=1)
def _import_paths() -> list[str]:
    """Our path of imports without what lies outside the sandbox."""
    inside = ("/usr", *_libraries())
    return [path for path in map(os.path.realpath, sys.path) if path.startswith(inside) and os.path.isdir(path)]


def _variables(home: str, temporary: str) -> dict[str, str]:
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": home,
        "TMPDIR": temporary,
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "MPLBACKEND": "Agg",
        "MPLCONFIGDIR": temporary,
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "IPYTHONDIR": temporary,
    }


def _rlimits(limits: Limits, *, own_count: bool) -> dict[str, int]:
    processes = limits.processes
    if not own_count:  # the kernel counts all processes of our user, on the whole machine
        processes += _threads_of_user()
    return {
        "AS": limits.address_space_bytes,
        "NPROC": processes,
        "FSIZE": limits.file_bytes,
        "NOFILE": limits.open_files,
        "CPU": limits.cpu_s,
    }


def _threads_of_user() -> int:
    user, count = os.geteuid(), 0
    for process in psutil.process_iter(["uids", "num_threads"]):
        uids = process.info["uids"]
        count += process.info["num_threads"] or 0 if uids and uids.real == user else 0
    return count


_users = itertools.count(random.SystemRandom().randrange(1 << 20))


def _free_user() -> int:
    """A user id that nothing else has, so that limits on a user are limits on an environment."""
    with open("/proc/self/uid_map") as file:
        mapped = max(int(line.split()[0]) + int(line.split()[2]) for line in file)
    first, last = (1 << 30, (1 << 31) - 2) if mapped > (1 << 31) else (mapped // 4, mapped - 1000)
    return first + next(_users) % (last - first)


def _make_folder() -> str:
    return os.path.realpath(tempfile.mkdtemp(prefix=PREFIX, dir=_fast_folder()))


@lru_cache(maxsize=1)
def _fast_folder() -> str:
    """Where environments lie: in memory where Linux offers that (3 ms a copy instead of 30), unless TMPDIR is set."""
    memory = "/dev/shm"
    if "TMPDIR" not in os.environ and os.path.isdir(memory) and os.access(memory, os.W_OK | os.X_OK):
        return memory
    return tempfile.gettempdir()
