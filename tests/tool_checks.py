"""What every tool of a module must stand: its examples work, and no arguments make it fail in any but the typed way.

A small world with names of the company world (a few files of each kind), so that these tests stand on their own.
"""

import bz2
import gzip
import io
import json
import random
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tool_calls import World

from mcpserver.catalogue import Tool, collect
from mcpserver.tool_error import ToolError
from toolwright.errors import DataError

LOG = "".join(
    f"2025-03-{12 + i // 20} {8 + i % 20 // 2:02}:{i % 60:02}:01 {('INFO', 'INFO', 'WARNING', 'ERROR')[i % 4]} "
    f"{('billing', 'mailer', 'api')[i % 3]} event number {i}\n"
    for i in range(60)
)
PROSE = (
    "The desk bought gas in the morning. Prices rose quickly, because the pipeline was closed! Who sold it?\n\n"
    "Dr. Smith wrote to anna@example.com on 2025-03-14 about 3 offers. Storage levels fell by 2.5 percent.\n"
)
NASTY = (
    *("", ".", "..", "/", "~", "/etc/passwd", "../../x", "a/../../x", "notes/", "notes//storage.md", "no/such", "x\0y"),
    *("\u202e", "é" * 120, "😀" * 30, "x" * 3000, "line\nline\r\n\n", "\t", "(a+)+$", "[", "(?P<x>", "*", "**/*", "%s"),
    *("{x.__class__}", "$x ${y}", "$.a[0].b", '{"a": [1, {"b": null}]}', "[1, 2", "a,b\n1,2\n", "| a |\n|---|\n| 1 |"),
    *(
        "1",
        "-1",
        "1e999",
        "nan",
        "0" * 50,
        "2025-03-14",
        "* * * * *",
        "*/0 * * * *",
        "0 0 30 2 *",
        "&a [*a]",
        "a: b: c",
    ),
    *("4d5a", "aGk=", "====", "%zz%", "&amp;&#x110000;", "XIV", "minus one", "I", "ß", "İ", "\ufeff", "a\u0301", "٣"),
    *("http://[::1", "http://user:p@h:99999/x?y=1#z", "FOO=bar", "[s]\nk=v", "a.b.c", "-rf", "'", '"', "\\", "`id`"),
)


def small_world() -> dict[str, bytes]:
    """Base files by name."""
    texts = {
        "notes/storage.md": "# Storage\n\nThe level is 61 percent.\nAction: call the operator.\n",
        "notes/pipeline.md": "# Pipeline\n\nClosed on Friday.\n",
        "notes/credit.md": "# Credit\n",
        "contracts/ttf-2025.txt": "Hub: TTF\nPrice: 31.5\n",
        "prices/ttf.csv": "day,price\n2025-03-13,30.1\n2025-03-14,31.4\n",
        "prices/nbp.csv": "day,price\n2025-03-13,29.1\n",
        "config/desk.json": '{"desk": "gas", "limits": {"mw": 50, "hubs": ["TTF", "NBP"]}}\n',
        "config/limits.json": '{"TTF": 100}\n',
        "reports/2024-11.md": "# November\nStorage fell.\n",
        "reports/2024-12.md": "# December\n",
        "reports/2025-01.md": "# January\nStorage rose.\n",
        "reports/2025-02.md": "# February\n",
        "reports/2025-03.md": "# March\nStorage full.\n",
        "data/sales.csv": "order_id,date,region,units\n"
        + "".join(f"{i},2024-01-{i:02},North,{i}\n" for i in range(1, 29)),
        "data/app.ini": "[server]\nhost = localhost\nport = 8080\n; a note\n[log]\nlevel = info\n",
        "data/app.toml": 'title = "app"\n[server]\nport = 8080\nhosts = ["a", "b"]\n',
        "data/settings.yaml": "server:\n  port: 8080\n  debug: false\nnames: [a, b]\n",
        "data/pipeline.yaml": "steps:\n  - name: load\n  - name: save\n",
        "data/catalog.json": '{"version": 1, "categories": [{"name": "Pumps", "items": [{"sku": "P1"}]}]}',
        "docs/readme.md": "# Read me\n\n[guide](guide.md)\n",
        "docs/guide.md": "# Guide\n\nFirst step.\n",
        "docs/terms.txt": "Terms\n1. Pay in time.\n",
        "text/english.txt": PROSE * 4,
        "text/german.txt": "Die Straße ist schön.\n",
        "text/names.txt": "Nora\nAnna\nTom\nAnna\nben\n",
        "text/poem.txt": "One line\nTwo lines\nThree lines\n",
        "text/mixed.txt": "a.b@example.org, +31 20 123 4567 https://example.com/x?y=1, 12.50 EUR on 2025-03-01\n",
        "logs/server.log": LOG,
        "logs/access.log": '10.0.0.1 - - [14/Mar/2025:08:00:01 +0000] "GET /index HTTP/1.1" 200 512\n' * 5,
        "logs/jobs.log": "2025-03-14 08:00:00 INFO nightly done\n",
        "code/stats.py": "import math\n\n\ndef mean(values):\n    return math.fsum(values) / len(values)\n",
        "code/fib.py": "def fib(n):\n    return n if n < 2 else fib(n - 1) + fib(n - 2)\n",
    }
    members = {"2024-11.md": b"# November\nStorage fell.\n", "old/2024-10.md": b"# October\n"}
    files = {
        **{name: text.encode() for name, text in texts.items()},
        "images/logo.png": b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
        "archives/reports.zip": _zip(members),
        "archives/logs.tar.gz": gzip.compress(_tar({"server.log": LOG.encode()}), mtime=0),
        "archives/old.tar": _tar(members),
        "archives/note.txt.gz": gzip.compress(b"A note.\n", mtime=0),
        "archives/broken.zip": _zip(members)[:-30],
        "archives/note.bz2": bz2.compress(b"x" * 100),
        "data/empty.csv": b"",
        "data/latin.txt": "Straße für 5 €\n".encode("cp1252"),
    }
    return {f"files/{name}": content for name, content in files.items()}


def _zip(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return out.getvalue()


def _tar(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def base_for_examples() -> dict[str, bytes]:
    """The company world; the small one where it is not there."""
    try:
        from mcpserver.company import company_base
    except ImportError:
        return small_world()
    return dict(company_base())


def tools_of(*modules: ModuleType) -> list[Tool]:
    return list(collect((m.__name__.split(".")[-2], m.__name__.split(".")[-1], m) for m in modules).values())


def examples_of(*modules: ModuleType) -> list[Any]:
    """Parameters for a test: each tool with each of its examples."""
    return [
        pytest.param(tool, example, id=f"{tool.spec.name}-{number}")
        for tool in tools_of(*modules)
        for number, example in enumerate(tool.examples)
    ]


def check_example(tool: Tool, example: dict[str, Any], folder: Path) -> None:
    """An example works, says the same twice, and leaves the same bytes twice."""
    base = {name: content for name, content in base_for_examples().items() if name.startswith("files/")}
    worlds = [World(folder / name, base) for name in "ab"]
    results = [world.call(tool, **example) for world in worlds]
    assert results[0] == results[1]
    assert 0 < len(json.dumps(results[0])) < 16_000
    assert worlds[0].workspace.hashes() == worlds[1].workspace.hashes()


def check_random_calls(tool: Tool, folder: Path, calls: int = 150) -> None:
    """Only typed errors come back, results are short JSON, nothing is written outside, some calls work."""
    rng = random.Random(tool.spec.name)
    base = small_world()
    paths = [name.removeprefix("files/") for name in base]
    (folder / "canary").write_text("canary")
    world = World(folder / "0", base)
    succeeded, complaint = 0, ""
    for number in range(calls):
        if number % 50 == 0:
            world = World(folder / str(number), base)
        arguments = _random_arguments(tool, rng, [*paths, *paths, "notes", "reports", *NASTY])
        try:
            result = world.call(tool, **arguments)
        except (ToolError, DataError) as error:
            complaint = str(error)
        else:
            succeeded += 1
            assert isinstance(result, dict)
            assert len(json.dumps(result, ensure_ascii=False).encode()) < 16_000, arguments
    assert succeeded
    assert len(complaint) < 2000
    assert (folder / "canary").read_text() == "canary"
    assert {path.name for path in folder.iterdir()} <= {"canary", *map(str, range(calls))}
    assert not [path for path in world.workspace.root.iterdir() if path.name not in ("files", "databases")]


def _random_arguments(tool: Tool, rng: random.Random, texts: list[str]) -> dict[str, Any]:
    arguments = dict(rng.choice(tool.examples))
    for name, schema in tool.spec.parameters["properties"].items():
        if rng.random() < 0.4:
            arguments[name] = random_value(schema, rng, texts)
    return arguments


def random_value(schema: dict[str, Any], rng: random.Random, texts: Sequence[str]) -> Any:
    """A value that fits a JSON Schema, but for patterns; its texts are among those given."""
    if "anyOf" in schema or "oneOf" in schema:
        return random_value(rng.choice(schema.get("anyOf") or schema["oneOf"]), rng, texts)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return rng.choice(schema["enum"])
    kind = schema.get("type")
    if kind == "object" and "properties" in schema:
        required, inner = schema.get("required", ()), schema["properties"].items()
        return {
            name: random_value(value, rng, texts) for name, value in inner if name in required or rng.random() < 0.5
        }
    if kind == "object":
        inner_schema = schema.get("additionalProperties")
        values = inner_schema if isinstance(inner_schema, dict) else {}
        return {rng.choice(texts): random_value(values, rng, texts) for _ in range(rng.randrange(4))}
    if kind == "array":
        least = schema.get("minItems", 0)
        return [random_value(schema.get("items", {}), rng, texts) for _ in range(rng.randint(least, least + 3))]
    return _plain(schema, kind, rng, texts)


def _plain(schema: dict[str, Any], kind: str | None, rng: random.Random, texts: Sequence[str]) -> Any:
    if kind in ("integer", "number"):
        low, high = schema.get("minimum", -(10**9)), schema.get("maximum", 10**9)
        number = rng.choice((low, high, rng.uniform(low, high), low + rng.random() * min(10, high - low)))
        return int(number) if kind == "integer" else float(number)
    if kind == "string":
        text = rng.choice(texts)
        return text[: schema.get("maxLength", len(text))] or "x" * schema.get("minLength", 0)
    if kind == "boolean":
        return rng.random() < 0.5
    return None if kind == "null" else rng.choice([None, True, 0, 1.5, *texts, [], [1, "a"], {}, {"a": {"b": [1]}}])


def refused(kind: str, text: str = "") -> Any:
    """A context in which a tool must refuse with an error of this kind whose message holds the text."""
    return _Refused(kind, text)


class _Refused:
    def __init__(self, kind: str, text: str) -> None:
        self.kind, self.text = kind, text

    def __enter__(self) -> None:
        return None

    def __exit__(self, exception_type: Any, error: Any, traceback: Any) -> bool:
        assert isinstance(error, ToolError), f"expected {self.kind}, got {error!r}"
        assert error.kind == self.kind, (error.kind, error.message)
        assert self.text in error.message, error.message
        return True
