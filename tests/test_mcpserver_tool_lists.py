import re

from hypothesis import given
from hypothesis import strategies as st

from mcpserver.tool_lists import difference, shown_names
from toolwright.records import ToolSpec


def test_one_server_keeps_its_names_and_several_get_a_prefix():
    assert shown_names({"a": ["x", "y-z"]}) == {("a", "x"): "x", ("a", "y-z"): "y-z"}
    assert shown_names({"a": ["x"], "b": ["x"]}) == {("a", "x"): "a__x", ("b", "x"): "b__x"}


def test_what_is_no_name_of_a_function_becomes_one():
    names = shown_names({"a": ["files.read", "x" * 80, "ü"]})
    assert names["a", "files.read"] == "files_read"
    assert re.fullmatch(r"x{55}_[0-9a-f]{8}", names["a", "x" * 80])
    assert names["a", "ü"] == "_"


def test_of_two_tools_with_one_name_the_one_that_needed_no_change_keeps_it():
    names = shown_names({"a": ["x.y", "x_y"]})
    assert names["a", "x_y"] == "x_y"
    assert re.fullmatch(r"x_y_[0-9a-f]{8}", names["a", "x.y"])
    together = shown_names({"a": ["_b"], "a_": ["b"]})
    assert len(set(together.values())) == 2


@given(
    st.dictionaries(st.text(max_size=5), st.lists(st.text("ab_.", max_size=70), unique=True, max_size=5), max_size=4)
)
def test_all_names_are_different_and_can_be_called(tools):
    names = shown_names(tools)
    assert len(names) == sum(map(len, tools.values())) == len(set(names.values()))
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) for name in names.values())


def test_the_difference_of_two_lists_names_what_changed():
    old = [ToolSpec(name="a"), ToolSpec(name="b"), ToolSpec(name="c")]
    new = [ToolSpec(name="b", description="x"), ToolSpec(name="c"), ToolSpec(name="d")]
    assert difference(old, new) == "1 added: d; 1 removed: a; 1 changed: b"
    assert difference(old, old) == ""
