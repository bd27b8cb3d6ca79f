"""Descriptions of pictures and archives."""

import gzip
import io
import tarfile
import zipfile
from typing import Any

from mcpserver.company.plain import MAX_LISTED, MAX_UNPACKED_BYTES, UnreadableError, decode, first_lines


def read_image(content: bytes) -> dict[str, Any]:
    """The size of a picture in pixels, its mode, the number of frames; only the header is read."""
    from PIL import Image

    with Image.open(io.BytesIO(content)) as image:
        frames = getattr(image, "n_frames", 1)
        return {"width": image.width, "height": image.height, "mode": image.mode, "frames": frames}


def check_zip(content: bytes) -> list[zipfile.ZipInfo]:
    """The members of a zip file.

    Raises:
        UnreadableError: they would unpack to too much.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
    if sum(member.file_size for member in members) > MAX_UNPACKED_BYTES:
        raise UnreadableError(f"not read: unpacks to more than {MAX_UNPACKED_BYTES >> 20} MiB")
    return members


def read_zip(content: bytes) -> dict[str, Any]:
    """The members of a zip file."""
    members = [member for member in check_zip(content) if not member.is_dir()]
    return _members([(member.filename, member.file_size) for member in members])


def read_tar(content: bytes) -> dict[str, Any]:
    """The plain files in a tar archive."""
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
        return _members([(member.name, member.size) for member in archive if member.isfile()])


def read_tar_gzip(content: bytes) -> dict[str, Any]:
    """The plain files in a compressed tar archive."""
    return read_tar(_unpack(content))


def read_gzip(content: bytes) -> dict[str, Any]:
    """The size of what is compressed, and its first lines if it is text."""
    unpacked = _unpack(content)
    try:
        return {"unpacked_bytes": len(unpacked), **first_lines(decode(unpacked))}
    except UnreadableError:
        return {"unpacked_bytes": len(unpacked), "content": "binary"}


def _unpack(content: bytes) -> bytes:
    with gzip.open(io.BytesIO(content)) as stream:
        unpacked = stream.read(MAX_UNPACKED_BYTES + 1)
    if len(unpacked) > MAX_UNPACKED_BYTES:
        raise UnreadableError(f"not read: unpacks to more than {MAX_UNPACKED_BYTES >> 20} MiB")
    return unpacked


def _members(members: list[tuple[str, int]]) -> dict[str, Any]:
    shown = [{"name": name.encode(errors="replace").decode(), "bytes": size} for name, size in members[:MAX_LISTED]]
    return {"count": len(members), "members": shown}
