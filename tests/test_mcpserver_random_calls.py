import asyncio
import json
import os
import random
import re
import time
from typing import get_args

import pytest
from random_values import random_arguments

from mcpserver.catalogue import select_tools, toolsets
from mcpserver.company import company_base
from mcpserver.environment import Environment
from mcpserver.rendering import MAX_RESULT_BYTES
from mcpserver.sandbox.level import choose_level
from toolwright.records import ErrorType, ToolCall

N_CALLS = int(os.environ.get("TOOLWRIGHT_RANDOM_CALLS", "2"))
"""How many calls each tool gets; 1000 is what a release is tried with."""
PATHS = [name.removeprefix("files/") for name in company_base() if name.startswith("files/")]
HOSTILE = [
    *("", ".", "..", "/", "~", "notes/", "a/b/c/d/e/f/g/h/i", "/etc/passwd", "../../../etc/passwd", "x\0y", "\ud800"),
    *("\u202e", "é" * 300, "x" * 70_000, "sqlite_master", 'a"b', "'; DROP TABLE trades; --", "1e999", "nan", "-1"),
    *("2025-02-30", "0000-01", "9999-12-31", "1/0", "2**64**64", "((" * 80, "(a+)+$", "{x.__class__}", "=A1", "$(id)"),
    *(0, -1, 0.5, 1e308, 10**400, 2**63, float("inf"), float("nan"), -0.0, True, None, [], {}, [[1]], {"a": {"b": 1}}),
]
ESCAPED = re.compile(r"failed: (?!OSError)\w+(?:Error|Exception|Warning)\b")
"""How the dispatcher tells that a tool raised what it should not."""


def calls_of(tool, rng):
    """An example, with arguments that fit the schema, and now and then one that does not."""
    schema = tool.spec.parameters
    names = [*PATHS, *PATHS, "trades", "shop", "id", "name", "TTF"]
    for number in range(N_CALLS):
        arguments = dict(rng.choice(tool.examples)) if tool.examples else {}
        fitting = random_arguments(schema, rng, names)
        share = rng.choice([0.0, 0.3, 1.0]) if number else 1.0
        arguments |= {name: value for name, value in fitting.items() if rng.random() < share}
        for name in list(schema["properties"]):
            if rng.random() < 0.15:
                arguments[name] = rng.choice([*HOSTILE, *PATHS])
        if arguments and rng.random() < 0.03:
            del arguments[rng.choice(list(arguments))]
        yield ToolCall(name=tool.spec.name, arguments=arguments)


@pytest.mark.parametrize("toolset", toolsets())
def test_random_calls_give_typed_results_and_write_nothing_outside(toolset, tmp_path, monkeypatch):
    if choose_level() is None:
        pytest.skip("no sandbox works on this machine: `python -m mcpserver doctor` says why")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "canary").write_text("canary")
    monkeypatch.chdir(outside)
    rng = random.Random(toolset)

    async def go():
        async with Environment.create(5, toolsets=[toolset], world="company", call_timeout_s=5.0) as env:
            for tool in select_tools([toolset]).values():
                for call in calls_of(tool, rng):
                    start = time.monotonic()
                    check(call, await env.call(call), time.monotonic() - start)
            assert len(await env.state()) == 64

    asyncio.run(go())
    assert [path.name for path in outside.iterdir()] == ["canary"]
    assert (outside / "canary").read_text() == "canary"


def check(call, result, seconds):
    shown = str(call)[:2000]
    assert seconds < 60, shown
    assert result.error is None or result.error in get_args(ErrorType), shown
    assert len(result.content.encode()) <= MAX_RESULT_BYTES, shown
    assert not ESCAPED.search(result.content) or call.name.startswith("run_"), (shown, result.content)
    if result.ok and not call.name.startswith(("run_", "list_variables", "reset_python")):
        json.loads(result.content, parse_constant=lambda word: pytest.fail(f"{word} in {shown}"))
