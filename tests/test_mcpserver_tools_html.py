from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tool_calls import World
from tool_checks import check_example, examples_of
from tool_fuzz import functions, refusals

from mcpserver.catalogue import Tool
from mcpserver.company import company_base
from mcpserver.tool_error import ToolError
from mcpserver.tools.documents import html_edit, html_read

MODULES = (html_read, html_edit)
PAGE = """<!DOCTYPE html><html lang="de"><head><title>A &amp; B</title><meta name="author" content="Zoë">
<script>var x = "<p>no</p>";</script></head><body>
<h1 id="top">Pumps <em>and</em> more</h1>Loose words
<p class="lead big">See <a href="b.html">the list</a>, <a href="https://x.example/a">web</a>
or <a href="#top">top</a>.</p>
<div><p>Inner</p><ul><li>one</li><li>two <b>bold</b></li></ul></div>
<table id="t"><tr><th>sku</th><th>n</th></tr><tr><td>P|1</td><td>3</td></tr></table>
<pre>a  b
c</pre></body></html>"""


def papers() -> dict[str, bytes]:
    return {name: content for name, content in company_base().items() if name.startswith("files/docs/")}


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path, papers())
    world.write("a.html", PAGE)
    return world


@pytest.mark.parametrize(("tool", "example"), examples_of(*MODULES))
def test_examples_work_and_write_the_same_bytes_twice(tool: Tool, example: dict[str, Any], tmp_path: Path) -> None:
    check_example(tool, example, tmp_path)


@pytest.mark.parametrize("function", functions(*MODULES), ids=lambda f: f.__name__)
def test_random_arguments_end_in_a_result_or_a_typed_refusal(function: Any, world: World) -> None:
    refusals(world, function, 60, [name.removeprefix("files/") for name in papers()])


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n\xff", b"1 < 2", b"<!---->"])
@pytest.mark.parametrize("function", [html_read.html_info, html_read.html_text, html_edit.html_check])
def test_what_is_no_page_is_refused(function: Any, content: bytes, world: World) -> None:
    world.write("x.html", content)
    with pytest.raises(ToolError):
        world.call(function, path="x.html")


def test_entities_and_addresses_are_never_fetched(world: World) -> None:
    page = '<!DOCTYPE h [<!ENTITY x SYSTEM "file:///etc/passwd">]><html><body><p>&x;</p><img src="http://127.0.0.1:9/"></body>'
    world.write("x.html", page)
    assert "root:" not in world.call(html_read.html_text, path="x.html")["text"]


@pytest.mark.parametrize("function", [html_read.html_text, html_read.html_to_markdown, html_edit.html_check])
def test_a_deep_page_ends_in_a_result_or_a_typed_refusal(function: Any, world: World) -> None:
    world.write("x.html", "<html><body>first" + "<div>" * 50_000 + "x")
    with suppress(ToolError):
        assert world.call(function, path="x.html")


def test_a_page_is_read_as_text_and_as_markdown(world: World) -> None:
    text = world.call(html_read.html_text, path="a.html")["text"]
    lines = [
        "Pumps and more",
        "Loose words",
        "See the list, web or top.",
        "Inner",
        "- one",
        "- two bold",
        "sku | n",
        "P|1 | 3",
    ]
    assert text == "\n".join([*lines, "a  b", "c"])
    assert world.call(html_read.html_to_markdown, path="a.html")["text"] == (
        "# Pumps *and* more\n\nLoose words\n\nSee [the list](b.html), [web](https://x.example/a) or [top](#top).\n\n"
        "Inner\n\n- one\n- two **bold**\n\n| sku  | n   |\n| ---- | --- |\n| P\\|1 | 3   |\n\n```\na  b\nc\n```\n"
    )
    info = world.call(html_read.html_info, path="a.html")
    assert (info["title"], info["language"], info["meta"]) == ("A & B", "de", {"author": "Zoë"})


def test_links_and_tables_are_listed(world: World) -> None:
    kinds = [link["kind"] for link in world.call(html_read.html_links, path="a.html")["links"]]
    assert kinds == ["local", "web", "anchor"]
    table = world.call(html_read.html_tables, path="a.html", table=1)["tables"][0]
    assert table["rows"] == [{"sku": "P|1", "n": "3"}]
    with pytest.raises(ToolError, match="has 1"):
        world.call(html_read.html_tables, path="a.html", table=2)


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("p", 2),
        ("p.lead", 1),
        (".big.lead", 1),
        ("#top", 1),
        ("h1#top em", 1),
        ("body > p", 1),
        ("div p, li", 3),
        ("a[href^=https]", 1),
        ("a[href$='.html']", 1),
        ("a[href*='example']", 1),
        ("a[href]", 3),
        ("table > tr", None),
        ("a[href='x\"y']", 0),
    ],
)
def test_simple_selectors_find_what_they_mean(selector: str, expected: int | None, world: World) -> None:
    total = world.call(html_read.html_select, path="a.html", selector=selector)["total"]
    assert expected is None or total == expected


@pytest.mark.parametrize("selector", ["p:hover", "a[", "> p", "p >", "p > > a", "//p", "p]", "a[href='x'", "*|*"])
def test_other_selectors_are_refused(selector: str, world: World) -> None:
    with pytest.raises(ToolError, match="is not understood"):
        world.call(html_read.html_select, path="a.html", selector=selector)


def test_elements_are_changed(world: World) -> None:
    edits = [
        {"do": "set_text", "selector": "h1", "text": "<New> & true"},
        {"do": "set_attribute", "selector": "li", "name": "class", "value": "x"},
        {"do": "remove", "selector": "table, pre"},
        {"do": "append", "selector": "div", "content": "**more** <b>not</b>"},
    ]
    assert world.call(html_edit.html_edit, path="a.html", edits=edits)["changed"] == [1, 2, 2, 1]
    text = world.call(html_read.html_text, path="a.html")["text"]
    assert text.splitlines()[0] == "<New> & true"
    assert text.endswith("more <b>not</b>")
    assert world.call(html_read.html_select, path="a.html", selector="li.x")["total"] == 2
    with pytest.raises(ToolError, match="nothing in"):
        world.call(html_edit.html_edit, path="a.html", edits=[{"do": "remove", "selector": "video"}])
    with pytest.raises(ToolError, match="whole page"):
        world.call(html_edit.html_edit, path="a.html", edits=[{"do": "remove", "selector": "html"}])


def test_a_page_is_built_from_both_kinds_of_content_without_foreign_tags(world: World) -> None:
    content = "# One\n\n<script>x</script>\n\n| a | b |\n|---|---|\n| 1 | 2 |"
    world.call(html_edit.html_build, save_as="b.html", title="<T>", content=content)
    blocks = [{"kind": "heading", "text": "One"}, {"kind": "table", "rows": [["a", "b"], ["1", "<i>"]]}]
    world.call(html_edit.html_build, save_as="c.html", title="T", content=blocks)
    assert world.call(html_read.html_info, path="b.html")["elements"]["script"] == 0
    assert world.call(html_read.html_info, path="b.html")["title"] == "<T>"
    rows = world.call(html_read.html_tables, path="c.html")["tables"][0]["rows"]
    assert rows == [{"a": "1", "b": "<i>"}]
    for path in ("b.html", "c.html"):
        assert world.call(html_edit.html_check, path=path)["ok"]


def test_faults_of_a_page_are_found_with_their_lines(world: World) -> None:
    world.write(
        "x.html",
        '<html><body>\n<div><p id="a">x\n<img src="no.png">\n<b id="a">y</div></i>\n<a href="a.html">ok</a></body>',
    )
    found = [(entry["line"], entry["problem"]) for entry in world.call(html_edit.html_check, path="x.html")["problems"]]
    assert found == [
        (1, "the page has no title"),
        (3, "a picture has no alt text"),
        (3, "nothing is at 'no.png'"),
        (4, "</i> closes nothing"),
        (4, "<b> is not closed"),
        (4, "the id 'a' is double"),
    ]
