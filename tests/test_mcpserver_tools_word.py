import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
from tool_calls import World
from tool_checks import check_example, examples_of
from tool_fuzz import functions, refusals

from mcpserver.catalogue import Tool
from mcpserver.company import company_base
from mcpserver.tool_error import ToolError
from mcpserver.tools.documents import word, word_edit

MODULES = (word, word_edit)
CONTENT = (
    "# Plan\n\nWe *start* on **Monday**.\n\n- one\n- two\n\n1. first\n\n| a | b |\n|---|---|\n| 1 | x\\|y |\n\n## End"
)


def papers() -> dict[str, bytes]:
    return {name: content for name, content in company_base().items() if name.startswith("files/docs/")}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, papers())


@pytest.mark.parametrize(("tool", "example"), examples_of(*MODULES))
def test_examples_work_and_write_the_same_bytes_twice(tool: Tool, example: dict[str, Any], tmp_path: Path) -> None:
    check_example(tool, example, tmp_path)


@pytest.mark.parametrize("function", functions(*MODULES), ids=lambda f: f.__name__)
def test_random_arguments_end_in_a_result_or_a_typed_refusal(function: Any, world: World) -> None:
    refusals(world, function, 20, [name.removeprefix("files/") for name in papers()])


def zipped(parts: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def broken() -> dict[str, bytes]:
    whole = papers()["files/docs/offer.docx"]
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    entity = b'<!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    return {
        "empty": b"",
        "text": b"hello",
        "cut": whole[:2000],
        "other zip": zipped({"a.txt": b"x"}),
        "no body": zipped(parts | {"word/document.xml": b"<a/>"}),
        "bad xml": zipped(parts | {"word/document.xml": entity + b"<w:document"}),
        "bomb": zipped(parts | {"word/big.xml": bytes(40_000_000)}),
    }


@pytest.mark.parametrize("name", broken())
@pytest.mark.parametrize(
    ("function", "more"),
    [(word.word_info, {}), (word.word_read, {}), (word.word_tables, {}), (word_edit.word_append, {"content": "x"})],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_broken_files_are_refused(function: Any, more: dict[str, Any], name: str, world: World) -> None:
    world.write("x.docx", broken()[name])
    with pytest.raises(ToolError) as refusal:
        world.call(function, path="x.docx", **more)
    assert refusal.value.kind == ("limit" if name == "bomb" else "tool_error")


def test_markdown_becomes_a_document_and_markdown_again(world: World) -> None:
    world.call(word_edit.word_create, save_as="p.docx", content=CONTENT, title="Plan")
    text = world.call(word.word_to_markdown, path="p.docx")["text"]
    assert text == (
        "# Plan\n\nWe start on Monday.\n\n"
        "- one\n- two\n\n1. first\n\n| a   | b    |\n| --- | ---- |\n| 1   | x\\|y |\n\n## End\n"
    )
    info = world.call(word.word_info, path="p.docx")
    assert (info["headings"], info["tables"], info["properties"]["title"]) == (2, 1, "Plan")
    assert info["properties"]["created"].startswith("2025-03-17")


def test_a_document_is_read_in_pages(world: World) -> None:
    world.call(word_edit.word_create, save_as="p.docx", content=CONTENT)
    page = world.call(word.word_read, path="p.docx", offset=1, limit=2)
    assert [block["kind"] for block in page["blocks"]] == ["paragraph", "list"]
    assert (page["next_offset"], page["total"]) == (3, 6)
    outline = world.call(word.word_outline, path="p.docx")["headings"]
    assert [(entry["level"], entry["text"]) for entry in outline] == [(1, "Plan"), (2, "End")]


def test_text_is_replaced_across_formats_and_in_tables(world: World) -> None:
    from docx import Document

    document, buffer = Document(), io.BytesIO()
    paragraph = document.add_paragraph("Dear Mr ")
    paragraph.add_run("Sm").bold = True
    paragraph.add_run("ith, Mr Smith")
    document.add_table(1, 1).cell(0, 0).text = "Mr Smith"
    document.save(buffer)
    world.write("s.docx", buffer.getvalue())
    pairs = [{"find": "Mr Smith", "replace": "Ms Jones"}, {"find": "absent", "replace": "x"}]
    assert world.call(word_edit.word_replace_text, path="s.docx", replacements=pairs)["replaced"] == [3, 0]
    blocks = world.call(word.word_read, path="s.docx")["blocks"]
    assert blocks[0]["text"] == "Dear Ms Jones, Ms Jones"
    assert blocks[1]["rows"] == [["Ms Jones"]]
    with pytest.raises(ToolError, match="none of the 1"):
        world.call(word_edit.word_replace_text, path="s.docx", replacements=[pairs[1]])


def test_tables_are_edited(world: World) -> None:
    world.call(word_edit.word_create, save_as="p.docx", content=CONTENT)
    edits = [
        {"do": "add_row", "cells": ["2", "z"]},
        {"do": "set_cell", "row": 1, "column": 2, "text": "B"},
        {"do": "delete_row", "row": 2},
    ]
    world.call(word_edit.word_edit_table, path="p.docx", edits=edits)
    assert world.call(word.word_tables, path="p.docx", table=1)["tables"][0]["rows"] == [["a", "B"], ["2", "z"]]
    for edit, message in [
        ({"do": "set_cell", "row": 9, "column": 1, "text": ""}, "the table has 2"),
        ({"do": "add_row", "cells": ["1", "2", "3"]}, "the row has 2"),
    ]:
        with pytest.raises(ToolError, match=message):
            world.call(word_edit.word_edit_table, path="p.docx", edits=[edit])
    with pytest.raises(ToolError, match=r"table: 2, but 'p.docx' has 1"):
        world.call(word.word_tables, path="p.docx", table=2)


def test_a_cell_said_to_cover_a_billion_columns_does_no_harm(world: World) -> None:
    world.call(word_edit.word_create, save_as="p.docx", content=CONTENT)
    with zipfile.ZipFile(io.BytesIO(world.workspace.read_bytes("p.docx"))) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    body = parts["word/document.xml"].replace(b"<w:tcPr>", b'<w:tcPr><w:gridSpan w:val="1000000000"/>', 1)
    assert body != parts["word/document.xml"]
    world.write("w.docx", zipped(parts | {"word/document.xml": body}))
    assert world.call(word.word_tables, path="w.docx")["tables"][0]["rows"][0] == ["a", "b"]
    world.call(word_edit.word_edit_table, path="w.docx", edits=[{"do": "set_cell", "row": 1, "column": 1, "text": "x"}])
