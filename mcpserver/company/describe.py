"""What is in a folder: format, size, columns, headings and first lines of each file, as plain JSON objects.

Reads any folder, also a user's own: no link is followed, large files are listed without detail, and a file that its
library cannot read is listed with the reason. Question writers see a world through this.
"""

import os
import stat
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from mcpserver.company import describe_data, describe_media, describe_texts
from mcpserver.company.plain import MAX_READ_BYTES, UnreadableError, plain
from mcpserver.workspace import DATABASES, FILES
from toolwright.errors import ConfigError

MAX_DESCRIBED_FILES = 5000
Description = dict[str, Any]
Reader = Callable[[bytes], Description]

_READERS: dict[str, tuple[str, Reader]] = {
    "csv": ("csv", describe_data.read_csv),
    "tsv": ("tsv", partial(describe_data.read_csv, delimiter="\t")),
    "xlsx": ("xlsx", describe_data.read_workbook),
    "parquet": ("parquet", describe_data.read_parquet),
    "jsonl": ("jsonl", describe_data.read_json_lines),
    "json": ("json", describe_data.read_json),
    "geojson": ("geojson", describe_data.read_json),
    "yaml": ("yaml", describe_data.read_yaml),
    "yml": ("yaml", describe_data.read_yaml),
    "toml": ("toml", describe_data.read_toml),
    "ini": ("ini", describe_data.read_ini),
    "xml": ("xml", describe_data.read_xml),
    "db": ("sqlite", describe_data.read_database),
    "sqlite": ("sqlite", describe_data.read_database),
    "md": ("markdown", describe_texts.read_markdown),
    "html": ("html", describe_texts.read_html),
    "htm": ("html", describe_texts.read_html),
    "docx": ("docx", describe_texts.read_word),
    "pdf": ("pdf", describe_texts.read_pdf),
    "eml": ("email", describe_texts.read_email),
    "ics": ("calendar", describe_texts.read_calendar),
    "vcf": ("contacts", describe_texts.read_contacts),
    "py": ("python", describe_texts.read_python),
    "js": ("javascript", describe_texts.read_text),
    "sql": ("sql", describe_texts.read_text),
    "txt": ("text", describe_texts.read_text),
    "log": ("log", describe_texts.read_text),
    "zip": ("zip", describe_media.read_zip),
    "tar": ("tar", describe_media.read_tar),
    "tgz": ("tar.gz", describe_media.read_tar_gzip),
    "gz": ("gzip", describe_media.read_gzip),
    **{suffix: (suffix, describe_media.read_image) for suffix in ("png", "gif", "bmp", "webp")},
    **{suffix: ("jpeg", describe_media.read_image) for suffix in ("jpg", "jpeg")},
    **{suffix: ("tiff", describe_media.read_image) for suffix in ("tif", "tiff")},
}


def describe_folder(directory: Path) -> list[Description]:
    """Describe every file below a folder, sorted by path.

    Each description has ``path`` (below the folder), ``name`` (what tools call it: the path below ``files/``, or the
    name of a database), ``format``, ``bytes`` and ``summary``; and what its format has: ``rows``, ``columns`` and
    ``first_rows``; ``sheets``; ``tables``; ``first_lines``; ``headings``; ``width`` and ``height``; ``members`` …
    A file that could not be read has ``problem`` instead.

    Raises:
        ConfigError: no such folder.
    """
    if not directory.is_dir():
        raise ConfigError(f"{directory}: no such directory; name one with the files to describe")
    found: list[Path] = []
    problems: list[Description] = []

    def remember(error: OSError) -> None:
        problems.append(_entry(directory, Path(str(error.filename)), "folder", 0) | _problem(error))

    for top, folders, names in os.walk(directory, onerror=remember):
        links = [folder for folder in folders if os.path.islink(os.path.join(top, folder))]
        found += [Path(top, name) for name in names + links]
    entries = [describe_file(directory, path, read=n < MAX_DESCRIBED_FILES) for n, path in enumerate(sorted(found))]
    return sorted(entries + problems, key=lambda entry: str(entry["path"]))


def describe_file(directory: Path, path: Path, *, read: bool = True) -> Description:
    """Describe one file below a directory; whatever is wrong with it becomes ``problem``."""
    kind, reader = _READERS.get(path.suffix.lower().lstrip("."), ("", describe_texts.read_text))
    if path.name.lower().endswith(".tar.gz"):
        kind, reader = _READERS["tgz"]
    entry = _entry(directory, path, kind or "other", 0)
    try:
        status = path.lstat()
        entry["bytes"] = status.st_size
        _check(status, read)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = _read(path)
            details = _read_unknown(content) if not kind else reader(content)
        return entry | _summarise(details) | details
    except Exception as error:  # noqa: BLE001  libraries fail on a broken file as they like; the failure is data
        return entry | _problem(error)


def _entry(directory: Path, path: Path, kind: str, size: int) -> Description:
    where = os.fsencode(path.relative_to(directory).as_posix()).decode(errors="replace")
    top, _, rest = where.partition("/")
    name = rest if top == FILES and rest else rest.rpartition(".")[0] if top == DATABASES and rest else where
    return {"path": where, "name": name, "format": kind, "bytes": size}


def _problem(error: Exception) -> Description:
    known = isinstance(error, UnreadableError)
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    problem = str(plain(" ".join(text.split()) or type(error).__name__))
    reason = problem if known else f"cannot be read ({problem})"
    return {"summary": reason, "problem": reason}


def _check(status: os.stat_result, read: bool) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise UnreadableError("a link; none is followed")
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableError("not a plain file")
    if not read:
        raise UnreadableError(f"not read: only {MAX_DESCRIBED_FILES} files are")
    if status.st_size > MAX_READ_BYTES:
        raise UnreadableError(f"not read: larger than {MAX_READ_BYTES >> 20} MiB")
    if status.st_size == 0:
        raise UnreadableError("empty")


def _read(path: Path) -> bytes:
    """The content, without following a link or waiting at a pipe that was put there meanwhile."""
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        return file.read(MAX_READ_BYTES)


def _read_unknown(content: bytes) -> Description:
    """A file without a known ending: text if it looks like it."""
    if b"\0" in content[:8192]:
        return {"content": "binary"}
    return describe_texts.read_text(content)


def _summarise(details: Description) -> Description:
    """One line about a file from its details."""
    for counted, noun in (("tables", "tables"), ("sheets", "sheets"), ("members", "members"), ("events", "events")):
        if counted in details:
            named = ", ".join(str(part.get("name") or part.get("title")) for part in details[counted][:8])
            return {"summary": f"{details.get('count', len(details[counted]))} {noun}: {named}"}
    if "columns" in details:
        return {"summary": f"{details['rows']} rows of {', '.join(c['name'] for c in details['columns'][:12])}"}
    if "width" in details:
        return {"summary": f"picture of {details['width']}x{details['height']} pixels"}
    for key in ("title", "subject"):
        if details.get(key):
            return {"summary": str(details[key])}
    for key in ("headings", "first_lines", "keys"):
        if details.get(key):
            return {"summary": str(plain(", ".join(map(str, details[key][: 1 if key != "keys" else 8]))))}
    return {"summary": str(details.get("content", "no text"))}
