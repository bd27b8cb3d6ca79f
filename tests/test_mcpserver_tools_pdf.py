import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tool_calls import World
from tool_fuzz import functions, refusals

from mcpserver.catalogue import make_tool
from mcpserver.company import company_base
from mcpserver.tool_error import ToolError
from mcpserver.tools.documents import pdf, pdf_edit

MODULES = (pdf, pdf_edit)


def papers() -> dict[str, bytes]:
    return {name: content for name, content in company_base().items() if name.startswith("files/docs/")}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, papers())


@pytest.fixture
def four(world: World) -> World:
    """A PDF of four pages whose texts are known."""
    for number in range(1, 5):
        world.call(
            pdf_edit.pdf_create, save_as=f"{number}.pdf", content=f"# Chapter {number}\n\nIt has the word w{number}."
        )
    world.call(pdf_edit.pdf_merge, parts=[f"{number}.pdf" for number in range(1, 5)], save_as="four.pdf")
    return world


def texts(world: World, path: str, **more: Any) -> list[str]:
    return [page["text"] for page in world.call(pdf.pdf_read, path=path, **more)["pages"]]


@pytest.mark.parametrize("function", functions(*MODULES), ids=lambda f: f.__name__)
def test_examples_work_and_write_the_same_bytes_twice(function: Any, tmp_path: Path) -> None:
    for number, example in enumerate(make_tool(function, "test").examples):
        outcomes = []
        for turn in "ab":
            world = World(tmp_path / f"{number}{turn}", papers())
            outcomes.append((world.call(function, **example), world.workspace.hashes()))
        assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("function", functions(*MODULES), ids=lambda f: f.__name__)
def test_random_arguments_end_in_a_result_or_a_typed_refusal(function: Any, world: World) -> None:
    refusals(world, function, 20, [name.removeprefix("files/") for name in papers()])


def broken() -> dict[str, bytes]:
    whole = papers()["files/docs/annual_report.pdf"]
    return {
        "empty": b"",
        "text": b"hello",
        "header": b"%PDF-1.7\n",
        "cut": whole[:700],
        "no trailer": b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog /Pages 1 0 R >>\nendobj\n",
        "loop": b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj 2 0 obj<</Type/Pages/Kids[2 0 R]/Count 9>>endobj"
        b"\ntrailer<</Root 1 0 R/Size 3>>\nstartxref\n0\n%%EOF",
    }


@pytest.mark.parametrize("name", broken())
@pytest.mark.parametrize(
    ("function", "more"),
    [
        (pdf.pdf_info, {}),
        (pdf.pdf_read, {}),
        (pdf.pdf_outline, {}),
        (pdf_edit.pdf_rotate, {"degrees": 90}),
        (pdf_edit.pdf_stamp, {"text": "x"}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_broken_files_are_refused(function: Any, more: dict[str, Any], name: str, world: World) -> None:
    world.write("x.pdf", broken()[name])
    with pytest.raises(ToolError) as refusal:
        world.call(function, path="x.pdf", **more)
    assert "0x" not in refusal.value.message


def test_pages_are_read_and_searched(four: World) -> None:
    assert [text.split()[1] for text in texts(four, "four.pdf")] == ["1", "2", "3", "4"]
    assert "w3" in texts(four, "four.pdf", pages=[3])[0]
    hits = four.call(pdf.pdf_search, path="four.pdf", text="THE WORD w2")
    assert (hits["total"], hits["hits"][0]["page"]) == (1, 2)
    assert four.call(pdf.pdf_search, path="four.pdf", text="THE WORD", ignore_case=False)["total"] == 0
    with pytest.raises(ToolError, match="count from 1 to 4"):
        four.call(pdf.pdf_read, path="four.pdf", pages=[5])
    with pytest.raises(ToolError, match="last 1 is before first 2"):
        four.call(pdf.pdf_read, path="four.pdf", pages={"first": 2, "last": 1})


def test_pages_are_taken_out_split_and_merged(four: World) -> None:
    four.call(pdf_edit.pdf_extract_pages, path="four.pdf", pages=[4, 1], save_as="a.pdf")
    assert [text.split()[1] for text in texts(four, "a.pdf")] == ["4", "1"]
    four.call(pdf_edit.pdf_extract_pages, path="four.pdf", pages=[2], mode="remove", save_as="b.pdf")
    assert [text.split()[1] for text in texts(four, "b.pdf")] == ["1", "3", "4"]
    made = four.call(pdf_edit.pdf_split, path="four.pdf", folder="out", pages_per_file=3)
    assert [(file["path"], file["pages"]) for file in made["files"]] == [("out/part-01.pdf", 3), ("out/part-02.pdf", 1)]
    parts = ["a.pdf", {"path": "four.pdf", "pages": {"first": 2, "last": 3}}]
    assert four.call(pdf_edit.pdf_merge, parts=parts, save_as="m.pdf")["pages"] == 4
    with pytest.raises(ToolError, match="no page would remain"):
        four.call(pdf_edit.pdf_extract_pages, path="four.pdf", pages="all", mode="remove")


def test_stamps_numbers_and_turns_are_in_the_pages(four: World) -> None:
    four.call(pdf_edit.pdf_stamp, path="four.pdf", text="page {page} of {pages}", place="footer", save_as="s.pdf")
    assert "page 3 of 4" in texts(four, "s.pdf")[2]
    four.call(pdf_edit.pdf_rotate, path="four.pdf", degrees=90, pages=[1], save_as="r.pdf")
    assert texts(four, "r.pdf")[1:] == texts(four, "four.pdf")[1:]


def test_a_locked_file_opens_with_its_password_only(four: World) -> None:
    four.call(pdf_edit.pdf_encrypt, path="1.pdf", password="march", save_as="l.pdf")
    for password in ({}, {"password": "april"}):
        with pytest.raises(ToolError, match="encrypted") as refusal:
            four.call(pdf.pdf_read, path="l.pdf", **password)
        assert refusal.value.kind == "denied"
    assert "w1" in texts(four, "l.pdf", password="march")[0]
    assert four.call(pdf.pdf_info, path="l.pdf", password="march")["encrypted"]
    four.call(pdf_edit.pdf_decrypt, path="l.pdf", password="march", save_as="o.pdf")
    assert texts(four, "o.pdf") == texts(four, "1.pdf")


def test_properties_and_outline_are_kept(four: World) -> None:
    four.call(
        pdf_edit.pdf_create, save_as="t.pdf", content="# One\n\n## Two\n\n| a | b |\n|--|--|\n| 1 | 2 |", title="Old"
    )
    four.call(pdf_edit.pdf_set_metadata, path="t.pdf", metadata={"author": "Zoë"})
    metadata = four.call(pdf.pdf_info, path="t.pdf")["metadata"]
    assert (metadata["title"], metadata["author"]) == ("Old", "Zoë")
    assert [entry["title"] for entry in four.call(pdf.pdf_outline, path="t.pdf")["entries"]] == ["One", "Two"]


def test_words_of_other_alphabets_can_be_written(world: World) -> None:
    content = [{"kind": "paragraph", "text": "Gdańsk Ωμέγα"}, {"kind": "list", "items": ["łódź"], "ordered": True}]
    world.call(pdf_edit.pdf_create, save_as="u.pdf", content=content)
    assert "Gdańsk Ωμέγα" in texts(world, "u.pdf")[0]
    assert "1. łódź" in texts(world, "u.pdf")[0]


def test_pictures_are_taken_out(world: World) -> None:
    from fpdf import FPDF

    document, buffer = FPDF(), io.BytesIO()
    Image.new("RGB", (20, 10), "red").save(buffer, "PNG")
    document.add_page()
    document.image(buffer, w=20)
    world.write("p.pdf", bytes(document.output()))
    found = world.call(pdf.pdf_extract_images, path="p.pdf", folder="out")
    assert found["total"] == 1
    assert Image.open(io.BytesIO(world.workspace.read_bytes(f"out/{found['images'][0]['name']}"))).size == (20, 10)
