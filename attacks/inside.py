"""What lays out a case's files, run inside the environment as its own user; the standard library only.

Each public function of ``inside*`` is a setup step of cases: ``{"zip_many": ["m.zip", 200000]}`` calls
``zip_many("m.zip", 200000)``. The working directory holds the files of the environment.
"""

import binascii
import json
import os
import socket
import sqlite3


def note(*_words: object) -> None:
    pass


def write(name: str, content: object = "") -> None:
    _folder_of(name)
    text = content if isinstance(content, str) else json.dumps(content)
    with open(name, "w", encoding="utf-8", errors="surrogatepass", newline="") as file:
        file.write(text)


def append(name: str, content: str) -> None:
    with open(name, "a", encoding="utf-8") as file:
        file.write(content)


def write_bytes(name: str, content: str) -> None:
    put(name, content.encode("latin-1"))


def write_hex(name: str, digits: str) -> None:
    put(name, bytes.fromhex(digits))


def write_base64(name: str, text: str) -> None:
    put(name, binascii.a2b_base64(text))


def write_bytes_name(digits: str, content: str = "x") -> None:
    with open(bytes.fromhex(digits), "w") as file:
        file.write(content)


def write_zeros(name: str, size: int) -> None:
    with open(name, "wb") as file:
        for _ in range(size >> 20):
            file.write(bytes(1 << 20))
        file.write(bytes(size & ((1 << 20) - 1)))


def write_repeat(name: str, text: str, count: int) -> None:
    put(name, (text * count).encode())


def sparse(name: str, size: int) -> None:
    _folder_of(name)
    with open(name, "wb") as file:
        file.truncate(size)


def mkdir(name: str) -> None:
    os.makedirs(name, exist_ok=True)


def deep_dirs(*given: object) -> None:
    name, depth = (str(given[0]) if isinstance(given[0], str) else "d"), int(str(given[-1]))
    top = os.open(".", os.O_RDONLY)
    try:
        for _ in range(depth):
            os.mkdir(name)
            os.chdir(name)
    finally:
        os.fchdir(top)


def write_many(*given: object) -> None:
    name, count = (str(given[0]) if isinstance(given[0], str) else "many"), max(x for x in given if isinstance(x, int))
    os.makedirs(name, exist_ok=True)
    for number in range(count):
        with open(f"{name}/{number}.txt", "w") as file:
            file.write("x")


def chmod(name: str, mode: object) -> None:
    os.chmod(name, int(mode, 8) if isinstance(mode, str) else int(str(mode)))


def symlink(name: str, target: str) -> None:
    _folder_of(name)
    os.symlink(target, name)


def hardlink(name: str, target: str) -> None:
    os.link(target, name)


def mkfifo(name: str) -> None:
    os.mkfifo(name)


def unix_socket(name: str) -> None:
    made = socket.socket(socket.AF_UNIX)
    made.bind(name)
    made.close()


def race_swap(name: str, first: str, _second: str) -> None:
    """The swapping itself is done while calls run: see ``play``."""
    if not os.path.exists(first):
        write(first, "inside")
    write(name, "inside")


def database(name: str, *statements: object) -> None:
    """A SQLite file, among the databases unless it names a folder."""
    path = name if "/" in name else f"../databases/{name.removesuffix('.db')}.db"
    lines = [line for item in statements for line in (item if isinstance(item, list) else [item])]
    connection = sqlite3.connect(path)
    for line in lines:
        connection.executescript(str(line))
    connection.close()


def put(name: str, content: bytes) -> None:
    _folder_of(name)
    with open(name, "wb") as file:
        file.write(content)


def _folder_of(name: str) -> None:
    if os.path.dirname(name) and not name.startswith("/"):
        os.makedirs(os.path.dirname(name), exist_ok=True)
