"""Archives changed, converted, and single files compressed."""

from typing import Annotated, Any

from annotated_types import Len

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.toolbox.archive_files import (
    MAX_ENTRIES,
    Format,
    Method,
    compress,
    damage,
    decompress,
    format_of,
    method_of,
    pack,
)
from mcpserver.toolbox.archive_members import all_members, chosen, collect
from mcpserver.toolbox.file_sets import write_all

Names = Annotated[list[Annotated[str, Len(1, 200)]], Len(1, 50)]
Sources = Annotated[list[str], Len(1, 50)]

_ENDS = {"gzip": ".gz", "bz2": ".bz2", "xz": ".xz"}


def add_to_archive(
    context: Context, path: str, sources: Sources, replace: bool = False, keep_folders: bool = True
) -> dict[str, Any]:
    """Add files and folders to an archive.

    Args:
        path: archive
        sources: files and folders to add
        replace: whether entries of the same name are replaced
        keep_folders: whether entries are named by their whole path, or by the file's name only

    Example:
        {"path": "archives/reports.zip", "sources": ["notes/storage.md"]}
    """
    old = context.files.read_bytes(path)
    members, new = all_members(path, old), collect(context, sources, keep_folders)
    if (both := members.keys() & new.keys()) and not replace:
        raise ToolError("tool_error", f"sources: {sorted(both)[0]!r} is in the archive already; set replace to true")
    size = _repack(context, path, members | new, format_of(old))
    return {"path": path, "added": len(new), "entries": len(members | new), "bytes": size}


def remove_from_archive(context: Context, path: str, members: Names) -> dict[str, Any]:
    """Remove entries from an archive.

    Args:
        path: archive
        members: names or patterns of the entries

    Example:
        {"path": "archives/reports.zip", "members": ["2024-1*.md"]}
    """
    old = context.files.read_bytes(path)
    with damage(path):
        gone = {member.name for member in chosen(old, members)}
    everything = all_members(path, old)
    kept = {name: content for name, content in everything.items() if name not in gone}
    size = _repack(context, path, kept, format_of(old))
    return {"path": path, "removed": sorted(gone)[:100], "entries": len(kept), "bytes": size}


def convert_archive(context: Context, path: str, target: str, archive_format: Format) -> dict[str, Any]:
    """Write the files of an archive in another format.

    Args:
        path: archive to read
        target: archive to write; it must not exist yet
        archive_format: format to write

    Example:
        {"path": "archives/old.tar", "target": "archives/old.zip", "archive_format": "zip"}
    """
    members = all_members(path, context.files.read_bytes(path))
    write_all(context.files, {target: (content := pack(members, archive_format))}, "target", overwrite=False)
    return {"target": target, "entries": len(members), "bytes": len(content)}


def _repack(context: Context, path: str, members: dict[str, bytes], archive_format: Format) -> int:
    if len(members) > MAX_ENTRIES:
        raise ToolError("limit", f"an archive holds at most {MAX_ENTRIES} entries, not {len(members)}")
    content = pack(members, archive_format)
    context.files.write(path, content)
    return len(content)


def compress_file(
    context: Context, path: str, method: Method = "gzip", target: str | None = None, keep: bool = True
) -> dict[str, Any]:
    """Compress one file.

    Args:
        path: file path
        method: how to compress
        target: file to write; left out, the path with .gz, .bz2 or .xz
        keep: whether the file stays beside its compressed form

    Example:
        {"path": "logs/access.log", "method": "gzip"}
        {"path": "text/english.txt", "method": "xz", "keep": false}
    """
    old = context.files.read_bytes(path)
    new = compress(old, method)
    return _replace(context, path, target or path + _ENDS[method], old, new, keep)


def decompress_file(context: Context, path: str, target: str | None = None, keep: bool = True) -> dict[str, Any]:
    """Unpack one file that was compressed by gzip, bz2 or xz.

    Args:
        path: compressed file
        target: file to write; left out, the path without .gz, .bz2 or .xz
        keep: whether the compressed file stays

    Example:
        {"path": "archives/note.txt.gz"}
    """
    old = context.files.read_bytes(path)
    with damage(path):
        new = decompress(old)
    end = _ENDS[method_of(old) or "gzip"]
    if target is None and not path.endswith(end):
        raise ToolError("bad_arguments", f"target: {path!r} does not end in {end}; name the file to write")
    return _replace(context, path, target or path.removesuffix(end), old, new, keep)


def _replace(context: Context, path: str, target: str, old: bytes, new: bytes, keep: bool) -> dict[str, Any]:
    source = context.files.existing_file(path)
    (written,) = write_all(context.files, {target: new}, "target", overwrite=False)
    if not keep and written != source:
        source.unlink(missing_ok=True)
    return {"target": target, "bytes_before": len(old), "bytes": len(new)}
