"""An import: a source of any kind read whole, each definition accepted or refused, the catalogue file and its report.

Reads OpenAPI documents, files and folders of definitions, and the tool lists of MCP servers. Writes ``NAME.api.jsonl``
and ``NAME.report.json`` into a folder.
"""

import asyncio
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mcpserver.api.definitions import SUFFIXES, Row, read_definition, read_rows
from mcpserver.api.draft import Draft, Names
from mcpserver.api.names import identifier
from mcpserver.api.openapi import find_operations, is_openapi, read_document, read_operation, read_source
from mcpserver.api.operation import ApiOperation, ApiSource
from mcpserver.api.report import Notes, Report
from mcpserver.api.storage import write_catalogue
from mcpserver.catalogue import API_SUFFIX
from toolwright.artifacts import parse_line, write_text
from toolwright.errors import ConfigError, DataError
from toolwright.words import shorten

YAML = (".yaml", ".yml")
UNREADABLE = (DataError, RecursionError, TypeError, ValueError, AttributeError, LookupError, ArithmeticError)
"""What reading a stranger's definition may raise: it costs that definition, not the import."""


@dataclass
class Imported:
    """What an import read: the rows of the catalogue, what they share, and the account."""

    source: ApiSource
    rows: list[dict[str, Any]] = field(default_factory=list)
    report: Report = field(default_factory=lambda: Report(""))


def import_source(
    path: Path, *, prefix: str = "", base_url: str = "", headers: Mapping[str, str] | None = None
) -> Imported:
    """Read a source: an OpenAPI document, definitions, or an ``mcpServers`` file whose servers are asked.

    Raises:
        ConfigError: no such source, or nothing that can be imported.
        ToolServerError: an MCP server does not start.
    """
    if prefix and identifier(prefix) != prefix.rstrip("_"):
        raise ConfigError(f"--prefix: expected letters, digits and '_', got {shorten(prefix)}")
    if not path.exists():
        raise ConfigError(f"{path}: no such file or folder")
    document = _document(path)
    if document is not None and "mcpServers" in document:
        imported = _import_servers(path, prefix)
    elif document is not None:
        imported = _import_document(path, document, prefix)
    else:
        imported = _import_definitions(path, prefix)
    if base_url or headers:
        imported.source = replace(imported.source, base_url=base_url.rstrip("/"), headers=dict(headers or {}))
    return imported


def save(imported: Imported, folder: Path, name: str) -> Path:
    """Write the catalogue file and the report beside it; returns the catalogue's path."""
    target = folder / f"{name}{API_SUFFIX}"
    write_catalogue(target, imported.source, imported.rows)
    report = {"catalogue": target.name, "sha256": imported.source.sha256, **imported.report.to_json()}
    text = json.dumps(report, ensure_ascii=False, indent=1, default=repr).encode("utf-8", "backslashreplace").decode()
    write_text(folder / f"{name}.report.json", f"{text}\n")
    return target


def name_of(path: Path) -> str:
    """The name of the catalogue made from a source."""
    name = path.resolve().name
    for suffix in (*SUFFIXES, *YAML):
        name = name.removesuffix(suffix)
    return identifier(name) or "apis"


def _document(path: Path) -> dict[str, Any] | None:
    """An OpenAPI document or an ``mcpServers`` file; None for definitions."""
    if path.suffix in YAML:
        return read_document(path)
    if path.suffix != ".json" or path.is_dir():
        return None
    try:
        value = parse_line(path.read_bytes())
    except (DataError, OSError):
        return None
    if "swagger" in value and "paths" in value:
        return read_document(path)
    return value if is_openapi(value) or isinstance(value.get("mcpServers"), dict) else None


def _import_document(path: Path, document: dict[str, Any], prefix: str) -> Imported:
    try:
        source = read_source(document, path.name, _hash([path]))
    except DataError as error:
        raise ConfigError(f"{path}: {error}") from None
    imported = Imported(source, report=Report(str(path)))
    names = Names(prefix)
    for found in find_operations(document):
        try:
            draft = read_operation(document, found, source)
        except UNREADABLE as error:
            imported.report.refuse(found.place, _given(found.operation), _reason(error))
            continue
        _add(imported, names, draft, found.place)
    return imported


def _given(operation: object) -> object:
    return operation.get("operationId") if isinstance(operation, dict) else ""


def _import_definitions(path: Path, prefix: str) -> Imported:
    files = _files(path)
    source = ApiSource("definitions", path.name, _hash(files))
    imported = Imported(source, report=Report(str(path)))
    names = Names(prefix)
    for row in _rows(files):
        try:
            if row.problem:
                raise DataError(row.problem)
            draft = read_definition(row, source)
        except UNREADABLE as error:
            name = row.value.get("name") if isinstance(row.value, dict) else ""
            imported.report.refuse(row.place, name, _reason(error))
            continue
        _add(imported, names, draft, row.place)
    return imported


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, DataError) else f"cannot be read ({type(error).__name__}: {error})"


def _add(imported: Imported, names: Names, draft: Draft, place: str) -> None:
    row = names.finish(draft, place, imported.report)
    if row is not None:
        imported.rows.append(row)


def _rows(files: list[Path]) -> Iterator[Row]:
    for path in files:
        yield from read_rows(path)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        if not path.name.endswith(SUFFIXES):
            raise ConfigError(f"{path}: expected a file with one of {', '.join((*SUFFIXES, *YAML))}")
        return [path]
    hidden = (part for part in path.rglob("*") if part.is_file() and part.name.endswith(SUFFIXES))
    files = sorted(one for one in hidden if not any(part.startswith(".") for part in one.relative_to(path).parts))
    if not files:
        raise ConfigError(f"{path}: a folder without {', '.join(SUFFIXES)} files")
    return files


def _hash(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _import_servers(path: Path, prefix: str) -> Imported:
    """The tools of MCP servers, listed as they are: names, descriptions and schemas untouched where they are valid."""
    from mcpserver.client import open_servers  # takes the MCP SDK, which other imports do without
    from mcpserver.mcp_config import read_mcp_config

    configs = read_mcp_config(path)
    entries = parse_line(path.read_bytes())["mcpServers"]
    source = ApiSource("mcp", path.name, _hash([path]), mcp=entries)
    imported = Imported(source, report=Report(str(path)))
    names = Names(prefix)

    async def read() -> None:
        for config in configs:
            async with open_servers([config]) as servers:
                for spec in servers.tools:
                    operation = ApiOperation(source, spec.name, server=config.name)
                    group = servers.toolset(spec.name)
                    draft = Draft(spec.name, spec.description, spec.parameters, group, operation, Notes())
                    _add(imported, names, draft, f"mcpServers.{config.name}.{spec.name}")

    asyncio.run(read())
    return imported
