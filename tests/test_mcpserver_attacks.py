import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from attacks.cases import Case, evaluate, fill, read_cases
from attacks.faces import Reply
from attacks.judge import judge
from attacks.names import TABLE
from attacks.play import Outcome
from attacks.setup import setup_code, steps
from attacks.tools import find_target, fit_arguments
from mcpserver.catalogue import catalogue
from mcpserver.sandbox.level import choose_level
from toolwright.errors import DataError

ROOT = Path(__file__).resolve().parents[1]
OWN, SHARED = ROOT / "tests/data/attacks.jsonl", ROOT.parent / "shared/data/sandbox_attacks.jsonl"


def attack(*arguments, **variables):
    return subprocess.run(
        [sys.executable, "-m", "attacks", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | variables,
        check=False,
    )


@pytest.mark.parametrize("path", [OWN, SHARED], ids=["own", "shared"])
def test_every_attack_comes_out_as_it_must(path):
    if not path.exists():
        pytest.skip(f"{path} is not there")
    if choose_level() is None:
        pytest.skip("no sandbox works on this machine: `python -m mcpserver doctor` says why")
    done = attack(path)
    count = sum(bool(line.strip()) for line in path.read_text().splitlines())
    assert done.stdout.splitlines()[-1] == f"{count} passed, 0 failed", done.stdout + done.stderr
    assert done.returncode == 0


def test_lines_that_are_no_case_are_named_and_fail(tmp_path):
    if choose_level() is None:
        pytest.skip("no sandbox works on this machine: `python -m mcpserver doctor` says why")
    good = {"id": "a", "kind": "x", "tool_kind": "args", "payload": {"tool": "add", "args": {"a": 1, "b": 2}}}
    rows = [
        json.dumps({**good, "must": "ok: 3"}),
        "{",
        "[]",
        json.dumps({**good, "must": "ok"}),
        json.dumps({**good, "id": "b", "must": "shine: always"}),
        json.dumps({**good, "id": "c", "must": "error: it is none"}),
        json.dumps({**good, "id": "d", "must": "ok", "payload": {**good["payload"], "setup": [{"explode": 1}]}}),
        json.dumps({**good, "id": "e", "must": "ok", "payload": {"tool": "add", "args": {"a": "${NOWHERE}"}}}),
    ]
    path = tmp_path / "cases.jsonl"
    path.write_text("\n".join(rows) + "\n\n")
    done = attack(path)
    lines = done.stdout.splitlines()
    assert (done.returncode, lines[-1]) == (1, "1 passed, 7 failed")
    for number in (2, 3, 4, 5, 7, 8):
        assert any(f"{path}:{number}: " in line for line in lines), (number, lines)
    assert "no step 'explode'" in done.stdout
    assert any(line.startswith("FAILED c: must error: it is none; not an error") for line in lines)


def test_nothing_runs_without_a_sandbox_unless_that_is_said(tmp_path):
    done = attack(OWN, "--sandbox", "none")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--i-know" in done.stderr
    missing = attack(tmp_path / "none.jsonl")
    assert (missing.returncode, missing.stderr.count("\n")) == (2, 1)


def a_case(must, payload="1", kind="escape", tool_kind="python"):
    return Case("f:1", "x", kind, tool_kind, payload, must)


def outcome(*replies, **more):
    return Outcome(replies=[Reply(*reply) for reply in replies], **more)


CALL = {"tool": "read_file", "args": {}}
JUDGED = [
    (a_case("deny: x", CALL, tool_kind="file"), outcome(("denied: no", "denied")), True),
    (a_case("deny: x", CALL, tool_kind="file"), outcome(('{"text": ""}', None)), False),
    (a_case("deny: x", CALL, tool_kind="file"), outcome(("late", "timeout")), False),
    (a_case("deny: or an empty list", CALL, tool_kind="file"), outcome(('{"files": []}', None)), True),
    (a_case("deny: or an empty list", CALL, tool_kind="file"), outcome(('{"files": ["a"]}', None)), False),
    (a_case("deny: x", "print('CONNECTED')"), outcome(("CONNECTED", None)), False),
    (a_case("deny: x", "print('CONNECTED')"), outcome(("111", None)), True),
    (a_case("deny: x", "import ctypes\nprint(l.mount())"), outcome(("0", None)), False),
    (a_case("deny: x"), outcome(("no", "denied"), wrong=["the base was changed"]), False),
    (a_case("error: x", CALL), outcome(("fine", None)), False),
    (a_case("error: unknown tool", CALL), outcome(("x", "bad_arguments")), False),
    (a_case("error: x", CALL), outcome(("the parser raised", "crash")), False),
    (a_case("error: x, within 2 s", CALL), outcome(("x", "tool_error", 60.0)), False),
    (a_case("limit: x"), outcome(("ok", None)), False),
    (a_case("limit: x"), outcome(("MemoryError", "limit")), True),
    (a_case("limit: x", CALL), outcome(("a file holds at most 5 bytes", "bad_arguments")), True),
    (a_case("timeout: x"), outcome(("x", "timeout", 2.1), limit_s=2.0), True),
    (a_case("timeout: x"), outcome(("x", "timeout", 60.0), limit_s=2.0), False),
    (a_case("timeout-or-limit: x"), outcome(("x", "limit")), True),
    (a_case("truncate: x"), outcome(("y" * 100, None)), False),
    (a_case("truncate: x"), outcome(("y [cut: 5 bytes]", None)), True),
    (a_case("ok: x", {"repeat": 2, **CALL}, tool_kind="api"), outcome(("1", None), ("2", None)), False),
    (a_case("ok: strict JSON", CALL, tool_kind="sql"), outcome(('{"a": NaN}', None)), False),
    (a_case("ok: it is kept, or refused", CALL, tool_kind="file"), outcome(("no", "bad_arguments")), True),
    (a_case("isolated: x"), outcome(("42", None), control=Reply("None", None)), False),
    (a_case("isolated: x"), outcome(("a", None), ("b", None), expected=["a", "a"]), False),
    (a_case("clean: x"), outcome(("x", None), wrong=["process 7 (sleep 86391) is left"]), False),
    (a_case("deny-or-inside: x", CALL, tool_kind="archive"), outcome(("{}", None)), True),
]


@pytest.mark.parametrize(("case", "happened", "passes"), JUDGED)
def test_the_judge_is_strict(case, happened, passes):
    assert (judge(case, happened) == "") is passes


def test_every_generic_name_means_a_tool_of_the_catalogue():
    tools = catalogue((str(ROOT / "attacks/extra_tools.py"),))
    assert {target.name for target in TABLE.values()} <= tools.keys()
    for name, target in TABLE.items():
        parameters = tools[target.name].spec.parameters["properties"]
        assert {*target.renamed.values(), *target.given} <= parameters.keys(), name


def test_arguments_find_the_parameters_that_they_mean():
    tools = catalogue((str(ROOT / "attacks/extra_tools.py"),))

    def fit(name, arguments, tool_kind="file"):
        target = find_target(name, a_case("ok", tool_kind=tool_kind, kind="x"), tools)
        return target.name, fit_arguments(arguments, target, tools[target.name], complete=tool_kind != "args")

    assert fit("move_file", {"src": "a", "dst": "b"}) == ("move_file", {"source": "a", "target": "b"})
    assert fit("unzip", {"path": "e.zip", "dest": "o"}) == ("extract_archive", {"path": "e.zip", "folder": "o"})
    assert fit("sql_query", {"query": "SELECT 1"}) == ("query_database", {"query": "SELECT 1", "database": "users"})
    assert fit("hash_file", {"path": "a"}) == ("checksum_files", {"paths": ["a"]})
    assert fit("mean", {"xs": [1]}, "args") == ("mean", {"values": [1]})
    assert fit("add", {"a": 1, "self": 1}, "args") == ("add", {"a": 1, "self": 1})
    assert fit("crop_picture_to_box", {"path": "a.png", "box": [0, 0, 1, 1]})[0] == "image_crop"
    assert find_target("Read_File", a_case("error: unknown tool"), tools) is None
    assert find_target("re\u0430d_file", a_case("deny"), tools) is None


def test_payloads_are_filled_in_and_expressions_are_read_but_not_run():
    assert fill({"a": ["${X}y", {"$repeat": ["ab", 3]}, {"$repeat_list": [1, 2]}]}, {"X": "x"}) == {
        "a": ["xy", "ababab", [1, 1]]
    }
    assert evaluate("'[' * 3 + ','.join(['1'] * 2) + str(10**3)") == "[[[1,11000"
    for wrong in ("__import__('os').getpid()", "'x' * 10**12", "open('/etc/passwd').read()", "("):
        with pytest.raises(DataError):
            evaluate(wrong)
    with pytest.raises(DataError, match="NOWHERE"):
        fill("${NOWHERE}", {})


def test_setup_steps_are_found_by_their_other_names():
    assert steps()["fifo"] is steps()["mkfifo"]
    assert "zip_zeros" in setup_code([{"make_zip_bomb": ["b.zip", 10]}])
    with pytest.raises(DataError, match="no step"):
        setup_code([{"explode": 1}])


def test_the_cases_of_our_own_are_cases():
    cases, wrong = read_cases(OWN)
    assert not wrong
    assert len(cases) >= 100
