"""Edits of text files: replace a text, insert and delete lines, several edits at once, patches."""

from typing import Annotated, Any, Literal, final

from annotated_types import Ge, Le, Len
from typing_extensions import TypedDict

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.toolbox.patches import apply_patch_to, split_lines
from mcpserver.toolbox.results import clip
from mcpserver.workspace import MAX_FILE_BYTES

Line = Annotated[int, Ge(1), Le(10_000_000)]
Text = Annotated[str, Len(0, 100_000)]


@final
class ReplaceEdit(TypedDict):
    """Replace a text that occurs exactly once."""

    edit: Literal["replace"]
    find: Annotated[str, Len(1, 10_000)]
    text: Text


@final
class InsertEdit(TypedDict):
    """Insert lines before a line."""

    edit: Literal["insert"]
    line: Line
    text: Text


@final
class DeleteEdit(TypedDict):
    """Delete lines."""

    edit: Literal["delete"]
    first: Line
    last: Line


def replace_in_file(
    context: Context,
    path: str,
    find: Annotated[str, Len(1, 10_000)],
    replace: Text,
    count: Annotated[int, Ge(1), Le(100_000)] | None = None,
) -> dict[str, Any]:
    """Replace a text in a file.

    Args:
        path: file path
        find: text to find, as it stands
        replace: text to put there
        count: replace the first ones only; left out, all

    Example:
        {"path": "reports/2025-01.md", "find": "Storage", "replace": "Gas storage"}
        {"path": "text/english.txt", "find": "the", "replace": "The", "count": 1}
    """
    old = context.files.read_text(path)
    found = old.count(find)
    if not found:
        raise ToolError("tool_error", f"find: {clip(find)!r} does not occur in {path!r}")
    replaced = min(found, count or found)
    _check_size(len(old) + replaced * (len(replace) - len(find)))
    context.files.write(path, old.replace(find, replace, replaced).encode())
    return {"path": path, "replaced": replaced, "left": found - replaced}


def _check_size(characters: int) -> None:
    """Before a long text is made, since it may not fit into memory."""
    if characters > MAX_FILE_BYTES:
        raise ToolError("limit", f"a file holds at most {MAX_FILE_BYTES} bytes, this would be {characters}")


def insert_lines(context: Context, path: str, line: Line, text: Text) -> dict[str, Any]:
    """Insert lines into a text file.

    Args:
        path: file path
        line: number of the line before which to insert; one more than there are lines to add at the end
        text: one or more lines

    Example:
        {"path": "notes/storage.md", "line": 1, "text": "Checked on Monday."}
    """
    return apply_edits(context, path, [{"edit": "insert", "line": line, "text": text}])


def delete_lines(context: Context, path: str, first: Line, last: Line) -> dict[str, Any]:
    """Delete lines of a text file.

    Args:
        path: file path
        first: number of the first line to delete
        last: number of the last line to delete

    Example:
        {"path": "text/names.txt", "first": 2, "last": 3}
    """
    return apply_edits(context, path, [{"edit": "delete", "first": first, "last": last}])


def apply_edits(
    context: Context, path: str, edits: Annotated[list[ReplaceEdit | InsertEdit | DeleteEdit], Len(1, 50)]
) -> dict[str, Any]:
    """Apply several edits to a text file, all or none.

    Args:
        path: file path
        edits: done one after the other; line numbers count in the text as changed so far

    Example:
        {"path": "text/poem.txt", "edits": [
            {"edit": "delete", "first": 1, "last": 1}, {"edit": "insert", "line": 1, "text": "A new first line"}]}
    """
    text = context.files.read_text(path)
    before = len(split_lines(text))
    for number, edit in enumerate(edits):
        try:
            text = _edit(text, edit)
        except ToolError as error:
            raise ToolError(error.kind, f"edits[{number}]: {error.message}; nothing was changed") from None
    context.files.write(path, text.encode())
    return {"path": path, "edits": len(edits), "lines": len(split_lines(text)), "lines_before": before}


def _edit(text: str, edit: ReplaceEdit | InsertEdit | DeleteEdit) -> str:
    if edit["edit"] == "replace":
        if (found := text.count(edit["find"])) != 1:
            raise ToolError("tool_error", f"{clip(edit['find'])!r} occurs {found} times, not once")
        return text.replace(edit["find"], edit["text"])
    lines = split_lines(text)
    if edit["edit"] == "insert":
        if edit["line"] > len(lines) + 1:
            raise ToolError("bad_arguments", f"line {edit['line']} is none of the {len(lines)} lines, nor the next")
        lines[edit["line"] - 1 : edit["line"] - 1] = split_lines(edit["text"]) or [""]
    else:
        if not edit["first"] <= edit["last"] <= len(lines):
            raise ToolError("bad_arguments", f"there are {len(lines)} lines, not {edit['first']} to {edit['last']}")
        del lines[edit["first"] - 1 : edit["last"]]
    return "".join(f"{line}\n" for line in lines)


def apply_patch(context: Context, path: str, patch: Annotated[str, Len(1, 50_000)]) -> dict[str, Any]:
    """Apply a unified diff to a text file, all of it or nothing.

    Args:
        path: file path
        patch: unified diff of this one file, with @@ lines

    Example:
        {"path": "notes/new.md", "patch": "@@ -0,0 +1,2 @@\\n+First line\\n+Second line\\n"}
    """
    exists = context.files.resolve(path).exists()
    lines = split_lines(context.files.read_text(path)) if exists else []
    changed, hunks = apply_patch_to(lines, patch)
    context.files.write(path, "".join(f"{line}\n" for line in changed).encode())
    return {"path": path, "hunks": hunks, "lines": len(changed), "lines_before": len(lines)}
