import asyncio
import hashlib
import json
import random
from pathlib import Path

import pytest

from mcpserver.baseworld import COMPANIES, default_base
from mcpserver.catalogue import all_tools
from mcpserver.environment import MAX_RESULT_BYTES, Environment
from mcpserver.workspace import MAX_TOTAL_BYTES
from toolwright.records import ToolCall

N_CALLS = 200
PATHS = [name.removeprefix("files/") for name in default_base() if name.startswith("files/")]
TEXTS = [
    *(
        "",
        ".",
        "..",
        "/",
        "~",
        "notes",
        "notes/",
        "./notes//credit.md",
        "a/b/c/d.txt",
        "a/b/c/d/e/f/g/h/i",
        "notes/credit.md/x",
    ),
    *(
        "/etc/passwd",
        "../../../etc/passwd",
        "notes/../../x",
        "..\\x",
        "x\0y",
        "\ud800",
        "\u202e",
        "é" * 300,
        "x" * 70_000,
    ),
    *(
        "trades",
        "partners",
        "id",
        "hub",
        "TTF",
        "sqlite_master",
        'a"b',
        "'; DROP TABLE trades; --",
        "1",
        "-1",
        "1e999",
        "nan",
    ),
    *(
        "2025-03-14",
        "2025-03",
        "2025-02-30",
        "0000-01",
        "9999-12",
        "1/0",
        "2**64**64",
        "()",
        "((" * 80,
        "round(2.5)",
        "1" * 150,
    ),
    *(
        "abs()",
        "max(1)",
        "sqrt(-1)",
        "(-8)**0.5",
        "0**-1",
        "1e308*1e308",
        "1 if 1 else 2",
        "a.b",
        "lambda: 1",
        "１+１",
        "1_0",
    ),
    *COMPANIES,
    *PATHS,
]
NUMBERS = [0, 1, -1, 0.5, 3, 12, 250, -250, 1e-300, 1e15, 1e16, 1e308, 10**400, 2**63, float("inf"), float("nan"), -0.0]
COLUMNS = ("id", "day", "hub", "price", "site", "name", "status", "no_such", 'a"b', "")


def value_for(schema, rng):
    """Mostly what the schema wants, sometimes anything at all."""
    if rng.random() < 0.04:
        return rng.choice([None, True, [], {}, [[1]], {"a": 1}, rng.choice(TEXTS), rng.choice(NUMBERS)])
    if "enum" in schema:
        return rng.choice(schema["enum"])
    kind = schema["type"]
    if kind == "array":
        return [rng.choice(NUMBERS[:9]) for _ in range(rng.randrange(0, 6))]
    if kind == "object":
        return {rng.choice(COLUMNS): rng.choice([*TEXTS, *NUMBERS, None, []]) for _ in range(rng.randrange(0, 4))}
    if kind == "string":
        return rng.choice(["trades", "levels", "partners", *COLUMNS, *TEXTS]) if rng.random() < 0.9 else "2025-03-14"
    return rng.choice(NUMBERS) if kind == "number" else rng.choice([0, 1, 2, 5, -3, 250, 10**30, 2.0])


def calls_of(tool, rng):
    """An example, with any of its arguments replaced or left out."""
    spec, properties = tool.spec, tool.spec.parameters["properties"]
    for _ in range(N_CALLS):
        share = rng.choice([0.2, 0.5, 1.0])
        arguments = dict(rng.choice(tool.examples))
        arguments |= {name: value_for(schema, rng) for name, schema in properties.items() if rng.random() < share}
        if rng.random() < 0.02:
            arguments.popitem()
        if rng.random() < 0.02:
            arguments["extra"] = 1
        yield ToolCall(name=spec.name, arguments=arguments)


def tree(folder: Path) -> dict[str, str]:
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("name", all_tools())
def test_200_random_calls_neither_crash_nor_write_outside(name, tmp_path, monkeypatch):
    work, outside = tmp_path / "work", tmp_path / "outside"
    work.mkdir()
    outside.mkdir()
    (outside / "canary").write_text("canary")
    monkeypatch.chdir(outside)
    monkeypatch.setattr("mcpserver.workspace._fast_folder", lambda: str(work))
    base = {path: hashlib.sha256(content).hexdigest() for path, content in default_base().items()}
    rng = random.Random(name)

    async def go():
        async with Environment.create(5) as env:
            results = [(call, await env.call(call)) for call in calls_of(all_tools()[name], rng)]
            state = env.state()
            size = sum(path.stat().st_size for path in work.rglob("*") if path.is_file())
            return results, state, size

    results, state, size = asyncio.run(go())
    assert len(state) == 64
    assert size < 2 * MAX_TOTAL_BYTES
    assert not list(work.iterdir())
    assert set(tree(tmp_path)) == {str(outside / "canary")}
    assert {path: hashlib.sha256(content).hexdigest() for path, content in default_base().items()} == base
    for call, result in results:
        assert f"{name} failed: " not in result.content, (call, result)
        assert len(result.content.encode()) <= MAX_RESULT_BYTES
        if result.ok:
            assert isinstance(json.loads(result.content), dict)
    assert any(result.ok for _, result in results)
    assert any(not result.ok for _, result in results)
