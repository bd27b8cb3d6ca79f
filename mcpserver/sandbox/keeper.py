"""The process in a sandbox that runs the tools of the catalogue, and owns the one that runs code which a model wrote.

A shell starts it with the numbers of three sockets, and again when the server has killed it over a call that took too
long: files stay, for the shell holds the sandbox. On control comes the configuration (marshal), then commands,
``{"do", "keep"}``; it answers in words: ``ready``, ``failed why``, ``done action count``, and ``event reason`` about a
cell that is watched. On tools come requests for ``hands``. Python has the third socket.
"""

import gc
import marshal
import os
import select
import signal
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from mcpserver.sandbox import confine, frames, hands
from mcpserver.workspace import Workspace, walk

AGAIN = "again"
WATCH_S = 0.05
MAX_INODES = 20_000


class Keeper:
    """The state of one sandbox: its configuration, and its Python.

    The configuration has ``root`` (folder of the environment), ``temporary``, ``remove`` (both at the end), ``base``
    and ``files`` (what to copy from where), ``attachments`` (further files and their content), ``user`` (to become, or
    None), ``paths`` and ``tool_paths`` (for imports), ``limits``, ``landlock`` (readable paths, or None), ``seccomp``,
    ``sockets``, ``memory_bytes``, ``disk_bytes``, ``alarm_s`` (when the process ends itself) and ``jupyter``.
    """

    def __init__(self, config: dict[str, Any], control: int, tools: int, python: int) -> None:
        self.config = config
        self.control, self.tools, self.socket = control, tools, python
        self.python = 0
        self.output = -1
        self.watching = False
        self.workspace = Workspace(Path(config["root"]))

    def prepare(self, again: bool) -> None:
        """Put the files in place, but for a second start, and give up what is not needed."""
        config = self.config
        confine.adopt_orphans()
        if config["user"] is not None:
            confine.become(config["user"])
        confine.hide_memory(True)
        os.umask(0o022)
        if not again:
            self.lay_out()
        os.chdir(config["root"])
        if config["landlock"] is not None:  # the keeper also looks at its children in /proc
            confine.forbid_paths([*config["landlock"], "/proc"], [config["root"]])
        self.output = os.memfd_create("output")  # what code prints must find room when the disk is full
        confine.limit_amounts(config["limits"])
        if config["seccomp"]:
            confine.forbid_calls([1, os.getppid()], sockets=config["sockets"])

    def lay_out(self) -> None:
        """Copy the files from the base."""
        root, base = self.config["root"], self.config["base"]
        for folder in ("files", "databases"):
            os.makedirs(f"{root}/{folder}", exist_ok=True)
        for name in self.config["files"]:
            os.makedirs(os.path.dirname(f"{root}/{name}"), exist_ok=True)
            _copy(f"{base}/{name}", f"{root}/{name}")
        for name, content in self.config["attachments"].items():
            os.makedirs(os.path.dirname(f"{root}/files/{name}"), exist_ok=True)
            with open(f"{root}/files/{name}", "wb") as file:
                file.write(content)

    def reset(self) -> None:
        """Make the environment as it was at first: no Python, no file but those of the base."""
        self.stop()
        for folder in {self.config["root"], self.config["temporary"]}:
            _empty(folder)
        self.lay_out()

    def start(self) -> None:
        """Start Python anew, with the same limits and fewer rights."""
        self.stop()
        gc.freeze()  # a collection would write to, and so copy, every page that the two share
        self.python = os.fork()
        if self.python:
            return
        try:
            self._be_python()
        except BaseException as error:  # noqa: BLE001 - said by its last line, and by its end
            os.write(2, f"python: {type(error).__name__}: {error}\n".encode())
        finally:  # code may have closed every descriptor; what the keeper does at its end is not for its child
            os._exit(70)

    def _be_python(self) -> None:
        keeper, config = os.getppid(), self.config
        os.setsid()
        confine.die_with_parent(signal.SIGKILL)
        os.close(self.control)
        os.close(self.tools)
        confine.hide_memory(False)
        if config["landlock"] is not None:
            confine.forbid_paths(config["landlock"], [config["root"]])
        elif config["seccomp"]:  # bwrap's own process and the shell have our user where root did not start them
            confine.forbid_reach()
        if config["seccomp"]:
            confine.forbid_calls([keeper], sockets=config["sockets"])
        if config["jupyter"]:
            from mcpserver.sandbox import jupyter

            jupyter.serve(self.socket, config)
        else:
            from mcpserver.sandbox import repl

            repl.serve(self.socket, config, self.output)

    def stop(self) -> None:
        """Kill Python and everything that it started, and empty its socket, so that a new one can begin."""
        self.python = 0
        self._end_strays(set())
        while _ready([self.socket], 0):
            if not os.read(self.socket, 1 << 16):
                return

    def rest(self, keep: set[int]) -> int:
        """After a cell: end what Python left running, freeze Python itself; gives how many were ended."""
        ended = self._end_strays(keep | {self.python})
        self._signal_python(keep, signal.SIGSTOP)
        for folder in (self.config["root"], *map(str, (self.workspace.files, self.workspace.databases))):
            with suppress(OSError):
                mode = os.lstat(folder).st_mode
                if stat.S_ISDIR(mode) and mode & 0o700 != 0o700:  # code shut it, for the tools as well
                    os.chmod(folder, 0o700)
        return ended

    def _signal_python(self, keep: set[int], number: int) -> None:
        for pid in {self.python, *keep}:
            if pid:
                _signal(pid, number)

    def _end_strays(self, keep: set[int]) -> int:
        ended: set[int] = set()
        while strays := [pid for pid in descendants(os.getpid()) if pid not in keep and not _is_zombie(pid)]:
            for pid in strays:
                _signal(pid, signal.SIGKILL)
            ended.update(strays)
            self._reap()
        return len(ended)

    def _reap(self) -> None:
        """Collect ended children."""
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                pid = 0
            if pid == 0:
                return
            if pid == self.python:
                self.python = 0

    def watch(self) -> None:
        """One look at a cell that takes long: did Python die, do all together take too much?"""
        self._reap()
        reason = self._excess() if self.python else "died"
        if reason:
            for pid in descendants(os.getpid()):
                if pid != self.python:
                    _signal(pid, signal.SIGKILL)
            self.watching = False
            tell(self.control, f"event {reason}")

    def _excess(self) -> str:
        family = [os.getpid(), *descendants(os.getpid())]
        if sum(map(_memory_bytes, family)) > self.config["memory_bytes"]:
            return "memory"
        if len(family) > self.config["limits"]["NPROC"]:
            return "processes"
        if self.config["remove"]:  # the files lie on the host, not in a tmpfs of a size of its own
            taken = _disk_bytes(self.config["root"]) + _unlinked_bytes(family)
            return "disk" if taken > self.config["disk_bytes"] else ""
        inodes = (os.statvfs(folder) for folder in (self.config["root"], "/tmp", "/dev/shm"))
        return "files" if any(found.f_files - found.f_ffree > MAX_INODES for found in inodes) else ""

    def run(self) -> None:
        """Serve until the server closes the control socket."""
        while True:
            ready = _ready([self.control, self.tools], WATCH_S if self.watching else None)
            try:
                if self.control in ready:
                    self._obey(marshal.loads(frames.read(self.control)))
                elif self.tools in ready:
                    # kills this process when nobody else does, for the server is gone
                    signal.alarm(self.config["alarm_s"])
                    frames.write(self.tools, hands.answer(frames.read(self.tools), self.workspace))
                    signal.alarm(0)
                else:
                    self.watch()
            except (EOFError, OSError):
                return

    def _obey(self, command: dict[str, Any]) -> None:
        action, keep = command["do"], set(command["keep"])
        self.watching = action == "watch"
        count = 0
        if action == "watch":
            return
        if action in ("start", "stop", "reset"):
            getattr(self, action)()
        elif action in ("interrupt", "wake"):
            self._signal_python(keep, signal.SIGINT if action == "interrupt" else signal.SIGCONT)
        elif action == "rest":
            count = self.rest(keep)
        tell(self.control, f"done {action} {count}")

    def end(self) -> None:
        """Kill everything that is left, and remove the files where they lie on the host."""
        self._end_strays(set())
        if self.config["remove"]:
            _empty(self.config["root"])
            os.rmdir(self.config["root"])


def tell(control: int, words: str) -> None:
    """Send the server a message."""
    frames.write(control, frames.frame(words.encode("utf-8", "backslashreplace")))


def _ready(descriptors: list[int], timeout_s: float | None) -> list[int]:
    """Which descriptors can be read; not by ``select``, which takes none above 1024."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return [descriptor for descriptor, _ in poll.poll(None if timeout_s is None else timeout_s * 1000)]


def descendants(pid: int) -> list[int]:
    """All processes below one, by the kernel's own lists of children."""
    found, todo = [], [pid]
    while todo:
        parent = todo.pop()
        try:
            threads = os.listdir(f"/proc/{parent}/task")
        except OSError:
            continue
        for thread in threads:
            children = [int(word) for word in _read(f"/proc/{parent}/task/{thread}/children").split()]
            found += children
            todo += children
    return found


def _read(path: str) -> bytes:
    """The content of a file below ``/proc``; empty when its process has ended."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def _is_zombie(pid: int) -> bool:
    return _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()[:1] in ([], [b"Z"], [b"X"])


def _memory_bytes(pid: int) -> int:
    """What a process takes, its share of shared pages counted; without the right to ask, all that it touches."""
    for line in _read(f"/proc/{pid}/smaps_rollup").splitlines():
        if line.startswith(b"Pss:"):
            return int(line.split()[1]) * 1024
    touched = _read(f"/proc/{pid}/statm").split()
    return int(touched[1]) * os.sysconf("SC_PAGESIZE") if touched else 0


def _disk_bytes(root: str) -> int:
    total = 0
    for top, folders, names in walk(root):
        for name in (*folders, *names):
            try:
                found = os.lstat(f"{top}/{name}")
            except OSError:
                continue
            total += found.st_size if stat.S_ISREG(found.st_mode) else 512
    return total


def _unlinked_bytes(pids: list[int]) -> int:
    """The sizes of files without a name that processes hold open."""
    found: dict[int, int] = {}
    for pid in pids[1:]:  # the first is the keeper
        with suppress(OSError):
            for number in os.listdir(f"/proc/{pid}/fd"):
                with suppress(OSError):
                    state = os.stat(f"/proc/{pid}/fd/{number}")
                    if stat.S_ISREG(state.st_mode) and not state.st_nlink:
                        found[state.st_ino] = state.st_size
    return sum(found.values())


def _copy(source: str, target: str) -> None:
    with open(source, "rb") as old, open(target, "wb") as new:
        new.write(old.read())


def _empty(folder: str) -> None:
    """Remove everything in a folder, whatever rights it was given; what is mounted there stays.

    What is in a folder below comes up to this level first, so that no depth of folders is too much.
    """
    with suppress(OSError):
        os.chmod(folder, 0o700)
    moved, folders = 0, _remove_files(folder)
    while folders:
        removed = 0
        for path in folders:
            with suppress(OSError):
                os.chmod(path, 0o700)
                for inner in _remove_files(path):
                    moved += 1
                    os.chmod(inner, 0o700)
                    os.rename(inner, f"{folder}/.removed-{moved}")
                os.rmdir(path)
                removed += 1
        folders = _remove_files(folder) if removed else []


def _remove_files(folder: str) -> list[str]:
    """Remove what is no folder in a folder, and give the folders in it."""
    folders = []
    for entry in list(os.scandir(folder)):
        with suppress(OSError):
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            else:
                os.unlink(entry.path)
    return folders


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def main() -> None:
    """Read the configuration, prepare, tell so, and serve; then end everything. Exit code 0 means: not again."""
    control, tools, python = map(int, sys.argv[1:4])
    try:
        config = marshal.loads(frames.read(control))
    except (EOFError, OSError):  # the server is gone
        return
    sys.path.extend(path for path in config["paths"] if path not in sys.path)
    keeper = Keeper(config, control, tools, python)
    try:
        keeper.prepare(sys.argv[4:] == [AGAIN])
        hands.prepare(config)
    except OSError as error:
        tell(control, f"failed {error}")
        return
    tell(control, "ready")
    try:
        keeper.run()
    finally:
        keeper.end()
