"""``python -m mcpserver list``, ``new``, ``doctor``, and the old flags."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mcpserver.__main__ import main
from mcpserver.catalogue import all_tools, load_tools

REPOSITORY = Path(__file__).resolve().parents[1]


def test_the_list_shows_each_tool_under_category_and_toolset_with_counts(capsys):
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    n_tools = len(all_tools())
    categories = {tool.category for tool in all_tools().values()}
    toolsets = {(tool.category, tool.toolset) for tool in all_tools().values()}
    assert lines[-1] == f"{n_tools} tools in {len(toolsets)} toolsets of {len(categories)} categories"
    assert len(lines) == n_tools + len(toolsets) + len(categories) + 1
    at = lines.index("energy (25 tools)")
    assert lines[at + 1 : at + 3] == ["  energy (13)", "    get_spot_price(hub, date): Get the gas spot price at a hub"]


def test_the_list_can_be_narrowed_and_is_json_with_everything(capsys):
    assert main(["list", "--category", "maths", "--toolset", "mean", "--toolset", "list_tables", "--json"]) == 0
    found = {tool["name"]: tool for tool in json.loads(capsys.readouterr().out)}
    maths = {name for name, tool in all_tools().items() if tool.category == "maths"}
    assert set(found) == maths | {"list_tables"}
    assert found["mean"]["examples"] == [{"values": [3, 5, 10]}]
    assert found["mean"]["output"]["type"] == "object"
    assert found["mean"]["place"].endswith(".py:" + found["mean"]["place"].rpartition(":")[2])
    assert found["list_tables"]["runs_in"] == "worker"


def test_users_tools_are_listed_and_those_without_example_warned_about(tmp_path, capsys):
    (tmp_path / "mine.py").write_text('def my_own_tool(a: int, b: int = 1) -> int:\n    """Add."""\n    return a + b\n')
    assert main(["list", "--tools", str(tmp_path), "--toolset", "my_own_tool"]) == 0
    shown = capsys.readouterr()
    assert f"{tmp_path.name} (1 tool)\n  mine (1)\n    my_own_tool(a, [b]): Add\n" in shown.out
    assert shown.out.endswith("1 tool in 1 toolset of 1 category, 1 of them your own\n")
    assert shown.err == f"warning: {tmp_path}/mine.py:1: tool 'my_own_tool' has no 'Example:' in its docstring\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["list", "--category", "enrgy"], 'did you mean "energy"'),
        (["list", "--tools", "/no/such"], "is no folder"),
        (["--list", "--toolset", "fils"], 'did you mean "files"'),
        (["new", "mean"], "there is a built-in tool 'mean'"),
        (["new", "My-Tool"], "snake_case"),
        (["new", "class"], "cannot name a tool"),
        (["new", "ok", "--category", "../up"], "cannot name a category"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(words, message, capsys):
    assert main(words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_a_new_tool_is_listed_and_its_test_passes_as_it_is(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["new", "count_letters", "--dir", "mine", "--category", "text"]) == 0
    told = capsys.readouterr().out
    assert "  pytest mine/text/test_count_letters.py\n" in told
    tool = load_tools(["mine"])["count_letters"]
    assert (tool.category, tool.toolset, len(tool.examples)) == ("text", "count_letters", 2)
    command = [sys.executable, "-m", "pytest", "-q", "mine/text/test_count_letters.py"]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
    written = Path("mine/text/count_letters.py").read_text()
    assert main(["new", "count_letters", "--dir", "mine", "--category", "text"]) == 2
    assert "exists already" in capsys.readouterr().err
    assert Path("mine/text/count_letters.py").read_text() == written
    style = [sys.executable, "-m", "ruff", "check", "--isolated", "--line-length", "120", "mine"]
    assert subprocess.run(style, capture_output=True, check=False).returncode == 0


def test_every_command_explains_itself(capsys):
    for words in ([], ["serve"], ["list"], ["new"], ["doctor"]):
        with pytest.raises(SystemExit) as left:
            main([*words, "--help"])
        assert left.value.code == 0
        shown = capsys.readouterr().out
        assert shown.startswith(f"usage: python -m mcpserver {words[0] if words and words != ['serve'] else '['}")


def test_the_doctor_names_the_sandbox(capsys):
    assert main(["doctor"]) == 0
    assert capsys.readouterr().out.startswith("sandbox: ")


def test_a_reader_that_leaves_early_is_no_error():
    command = f"{sys.executable} -m mcpserver list | head -n 1"
    done = subprocess.run(["bash", "-c", command], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert "tools)" in done.stdout
    assert done.stderr == ""
