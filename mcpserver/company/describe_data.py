"""Descriptions of tables, structured files and databases."""

import configparser
import csv
import io
import json
import sqlite3
import time
import tomllib
from collections.abc import Sequence
from contextlib import closing
from itertools import islice
from typing import Any
from xml.etree import ElementTree

from mcpserver.company.describe_media import check_zip
from mcpserver.company.plain import (
    FIRST_ROWS,
    MAX_LISTED,
    MAX_ROWS_READ,
    UnreadableError,
    decode,
    few_values,
    first_lines,
    plain,
    table,
)

_DATABASE_S = 2.0
MAX_SAMPLE_ROWS = 2000


def read_csv(content: bytes, delimiter: str = "") -> dict[str, Any]:
    """A table with a header row; without a given delimiter, the commonest of ``, ; tab |`` in the first line."""
    text = decode(content)
    first = text.partition("\n")[0]
    delimiter = delimiter or max(",;\t|", key=first.count)
    rows = list(islice(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), MAX_ROWS_READ + 1))
    full = [row for row in rows if row]
    if not full:
        raise UnreadableError("no rows")
    return {"delimiter": delimiter, **table(full[0], full[1:])}


def read_workbook(content: bytes) -> dict[str, Any]:
    """The sheets of an Excel workbook, whose first rows are taken as headers."""
    from openpyxl import load_workbook

    check_zip(content)
    book = load_workbook(io.BytesIO(content), read_only=True, data_only=True)
    sheets = []
    for sheet in book.worksheets[:MAX_LISTED]:
        rows = [row for row in islice(sheet.iter_rows(values_only=True), MAX_ROWS_READ + 1) if any(row)]
        sheets.append({"name": sheet.title, **table(rows[0] if rows else (), rows[1:])})
    return {"sheets": sheets}


def read_parquet(content: bytes) -> dict[str, Any]:
    """The schema and first rows of a Parquet file."""
    from pyarrow import parquet

    file = parquet.ParquetFile(io.BytesIO(content))
    batch = next(file.iter_batches(batch_size=MAX_SAMPLE_ROWS), None) if file.metadata.num_rows else None
    rows = batch.to_pylist() if batch is not None else []
    columns = [
        {"name": field.name, "type": str(field.type), **few_values(row[field.name] for row in rows)}
        for field in list(file.schema_arrow)[:MAX_LISTED]
    ]
    shown = [{name: plain(cell) for name, cell in row.items()} for row in rows[:FIRST_ROWS]]
    return {"rows": file.metadata.num_rows, "columns": columns, "first_rows": shown}


def read_json_lines(content: bytes) -> dict[str, Any]:
    """One JSON value a line; objects are described as a table."""
    rows = []
    for number, line in enumerate(decode(content).splitlines()[:MAX_ROWS_READ], 1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except ValueError as error:
                raise UnreadableError(f"line {number} is no JSON ({error})") from None
    if not rows or not all(isinstance(row, dict) for row in rows):
        return {"lines": len(rows), "content": "JSON values", "first_lines": [str(plain(row)) for row in rows[:3]]}
    names = list(dict.fromkeys(name for row in rows for name in row))
    return table(names, [[row.get(name) for name in names] for row in rows])


def read_json(content: bytes) -> dict[str, Any]:
    """The outline of a JSON file."""
    return _outline(json.loads(decode(content)))


def read_yaml(content: bytes) -> dict[str, Any]:
    """The outline of a YAML file, read without building objects."""
    import yaml

    if len(content) > 128 * 1024:
        raise UnreadableError("not read: YAML larger than 128 KiB")
    return _outline(yaml.safe_load(decode(content)))


def read_toml(content: bytes) -> dict[str, Any]:
    """The outline of a TOML file."""
    return _outline(tomllib.loads(decode(content)))


def read_ini(content: bytes) -> dict[str, Any]:
    """The sections of an INI file with their keys."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(decode(content))
    sections = {name: ", ".join(list(parser[name])[:MAX_LISTED]) for name in parser.sections()[:MAX_LISTED]}
    return {"keys": list(sections), "outline": sections}


def read_xml(content: bytes) -> dict[str, Any]:
    """The root of an XML file and the elements below it."""
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise UnreadableError("not read: XML with a document type")
    root = ElementTree.fromstring(content)
    counts: dict[str, int] = {}
    for element in root.iter():
        counts[element.tag] = counts.get(element.tag, 0) + 1
    return {"root": root.tag, "elements": dict(list(counts.items())[:MAX_LISTED]), **first_lines(decode(content))}


def _outline(value: Any) -> dict[str, Any]:
    """The keys of an object with the shape of their values; of a list, those of its first entries."""
    if isinstance(value, list):
        return {"content": _shape(value), "length": len(value)}
    if not isinstance(value, dict):
        return {"content": _shape(value)}
    outline = {str(plain(key)): _shape(part) for key, part in list(value.items())[:MAX_LISTED]}
    return {"keys": list(outline), "outline": outline}


def _shape(value: Any, depth: int = 3) -> Any:
    if isinstance(value, dict):
        shown = list(value.items())[:12]
        return {str(plain(key)): _shape(part, depth - 1) for key, part in shown} if depth else "object"
    if isinstance(value, list):
        inside = _shape(value[0], depth - 1) if value and depth else None
        return f"{len(value)} values" if inside is None else [f"{len(value)} entries, the first:", inside]
    return plain(value)


def read_database(content: bytes) -> dict[str, Any]:
    """The tables of a SQLite database with columns, references, row counts and first rows."""
    if not content.startswith(b"SQLite format 3\0"):
        raise UnreadableError("no SQLite database")
    deadline = time.monotonic() + _DATABASE_S
    with closing(sqlite3.connect(":memory:")) as connection:
        # A copy in memory has no write-ahead log: versions 2 in the header would keep it from being opened.
        connection.deserialize(content[:18] + b"\1\1" + content[20:])
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
        found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE '%VIRTUAL%'")
        names = sorted(name for (name,) in found if not name.startswith("sqlite_"))
        return {"tables": [_describe_table(connection, name) for name in names[:MAX_LISTED]]}


def _describe_table(connection: sqlite3.Connection, name: str) -> dict[str, Any]:
    quoted = '"' + name.replace('"', '""') + '"'
    ((count,),) = connection.execute(f"SELECT count(*) FROM {quoted}")
    references = {row[3]: f"{row[2]}.{row[4]}" for row in connection.execute(f"PRAGMA foreign_key_list({quoted})")}
    rows: list[Sequence[Any]] = connection.execute(f"SELECT * FROM {quoted} LIMIT {MAX_SAMPLE_ROWS}").fetchall()
    columns = [
        _column(row[1], row[2], bool(row[5]), references.get(row[1])) | few_values(cells[n] for cells in rows)
        for n, row in enumerate(islice(connection.execute(f"PRAGMA table_info({quoted})"), MAX_LISTED))
    ]
    shown = [dict(zip((column["name"] for column in columns), map(plain, row))) for row in rows[:FIRST_ROWS]]
    return {"name": name, "rows": count, "columns": columns, "first_rows": shown}


def _column(name: str, kind: str, key: bool, reference: str | None) -> dict[str, Any]:
    extra = ({"key": True} if key else {}) | ({"references": reference} if reference else {})
    return {"name": name, "type": kind, **extra}
