"""The run directory: JSONL in and out, and a manifest beside each artifact, written last.

A manifest's presence means that the stage finished. Readers refuse an artifact without one, or whose content is
not what the manifest says, and name the command that makes it anew.
"""

import hashlib
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from toolwright.errors import ArtifactError, DataError
from toolwright.records import explain, parse_json
from toolwright.words import shorten

T = TypeVar("T")
FULL_HASH_BYTES = 64 * 2**20
_LONGEST_LINE = 2**30
NOTES = ("README.md", "_metrics.jsonl")  # a model card that is mended does not make a new model
_MODEL_NOTES = (
    *NOTES, "LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE", ".gitattributes", ".png", ".jpg", ".svg", ".pdf"
)  # fmt: skip
_HIDDEN = {".cache", ".git"}
"""Not what a model is: what a download leaves beside it, and what one copy has and another has not."""


class Manifest(BaseModel):
    """What made an artifact: written after it, read before it is trusted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    stage: str
    command: str
    sha256: str
    settings: dict[str, Any]
    inputs: dict[str, str]
    packages: dict[str, str]
    seed: int
    counts: dict[str, Any]
    wall_s: float
    peak_rss_mib: float
    created: str


def manifest_path(artifact: Path) -> Path:
    """Where the manifest of ``artifact`` (file or directory) is."""
    return artifact.with_name(artifact.name + ".manifest.json")


def read_manifest(artifact: Path) -> Manifest | None:
    """The manifest beside ``artifact``; none if there is none or it cannot be read."""
    try:
        return Manifest.model_validate_json(manifest_path(artifact).read_bytes())
    except (OSError, ValidationError):
        return None


def require(artifact: Path, *, made_by: str) -> Manifest:
    """The manifest of a finished, unchanged artifact.

    Raises:
        ArtifactError: absent, unfinished, or changed since; names ``made_by``, the command that makes it.
    """
    if not artifact.exists():
        raise ArtifactError(f"{artifact} does not exist; make it with: {made_by}")
    manifest = read_manifest(artifact)
    if manifest is None:
        raise ArtifactError(f"{artifact} has no manifest, so its stage did not finish; run again: {made_by}")
    if fingerprint(artifact) != manifest.sha256:
        raise ArtifactError(f"{artifact} was changed after its stage finished; make it anew with: {made_by}")
    return manifest


def fingerprint(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of the files in a directory, notes about it (NOTES) left out.

    Of a model's directory a licence, pictures, and what a download leaves there are left out as well. Of a file above
    64 MiB only size, head and tail are read, so that a 60 GB model does not cost minutes.
    """
    digest = hashlib.sha256()
    if path.is_dir():
        is_model = (path / "config.json").is_file()
        notes, hidden = (_MODEL_NOTES, _HIDDEN) if is_model else (NOTES, set[str]())
        for file in sorted(p for p in path.rglob("*") if p.is_file() and not p.name.endswith(notes)):
            inside = file.relative_to(path)
            if hidden.isdisjoint(inside.parts):
                digest.update(f"{inside.as_posix()}\0{fingerprint(file)}\n".encode())
        return digest.hexdigest()
    size = path.stat().st_size
    with path.open("rb") as stream:
        if size <= FULL_HASH_BYTES:
            return hashlib.file_digest(stream, "sha256").hexdigest()
        digest.update(f"{size}\0".encode() + stream.read(FULL_HASH_BYTES // 2))
        stream.seek(-FULL_HASH_BYTES // 2, os.SEEK_END)
        digest.update(stream.read())
    return digest.hexdigest()


def hash_of(value: object) -> str:
    """SHA-256 of a value's canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield ``(line number, line)`` of a JSONL file, without the lines that are blank; reads no more than a line ahead.

    Raises:
        DataError: the file cannot be read, or a line is longer than 1 GiB.
    """
    try:
        with path.open("rb") as stream:
            for number in itertools.count(1):
                line = stream.readline(_LONGEST_LINE)
                if not line:
                    return
                if len(line) == _LONGEST_LINE:
                    raise DataError(
                        f"{path}:{number}: a line of more than 1 GiB; a JSONL file has one row on each line"
                    )
                if not line.isspace():
                    yield number, line
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None


def parse_line(line: bytes) -> dict[str, Any]:
    """The object that a line of a JSONL file holds.

    Raises:
        DataError: the line is not a JSON object, or is cut short.
    """
    try:
        row = parse_json(line)
    except (ValueError, RecursionError) as error:
        # A line without its end is the last one of the file.
        what = f"not JSON ({error})" if line.endswith(b"\n") else "the last line is cut short"
        hint = "; one row on each line, not one list of rows" if line.strip() in (b"[", b"{") else ""
        start = line[:300].decode(errors="replace").removesuffix("\n")
        raise DataError(f"{what}: {shorten(start)}{hint}") from None
    if not isinstance(row, dict):
        raise DataError(f"expected an object, got {shorten(row)}")
    return row


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield ``(line number, object)`` of a JSONL file, one line at a time.

    Raises:
        DataError: a line is not a JSON object, or the last line is cut short; names file and line.
    """
    for number, line in read_lines(path):
        try:
            row = parse_line(line)
        except DataError as error:
            raise DataError(f"{path}:{number}: {error}") from None
        yield number, row


def read_records(path: Path, parse: "type[BaseModel] | Any") -> list[Any]:
    """Read each row with ``parse``, a pydantic model or a function of the row; errors name file and line."""
    build = parse.model_validate if isinstance(parse, type) and issubclass(parse, BaseModel) else parse
    records = []
    for number, row in read_rows(path):
        try:
            records.append(build(row))
        except ValidationError as error:
            raise DataError(f"{path}:{number}: {explain(error)}") from None
        except DataError as error:
            raise DataError(f"{path}:{number}: {error}") from None
    return records


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write a JSONL file in one piece (beside, fsync, rename); returns the number of rows."""
    count = 0
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as stream:
        for row in rows:
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
        stream.flush()
        os.fsync(stream.fileno())
    return count


def write_text(path: Path, text: str) -> None:
    """Write a text file in one piece."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A temporary path beside ``target`` that takes its place when the block ends well, and is removed otherwise.

    Create a file or a directory there. Nothing half-written is ever left at ``target``.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    holder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    temporary = holder / target.name
    try:
        yield temporary
        if target.is_dir():
            os.replace(target, holder / "replaced")
        os.replace(temporary, target)
    finally:
        shutil.rmtree(holder, ignore_errors=True)
