"""Members of archives as tools need them: chosen by name, checked, read or collected from files."""

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.toolbox.archive_files import MAX_ENTRIES, Member, damage, members_of
from mcpserver.toolbox.file_sets import files_at, read_plain
from mcpserver.toolbox.globs import matches_glob
from toolwright.words import nearest, shorten


def collect(context: Context, sources: list[str], keep_folders: bool) -> dict[str, bytes]:
    """The files of several paths by the name that they get in an archive.

    Raises:
        ToolError: no such path, no file or too many, or two of one name.
    """
    members: dict[str, bytes] = {}
    for source in sources:
        for name, file in files_at(context.files, source, "sources").items():
            entry = name if keep_folders else name.rpartition("/")[2]
            if entry in members and not keep_folders:
                raise ToolError("tool_error", f"sources: two files are called {entry!r}; set keep_folders to true")
            members[entry] = read_plain(context.files, file)
    if not members or len(members) > MAX_ENTRIES:
        raise ToolError("limit", f"sources: there are {len(members)} files; an archive holds 1 to {MAX_ENTRIES}")
    return members


def chosen(content: bytes, names: list[str] | None) -> list[Member]:
    """The members that were asked for, by names or patterns; all for none.

    Raises:
        ToolError: a name or pattern that fits none.
    """
    members = list(members_of(content))
    if names is None:
        return members
    for name in names:
        if not any(matches_glob(member.name, name) for member in members):
            options = [member.name for member in members]
            raise ToolError("tool_error", f"members: nothing is called {name!r}{nearest(name, options)}")
    return [member for member in members if any(matches_glob(member.name, name) for name in names)]


def inside(name: str) -> str:
    """The name of an entry, if it leads nowhere else.

    Raises:
        ToolError: ``denied``.
    """
    if name.startswith(("/", "\\", "~")) or ".." in name.replace("\\", "/").split("/") or name[1:2] == ":":
        raise ToolError("denied", f"the entry {shorten(name, 60)} leads out of the folder; nothing was unpacked")
    return name


def content_of(member: Member) -> bytes:
    """The content of an entry that is a file.

    Raises:
        ToolError: ``denied`` for links, devices and pipes.
    """
    if member.kind in ("link", "special"):
        what = "a link" if member.kind == "link" else "a device or a pipe"
        raise ToolError("denied", f"the entry {shorten(member.name, 60)} is {what}; only files and folders are taken")
    return member.read() if member.kind == "file" else b""


def find_member(content: bytes, name: str) -> Member:
    """One entry that is no folder.

    Raises:
        ToolError: there is none of that name.
    """
    files = {member.name: member for member in members_of(content) if member.kind != "folder"}
    if name not in files:
        raise ToolError("tool_error", f"no entry {name!r}{nearest(name, list(files))}")
    return files[name]


def all_members(path: str, content: bytes) -> dict[str, bytes]:
    """The content of all files of an archive.

    Raises:
        ToolError: the archive is damaged, too large, or holds links or devices.
    """
    with damage(path):
        return {member.name: content_of(member) for member in members_of(content) if member.kind != "folder"}
