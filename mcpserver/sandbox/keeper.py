"""The process that owns a sandbox: it forks the ones that work, replaces them, and bounds all of them together.

Started as a program by ``worker`` with the numbers of three sockets: control, tools and python. The first message on
control is the configuration; the answer tells that the files are in place. Each further message is a command with an
answer, but for ``watch``. It runs nothing that a model wrote, and nothing that a model wrote can signal or read it.
"""

import os
import select
import shutil
import signal
import socket
import stat
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

WATCH_S = 0.05
MAX_INODES = 20_000


class Keeper:
    """The state of one sandbox: its configuration, and the processes that work in it.

    The configuration has ``root`` (folder of the environment), ``base`` and ``files`` (what to copy from where),
    ``user`` (to become, or null), ``paths`` (for imports), ``limits``, ``landlock`` (readable paths, or null),
    ``seccomp``, ``sockets``, ``memory_bytes``, ``disk_bytes``, ``seed`` and ``tool_paths``.
    """

    def __init__(self, config: dict[str, Any], control: socket.socket, sockets: dict[str, int]) -> None:
        self.config = config
        self.control = control
        self.workers: dict[str, int] = {}
        self.sockets = sockets
        self.watching = ""

    def prepare(self) -> None:
        """Put the files in place and give up what the keeper does not need."""
        from mcpserver.sandbox import confine

        confine.adopt_orphans()
        root, user = Path(self.config["root"]), self.config["user"]
        if user is not None:
            confine.become(user)
        confine.hide_memory(True)
        confine.forbid_privileges()
        for folder in ("files", "databases"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        for name in self.config["files"]:
            target = root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(Path(self.config["base"], name), target)
        os.chdir(root / "files")

    def fork(self, name: str) -> None:
        """Start the process for tools or for python; it inherits its socket only."""
        pid = os.fork()
        if pid:
            self.workers[name] = pid
            return
        try:
            self._be(name)
        except BaseException as error:  # noqa: BLE001 - said by its last line, and by its end
            os.write(2, f"{name}: {type(error).__name__}: {error}\n".encode())
        os._exit(70)

    def _be(self, name: str) -> None:
        from mcpserver.sandbox import confine

        keeper = os.getppid()
        os.setsid()
        confine.die_with_parent(signal.SIGKILL)
        own = self.sockets[name]
        os.closerange(3, own)
        os.closerange(own + 1, 256)
        if self.config["child_user"] is not None:
            confine.become(self.config["child_user"])
        confine.hide_memory(name == "tools")
        if self.config["landlock"] is not None:
            confine.forbid_paths(self.config["landlock"], [self.config["root"]])
        confine.limit_amounts(self.config["limits"])
        if self.config["seccomp"]:
            confine.forbid_calls([1, keeper], sockets=self.config["sockets"])
        connection = socket.socket(fileno=own)
        if name == "tools":
            from mcpserver.sandbox import hands

            hands.serve(connection, self.config)
        else:
            from mcpserver.sandbox import jupyter, repl

            (jupyter if self.config["jupyter"] else repl).serve(connection, self.config)

    def stop(self, name: str) -> None:
        """Kill a worker and everything that it started, and empty its socket, so that a new one can begin."""
        pid = self.workers.pop(name, None)
        if pid is not None:
            family = [pid, *descendants(pid)]
            for member in family:
                _signal(member, signal.SIGKILL)
        self._reap()
        if name == "python":
            self._end_strays(set())
        while select.select([self.sockets[name]], [], [], 0)[0]:
            if not os.read(self.sockets[name], 1 << 16):
                return

    def rest(self, keep: set[int]) -> int:
        """After a call: end what python left running, freeze python itself; gives how many were ended."""
        ended = self._end_strays(keep)
        for pid in [self.workers.get("python"), *keep]:
            if pid:
                _signal(pid, signal.SIGSTOP)
        return ended

    def wake(self, keep: set[int]) -> None:
        for pid in [self.workers.get("python"), *keep]:
            if pid:
                _signal(pid, signal.SIGCONT)

    def _end_strays(self, keep: set[int]) -> int:
        ended: set[int] = set()
        known = {*self.workers.values(), *keep}
        while strays := [pid for pid in descendants(os.getpid()) if pid not in known and not _is_zombie(pid)]:
            for pid in strays:
                _signal(pid, signal.SIGKILL)
            ended.update(strays)
            self._reap()
        return len(ended)

    def _reap(self) -> list[str]:
        """Collect ended children; gives the names of workers among them."""
        names: list[str] = []
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return names
            if pid == 0:
                return names
            names += [name for name, worker in self.workers.items() if worker == pid]
            for name in names:
                self.workers.pop(name, None)

    def watch(self) -> None:
        """One look at a call that takes long: did its process die, do all together take too much?"""
        if self.watching in self._reap():
            self._tell({"event": "died", "worker": self.watching})
            return
        reason = self._excess()
        if reason:
            for pid in descendants(os.getpid()):
                if pid not in self.workers.values():
                    _signal(pid, signal.SIGKILL)
            self._tell({"event": reason, "worker": self.watching})

    def _excess(self) -> str:
        family = descendants(os.getpid())
        if sum(map(_memory_bytes, family)) > self.config["memory_bytes"]:
            return "memory"
        if len(family) > self.config["limits"]["NPROC"]:
            return "processes"
        if self.config["landlock"] is not None or not self.config["seccomp"]:  # no tmpfs of a size of its own
            return "disk" if _disk_bytes(self.config["root"]) > self.config["disk_bytes"] else ""
        inodes = (os.statvfs(folder) for folder in (self.config["root"], "/tmp", "/dev/shm"))
        return "files" if any(found.f_files - found.f_ffree > MAX_INODES for found in inodes) else ""

    def _tell(self, message: dict[str, Any]) -> None:
        from mcpserver.sandbox import frames

        self.watching = ""
        frames.send(self.control, message)

    def run(self) -> None:
        """Obey until the server closes the control socket; then end everything."""
        from mcpserver.sandbox import frames

        while True:
            ready = select.select([self.control], [], [], WATCH_S if self.watching else None)[0]
            if not ready:
                self.watch()
                continue
            try:
                command = frames.receive(self.control)
            except (EOFError, OSError):
                return
            answer = self._obey(command)
            if answer is not None:
                frames.send(self.control, answer)

    def _obey(self, command: dict[str, Any]) -> dict[str, Any] | None:
        action, name, keep = command["do"], command.get("worker", ""), set(command.get("keep", ()))
        if action == "watch":
            self.watching = name
            return None
        self.watching = ""
        if action in ("start", "stop"):
            self.stop(name)
            if action == "start":
                self.fork(name)
        elif action == "interrupt":
            for pid in [self.workers.get(name), *keep]:
                if pid:
                    _signal(pid, signal.SIGINT)
        elif action == "rest":
            return {"done": action, "ended": self.rest(keep)}
        elif action == "wake":
            self.wake(keep)
        return {"done": action}

    def end(self) -> None:
        """Kill everything that is left, and remove the files where they lie on the host."""
        for name in list(self.workers):
            self.stop(name)
        self._end_strays(set())
        if self.config["remove"]:
            shutil.rmtree(self.config["root"], ignore_errors=True)


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
            try:
                with open(f"/proc/{parent}/task/{thread}/children") as file:
                    children = [int(word) for word in file.read().split()]
            except OSError:
                continue
            found += children
            todo += children
    return found


def _is_zombie(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] in (b"Z", b"X")
    except OSError:
        return True


def _memory_bytes(pid: int) -> int:
    """What a process takes, its part of shared pages counted by halves; without the right to ask, all it touches."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("Pss:"))
    except (OSError, StopIteration):
        try:
            with open(f"/proc/{pid}/statm") as file:
                return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
        except (OSError, IndexError):
            return 0


def _disk_bytes(root: str) -> int:
    total = 0
    for top, folders, names in os.walk(root):
        for name in (*folders, *names):
            try:
                found = os.lstat(os.path.join(top, name))
            except OSError:
                continue
            total += found.st_size if stat.S_ISREG(found.st_mode) else 512
    return total


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def main() -> None:
    """Read the configuration, prepare, tell so, and obey."""
    sys.path.append(str(Path(__file__).resolve().parents[2]))
    from mcpserver.sandbox import frames

    number, tools, python = map(int, sys.argv[1:])
    control = socket.socket(fileno=number)
    config = frames.receive(control)
    sys.path.extend(path for path in config["paths"] if path not in sys.path)
    keeper = Keeper(config, control, {"tools": tools, "python": python})
    started = time.monotonic()
    try:
        keeper.prepare()
        keeper.fork("tools")
    except OSError as error:
        frames.send(keeper.control, {"failed": str(error)})
        return
    frames.send(keeper.control, {"ready": True, "seconds": time.monotonic() - started})
    try:
        keeper.run()
    finally:
        keeper.end()


if __name__ == "__main__":
    main()
