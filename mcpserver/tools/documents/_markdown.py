"""Blocks of a document written as Markdown."""

from collections.abc import Iterator, Sequence

from mcpserver.tools.documents._blocks import Block


def to_markdown(blocks: Sequence[Block]) -> str:
    """A Markdown text of blocks, one empty line between them."""
    return "\n\n".join(_lines(block) for block in blocks) + "\n" if blocks else ""


def _lines(block: Block) -> str:
    if block["kind"] == "heading":
        return f"{'#' * block.get('level', 1)} {' '.join(block['text'].split())}"
    if block["kind"] == "list":
        marks = (f"{number}." if block.get("ordered") else "-" for number in range(1, len(block["items"]) + 1))
        return "\n".join(f"{mark} {' '.join(item.split())}" for mark, item in zip(marks, block["items"]))
    if block["kind"] == "table":
        return "\n".join(table_lines(block["rows"]))
    return f"```\n{block['text']}\n```" if block["kind"] == "code" else block["text"]


def table_lines(rows: Sequence[Sequence[str]], align: Sequence[str] = ()) -> Iterator[str]:
    """The lines of a table whose columns are as wide as their longest cell.

    Args:
        rows: cells; the first row is the header
        align: of each column, ``left``, ``right`` or ``center``; nothing for the default
    """
    columns = max(len(row) for row in rows)
    cells = [[" ".join(cell.split()).replace("|", "\\|") for cell in row] + [""] * (columns - len(row)) for row in rows]
    widths = [max(3, *(len(row[column]) for row in cells)) for column in range(columns)]
    sides = [*align, *[""] * (columns - len(align))]
    marks = {"left": (":", "-"), "right": ("-", ":"), "center": (":", ":"), "": ("-", "-")}

    def line(row: Sequence[str]) -> str:
        put = {"right": str.rjust, "center": str.center}
        return "| " + " | ".join(put.get(s, str.ljust)(c, w) for c, w, s in zip(row, widths, sides)) + " |"

    yield line(cells[0])
    yield "|" + "|".join(f" {marks[s][0]}{'-' * (w - 2)}{marks[s][1]} " for w, s in zip(widths, sides)) + "|"
    for row in cells[1:]:
        yield line(row)
