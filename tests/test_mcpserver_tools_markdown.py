from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tool_calls import World
from tool_checks import check_example, examples_of
from tool_fuzz import functions, refusals

from mcpserver.catalogue import Tool, make_tool
from mcpserver.company import company_base
from mcpserver.tool_error import ToolError
from mcpserver.tools.documents import markdown_edit, markdown_read

MODULES = (markdown_read, markdown_edit)
TEXT = """# Guide

Intro with [a link](other.md#part-1) and ![pic](img/a.png).

## Part 1

First, see [up](#guide) or [gone](#nowhere).

### Inner

```python
# no heading
x = 1
```

## Keys & more

|a|b|
|:--|--:|
|1|x \\| y|
"""


def papers() -> dict[str, bytes]:
    return {name: content for name, content in company_base().items() if name.startswith("files/docs/")}


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path, papers())
    world.write("m/a.md", TEXT)
    return world


@pytest.mark.parametrize(("tool", "example"), examples_of(*MODULES))
def test_examples_work_and_write_the_same_bytes_twice(tool: Tool, example: dict[str, Any], tmp_path: Path) -> None:
    check_example(tool, example, tmp_path)


@pytest.mark.parametrize("function", functions(*MODULES), ids=lambda f: f.__name__)
def test_random_arguments_end_in_a_result_or_a_typed_refusal(function: Any, world: World) -> None:
    refusals(world, function, 60, [name.removeprefix("files/") for name in papers()])


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"|a|\n|-|\n", b"#\n##\n", b"> # quoted\n" * 50, b"[" * 3000])
@pytest.mark.parametrize("function", functions(markdown_read, markdown_edit), ids=lambda f: f.__name__)
def test_strange_files_end_in_a_result_or_a_typed_refusal(function: Any, content: bytes, world: World) -> None:
    world.write("x.md", content)
    example = make_tool(function, "test").examples[0]
    replaced = {"paths": ["x.md"]} if "paths" in example else {"path": "x.md"}
    with suppress(ToolError):
        assert world.call(function, **(example | replaced))


def test_headings_are_listed_with_anchors_and_code_is_none(world: World) -> None:
    found = world.call(markdown_read.markdown_outline, path="m/a.md")["headings"]
    assert [(entry["level"], entry["title"], entry["anchor"], entry["line"]) for entry in found] == [
        (1, "Guide", "guide", 1),
        (2, "Part 1", "part-1", 5),
        (3, "Inner", "inner", 9),
        (2, "Keys & more", "keys--more", 16),
    ]


def test_a_section_is_read_with_or_without_its_inner_ones(world: World) -> None:
    whole = world.call(markdown_read.markdown_section, path="m/a.md", heading="part 1")
    assert "x = 1" in whole["text"]
    assert (whole["first_line"], whole["last_line"]) == (5, 15)
    short = world.call(markdown_read.markdown_section, path="m/a.md", heading="part-1", subsections=False)
    assert short["text"] == "First, see [up](#guide) or [gone](#nowhere)."
    with pytest.raises(ToolError, match='did you mean "Part 1"'):
        world.call(markdown_read.markdown_section, path="m/a.md", heading="Part 2")


@pytest.mark.parametrize(
    ("mode", "text", "expected"),
    [
        ("replace", "New.", "# T\n\na\n\n## S\n\nNew.\n\n## Z\n\nz\n"),
        ("append", "New.", "# T\n\na\n\n## S\n\ns\n\nNew.\n\n## Z\n\nz\n"),
        ("insert_before", "New.", "# T\n\na\n\nNew.\n\n## S\n\ns\n\n## Z\n\nz\n"),
        ("insert_after", "## Y", "# T\n\na\n\n## S\n\ns\n\n## Y\n\n## Z\n\nz\n"),
        ("delete", None, "# T\n\na\n\n## Z\n\nz\n"),
    ],
)
def test_sections_are_edited(mode: str, text: str | None, expected: str, world: World) -> None:
    world.write("s.md", "# T\n\na\n\n## S\n\ns\n\n## Z\n\nz\n")
    more = {} if text is None else {"text": text}
    world.call(markdown_edit.markdown_edit_section, path="s.md", heading="S", mode=mode, **more)
    assert world.workspace.read_text("s.md") == expected
    with pytest.raises(ToolError, match="text: "):
        world.call(
            markdown_edit.markdown_edit_section, path="s.md", heading="Z", mode=mode, **({} if more else {"text": "x"})
        )


def test_links_are_listed_and_checked(world: World) -> None:
    links = world.call(markdown_read.markdown_links, path="m/a.md")["links"]
    assert [(link["kind"], link["target"], link["line"]) for link in links] == [
        ("link", "other.md#part-1", 3),
        ("image", "img/a.png", 3),
        ("link", "#guide", 7),
        ("link", "#nowhere", 7),
    ]
    world.write("m/other.md", "# Part 2")
    broken = world.call(markdown_read.markdown_check_links, paths=["m/a.md"])
    assert broken["checked"] == 4
    assert [(entry["target"], entry["reason"]) for entry in broken["broken"]] == [
        ("other.md#part-1", "no such heading"),
        ("img/a.png", "no such file"),
        ("#nowhere", "no such heading"),
    ]


def test_code_and_tables_are_taken_out(world: World) -> None:
    blocks = world.call(markdown_read.markdown_code_blocks, path="m/a.md", language="Python")["blocks"]
    assert blocks == [{"language": "python", "line": 11, "code": "# no heading\nx = 1\n"}]
    table = world.call(markdown_read.markdown_tables, path="m/a.md", table=1)["tables"][0]
    assert (table["columns"], table["rows"]) == (["a", "b"], [["1", "x | y"]])


def test_tables_are_laid_out_and_get_rows(world: World) -> None:
    world.call(markdown_edit.markdown_add_row, path="m/a.md", row={"b": "long cell"}, place="first")
    assert world.workspace.read_text("m/a.md").split("\n")[17:] == [
        "| a   |         b |",
        "| :-- | --------: |",
        "|     | long cell |",
        "| 1   |    x \\| y |",
        "",
    ]
    before = world.workspace.read_text("m/a.md")
    world.call(markdown_edit.markdown_format_tables, path="m/a.md")
    assert world.workspace.read_text("m/a.md") == before
    for row, message in [({"c": "x"}, "no column 'c'"), (["1", "2", "3"], "has 2 columns")]:
        with pytest.raises(ToolError, match=message):
            world.call(markdown_edit.markdown_add_row, path="m/a.md", row=row)


def test_contents_are_put_in_once_and_renewed(world: World) -> None:
    world.call(markdown_edit.markdown_add_contents, path="m/a.md")
    first = world.workspace.read_text("m/a.md")
    assert "- [Part 1](#part-1)\n  - [Inner](#inner)\n- [Keys & more](#keys--more)\n" in first
    world.call(markdown_edit.markdown_add_contents, path="m/a.md")
    assert world.workspace.read_text("m/a.md") == first


def test_html_in_markdown_goes_through_only_when_allowed(world: World) -> None:
    world.write("h.md", "# <b>T</b>\n\n<script>x</script>")
    assert "<script>" not in world.call(markdown_read.markdown_to_html, path="h.md")["html"]
    assert "<script>" in world.call(markdown_read.markdown_to_html, path="h.md", allow_html=True)["html"]
    made = world.call(markdown_read.markdown_to_html, path="m/a.md", page=False)["html"]
    assert made.startswith("<h1>Guide</h1>")
