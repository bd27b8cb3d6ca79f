import datetime
import gzip
import json
import os
import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tool_calls import World
from tool_checks import check_example, check_random_calls, examples_of, refused, small_world, tools_of

from mcpserver.tool_error import ToolError
from mcpserver.toolbox.cron import parse_schedule, runs_after
from mcpserver.toolbox.settings_files import change_env, read_env
from mcpserver.tools.system import logs, schedules, system, variables
from mcpserver.tools.system import settings as settings_tools

MODULES = (system, variables, schedules, logs, settings_tools)


@pytest.fixture
def world(tmp_path):
    return World(tmp_path / "env", small_world())


@pytest.mark.parametrize(("tool", "example"), examples_of(*MODULES))
def test_examples_work_and_are_repeatable(tool, example, tmp_path):
    check_example(tool, example, tmp_path)


@pytest.mark.parametrize("tool", tools_of(*MODULES), ids=lambda tool: tool.spec.name)
def test_random_calls_fail_in_the_typed_way_only(tool, tmp_path):
    check_random_calls(tool, tmp_path)


def test_variables_are_kept_in_a_file_and_never_those_of_the_process(world, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "hush")
    assert world.call(variables.read_variables)["variables"] == []
    with refused("tool_error", "not set"):
        world.call(variables.expand_variables, text="$SECRET_TOKEN ${HOME}")
    world.write(".env", "# desk\nexport DESK='old'\nEMPTY=\nbroken line\n")
    result = world.call(variables.set_variables, values={"DESK": 'a "b" $c\n', "NEW": "x y"})
    assert result == {"set": ["DESK", "NEW"], "new": ["NEW"]}
    assert world.workspace.read_text(".env").startswith("# desk\nDESK=")
    rows = world.call(variables.read_variables, names=["NEW"])["variables"]
    assert rows == [{"name": "NEW", "value": "x y"}]
    assert (
        world.call(variables.expand_variables, text="$NEW-${EMPTY}-$$NEW-$NONE", unset="keep")["text"]
        == "x y--$NEW-$NONE"
    )
    assert world.call(variables.unset_variables, names=["NEW", "NONE"]) == {"unset": ["NEW"], "left": 2}
    assert "broken line" in world.workspace.read_text(".env")
    with refused("bad_arguments", "no name"):
        world.call(variables.set_variables, values={"A=B": "x"})


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.from_regex(r"[A-Z_][A-Z0-9_]{0,5}", fullmatch=True), st.text(max_size=20), max_size=4))
def test_variables_come_back_as_they_were_set(values):
    assert read_env(change_env("A=1\n", dict(values))) == {"A": "1"} | values


def test_the_clock_stands_still(world):
    clock = world.call(system.read_clock)
    assert (clock["date"], clock["time"], clock["weekday"]) == ("2025-03-17", "09:00", "Monday")
    assert (clock["iso_week"], clock["day_of_year"], clock["quarter"]) == ("2025-W12", 76, 1)


def test_room_is_counted(world):
    before = world.call(system.show_free_space)
    world.write("x", b"12345")
    after = world.call(system.show_free_space)
    assert (before["free_bytes"] - after["free_bytes"], after["files"] - before["files"]) == (5, 1)


def test_paths_are_joined_but_never_out_of_the_files(world):
    result = world.call(system.join_paths, parts=["reports", "../data/./", "sales.csv"])
    assert (result["path"], result["is"], result["extension"]) == ("data/sales.csv", "file", ".csv")
    assert world.call(system.join_paths, parts=["data"])["is"] == "folder"
    for parts in (["..", "x"], ["/etc", "passwd"], ["a", "../../x"], ["~", "x"]):
        with refused("denied"):
            world.call(system.join_paths, parts=parts)
    assert world.call(system.relate_paths, path="docs/a.md", start="docs/x/y") == {
        "relative": "../../a.md",
        "common": "docs",
    }


def test_permissions_are_real(world):
    world.call(system.set_permissions, path="code/fib.py", mode="755")
    assert os.stat(world.workspace.files / "code/fib.py").st_mode & 0o777 == 0o755
    change = {"change": "take", "who": ["group", "others"], "rights": ["read", "execute"]}
    assert world.call(system.set_permissions, path="code/fib.py", mode=change)["octal"] == "700"
    listed = {row["path"]: row["permissions"] for row in world.call(system.list_permissions, folder="code")["entries"]}
    assert listed["code/fib.py"] == "-rwx------"
    for mode, kind in (("000", "denied"), ("4755", "bad_arguments"), ("9999", "bad_arguments")):
        with refused(kind):
            world.call(system.set_permissions, path="code/fib.py", mode=mode)
    with refused("denied", "folder"):
        world.call(system.set_permissions, path="code", mode="600")
    with refused("denied", "top"):
        world.call(system.set_permissions, path=".", mode="700")


def test_links_are_listed_and_never_followed(world, tmp_path):
    (tmp_path / "secret").write_text("secret")
    top = world.workspace.files
    os.symlink(tmp_path, top / "notes" / "door")
    os.symlink("loop", top / "loop")
    rows = world.call(system.list_links)["links"]
    assert [row["path"] for row in rows] == ["loop", "notes/door"]
    with refused("denied", "link"):
        world.call(system.set_permissions, path="notes/door/secret", mode="777")
    os.symlink(tmp_path / "secret", top / ".env")
    for function, arguments in (
        (variables.read_variables, {}),
        (variables.set_variables, {"values": {"A": "b"}}),
        (settings_tools.read_settings, {"path": ".env"}),
    ):
        with refused("denied", "link"):
            world.call(function, **arguments)
    assert (tmp_path / "secret").read_text() == "secret"


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=("Cs",)), max_size=10), min_size=1, max_size=5))
def test_command_lines_come_back(words):
    assert shlex.split(system.quote_command(words)["command"]) == words


def test_an_open_quote_is_explained(world):
    with refused("bad_arguments", "quotation"):
        world.call(system.split_command, text="echo 'a")


@pytest.mark.parametrize(
    ("schedule", "after", "runs"),
    [
        ("*/15 9-17 * * mon-fri", "2025-03-17 17:40", ["2025-03-17 17:45", "2025-03-18 09:00"]),
        ("0 0 29 2 *", "2025-01-01 00:00", ["2028-02-29 00:00", "2032-02-29 00:00"]),
        ("0 12 13 * 5", "2025-03-01 00:00", ["2025-03-07 12:00", "2025-03-13 12:00"]),
        ("0 12 */10 * 5", "2025-03-01 12:00", ["2025-03-21 12:00", "2025-04-11 12:00"]),
        ("30 6 1,15 jan-feb/1 *", "2025-02-14 00:00", ["2025-02-15 06:30", "2026-01-01 06:30"]),
        ("0 0 * * 7", "2025-03-17 00:00", ["2025-03-23 00:00", "2025-03-30 00:00"]),
        ("5/20 0 * * *", "2025-03-17 00:05", ["2025-03-17 00:25", "2025-03-17 00:45"]),
        ("@yearly", "9999-12-31 00:00", []),
        ("0 0 30 2 *", "2025-01-01 00:00", []),
    ],
)
def test_schedules_fall_due(world, schedule, after, runs):
    found = world.call(schedules.next_runs, schedule=schedule, after=after, count=2)["runs"]
    assert [run.split(" ", 1)[1] for run in found] == runs


@pytest.mark.parametrize(
    "schedule",
    ["", "* * * *", "60 * * * *", "* * 0 * *", "*/0 * * * *", "5-1 * * * *", "@dayly", "a * * * *", "-1 * * * *"],
)
def test_wrong_schedules_are_refused(schedule):
    with refused("bad_arguments", "schedule"):
        parse_schedule(schedule)


@settings(max_examples=100, deadline=None)
@given(st.text("0123456789*/,-@adfimnost ", max_size=20), st.integers(0, 2000))
def test_any_schedule_is_refused_or_falls_due_later(schedule, days):
    moment = datetime.datetime(2024, 1, 1) + datetime.timedelta(days=days)
    try:
        runs = runs_after(parse_schedule(schedule), moment)
    except ToolError:
        return
    first = next(runs, None)
    assert first is None or first > moment


def test_jobs_are_noted_listed_and_removed(world):
    assert world.call(schedules.list_scheduled_jobs)["jobs"] == []
    world.write("crontab", "# jobs\nMAILTO=desk\n99 * * * * bad\n")
    new = {"schedule": "0  8 * * *", "command": "run %"}
    changed = world.call(schedules.change_scheduled_jobs, add=[new])
    assert changed == {"added": ["0 8 * * * run %"], "removed": 0, "jobs": 2}
    jobs = world.call(schedules.list_scheduled_jobs)["jobs"]
    assert jobs[1] == {"line": 4, "schedule": "0 8 * * *", "command": "run %", "next_run": "Tue 2025-03-18 08:00"}
    assert "minute" in jobs[0]["problem"]
    before = world.workspace.read_text("crontab")
    with refused("tool_error", "no job in line 1; lines with jobs: 3, 4"):
        world.call(schedules.change_scheduled_jobs, add=[new], remove=[1])
    for command in ("a\n* * * * * evil", "a\r* * * * * evil", "a\u2028b", "  "):
        with refused("bad_arguments", "add[1].command"):
            world.call(schedules.change_scheduled_jobs, add=[new, {"schedule": "@daily", "command": command}])
    assert world.workspace.read_text("crontab") == before
    with refused("bad_arguments", "minute"):
        world.call(schedules.preview_schedule)
    world.call(schedules.change_scheduled_jobs, remove=[3])
    assert world.workspace.read_text("crontab") == "# jobs\nMAILTO=desk\n0 8 * * * run %\n"
    runs = world.call(schedules.preview_schedule, hours=48)["runs"]
    assert [run["run"] for run in runs] == ["Tue 2025-03-18 08:00", "Wed 2025-03-19 08:00"]


LOG = """2025-03-14 08:00:01 ERROR orders rejected
Traceback (most recent call last):
  boom
2025-03-14 08:05:00 INFO http ok
[2025-03-14T23:59:00Z] [warn]: disk full
2025-03-15 10:00:00.123 no level
10.0.0.7 - - [15/Mar/2025:11:00:00 +0000] "GET /a HTTP/1.1" 503 -
2025-99-99 10:00:00 INFO no such day
"""


@pytest.mark.parametrize(
    ("where", "lines"),
    [
        ({"levels": ["ERROR"]}, [1, 7]),
        ({"levels": ["WARNING", "INFO"]}, [4, 5]),
        ({"since": "2025-03-14 08:05", "until": "2025-03-14"}, [4, 5]),
        ({"contains": "boom"}, [1]),
        ({"without": "e", "levels": ["INFO"]}, [4]),
        ({"source": "10.0.0.7"}, [7]),
        ({}, [1, 4, 5, 6, 7]),
    ],
)
def test_logs_are_filtered(world, where, lines):
    world.write("x.log", LOG)
    assert [row["line"] for row in world.call(logs.filter_log, path="x.log", where=where)["entries"]] == lines


@pytest.mark.parametrize(
    ("by", "groups"),
    [
        ("level", [("INFO", 1), ("WARNING", 1), ("ERROR", 2), ("none", 1)]),
        ("day", [("2025-03-14", 3), ("2025-03-15", 2)]),
        ("hour", [("2025-03-14 08:00", 2), ("2025-03-14 23:00", 1), ("2025-03-15 10:00", 1), ("2025-03-15 11:00", 1)]),
        ("weekday", [("Friday", 3), ("Saturday", 2)]),
        ("status", [("none", 4), ("503", 1)]),
    ],
)
def test_logs_are_counted(world, by, groups):
    world.write("x.log", LOG)
    assert [(row[by], row["count"]) for row in world.call(logs.count_log, path="x.log", by=by)["groups"]] == groups


def test_silence_and_wrong_moments_are_found(world):
    world.write("x.log", LOG)
    gaps = world.call(logs.find_log_gaps, path="x.log", minutes=600)["gaps"]
    assert [gap["minutes"] for gap in gaps] == [954.0, 601.0]
    with refused("bad_arguments", "where.since"):
        world.call(logs.filter_log, path="x.log", where={"since": "yesterday at noon"})
    with refused("tool_error", "begins with a time"):
        world.call(logs.find_log_gaps, path="notes/credit.md")


def test_logs_rotate_and_old_ones_drop(world):
    for text in ("one", "two", "three", "four"):
        world.write("x.log", text)
        result = world.call(logs.rotate_log, path="x.log", keep=2, compress=text == "three")
    assert result == {"log": "x.log", "old_logs": ["x.log.1", "x.log.2.gz"], "dropped": 1, "bytes_put_away": 4}
    assert world.workspace.read_text("x.log") == ""
    assert world.workspace.read_text("x.log.1") == "four"
    assert gzip.decompress(world.workspace.read_bytes("x.log.2.gz")) == b"three"
    assert [name for name in world.workspace.names() if name.startswith("x.log")] == ["x.log", "x.log.1", "x.log.2.gz"]


@pytest.mark.parametrize(
    ("path", "key", "value"),
    [
        ("data/app.ini", "server.port", "8080"),
        ("data/app.toml", "server.port", 8080),
        ("data/settings.yaml", "server.debug", False),
        ("data/pipeline.yaml", "steps[-1].name", "save"),
        ("config/desk.json", "limits.hubs[0]", "TTF"),
    ],
)
def test_settings_are_read_by_key(world, path, key, value):
    assert world.call(settings_tools.read_settings, path=path, key=key)["settings"][0]["value"] == value
    with refused("tool_error", "nothing is at"):
        world.call(settings_tools.read_settings, path=path, key="no.such")


def test_one_setting_is_changed_and_the_rest_stays(world):
    world.call(settings_tools.change_setting, path="data/app.ini", keys=["server", "port"], value=9090)
    world.call(settings_tools.change_setting, path="data/app.ini", keys=["server", "tls"], value=True)
    world.call(settings_tools.change_setting, path="data/app.ini", keys=["new", "a"], value="b")
    assert world.workspace.read_text("data/app.ini") == (
        "[server]\nhost = localhost\nport = 9090\n; a note\ntls = true\n[log]\nlevel = info\n\n[new]\na = b\n"
    )
    for path in ("config/desk.json", "data/app.toml", "data/settings.yaml"):
        world.call(settings_tools.change_setting, path=path, keys=["deep", "er"], value=["x", 1])
        assert world.call(settings_tools.read_settings, path=path, key="deep.er")["settings"][0]["value"] == ["x", 1]
    assert json.loads(world.workspace.read_text("config/desk.json"))["limits"]["mw"] == 50
    for keys, value in ((["server"], "x"), (["a", "b\nc"], "x"), (["server", "port"], "a\nb"), (["a]", "b"], "x")):
        with refused("bad_arguments"):
            world.call(settings_tools.change_setting, path="data/app.ini", keys=keys, value=value)


def test_settings_are_compared_by_value(world):
    world.write("a.yaml", "x: 1\ny: [1, 2]\n")
    world.write("b.json", '{"y": [1, 3], "x": 1, "z": null}')
    result = world.call(settings_tools.compare_settings, first="a.yaml", second="b.json")
    assert result["differences"] == [
        {"key": "/y/1", "difference": "changed", "value": 3},
        {"key": "/z", "difference": "only in second", "value": None},
    ]
    with refused("bad_arguments", "form"):
        world.call(settings_tools.compare_settings, first="notes/credit.md", second="b.json")
