"""What an attack must not reach: a secret, a folder, files at absolute paths, listeners, the base, this process.

Each case has its own, so that what is touched names the case.
"""

import hashlib
import os
import re
import secrets
import select
import shutil
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mcpserver.sandbox.launch import PREFIX

_ABSOLUTE = re.compile(r"/(?:tmp|var|root|home|etc|dev/shm|usr|opt|srv|mnt)/[A-Za-z0-9_.\-/]+")
PICKLED = "UNPICKLED"
"""A file that appears in an environment when something of ours was unpickled there."""


class Canaries:
    """The canaries of one case; ``touched`` says which were reached.

    Args:
        work: the folder in which environments lie where they lie on the host; everybody may read it.
        base: the base world on disk.
    """

    def __init__(self, work: Path, base: Path, payload: str) -> None:
        self._work, self._base = work, base
        self.token = f"canary-{secrets.token_hex(12)}"
        self.secret = work / f"secret-{secrets.token_hex(4)}.txt"
        self.secret.write_text(self.token)
        self.outside = work / f"outside-{secrets.token_hex(4)}"
        self.outside.mkdir()
        self.outside.chmod(0o777)
        (self.outside / "kept.txt").write_text(self.token)
        os.environ["OPENAI_API_KEY"] = os.environ["TOOLWRIGHT_ATTACK_KEY"] = self.token
        self.heard: list[str] = []
        self._sockets: list[socket.socket] = []
        self._listen()
        self._known = set(os.listdir(work))
        self._absolute = {path: _look(path) for path in _ABSOLUTE.findall(payload)}
        self._before = tree(base), tree(self.outside), _mounts()

    def places(self) -> dict[str, str]:
        """What fills the placeholders of a payload; ``BASE`` is the host's path, ``ENV_ID`` is the player's."""
        port, udp = self._sockets[0].getsockname()[1], self._sockets[2].getsockname()[1]
        return {
            "OUTSIDE": str(self.outside), "SECRET": str(self.secret), "SECRET_NAME": self.secret.name,
            "SECRET_FILE": str(self.secret), "SECRET_PATH": str(self.secret), "SECRET_DIR": str(self._work),
            "BASE": str(self._base / "files"), "BASE_DIR": str(self._base), "PORT": str(port), "TCP_PORT": str(port),
            "HTTP_PORT": str(port), "MCP_PORT": str(port), "SERVER_PORT": str(port), "PORT6": str(port),
            "UDP_PORT": str(udp), "UNIX_SOCKET": str(self._unix), "SOCKET": str(self._unix),
            "ABSTRACT_SOCKET": self._abstract, "UNIX_ABSTRACT": self._abstract, "ABSTRACT": self._abstract,
            "SERVER_PID": str(os.getpid()), "HOST_PID": str(os.getpid()), "PARENT_PID": str(os.getppid()),
            "SERVER_PGID": str(os.getpgid(0)), "TMP": "/tmp", "HOME": str(Path.home()), "USER": str(os.geteuid()),
        }  # fmt: skip

    def _listen(self) -> None:
        self._unix = self._work / f"{self.outside.name}.sock"
        self._abstract = f"toolwright-{self.token[-8:]}"
        four = socket.create_server(("127.0.0.1", 0))
        port = four.getsockname()[1]
        six = None
        with suppress(OSError):
            six = socket.create_server(("::1", port), family=socket.AF_INET6)
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        datagrams.bind(("127.0.0.1", 0))
        path, abstract = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
        path.bind(str(self._unix))
        os.chmod(self._unix, 0o777)
        abstract.bind(f"\0{self._abstract}")
        for listener in (path, abstract):
            listener.listen()
        names = {"TCP": four, "TCP over IPv6": six, "UDP": datagrams, "unix": path, "abstract unix": abstract}
        self._sockets = [four, six or four, datagrams, path, abstract]
        self._open = True
        self._listener = threading.Thread(target=self._hear, args=(names,), daemon=True)
        self._listener.start()

    def _hear(self, names: Mapping[str, socket.socket | None]) -> None:
        listeners = {listener: name for name, listener in names.items() if listener is not None}
        while self._open:
            for listener in select.select(list(listeners), [], [], 0.1)[0]:
                self.heard.append(listeners[listener])
                with suppress(OSError):
                    if listener.type == socket.SOCK_DGRAM:
                        listener.recv(100)
                        continue
                    with listener.accept()[0] as connection:
                        connection.sendall(b"HTTP/1.0 200 OK\r\ncontent-length: 6\r\n\r\nCANARY")

    def touched(self, outputs: str) -> Iterator[str]:
        """What was reached, in words."""
        if self.token in outputs or self.token.encode().hex() in outputs:
            yield "the secret is in the output"
        for line in _host_lines():
            if line in outputs:
                yield f"the host's {line[:20]!r}… is in the output"
        yield from (f"a {name} listener of the host was reached" for name in dict.fromkeys(self.heard))
        base, outside, mounts = self._before
        if tree(self._base) != base:
            yield "the base was changed"
        if tree(self.outside) != outside:
            yield f"the folder outside was changed: {sorted(set(tree(self.outside)) ^ set(outside))}"
        if not self.secret.is_file() or self.secret.read_text() != self.token:
            yield "the secret file was changed"
        if _mounts() != mounts:
            yield "the host's mounts were changed"
        yield from (f"{path} was changed on the host" for path, look in self._absolute.items() if _look(path) != look)
        yield from (f"{name!r} appeared beside the environments" for name in sorted(self._new()))

    def _new(self) -> set[str]:
        """What appeared beside the environments; those and the canaries of other cases are known by their names."""
        known = (PREFIX, "outside-", "secret-", "toolwright-", "tmp", "pymp-", "matplotlib")
        return {name for name in set(os.listdir(self._work)) - self._known if not name.startswith(known)}

    def close(self) -> None:
        """Stop listening, remove what was laid out."""
        self._open = False
        self._listener.join()
        for listener in self._sockets:
            listener.close()
        self._unix.unlink(missing_ok=True)
        self.secret.unlink(missing_ok=True)
        shutil.rmtree(self.outside, ignore_errors=True)


def tree(folder: Path) -> dict[str, str]:
    """Size, time and (below 64 KiB) content of everything in a folder, by path."""
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        state = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() and state.st_size < 65536 else b""
        digest = hashlib.sha256(content).hexdigest()[:16]
        found[str(path)] = f"{state.st_size} {state.st_mtime_ns} {state.st_mode} {state.st_nlink} {digest}"
    return found


def _look(path: str) -> Any:
    try:
        state = os.lstat(path)
    except OSError:
        return None
    return state.st_ino, state.st_mode, state.st_size if not os.path.isdir(path) else 0


def _mounts() -> int:
    return Path("/proc/self/mountinfo").read_text().count("\n")


def _host_lines() -> list[str]:
    """Lines that only the host's own files have."""
    lines: list[str] = []
    for path in ("/etc/passwd", "/etc/shadow"):
        with suppress(OSError):
            lines += Path(path).read_text().splitlines()[:1]
    return [line for line in lines if len(line) > 12]
