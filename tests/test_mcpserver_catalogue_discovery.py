"""Tools from users' own folders, files, packages, modules and functions; and what is refused, with file and line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mcpserver.binding import load_module
from mcpserver.catalogue import all_tools, catalogue, load_tools, select_tools
from mcpserver.discovery import SOURCES_VARIABLE
from toolwright.errors import ConfigError, DataError

REPOSITORY = Path(__file__).resolve().parents[1]


def tool(name, body='return {"x": x}'):
    docstring = 'Do.\n\n    Example:\n        {"x": 1}\n    '
    return f'def {name}(x: int) -> dict[str, int]:\n    """{docstring}"""\n    {body}\n'


def write(folder, **files):
    for name, text in files.items():
        path = folder / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(folder)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package ``shop_<n>`` with two categories, on the path."""
    name = f"shop_{abs(hash(str(tmp_path)))}"
    for inner in ("", "/orders", "/stock"):
        (tmp_path / name / inner.strip("/")).mkdir(exist_ok=True)
        (tmp_path / name / inner.strip("/") / "__init__.py").write_text('"""Shop."""\n')
    (tmp_path / name / "top.py").write_text(tool("pkg_top"))
    (tmp_path / name / "orders" / "change.py").write_text(tool("pkg_zeta") + tool("pkg_alpha"))
    (tmp_path / name / "orders" / "_shared.py").write_text("raise RuntimeError('private modules are not imported')")
    (tmp_path / name / "stock" / "read.py").write_text(f"from {name}.top import pkg_top\n" + tool("pkg_count"))
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def places(tools):
    return {name: (found.category, found.toolset) for name, found in tools.items()}


def test_a_folder_is_searched_through_with_categories_and_toolsets_from_its_paths(tmp_path):
    mine = tmp_path / "mine"
    write(mine, plain=tool("b_tool") + tool("a_tool") + tool("_helper"), finance__loans=tool("loan"))
    write(mine, finance__deep__rates=tool("rate"), _private=tool("p1"), _hidden__x=tool("p2"), test_plain=tool("p3"))
    tools = load_tools([str(mine)])
    assert places(tools) == {
        "loan": ("finance", "loans"),
        "b_tool": ("mine", "plain"),
        "a_tool": ("mine", "plain"),
        "rate": ("finance", "rates"),
    }
    assert list(tools) == ["loan", "b_tool", "a_tool", "rate"]
    found = tools["loan"]
    assert found.is_file
    assert found.module == str(mine / "finance" / "loans.py")
    assert load_module(found.module).loan is found.function
    assert found.runs_in == "worker"


def test_modules_of_a_folder_may_import_what_stands_beside_them(tmp_path):
    write(tmp_path, _helping_beside=tool("_x") + "SIZE = 7\n")
    write(tmp_path, user="from _helping_beside import SIZE\n" + tool("uses_helper", 'return {"x": x * SIZE}'))
    found = load_tools([str(tmp_path)])["uses_helper"]
    assert found.run(None, found.check({"x": 2})) == {"x": 14}
    code = f"from mcpserver.binding import load_module; print(load_module({found.module!r}).uses_helper(3))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.stdout == "{'x': 21}\n"


def test_a_package_gives_the_tools_that_its_modules_define_themselves(package):
    tools = load_tools([package])
    assert places(tools) == {
        "pkg_zeta": ("orders", "change"),
        "pkg_alpha": ("orders", "change"),
        "pkg_count": ("stock", "read"),
        "pkg_top": (package, "top"),
    }
    assert (tools["pkg_zeta"].module, tools["pkg_zeta"].is_file) == (f"{package}.orders.change", False)


def test_all_expands_sorted_and_one_function_can_be_named(package, tmp_path):
    assert list(load_tools([f"{package}.orders.change:All"])) == ["pkg_alpha", "pkg_zeta"]
    assert list(load_tools([f"{package}.orders.change:pkg_zeta"])) == ["pkg_zeta"]
    file = tmp_path / "loose.py"
    file.write_text(tool("loose_b") + tool("loose_a"))
    assert list(load_tools([f"{file}:All"])) == ["loose_a", "loose_b"]
    assert list(load_tools([str(file), f"{file}:loose_a"])) == ["loose_b", "loose_a"]


def test_the_catalogue_is_ours_then_the_sources_then_the_variable(tmp_path, monkeypatch, package):
    first, second = (
        write(tmp_path / "first", one=tool("first_tool")),
        write(tmp_path / "second", two=tool("second_tool")),
    )
    monkeypatch.setenv(SOURCES_VARIABLE, os.pathsep.join([second, package, ""]))
    names = list(catalogue([first]))
    assert names[: len(all_tools())] == list(all_tools())
    assert names[len(all_tools()) :] == ["first_tool", "second_tool", "pkg_zeta", "pkg_alpha", "pkg_count", "pkg_top"]
    assert list(select_tools(["first", "mean"], catalogue([first]))) == ["mean", "first_tool"]
    monkeypatch.delenv(SOURCES_VARIABLE)
    assert list(catalogue()) == list(all_tools())


FAULTS = [
    ({"a": "x = 1\ny = 1 / 0\n"}, r"a\.py:2: tools cannot be imported: ZeroDivisionError"),
    ({"a": "def f(:\n"}, r"a\.py:1: .*SyntaxError"),
    ({"a": "\nimport no_such_library\n"}, r"a\.py:2: .*No module named 'no_such_library'"),
    ({"a": "\n\nimport sys\nsys.exit(3)\n"}, r"a\.py:4: .*SystemExit: 3"),
    ({"a": "\nfrom _broken_beside import x\n", "_broken_beside": "1 / 0"}, r"a\.py:2: .*ZeroDivisionError"),
    ({"a": tool("same") + "\n" + tool("same")}, r"a\.py:9: 'same' overrides the function of line 1"),
    ({"a": tool("twice"), "b": tool("twice")}, r"two tools are called 'twice': \S+a\.py:1 and \S+b\.py:1"),
    ({"a": "\ndef f(x) -> int:\n    'Do.'\n"}, r"a\.py:2: tool 'f': parameter 'x' has no type hint"),
    ({"a": "\n\ndef f(x: int) -> int:\n    return 1\n"}, r"a\.py:3: tool 'f' has no docstring"),
    ({"a": tool("f").replace('"x": 1', '"x": "1"')}, r"a\.py:1: example of tool 'f': .*expected integer"),
    ({"a": 'RUNS_IN = "cloud"\n' + tool("f")}, r"a\.py: RUNS_IN is 'cloud'; write 'server' or 'worker'"),
]


@pytest.mark.parametrize(("files", "message"), FAULTS, ids=lambda value: str(value)[:30])
def test_a_faulty_module_is_refused_with_file_and_line(tmp_path, files, message):
    with pytest.raises(DataError, match=message):
        load_tools([write(tmp_path, **files)])


def test_a_tool_with_the_name_of_ours_is_refused_with_both_places(tmp_path):
    with pytest.raises(DataError, match=r"two tools are called 'mean': \S+maths\.py:\d+ and \S+a\.py:1"):
        catalogue([write(tmp_path, a=tool("mean"))])


SOURCES = [
    ("no/such/folder", "is no folder, no .py file and no name of a package"),
    ("no_such_package_here", "no module named 'no_such_package_here'"),
    ("json.no_such", "no module named 'json.no_such'"),
    ("no_such.py", "no file"),
    ("mcpserver.tools.maths.maths:mena", "no function 'mena' in .*; did you mean \"mean\""),
    ("mcpserver.tools.maths:All", "is a package; name one of its modules"),
    ("", "is no folder"),
]


@pytest.mark.parametrize(("source", "message"), SOURCES)
def test_a_source_that_is_not_there_is_refused(source, message):
    with pytest.raises(ConfigError, match=message):
        load_tools([source])


def test_an_empty_folder_is_refused_since_a_wrong_path_would_look_the_same(tmp_path):
    with pytest.raises(ConfigError, match="no tools in"):
        load_tools([str(tmp_path)])


def test_what_a_worker_imports_of_ours_needs_no_pydantic():
    heavy = ("pydantic", "jsonschema")
    code = f"import sys, mcpserver.binding, mcpserver.context; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
