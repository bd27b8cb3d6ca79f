"""``python -m mcpserver new``: a first version of a user's own tool, with a test. Writes two files."""

import keyword
import re
import shlex
from pathlib import Path

from mcpserver.catalogue import all_tools
from toolwright.errors import ConfigError
from toolwright.words import shorten

_TOOL = '''"""Say here in one line what the tools of this file are for."""

from typing import Annotated, Any

from annotated_types import Ge, Le, Len


def {name}(text: Annotated[str, Len(1, 1000)], times: Annotated[int, Ge(1), Le(10)] = 1) -> dict[str, Any]:
    """Repeat a text.

    Args:
        text: what to repeat
        times: how often

    Example:
        {{"text": "ha"}}
        {{"text": "ha", "times": 3}}
    """
    return {{"text": " ".join([text] * times)}}
'''

_TEST = '''"""The tool {name} through the dispatcher that models call: checks, sandbox and limits included."""

import asyncio
from pathlib import Path

from mcpserver.catalogue import load_tools
from mcpserver.environment import Environment
from toolwright.records import ToolCall, ToolResult

TOOLS = str(Path(__file__).with_name("{name}.py"))


def call(**arguments: object) -> ToolResult:
    async def play() -> ToolResult:
        async with Environment.create(17, ["{name}"], sources=(TOOLS,)) as environment:
            return await environment.call(ToolCall(name="{name}", arguments=arguments))

    return asyncio.run(play())


def test_every_example_works():
    for example in load_tools([TOOLS])["{name}"].examples:
        result = call(**example)
        assert result.ok, result.content


def test_wrong_arguments_are_refused_with_the_name_of_the_parameter():
    result = call(text="ha", times=11)
    assert result.error == "bad_arguments"
    assert "times" in result.content
'''


def write_tool(name: str, folder: str, category: str = "") -> str:
    """Write ``folder/category/name.py`` and its test beside it; gives what to do next, as text.

    Raises:
        ConfigError: a name that cannot be a tool's, or a file that is there already.
    """
    for word, what in ((name, "tool"), *(((category, "category"),) if category else ())):
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", word) or keyword.iskeyword(word) or word.startswith("test_"):
            raise ConfigError(f"{shorten(word)} cannot name a {what}; use a snake_case word such as count_words")
    if name in all_tools():
        raise ConfigError(f"there is a built-in tool {name!r} ({all_tools()[name].place}); choose another name")
    target = Path(folder) / category
    files = {target / f"{name}.py": _TOOL, target / f"test_{name}.py": _TEST}
    for path in files:
        if path.exists():
            raise ConfigError(f"{path} exists already; choose another name, or remove it")
    target.mkdir(parents=True, exist_ok=True)
    for path, text in files.items():
        path.write_text(text.format(name=name), encoding="utf-8")
    tool, test = map(str, files)
    return (
        f"wrote {tool} and {test}; change the first one, then:\n"
        f"  pytest {shlex.quote(test)}\n"
        f"  python -m mcpserver list --tools {shlex.quote(folder)} --toolset {name}\n"
        f"  python -m mcpserver --tools {shlex.quote(folder)}"
    )
