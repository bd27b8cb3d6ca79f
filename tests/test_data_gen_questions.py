import asyncio
import json
import subprocess
import sys
from collections import Counter
from contextlib import asynccontextmanager
from random import Random

import pytest
from tool_calls import DESK

from data_gen.blueprints import Discard, Workshop, overlaps
from data_gen.grounding import draw_arguments, load_facts
from data_gen.journal import Journal
from data_gen.modes import why_not
from data_gen.questions import main, write_questions
from data_gen.roles import ScriptedTeacher, Slot
from data_gen.spoken import mentions
from mcpserver.catalogue import all_tools
from mcpserver.world import open_world
from toolwright.artifacts import read_manifest, read_records
from toolwright.calls import check_arguments
from toolwright.config import DataGenConfig
from toolwright.records import MODES, Question, Step, ToolCall, ToolResult, ToolSpec

COUNT = 150


def write(tmp_path, count, *, seed=17, **settings):
    async def run():
        config = DataGenConfig(n_questions=count, **settings)
        async with open_world(settings=DESK) as world:
            teacher = ScriptedTeacher(Workshop.open(world, own_tools=True), tuple(config.tools_per_question))
            with Journal(tmp_path / "journal.jsonl", "key") as journal:
                return await write_questions(teacher, config, seed, journal)

    return asyncio.run(run())


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write(tmp_path_factory.mktemp("questions"), COUNT)


@pytest.fixture(scope="module")
def shop():
    async def open_shop():
        async with open_world(settings=DESK) as world:
            return Workshop.open(world, own_tools=True)

    return asyncio.run(open_shop())


def test_exactly_as_many_questions_as_asked_for_in_all_modes_and_none_twice(written):
    questions, counts = written
    assert [question.id for question in questions] == [f"q{n:06d}" for n in range(COUNT)]
    assert {question.mode for question in questions} == set(MODES)
    assert len({question.text.casefold() for question in questions}) == COUNT
    assert counts["questions"] == COUNT == sum(counts["mode"].values())
    assert counts["drawn"] == COUNT + sum(counts["dropped"].values())


def test_questions_are_short_and_tell_every_value_but_the_hidden_one(written):
    for question in written[0]:
        assert len(question.text.split()) <= 35
        for number, step in enumerate(question.plan.steps):
            for call in step.calls:
                untold = [name for name, value in call.arguments.items() if not mentions(question.text, value)]
                assert len(untold) == (number if question.mode == "dependent" else 0), question.text


def test_plans_hold_what_their_mode_says(written, shop):
    for question in written[0]:
        plan = question.plan
        assert plan.mode == question.mode
        assert why_not(plan.mode, plan.steps, question.text) is None
        assert all(len(step.calls) == len(step.results) for step in plan.steps)
        assert plan.state
        if question.mode == "missing_parameter":
            spec = shop.specs[plan.about]
            assert plan.missing in spec.parameters["required"]
            assert plan.missing.replace("_", " ") in question.answer


def test_the_needed_tools_are_on_offer_and_none_that_could_do_the_same(written, shop):
    orders = Counter()
    for question in written[0]:
        needed = {call.name for call in question.plan.calls}
        about = question.plan.about
        assert needed <= set(question.tools)
        assert len(set(question.tools)) == len(question.tools) <= 4
        if question.mode == "missing_parameter":
            assert about in question.tools
        if question.mode == "no_tool":
            assert about not in question.tools
        if question.mode == "single":
            (name,) = needed
            orders[question.tools.index(name)] += 1
            assert not any(overlaps(shop, shop.specs[name], shop.specs[n]) for n in question.tools if n != name)
    assert len(orders) >= 3  # shuffled


def test_the_same_seed_gives_the_same_questions_and_a_longer_run_begins_with_a_shorter_one(written, tmp_path):
    shorter, _ = write(tmp_path / "a", 40)
    other, _ = write(tmp_path / "b", 40, seed=18, concurrency=3)
    again, _ = write(tmp_path / "c", 40, concurrency=3)
    assert shorter == again == written[0][:40]
    assert other != shorter


def test_a_run_that_was_cut_continues_without_writing_anything_twice(written, tmp_path):
    write(tmp_path, 30)
    journal = tmp_path / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:21]) + lines[21][:40])
    questions, _ = write(tmp_path, 60)
    assert questions == written[0][:60]
    assert journal.read_bytes().splitlines(keepends=True)[:31] == lines


def test_a_journal_of_other_settings_is_begun_anew(tmp_path):
    with Journal(tmp_path / "j", "one") as journal:
        journal.add({"id": "a"})
    with Journal(tmp_path / "j", "one") as journal:
        assert list(journal.entries) == ["a"]
    with Journal(tmp_path / "j", "two") as journal:
        assert journal.entries == {}


class _OneTool:
    tools = [ToolSpec(name="ping", description="Ping the server")]

    def toolset(self, name):
        return "ping"

    @asynccontextmanager
    async def environment(self, seed):
        yield self

    async def call(self, call):
        return ToolResult(content="pong")

    async def state(self):
        return None


def write_with_one_tool(tmp_path, mode, count):
    async def run():
        teacher = ScriptedTeacher(Workshop.open(_OneTool(), own_tools=False), (1, 2))
        with Journal(tmp_path / "journal.jsonl", "key") as journal:
            return await write_questions(teacher, DataGenConfig(n_questions=count, modes={mode: 1.0}), 1, journal)

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("single", "near-duplicate"),
        ("multiple", "there is only one tool"),
        ("dependent", "no other tool takes"),
        ("missing_parameter", "no tool has a required parameter"),
    ],
)
def test_too_few_questions_are_an_error_that_says_why(tmp_path, mode, reason):
    with pytest.raises(ValueError, match=rf"only \d of 30 questions: no {mode} question in 200 attempts: .*{reason}"):
        write_with_one_tool(tmp_path, mode, 30)


def test_a_tool_without_parameters_can_be_asked_for(tmp_path):
    questions, _ = write_with_one_tool(tmp_path, "single", 1)
    assert questions[0].plan.calls == (ToolCall(name="ping"),)
    assert "ping" in questions[0].text.casefold()


def test_a_plan_whose_call_fails_is_dropped_with_its_reason(shop):
    class Broken(_OneTool):
        async def call(self, call):
            return ToolResult(content="no", error="tool_error")

    teacher = ScriptedTeacher(Workshop.open(Broken(), own_tools=False), (1, 2))
    with pytest.raises(Discard, match="a call failed: tool_error"):
        asyncio.run(teacher.write(Slot(0, 0, "single", 1)))


A, B = ToolCall(name="a", arguments={"x": 1}), ToolCall(name="b", arguments={"y": 31.25})
PRICE = '{"price": 31.25}'


@pytest.mark.parametrize(
    ("mode", "steps", "text", "problem"),
    [
        ("single", [Step(calls=(A,))], "", None),
        ("single", [Step(calls=(A, B))], "", "2 calls"),
        ("parallel", [Step(calls=(A, A))], "", "twice"),
        ("parallel", [Step(calls=(A,)), Step(calls=(A,))], "", "one turn"),
        ("parallel", [Step(calls=(A, B))], "", "several tools"),
        ("parallel", [Step(calls=(B, B.model_copy(update={"arguments": {"y": 1}})))], "", None),
        ("multiple", [Step(calls=(A, B), results=(PRICE, "1"))], "", None),
        ("multiple", [Step(calls=(A,))], "", "fewer than two"),
        ("multiple", [Step(calls=(A,), results=(PRICE,)), Step(calls=(B,))], "", "depends"),
        ("dependent", [Step(calls=(A,), results=(PRICE,)), Step(calls=(B,))], "round it", None),
        ("dependent", [Step(calls=(A,), results=(PRICE,)), Step(calls=(B,))], "round 31.25", "no call depends"),
        ("dependent", [Step(calls=(A,), results=("{}",)), Step(calls=(B,))], "round it", "no call depends"),
        ("dependent", [Step(calls=(A, B), results=(PRICE, "1"))], "round it", "no call depends"),
        ("no_tool", [], "", None),
        ("no_tool", [Step(calls=(A,))], "", "none was wanted"),
        ("missing_parameter", [Step(calls=(A,))], "", "none was wanted"),
    ],
)
def test_modes_are_checked_on_the_calls(mode, steps, text, problem):
    found = why_not(mode, steps, text)
    assert found is None if problem is None else problem in found


def test_arguments_are_grounded_in_what_there_is(written, shop):
    facts = load_facts()
    for question in written[0]:
        for call in question.plan.calls:
            assert check_arguments(shop.specs[call.name], call.arguments) == []
            if call.name == "read_file" and question.mode == "single":
                assert call.arguments["path"] in facts.files


def run_main(tmp_path, *words):
    return main([*words, f"runs_dir={tmp_path}"])


def test_the_command_writes_questions_with_a_manifest_and_then_has_nothing_to_do(tmp_path, capsys):
    assert run_main(tmp_path, "-n", "12") == 0
    path = tmp_path / "tiny" / "questions.jsonl"
    questions = read_records(path, Question)
    assert len(questions) == 12
    manifest = read_manifest(path)
    assert manifest.counts["questions"] == 12
    assert manifest.counts["drawn"] >= 12
    first = path.read_bytes()
    assert run_main(tmp_path, "-n", "12") == 0
    assert "up to date" in capsys.readouterr().out
    assert run_main(tmp_path, "-n", "14") == 0
    assert path.read_bytes().startswith(first)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["data_gen.modes={sinlge: 1.0}"], "data_gen.modes.sinlge"),
        (["data_gen.modes={single: -1.0}"], "weights of at least 0"),
        (["data_gen.modes={single: 0.0}"], "weights of at least 0"),
        (["data_gen.tools_per_question=[4, 2]"], "tools_per_question"),
        (["-n", "0"], "n_questions"),
        (["--mcp-config", "/nowhere/mcp.json"], "/nowhere/mcp.json"),
    ],
)
def test_wrong_settings_are_one_line_and_exit_code_2(tmp_path, capsys, words, complaint):
    assert run_main(tmp_path, *words) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert len(error.strip().splitlines()) == 1


def test_the_same_run_twice_at_once_is_refused(tmp_path):
    command = [sys.executable, "-m", "data_gen.questions", "-n", "400", f"runs_dir={tmp_path}"]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    journal = tmp_path / "tiny" / ".questions.journal.jsonl"
    while first.poll() is None and not journal.exists():
        pass
    second = subprocess.run(command, capture_output=True, text=True, check=False)
    assert second.returncode == 2
    assert f"is being made by process {first.pid}" in second.stderr
    assert first.wait() == 0
    assert len((tmp_path / "tiny" / "questions.jsonl").read_text().splitlines()) == 400


def test_help_names_every_key(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert "--n-questions" in text
    assert "--mcp-config" in text
    assert "data_gen.heldout_tools = 3" in text


def test_a_question_survives_its_file(written, tmp_path):
    for question in written[0][:20]:
        assert Question.model_validate(json.loads(question.model_dump_json())) == question


def test_a_tool_that_wants_paths_is_mostly_asked_with_what_is_there():
    tool = all_tools()["image_resize"]
    drawn = [draw_arguments(tool.spec, Random(seed), load_facts()) for seed in range(60)]
    assert 25 < sum(arguments in tool.examples for arguments in drawn) < 60
