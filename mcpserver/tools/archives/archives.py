"""Archives of an environment: list, make, unpack, read, compare, test and search them."""

from typing import Annotated, Any

from annotated_types import Ge, Le, Len

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.toolbox.archive_files import Format, Member, damage, format_of, members_of, pack
from mcpserver.toolbox.archive_members import all_members, chosen, collect, content_of, find_member, inside
from mcpserver.toolbox.file_kinds import encoding_of, kind_of
from mcpserver.toolbox.file_sets import files_below, read_plain, write_all
from mcpserver.toolbox.globs import matches_glob
from mcpserver.toolbox.results import clip, page, part
from toolwright.words import shorten

Names = Annotated[list[Annotated[str, Len(1, 200)]], Len(1, 50)]
Sources = Annotated[list[str], Len(1, 50)]
Offset = Annotated[int, Ge(0), Le(10_000_000)]


def list_archive(
    context: Context, path: str, pattern: Annotated[str, Len(1, 200)] = "**", offset: Offset = 0
) -> dict[str, Any]:
    """List what is in an archive.

    Args:
        path: archive (zip, tar, tar.gz, tar.bz2, tar.xz)
        pattern: which entries, such as **/*.md
        offset: how many entries to leave out first

    Example:
        {"path": "archives/reports.zip"}
        {"path": "archives/logs.tar.gz", "pattern": "**/*.log"}
    """
    content = context.files.read_bytes(path)
    with damage(path):
        rows = [_describe(member) for member in members_of(content) if matches_glob(member.name, pattern)]
        return {"format": format_of(content), **page("entries", rows, offset, 200)}


def _describe(member: Member) -> dict[str, Any]:
    packed = {} if member.packed is None else {"packed_bytes": member.packed}
    return {"name": shorten(member.name, 200)[1:-1], "kind": member.kind, "bytes": member.size, **packed}


def create_archive(
    context: Context, path: str, sources: Sources, archive_format: Format = "zip", keep_folders: bool = True
) -> dict[str, Any]:
    """Pack files and folders into a new archive.

    Args:
        path: archive to write; it must not exist yet
        sources: files and folders to pack
        archive_format: format to write
        keep_folders: whether entries are named by their whole path, or by the file's name only

    Example:
        {"path": "archives/notes.zip", "sources": ["notes", "docs/readme.md"]}
        {"path": "archives/prices.tar.gz", "sources": ["prices"], "archive_format": "tar.gz", "keep_folders": false}
    """
    members = collect(context, sources, keep_folders)
    write_all(context.files, {path: (content := pack(members, archive_format))}, overwrite=False)
    return {"path": path, "entries": len(members), "bytes": len(content)}


def extract_archive(
    context: Context, path: str, folder: str, members: Names | None = None, overwrite: bool = False
) -> dict[str, Any]:
    """Unpack an archive into a folder, all of it or nothing.

    Args:
        path: archive (zip, tar, tar.gz, tar.bz2, tar.xz)
        folder: where to unpack; it is made if it does not exist
        members: names or patterns of entries to unpack; left out, all
        overwrite: whether files that exist may be replaced

    Example:
        {"path": "archives/reports.zip", "folder": "unpacked"}
        {"path": "archives/logs.tar.gz", "folder": "unpacked/logs", "members": ["**/*.log"]}
    """
    contents: dict[str, bytes] = {}
    folders: list[str] = []
    with damage(path):
        for member in chosen(context.files.read_bytes(path), members):
            target = f"{folder.rstrip('/')}/{inside(member.name)}" if folder.strip("/") else inside(member.name)
            context.files.resolve(target, "members")
            if member.kind == "folder":
                folders.append(target)
            else:
                contents[target] = content_of(member)
    write_all(context.files, contents, "folder", overwrite=overwrite)
    for name in folders:
        target_folder = context.files.resolve(name)
        if not target_folder.exists():
            context.files.new_file(f"{name.rstrip('/')}/x", "folder")
            target_folder.mkdir(parents=True)
    return {"folder": folder, "bytes": sum(map(len, contents.values())), **page("files", list(contents), limit=200)}


def read_archive_member(
    context: Context, path: str, member: Annotated[str, Len(1, 200)], offset: Offset = 0
) -> dict[str, Any]:
    """Read a text file that is in an archive, without unpacking the others.

    Args:
        path: archive
        member: name of the entry
        offset: where to begin, in characters

    Example:
        {"path": "archives/reports.zip", "member": "2024-11.md"}
    """
    with damage(path):
        content = content_of(find_member(context.files.read_bytes(path), member))
    encoding = encoding_of(content)
    if encoding is None:
        raise ToolError("tool_error", f"member: {member!r} is {kind_of(content)}, no text; use extract_archive")
    return {"member": member, "bytes": len(content), **part(content.decode(encoding), offset)}


def compare_archive(context: Context, path: str, folder: str) -> dict[str, Any]:
    """Compare the files in an archive with those of a folder.

    Args:
        path: archive
        folder: folder to compare with

    Example:
        {"path": "archives/reports.zip", "folder": "reports"}
    """
    packed = all_members(path, context.files.read_bytes(path))
    present = files_below(context.files, folder)
    rows = []
    for name in sorted(packed.keys() | present.keys()):
        if name in packed and name in present:
            status = "same" if read_plain(context.files, present[name]) == packed[name] else "different"
        else:
            status = "only in archive" if name in packed else "only in folder"
        rows.append({"path": shorten(name, 200)[1:-1], "status": status})
    return {"same": all(row["status"] == "same" for row in rows), **page("files", rows, limit=200)}


def verify_archive(context: Context, path: str) -> dict[str, Any]:
    """Test an archive: read every entry, and tell damage and entries that would not be unpacked.

    Args:
        path: archive

    Example:
        {"path": "archives/logs.tar.gz"}
    """
    content = context.files.read_bytes(path)
    problems: list[str] = []
    count = size = 0
    try:
        with damage(path):
            for member in members_of(content):
                count += 1
                inside(member.name)
                size += len(content_of(member))
    except ToolError as error:
        problems.append(clip(error.message))
    return {"ok": not problems, "format": format_of(content), "entries": count, "bytes": size, "problems": problems}


def search_archive(
    context: Context, path: str, text: Annotated[str, Len(1, 200)], ignore_case: bool = False
) -> dict[str, Any]:
    """Search a text in the text files of an archive.

    Args:
        path: archive
        text: plain text to search
        ignore_case: whether upper and lower case are the same

    Example:
        {"path": "archives/logs.tar.gz", "text": "ERROR"}
    """
    wanted = text.casefold() if ignore_case else text
    matches = []
    for name, content in all_members(path, context.files.read_bytes(path)).items():
        encoding = encoding_of(content)
        for number, line in enumerate(content.decode(encoding).split("\n") if encoding else (), 1):
            if wanted in (line.casefold() if ignore_case else line):
                matches.append({"member": shorten(name, 200)[1:-1], "line": number, "text": clip(line)})
    return page("matches", matches, limit=30)
