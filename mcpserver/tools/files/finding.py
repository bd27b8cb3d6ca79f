"""Files of an environment: find them by name, size, kind or content, measure, compare and count them."""

from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, Len
from typing_extensions import TypedDict

from mcpserver.context import Context
from mcpserver.toolbox.file_kinds import encoding_of, kind_of
from mcpserver.toolbox.file_sets import files_at, files_below, read_plain
from mcpserver.toolbox.globs import check_pattern, matches_glob
from mcpserver.toolbox.results import page
from mcpserver.workspace import Workspace

Pattern = Annotated[str, Len(1, 200)]
Offset = Annotated[int, Ge(0), Le(100_000)]
Limit = Annotated[int, Ge(1), Le(500)]


class FileFilter(TypedDict, total=False):
    """Conditions, all of which must hold: name is a pattern such as *sales*, extensions such as ["csv", "tsv"],
    kind such as png, pdf, zip or text, contains a plain text.
    """

    name: Pattern
    extensions: Annotated[list[Annotated[str, Len(1, 20)]], Len(1, 20)]
    kind: Annotated[str, Len(1, 20)]
    min_bytes: Annotated[int, Ge(0)]
    max_bytes: Annotated[int, Ge(0)]
    contains: Annotated[str, Len(1, 200)]


def glob_files(
    context: Context, pattern: Pattern, folder: str = "", limit: Limit = 100, offset: Offset = 0
) -> dict[str, Any]:
    """List the files whose path fits a shell pattern.

    Args:
        pattern: such as *.csv for files of the folder itself, **/*.csv for those of all folders below too
        folder: where the pattern begins; empty for the top
        limit: how many paths to list at most
        offset: how many paths to leave out first

    Example:
        {"pattern": "**/*.csv"}
        {"pattern": "*.json", "folder": "config"}
    """
    check_pattern(pattern)
    found = files_below(context.files, folder)
    return page(
        "files", [context.files.name(found[name]) for name in found if matches_glob(name, pattern)], offset, limit
    )


def find_files(
    context: Context,
    where: FileFilter,
    folder: str = "",
    sort_by: Literal["path", "name", "largest", "smallest"] = "path",
    limit: Limit = 50,
    offset: Offset = 0,
) -> dict[str, Any]:
    """Find files by name, extension, kind, size or content.

    Args:
        where: conditions
        folder: where to look, with all folders below; empty for the top
        sort_by: order of the result
        limit: how many files to list at most
        offset: how many files to leave out first

    Example:
        {"where": {"extensions": ["csv"], "min_bytes": 100}, "sort_by": "largest"}
        {"where": {"name": "*2025*", "contains": "Storage"}, "folder": "reports"}
    """
    found: list[dict[str, Any]] = []
    for path in files_below(context.files, folder).values():
        context.check_deadline()
        if _fits(context.files, path, where):
            found.append({"path": context.files.name(path), "bytes": path.lstat().st_size})
    if sort_by == "name":
        found.sort(key=lambda item: str(item["path"]).rpartition("/")[2])
    elif sort_by != "path":
        found.sort(key=lambda item: int(item["bytes"]), reverse=sort_by == "largest")
    return page("files", found, offset, limit)


def _fits(files: Workspace, path: Path, where: FileFilter) -> bool:
    name, size = files.name(path).rpartition("/")[2], path.lstat().st_size
    if not matches_glob(name, where.get("name", "*")):
        return False
    extensions = [extension.lower().lstrip(".") for extension in where.get("extensions", ())]
    if extensions and not any(name.lower().endswith(f".{extension}") for extension in extensions):
        return False
    if not where.get("min_bytes", 0) <= size <= where.get("max_bytes", size):
        return False
    if "kind" not in where and "contains" not in where:
        return True
    content = read_plain(files, path)
    return where.get("kind", kind_of(content)).lower() == kind_of(content) and (
        where.get("contains", "").encode() in content
    )


def describe_file(context: Context, path: str) -> dict[str, Any]:
    """Tell the size, kind, encoding and number of lines of a file.

    Args:
        path: file path

    Example:
        {"path": "data/sales.csv"}
    """
    content = context.files.read_bytes(path)
    encoding, result = encoding_of(content), {"path": path, "bytes": len(content), "kind": kind_of(content)}
    if encoding is None or result["kind"] in ("empty", "pdf"):
        return result
    lines = content.decode(encoding).split("\n")
    number = len(lines) - (lines[-1] == "")
    return {**result, "encoding": encoding, "lines": number, "longest_line": max(map(len, lines))}


def measure_folders(context: Context, folder: str = "", depth: Annotated[int, Ge(1), Le(8)] = 1) -> dict[str, Any]:
    """Tell how many files and bytes each folder holds, the largest first.

    Args:
        folder: where to measure; empty for the top
        depth: how many levels of folders to tell apart

    Example:
        {"folder": "", "depth": 1}
    """
    sizes, counts = Counter[str](), Counter[str]()
    found = files_below(context.files, folder)
    for name, path in found.items():
        group = "/".join(name.split("/")[:-1][:depth]) or "."
        sizes[group] += path.lstat().st_size
        counts[group] += 1
    rows = [{"folder": name, "files": counts[name], "bytes": size} for name, size in sizes.most_common()]
    return {"bytes": sum(sizes.values()), "files": len(found), **page("folders", rows, limit=200)}


def compare_folders(
    context: Context, first: str, second: str, show: Literal["differences", "all"] = "differences"
) -> dict[str, Any]:
    """Compare the files of two folders by name and content.

    Args:
        first: a folder
        second: the folder to compare with
        show: whether files that are the same are listed too

    Example:
        {"first": "notes", "second": "reports"}
    """
    one, two = files_below(context.files, first, "first"), files_below(context.files, second, "second")
    rows = []
    for name in sorted(one.keys() | two.keys()):
        context.check_deadline()
        if name not in two or name not in one:
            status = "only in first" if name in one else "only in second"
        else:
            same = read_plain(context.files, one[name]) == read_plain(context.files, two[name])
            status = "same" if same else "different"
        rows.append({"path": name, "status": status})
    counts = dict(sorted(Counter(row["status"] for row in rows).items()))
    listed = [row for row in rows if show == "all" or row["status"] != "same"]
    return {"counts": counts, **page("files", listed, limit=200)}


def find_duplicates(context: Context, folder: str = "", min_bytes: Annotated[int, Ge(0)] = 1) -> dict[str, Any]:
    """Find files with the same content.

    Args:
        folder: where to look, with all folders below; empty for the top
        min_bytes: smaller files are left out

    Example:
        {"folder": ""}
    """
    by_size: dict[int, list[Path]] = {}
    for path in files_below(context.files, folder).values():
        by_size.setdefault(path.lstat().st_size, []).append(path)
    groups: dict[bytes, list[Path]] = {}
    for size, paths in by_size.items():
        if size >= min_bytes and len(paths) > 1:
            context.check_deadline()
            for path in paths:
                groups.setdefault(read_plain(context.files, path), []).append(path)
    rows = [
        {"bytes": len(content), "files": [context.files.name(path) for path in paths][:50]}
        for content, paths in groups.items()
        if len(paths) > 1
    ]
    rows.sort(key=lambda row: str(row["files"]))
    return page("groups", rows)


def count_kinds(context: Context, folder: str = "", by: Literal["kind", "extension"] = "kind") -> dict[str, Any]:
    """Count the files of a folder by kind or by extension.

    Args:
        folder: where to count, with all folders below; empty for the top
        by: kind, told from the content, or extension, taken from the name

    Example:
        {"folder": "", "by": "extension"}
    """
    counts, sizes = Counter[str](), Counter[str]()
    for name, path in files_at(context.files, folder, "folder").items():
        last = name.rpartition("/")[2]
        group = kind_of(read_plain(context.files, path)) if by == "kind" else last.rpartition(".")[2].lower()
        group = "(none)" if by == "extension" and "." not in last[1:] else group
        counts[group] += 1
        sizes[group] += path.lstat().st_size
    rows = [{by: group, "files": count, "bytes": sizes[group]} for group, count in sorted(counts.items())]
    return page("groups", rows, limit=200)
