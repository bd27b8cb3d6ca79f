import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_gen import questions
from data_gen.assistants import scripted_assistant
from data_gen.checks import CHECKS, Played, reject
from data_gen.conversations import main
from toolwright.artifacts import read_manifest, read_records, read_rows
from toolwright.chat import ScriptedChat
from toolwright.dialect import parse
from toolwright.episode import play
from toolwright.errors import DataError
from toolwright.records import Conversation, Message, Plan, Question, Step, ToolCall, ToolResult, ToolSpec

NUMBER = {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"], "additionalProperties": False}
TOOLS = (ToolSpec(name="double", parameters=NUMBER), ToolSpec(name="fail", parameters=NUMBER))


class Doubling:
    """Doubles numbers; ``fail`` fails."""

    async def call(self, call):
        if call.name == "fail":
            return ToolResult(content="broken", error="tool_error")
        return ToolResult(content=json.dumps({"result": call.arguments["x"] * 2}))


def double(x):
    return ToolCall(name="double", arguments={"x": x})


def calls(*made):
    return Message(role="assistant", tool_calls=made)


def says(text):
    return Message(role="assistant", content=text)


SINGLE = Plan(mode="single", steps=(Step(calls=(double(3),), results=('{"result": 6}',)),), state="s")
CHAIN = Plan(
    mode="dependent",
    steps=(
        Step(calls=(double(3),), results=('{"result": 6}',)),
        Step(calls=(double(6),), results=('{"result": 12}',)),
    ),
)


def ask(plan, text="Double 3.", answer="It is {0.result.result}."):
    return Question(id="q", text=text, tools=("double",), seed=1, mode=plan.mode, plan=plan, answer=answer)


def played(question, chat, *, world=None, max_turns=5, state="s"):
    user = [Message(role="user", content=question.text)]
    episode = asyncio.run(play(chat, world or Doubling(), user, TOOLS, max_turns=max_turns))
    return Played(question, episode, state, TOOLS)


@pytest.mark.parametrize(
    ("replies", "reason"),
    [
        ([calls(double(3)), says("It is 6.")], None),
        ([calls(double(4)), says("It is 8.")], "differs from the plan"),
        ([calls(double(3)), calls(double(3)), says("It is 6.")], "differs from the plan"),
        ([says("It is 6.")], "differs from the plan"),
        ([calls(double("3")), says("It is 6.")], "invalid arguments"),
        ([calls(ToolCall(name="half", arguments={})), says("It is 6.")], "invalid arguments"),
        ([calls(ToolCall(name="fail", arguments={"x": 1})), says("No.")], "failed call"),
        ([says("<tool_call>{broken</tool_call>"), says("It is 6.")], "malformed call"),
        ([calls(double(3)), says("  ")], "no answer"),
        ([calls(double(3))] * 9, "differs from the plan"),
        ([calls(double(3)), says("It is {0.result.result}.")], "markup in the text"),
        ([calls(double(3)), says("It is <|im_end|> 6.")], "markup in the text"),
    ],
)
def test_a_bad_conversation_is_rejected_with_its_reason(replies, reason):
    rejection = reject(played(ask(SINGLE), ScriptedChat(replies)))
    assert (rejection.reason if rejection else None) == reason


def test_a_conversation_that_leaves_another_state_is_rejected():
    good = [calls(double(3)), says("It is 6.")]
    assert reject(played(ask(SINGLE), ScriptedChat(good), state="other")).reason == "other state than planned"


def test_calls_of_another_mode_are_rejected_where_there_is_no_plan():
    question = Question(id="q", text="Double 3 and 4.", tools=("double",), seed=1, mode="parallel")
    both = [calls(double(3), double(4)), says("6 and 8.")]
    assert reject(played(question, ScriptedChat(both))) is None
    assert reject(played(question, ScriptedChat([calls(double(3)), says("6.")]))).reason == "wrong mode"


def test_every_check_says_what_it_wants():
    assert all(check.__doc__ for check in CHECKS.values())


def test_the_scripted_assistant_follows_the_plan():
    result = played(ask(SINGLE), scripted_assistant(ask(SINGLE)))
    assert [call.arguments for call in result.episode.calls] == [{"x": 3}]
    assert result.episode.answer == "It is 6."
    assert parse(result.episode.answer).problems == ()


def test_a_later_argument_comes_from_the_live_result():
    class Tripling(Doubling):
        async def call(self, call):
            return ToolResult(content=json.dumps({"result": call.arguments["x"] * 3}))

    question = ask(CHAIN, "Double 3, then double it.", "It is {1.result.result}.")
    result = played(question, scripted_assistant(question), world=Tripling())
    assert [call.arguments["x"] for call in result.episode.calls] == [3, 9]
    assert result.episode.answer == "It is 27."
    assert reject(result).reason == "differs from the plan"


def test_the_scripted_assistant_needs_a_plan():
    with pytest.raises(DataError, match=r"teacher\.kind=openai"):
        scripted_assistant(Question(id="q7", text="Hello", tools=("double",), seed=1))


# ---- the command ----


def make_questions(tmp_path, count, *words):
    assert questions.main(["-n", str(count), f"runs_dir={tmp_path}", *words]) == 0
    return tmp_path / "tiny"


def run_main(tmp_path, *words):
    return main([f"runs_dir={tmp_path}", *words])


def test_conversations_are_played_on_live_tools_and_all_follow_their_plans(tmp_path):
    run = make_questions(tmp_path, 60)
    assert run_main(tmp_path) == 0
    rows = read_records(run / "conversations.jsonl", Conversation.from_row)
    asked = {question.id: question for question in read_records(run / "questions.jsonl", Question)}
    assert [row.id for row in rows] == sorted(asked)
    assert list(read_rows(run / "rejected.jsonl")) == []
    for row in rows:
        made = [(call.name, call.arguments) for message in row.messages for call in message.tool_calls]
        assert made == [(call.name, call.arguments) for call in asked[row.id].plan.calls]
        assert row.plan == asked[row.id].plan
        assert tuple(tool.name for tool in row.tools) == asked[row.id].tools
        assert row.messages[-1].content
    counts = read_manifest(run / "conversations.jsonl").counts
    assert (counts["questions"], counts["kept"], counts["rejected"]) == (60, 60, {})


def test_a_plan_that_no_longer_holds_is_rejected_and_the_others_are_kept(tmp_path):
    run = make_questions(tmp_path, 20)
    path = run / "questions.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    victim = next(row for row in rows if row["plan"]["steps"])
    victim["plan"]["state"] = "changed"
    rewrite(path, rows)
    assert run_main(tmp_path) == 0
    ((_, rejected),) = read_rows(run / "rejected.jsonl")
    assert (rejected["id"], rejected["reason"]) == (victim["id"], "other state than planned")
    assert len(read_records(run / "conversations.jsonl", Conversation.from_row)) == 19


def rewrite(path, rows):
    """Change an artifact as its own stage would have written it."""
    from toolwright.artifacts import fingerprint, manifest_path

    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    manifest = json.loads(manifest_path(path).read_text())
    manifest_path(path).write_text(json.dumps(manifest | {"sha256": fingerprint(path)}))


def cut(path):
    path.write_bytes(path.read_bytes()[:-30])


def cut_and_sign(path):
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rewrite(path, rows)
    cut(path)
    from toolwright.artifacts import fingerprint, manifest_path

    manifest = json.loads(manifest_path(path).read_text())
    manifest_path(path).write_text(json.dumps(manifest | {"sha256": fingerprint(path)}))


def unknown_mode(path):
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[2]["mode"] = "sinlge"
    rewrite(path, rows)


def same_id(path):
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[2]["id"] = rows[3]["id"]
    rewrite(path, rows)


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (Path.unlink, "does not exist; make it with: python -m data_gen.questions"),
        (cut, "was changed after its stage finished"),
        (cut_and_sign, "questions.jsonl:8: the last line is cut short"),
        (unknown_mode, "questions.jsonl:3: mode"),
        (same_id, "comes twice"),
    ],
)
def test_damaged_questions_are_refused_with_file_line_and_the_next_step(tmp_path, capsys, damage, complaint):
    run = make_questions(tmp_path, 8)
    damage(run / "questions.jsonl")
    assert run_main(tmp_path) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert len(error.strip().splitlines()) == 1


def test_a_run_that_is_killed_continues_without_repeating_and_ends_with_the_same_bytes(tmp_path):
    count = 150
    run = make_questions(tmp_path, count)
    command = [sys.executable, "-m", "data_gen.conversations", f"runs_dir={tmp_path}", "data_gen.concurrency=4"]
    journal = run / ".conversations.journal.jsonl"
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while process.poll() is None and lines_of(journal) < 25:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = lines_of(journal)
    assert 25 <= done < count + 1, "killed too late to be a test"
    assert not (run / "conversations.jsonl").exists()
    assert run_main(tmp_path) == 0
    ids = [json.loads(line).get("id") for line in journal.read_text().splitlines()[1:]]
    assert len(ids) == len(set(ids)) == count
    interrupted = (run / "conversations.jsonl").read_bytes()
    journal.unlink()
    (run / "conversations.jsonl").unlink()
    assert run_main(tmp_path, "data_gen.concurrency=1") == 0
    assert (run / "conversations.jsonl").read_bytes() == interrupted


def lines_of(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


SERVER = """
import os
from mcp.server import MCPServer
server = MCPServer("shop")
count = 0
@server.tool(description="Search products")
def search_products(query: str) -> dict:
    global count
    count += 1
    if count > int(os.environ["CALLS"]):
        os._exit(3)
    return {"price": len(query)}
@server.tool(description="Get the stock of a shelf")
def get_stock(shelf: int) -> dict:
    return {"stock": shelf * 7}
server.run("stdio")
"""


def write_config(tmp_path, n_calls):
    (tmp_path / "server.py").write_text(SERVER)
    server = {"command": sys.executable, "args": [str(tmp_path / "server.py")], "env": {"CALLS": str(n_calls)}}
    path = tmp_path / "mcp.json"
    path.write_text(json.dumps({"mcpServers": {"shop": server}}))
    return path


def test_a_server_that_dies_again_and_again_is_named_and_the_next_run_continues(tmp_path, capsys):
    """It is started again some times; conversations that met its death are rejected."""
    words = ["--mcp-config", str(write_config(tmp_path, 10_000)), "data_gen.modes={single: 1.0}"]
    run = make_questions(tmp_path, 12, *words)
    write_config(tmp_path, 0)
    assert run_main(tmp_path, *words, "data_gen.concurrency=1") == 2
    error = capsys.readouterr().err
    assert "shop" in error
    assert len(error.strip().splitlines()) == 1
    assert not (run / "conversations.jsonl").exists()
    done = lines_of(run / ".conversations.journal.jsonl") - 1
    assert 2 <= done < 12
    write_config(tmp_path, 10_000)
    assert run_main(tmp_path, *words, "data_gen.concurrency=1") == 0
    assert lines_of(run / ".conversations.journal.jsonl") == 13
    rejected = lines_of(run / "rejected.jsonl")
    assert rejected >= 2, "each death costs the conversation that met it"
    assert len(read_records(run / "conversations.jsonl", Conversation.from_row)) == 12 - rejected


def test_questions_for_other_tools_are_refused(tmp_path, capsys):
    make_questions(tmp_path, 4)
    assert run_main(tmp_path, "--mcp-config", str(write_config(tmp_path, 5))) == 2
    assert "was written for other tools" in capsys.readouterr().err


def test_a_journal_cut_in_its_last_line_loses_that_line_only(tmp_path):
    run = make_questions(tmp_path, 10)
    assert run_main(tmp_path) == 0
    whole = (run / "conversations.jsonl").read_bytes()
    (run / "conversations.jsonl").unlink()
    journal = run / ".conversations.journal.jsonl"
    os.truncate(journal, journal.stat().st_size - 5)
    assert run_main(tmp_path) == 0
    assert (run / "conversations.jsonl").read_bytes() == whole
