"""Tables as text: rows to Markdown, CSV or aligned columns, and back."""

import csv
import io
import unicodedata
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, Len

from mcpserver.tool_error import ToolError
from mcpserver.toolbox.results import page, whole

RUNS_IN = "server"

Cell = str | int | float | bool | None
Row = dict[str, Cell]
Rows = Annotated[list[Row], Len(1, 500)]
Text = Annotated[str, Len(1, 20_000)]
Delimiter = Literal[",", ";", "\t", "|"]


def make_text_table(
    rows: Rows,
    form: Literal["markdown", "plain", "csv", "tsv", "html"] = "markdown",
    columns: Annotated[list[Annotated[str, Len(1, 100)]], Len(1, 30)] | None = None,
) -> dict[str, Any]:
    """Write rows as a table in text.

    Args:
        rows: objects with the cells by column
        form: how to write the table
        columns: which columns, in order; left out, all as they come

    Example:
        {"rows": [{"hub": "TTF", "price": 31.5}, {"hub": "NBP", "price": null}], "form": "markdown"}
        {"rows": [{"a": 1, "b": "x;y"}], "form": "csv", "columns": ["b", "a"]}
    """
    names = columns or list(dict.fromkeys(name for row in rows for name in row))
    if not names or len(names) > 30:
        raise ToolError("bad_arguments", f"rows: a table has 1 to 30 columns, not {len(names)}")
    if columns and (unknown := [name for name in columns if not any(name in row for row in rows)]):
        raise ToolError("bad_arguments", f"columns: no row has {unknown[0]!r}")
    cells = [names, *([_written(row.get(name)) for name in names] for row in rows)]
    is_number = [all(_is_number(row.get(name)) for row in rows) for name in names]
    if form in ("csv", "tsv"):
        out = io.StringIO()
        csv.writer(out, delimiter="," if form == "csv" else "\t", lineterminator="\n").writerows(cells)
        return {"text": whole(out.getvalue()), "rows": len(rows), "columns": len(names)}
    drawn = {"markdown": _markdown, "plain": _columns, "html": _html}[form](cells, is_number)
    return {"text": whole(drawn, "give fewer rows or columns"), "rows": len(rows), "columns": len(names)}


def _written(cell: Cell) -> str:
    return "" if cell is None else str(cell).lower() if isinstance(cell, bool) else str(cell)


def _is_number(cell: Cell) -> bool:
    return cell is None or (isinstance(cell, int | float) and not isinstance(cell, bool))


def _width(text: str) -> int:
    """Columns on a screen: East Asian letters take two, combining marks none."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(unicodedata.combining(character) > 0 for character in text)


def _pad(text: str, width: int, right: bool) -> str:
    space = " " * (width - _width(text))
    return space + text if right else text + space


def _markdown(cells: list[list[str]], is_number: list[bool]) -> str:
    safe = [[cell.replace("\\", "\\\\").replace("|", "\\|").replace("\n", "<br>") for cell in row] for row in cells]
    widths = [max(3, *map(_width, column)) for column in zip(*safe)]
    rows = [" | ".join(map(_pad, row, widths, is_number)) for row in safe]
    rule = " | ".join("-" * (width - 1) + ":" if right else "-" * width for width, right in zip(widths, is_number))
    return "\n".join(f"| {row} |" for row in [rows[0], rule, *rows[1:]])


def _columns(cells: list[list[str]], is_number: list[bool]) -> str:
    flat = [[" ".join(cell.split()) for cell in row] for row in cells]
    widths = [max(map(_width, column)) for column in zip(*flat)]
    rows = ["  ".join(map(_pad, row, widths, is_number)).rstrip() for row in flat]
    return "\n".join([rows[0], "  ".join("-" * width for width in widths), *rows[1:]])


def _html(cells: list[list[str]], _is_number: list[bool]) -> str:
    import html

    def line(row: list[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row) + "</tr>"

    return "\n".join(["<table>", line(cells[0], "th"), *(line(row, "td") for row in cells[1:]), "</table>"])


def parse_markdown_table(
    text: Text, number: Annotated[int, Ge(1), Le(50)] = 1, convert: bool = True, offset: Annotated[int, Ge(0)] = 0
) -> dict[str, Any]:
    """Read the rows of a table in a Markdown text.

    Args:
        text: Markdown
        number: which table of the text
        convert: whether cells that are numbers become numbers
        offset: how many rows to leave out first

    Example:
        {"text": "| hub | price |\\n|-----|------:|\\n| TTF | 31.5 |\\n| NBP | 29 |"}
    """
    tables = _markdown_tables(text.split("\n"))
    if number > len(tables):
        raise ToolError("tool_error", f"number: the text has {len(tables)} tables")
    header, *rows = tables[number - 1]
    if len(header) > 100:
        raise ToolError("limit", f"text: the table has {len(header)} columns, at most 100 are read")
    names = _unique(header)
    found = [_row(names, row, convert) for row in rows]
    return {"columns": names, "tables": len(tables), **page("rows", found, offset, 500)}


def _markdown_tables(lines: list[str]) -> list[list[list[str]]]:
    tables: list[list[list[str]]] = []
    index = 1
    while index < len(lines):
        rule = _split_row(lines[index])
        header = _split_row(lines[index - 1]) if "|" in lines[index - 1] else []
        if header and len(header) == len(rule) and all(_is_rule(cell) for cell in rule):
            table = [header]
            while index + 1 < len(lines) and "|" in lines[index + 1]:
                index += 1
                table.append(_split_row(lines[index]))
            tables.append(table)
        index += 1
    return tables


def _is_rule(cell: str) -> bool:
    return cell.strip(":") != "" and set(cell.strip(":")) == {"-"} and len(cell) >= 1


def _split_row(line: str) -> list[str]:
    cells, cell, escaped = list[str](), "", False
    for character in line.strip():
        if character == "|" and not escaped:
            cells.append(cell)
            cell = ""
        else:
            cell = cell[:-1] + character if escaped and character in "|\\" else cell + character
        escaped = character == "\\" and not escaped
    cells.append(cell)
    if not cells[0].strip():
        cells = cells[1:]
    if cells and not cells[-1].strip():
        cells = cells[:-1]
    return [cell.strip() for cell in cells]


def _unique(names: list[str]) -> list[str]:
    """Names of columns, made different where two are the same or empty."""
    found: list[str] = []
    for place, name in enumerate(names, 1):
        plain, count = name.strip() or f"column {place}", 1
        wanted = plain
        while wanted in found:
            count += 1
            wanted = f"{plain} {count}"
        found.append(wanted)
    return found


def _row(names: list[str], cells: list[str], convert: bool) -> Row:
    filled = [*cells, *[""] * len(names)]
    return {name: _number(cell) if convert else cell for name, cell in zip(names, filled)}


def _number(cell: str) -> Cell:
    """A cell as a number if that is what it is written as; not 007, nor a long number that would lose digits."""
    plain = cell.strip().removeprefix("-")
    if not plain.replace(".", "", 1).isdecimal() or not plain.isascii() or len(plain) > 15:
        return cell
    if plain[0] == "0" and plain not in ("0", "0.") and not plain.startswith("0."):
        return cell
    return float(cell) if "." in plain else int(cell)


def parse_csv_text(
    text: Text,
    delimiter: Delimiter | None = None,
    header: bool = True,
    convert: bool = True,
    offset: Annotated[int, Ge(0)] = 0,
) -> dict[str, Any]:
    """Read the rows of a text with separated values (CSV).

    Args:
        text: lines of values
        delimiter: what stands between the values; left out, the one that fits best
        header: whether the first line names the columns
        convert: whether values that are numbers become numbers
        offset: how many rows to leave out first

    Example:
        {"text": "hub;price\\nTTF;31.5\\n\\"N;B;P\\";29\\n"}
        {"text": "a,1\\nb,2", "header": false, "delimiter": ","}
    """
    chosen = delimiter or _best_delimiter(text)
    try:
        lines = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=chosen, strict=True) if row]
    except csv.Error as error:
        raise ToolError("bad_arguments", f"text: no separated values ({error})") from None
    if not lines or len(lines[0]) > 100:
        raise ToolError("bad_arguments", "text: there are no rows, or more than 100 columns")
    names = _unique(lines[0]) if header else [f"column {place}" for place in range(1, len(lines[0]) + 1)]
    body = lines[1:] if header else lines
    uneven = sum(len(row) != len(names) for row in body)
    rows = [_row(names, row, convert) for row in body]
    return {"delimiter": chosen, "columns": names, "uneven_rows": uneven, **page("rows", rows, offset, 500)}


def _best_delimiter(text: str) -> str:
    """The delimiter that parts the first line most often."""
    first = next((line for line in text.split("\n") if line.strip()), "")
    return max(",;\t|", key=lambda sign: (first.count(sign), sign == ","))
