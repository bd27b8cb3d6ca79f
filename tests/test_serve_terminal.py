"""``python -m serve chat``: the loop with a scripted model, the command with pipes, and a person at a terminal."""

import asyncio
import io
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from chat_endpoint import called, last, playing

from mcpserver.sandbox.level import choose_level
from mcpserver.world import open_configured
from serve.chat import main
from serve.chat_commands import find_command, run_line, signature
from serve.chat_endpoint import Endpoint
from serve.chat_screen import Screen, name_picture, shorten_text, visible
from serve.chat_session import Session, choose_tools
from sft.encode import IGNORE, encode
from toolwright.chat import ScriptedChat
from toolwright.config import ChatConfig, RunConfig, ToolsConfig
from toolwright.dialect import ContentDelta
from toolwright.records import Conversation, Message, ToolCall, ToolResult, ToolSpec

REPOSITORY = Path(__file__).resolve().parents[1]
DESK = ToolsConfig(toolsets=["files", "maths"], world="desk")
NOWHERE = Endpoint("http://127.0.0.1:9/v1", "m", "k", False, "a test")


def say(content: str | None, *calls: ToolCall) -> Message:
    return Message(role="assistant", content=content, tool_calls=calls)


def call(name: str, id_: str = "c", **arguments: Any) -> ToolCall:
    return ToolCall(name=name, arguments=arguments, id=id_)


def hold(work: Callable[[Session, ScriptedChat], Awaitable[Any]], *replies: Message, **settings: Any) -> Any:
    """A session on our own tools with a model that plays ``replies``."""

    async def go() -> Any:
        config = RunConfig(tools=DESK, chat=ChatConfig(**settings))
        chat = ScriptedChat(replies)
        async with open_configured(config.tools) as worlds:
            session = Session(config, NOWHERE, chat, worlds, Screen(live=False))
            try:
                return await work(session, chat)
            finally:
                await session.close()

    return asyncio.run(go())


def roles(messages: Sequence[Message]) -> str:
    return " ".join(message.role for message in messages)


def test_calls_run_on_real_tools_are_shown_and_stay_in_the_history(capsys):
    async def work(session: Session, chat: ScriptedChat) -> None:
        episode = await session.ask("Add 2 and 3.")
        assert (episode.stopped, episode.answer) == ("answer", "5.")
        await session.ask("Thanks.")
        assert roles(chat.requests[2][0]) == "system user assistant tool assistant user"
        assert chat.requests[2][0][3].content == '{"result": 5}'
        assert roles(session.messages) == "system user assistant tool assistant user assistant"

    hold(work, say("I add.", call("sum_values", values=[2, 3])), say("5."), say("Welcome."), system="Be short.")
    shown = capsys.readouterr().err
    assert re.search(
        r"I add\.\n╭─ sum_values ─+╮\n│ {\"values\": \[2, 3\]} .*\n│ ─+ │\n│ {\"result\": 5} .*\n╰─+ \d\.\d\d s ─╯",
        shown,
    )
    assert "\x1b" not in shown


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (say(None, call("sum_valus", values=[1])), ["sum_valus", "unknown_tool: ", "did not run"]),
        (say(None, call("sum_values", values="x")), ["sum_values", "bad_arguments: ", "bad_arguments · did not run"]),
        (say(None, call("read_file", path="nowhere.md")), ["tool_error: path: no file", "tool_error · 0."]),
        (say('<tool_call>\n{"name": "read_file", "argu\n</tool_call>'), ["malformed call", '"argu', "not_json"]),
        (say(None, call("read_file", path="a\x1b[2Jb")), ["read_file", "\\u001b[2J", "bad_arguments"]),
    ],
)
def test_a_call_that_fails_is_shown_with_its_error_and_is_not_to_be_learnt_from(capsys, reply, expected):
    async def work(session: Session, _: ScriptedChat) -> list[float | None]:
        await session.ask("Go.")
        return [message.loss_weight for message in session.messages if message.role == "assistant"]

    weights = hold(work, reply, say("Sorry."))
    shown = capsys.readouterr().err
    assert all(text in shown for text in expected), shown
    assert weights == [None if "tool_error" in shown else 0.0, None]


def test_undo_system_and_reset_change_what_the_model_is_told():
    async def work(session: Session, chat: ScriptedChat) -> None:
        await session.ask("Write.")
        await session.ask("Again?")
        assert session.undo() == "Again?"
        assert roles(session.messages) == "user assistant tool assistant"
        session.set_system("Be kind.")
        await session.ask("Read it.")
        assert roles(chat.requests[-2][0]) == "system user assistant tool assistant user"
        assert session.messages[-2].content == '{"text": "mine"}' or "mine" in str(session.messages[-2].content)
        await session.reset()
        assert roles(session.messages) == "system"
        await session.ask("Read it again.")
        assert "no file" in str(session.messages[-2].content), "a fresh environment"
        session.set_system("")
        assert roles(session.messages) == "user assistant tool assistant"
        session.undo()
        assert session.undo() is None

    read = call("read_file", path="notes/mine.txt")
    write = say(None, call("write_file", path="notes/mine.txt", text="mine"))
    hold(work, write, say("Done."), say("Yes."), say(None, read), say("Read."), say(None, read), say("Gone."))


def test_a_reply_that_is_interrupted_leaves_no_trace_in_the_history():
    async def work(session: Session) -> None:
        await session.ask("Hi.")
        before = list(session.messages)
        for wait_s in (0.0, 0.3):
            asking = asyncio.create_task(session.ask("Compute."))
            await asyncio.sleep(wait_s)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            assert asking.cancelled()
            assert session.messages == before
        await session.ask("And now?")
        assert session.messages[-1].content == "Fine."

    slow = say(None, call("sum_values", values=[1]))

    replies = iter([say("Hello."), slow])

    def script(messages: Sequence[Message], _: Sequence[ToolSpec]) -> Message:
        if messages[-1].content == "And now?":
            return say("Fine.")
        return next(replies, slow)

    async def go() -> None:
        config = RunConfig(tools=DESK, chat=ChatConfig(max_turns=100_000))
        async with open_configured(config.tools) as worlds:
            session = Session(config, NOWHERE, ScriptedChat(script), worlds, Screen(live=False))
            try:
                await work(session)
            finally:
                await session.close()

    asyncio.run(go())


def test_a_saved_conversation_is_added_to_the_file_and_can_be_trained_on(tmp_path, tokenizer, capsys):
    path = tmp_path / "new/saved.jsonl"

    async def work(session: Session, _: ScriptedChat) -> None:
        assert await run_line(session, "save", str(path))
        assert "nothing to save" in capsys.readouterr().err
        await session.ask("Add 2 and 3.")
        assert await run_line(session, "save", str(path))
        path.write_bytes(path.read_bytes().rstrip())  # as an editor may leave it
        await session.ask("Thanks.")
        assert await run_line(session, "save", str(path))
        assert await run_line(session, "save", str(tmp_path))
        assert "choose another file" in capsys.readouterr().err

    good, broken = say(None, call("sum_values", values=[2, 3])), say('<tool_call>\n{"na\n</tool_call>')
    hold(work, broken, good, say("5."), say("Welcome."))
    first, second = (Conversation.from_row(json.loads(line)) for line in path.read_text().splitlines())
    assert first.id != second.id
    assert roles(first.messages) == "user assistant tool assistant", "without what could not be read"
    assert roles(second.messages) == f"{roles(first.messages)} user assistant"
    assert {tool.name for tool in first.tools} >= {"sum_values", "read_file"}
    assert first.sandbox
    row = encode(second, tokenizer)
    trained = tokenizer.decode([token for token, label in zip(row.input_ids, row.labels) if label != IGNORE])
    assert [text in trained for text in ("sum_values", "5.", "Welcome.", "Add 2")] == [True, True, True, False]


def test_calls_of_a_reply_that_was_cut_have_results_that_say_so():
    from toolwright.chat import Reply

    class Cut(ScriptedChat):
        async def complete(self, *arguments: Any, **options: Any) -> Reply:
            reply = await super().complete(*arguments, **options)
            return Reply(reply.message, "length", reply.problems)

    async def go() -> Session:
        config = RunConfig(tools=DESK)
        async with open_configured(config.tools) as worlds:
            chat = Cut([say("So", call("sum_values", values=[1]))])
            session = Session(config, NOWHERE, chat, worlds, Screen(live=False))
            await session.ask("Go.")
            await session.close()
            return session

    session = asyncio.run(go())
    assert roles(session.messages) == "user assistant tool"
    assert session.messages[1].loss_weight == 0
    assert session.messages[2].tool_call_id == session.messages[1].tool_calls[0].id


TOOLS = [
    ToolSpec(name="read_file", description="Read a text file"),
    ToolSpec(name="list_files", description="List the files of a folder"),
    ToolSpec(name="sum_values", description="Add numbers"),
    ToolSpec(name="mean", description="Compute the mean of numbers"),
]


@pytest.mark.parametrize(
    ("text", "most", "names"),
    [
        ("Which files are in the folder notes?", 1, ["list_files"]),
        ("What is the mean of these numbers?", 2, ["sum_values", "mean"]),
        ("Sum the values in the file", 2, ["read_file", "sum_values"]),
        ("", 2, ["read_file", "list_files"]),
        ("mean", None, [tool.name for tool in TOOLS]),
    ],
)
def test_the_tools_that_are_shown_are_those_that_share_rare_words_with_the_message(text, most, names):
    assert [tool.name for tool in choose_tools(TOOLS, text, most)] == names


def test_signatures_tell_names_types_and_what_may_be_left_out():
    properties = {
        "path": {"type": "string"},
        "lines": {"type": "array", "items": {"type": "integer"}},
        "mode": {"enum": ["a", 1]},
        "limit": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "other": {},
    }
    tool = ToolSpec(name="f", parameters={"type": "object", "properties": properties, "required": ["path"]})
    assert signature(tool) == 'f(path: string, lines?: integer[], mode?: "a"|1, limit?: integer|null, other?: any)'


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("/help", ("help", "")),
        ("/SYSTEM  Be kind. ", ("system", "Be kind.")),
        ("/etc/hosts: what is it?", None),
        ("/ is a slash", None),
        ("what is /help", None),
    ],
)
def test_commands_are_words_after_a_slash_and_paths_are_none(line, found):
    assert find_command(line) == found


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ä 漢字 🎈\n\tx", "plain ä 漢字 🎈\n\tx"),
        ("a\x1b[2Jb\x07\x9b1m\r", "a�[2Jb��1m�"),
        ("line\r\nline", "line\nline"),
        ("\u202egnp.exe", "�gnp.exe"),
        ("half \ud83d", "half ?"),
    ],
)
def test_nothing_that_moves_a_cursor_is_shown(text, shown):
    assert visible(text) == shown


def test_long_results_are_cut_and_pictures_named(capsys):
    assert shorten_text("\n".join(map(str, range(100)))).splitlines()[-1] == "… 87 more lines"
    assert shorten_text("\n".join(["x" * 400] * 5000)).splitlines()[-1] == "… 4997 more lines"
    assert len(shorten_text("x" * 10_000)) == 1000
    assert name_picture("data:image/png;base64," + "A" * 4096) == "image/png, 3.0 KiB"
    result = ToolResult(content="ok", pictures=("data:image/png;base64,AAAA",), synthetic=True)
    Screen(live=False).card(call("plot", code="x" * 100), result, 1.25)
    shown = capsys.readouterr().err
    assert all(text in shown for text in ("picture: image/png", "stand-in", "1.25 s", '  "code": ', '"xxx'))


def test_text_that_was_streamed_is_not_shown_twice(capsys):
    screen = Screen(live=True)
    for text in ("\n", "It ", "is."):
        screen.text(ContentDelta(text))
    screen.words("It is.")
    screen.words("Not streamed.")
    screen.text(ContentDelta("Hm.", reasoning=True))
    screen.text(ContentDelta("\n\nSo."))
    screen.end_text()
    assert capsys.readouterr().out == "It is.\nNot streamed.\nHm.\nSo.\n"


def run(*words: str, lines: str = "hi\n") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "serve", "chat", *words],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENAI_API_KEY": "sesame"},
        input=lines,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def add_or_say(request: dict[str, Any]) -> dict[str, Any]:
    """Calls a tool for a question, and reads its result out."""
    message = last(request)
    if message["role"] == "tool":
        return {"content": f"It gave {message['content']}"}
    if "add" in str(message["content"]):
        return called("sum_values", values=[2, 3])
    return {"content": f"You said {message['content']!r}."}


def test_piped_lines_are_answered_on_standard_output_and_nothing_else_is_there(tmp_path):
    path = tmp_path / "saved.jsonl"
    with playing(add_or_say, key="sesame") as endpoint:
        words = ("--url", endpoint.url, "--toolset", "maths", "--save", str(path), "--system", "Be short.")
        done = run(*words, lines="add them\n\ntwo\\\nlines\n/tools\n/nonsense\n/reset\nhello")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ['It gave {"result": 5}', "You said 'two\\nlines'.", "You said 'hello'."]
    assert "\x1b" not in done.stdout + done.stderr
    assert "m (http://127.0.0.1:" in done.stderr
    assert "sum_values(values: number[])" in done.stderr
    assert "no command /nonsense" in done.stderr
    saved = [Conversation.from_row(json.loads(line)) for line in path.read_text().splitlines()]
    assert [roles(each.messages) for each in saved] == [
        "system user assistant tool assistant user assistant",
        "system user assistant",
    ]


def test_a_failure_in_a_pipe_ends_the_chat_and_what_was_said_is_saved(tmp_path, monkeypatch, capsys):
    path = tmp_path / "saved.jsonl"
    monkeypatch.setattr(sys, "stdin", io.StringIO("hello\nrefuse\nhello\n"))
    with playing(lambda request: 400 if last(request)["content"] == "refuse" else add_or_say(request)) as endpoint:
        assert main(["--url", endpoint.url, "--toolset", "maths", "--save", str(path)]) == 2
    shown = capsys.readouterr()
    assert shown.out == "You said 'hello'.\n"
    assert re.search(r"error: .*HTTP 400", shown.err.splitlines()[-1])
    (saved,) = (Conversation.from_row(json.loads(line)) for line in path.read_text().splitlines())
    assert roles(saved.messages) == "user assistant"


def test_a_server_that_runs_already_is_asked_and_none_is_started():
    with playing(add_or_say) as endpoint:
        done = run(f"serve.port={endpoint.port}", "--toolset", "maths", lines="add\n")
    assert (done.returncode, done.stdout) == (0, 'It gave {"result": 5}\n'), done.stderr
    assert "running already" in done.stderr


def test_a_server_with_another_model_than_the_one_that_is_named_is_left_alone(tmp_path):
    with playing(add_or_say) as endpoint:
        done = run(f"serve.port={endpoint.port}", "--model", str(tmp_path))
    assert done.returncode == 2
    assert "not a model directory" in done.stderr
    assert endpoint.requests == []


@pytest.mark.timeout(120)
def test_a_model_is_started_for_the_chat_and_ends_with_it(small_model_dir: Path):
    words = ("--model", str(small_model_dir), "serve.engine=transformers", "serve.dtype=float32", "serve.port=0")
    done = run(*words, "--toolset", "maths", "tools.transport=stdio", "chat.max_tokens=8", lines="add 2 and 3\n")
    assert done.returncode == 0, done.stderr
    assert "model (started for this chat) with 7 tools of toolwright" in done.stderr
    assert "cut at chat.max_tokens=8" in done.stderr
    alive = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(small_model_dir) not in alive


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--url", "http://127.0.0.1:9/v1"), r"http://127.0.0.1:9/v1/models: .*`python -m serve --model merged`"),
        (("--url", "http://127.0.0.1:9/v1", "--model", "m"), r"cannot connect .*start the server"),
        (("--url", "nonsense", "--model", "m"), r"base_url 'nonsense' is not a URL"),
        (("--model", "./nowhere"), r"./nowhere: not a model directory"),
        (("--toolset", "nothing"), r"no toolset, category or tool 'nothing'"),
        (("--mcp-config", "/nowhere.json"), r"/nowhere.json: cannot read the list of MCP servers"),
        (("chat.max_turns=0",), r"chat.max_turns"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(words, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO("hi\n"))
    assert main(words) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert re.search(message, shown.err.splitlines()[-1]), shown.err


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("guess", r"error: .*HTTP 401: .*wrong key.*chat.api_key_env"),
        ("sesame", r"error: .*HTTP 400 for model 'm'.*tool-call parser"),
    ],
)
def test_a_wrong_key_and_a_model_that_takes_no_tools_are_named(key, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO("hi\n"))
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with playing(lambda _: 400, key="sesame") as endpoint:
        assert main(["--url", endpoint.url]) == 2
    assert re.search(message, capsys.readouterr().err)


SERVER = """
import os, time
from mcp.server import MCPServer
server = MCPServer("frail")

@server.tool()
def add(a: int, b: int) -> int:
    "Add."
    return a + b

@server.tool()
def hang() -> str:
    "Never ends."
    time.sleep(600)

@server.tool()
def die() -> str:
    "Ends the server."
    os._exit(3)

server.run()
"""


def mcp_file(tmp_path: Path, code: str, timeout_s: float = 1) -> str:
    path = tmp_path / "servers.json"
    server = {"command": sys.executable, "args": ["-c", code], "timeout": timeout_s}
    path.write_text(json.dumps({"mcpServers": {"frail": server}}))
    return str(path)


def test_an_mcp_server_that_does_not_start_is_named(tmp_path):
    done = run("--mcp-config", mcp_file(tmp_path, "raise SystemExit('no key set')"), "--url", "http://127.0.0.1:9/v1")
    assert done.returncode == 2
    assert re.search(r"error: MCP server 'frail' .*did not start \(no key set\)", done.stderr)


def test_a_tool_that_hangs_and_a_server_that_dies_are_shown_and_the_chat_goes_on(tmp_path):
    def play(request: dict[str, Any]) -> dict[str, Any]:
        message = last(request)
        if message["role"] == "tool":
            return {"content": "I see."}
        return called(message["content"], **({"a": 1, "b": 2} if message["content"] == "add" else {}))

    with playing(play) as endpoint:
        words = ("--url", endpoint.url, "--mcp-config", mcp_file(tmp_path, SERVER))
        done = run(*words, lines="add\ndie\nadd\nhang\n")
    assert (done.returncode, done.stdout) == (0, "I see.\n" * 4), done.stderr
    results = [message["content"] for message in endpoint.requests[-1]["messages"] if message["role"] == "tool"]
    assert [bool(re.search(text, result)) for text, result in zip(("^3$", "died", "^3$|lost", "timeout"), results)] == [
        *([True] * 4)
    ], results
    assert "timeout · 1.0" in done.stderr


class Terminal:
    """The chat under a pseudo-terminal, and a person who waits for words and types."""

    def __init__(self, *words: str) -> None:
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.chdir(REPOSITORY)
            os.environ.update(TERM="xterm-256color", COLUMNS="100", LINES="40", OMP_NUM_THREADS="1")
            os.execv(sys.executable, [sys.executable, "-m", "serve", "chat", *words])
        self.text, self._seen = "", 0

    def wait_for(self, words: str, timeout_s: float = 60.0) -> str:
        """Read until ``words`` stand somewhere after what was waited for before; gives what was read."""
        deadline = time.monotonic() + timeout_s
        while words not in self.text[self._seen :]:
            assert time.monotonic() < deadline, f"no {words!r} in {self.text[self._seen :]!r}"
            if select.select([self._fd], [], [], 0.2)[0]:
                self.text += os.read(self._fd, 65536).decode(errors="replace")
        begin, self._seen = self._seen, self.text.index(words, self._seen) + len(words)
        return self.text[begin : self._seen]

    def type(self, keys: str) -> None:
        time.sleep(0.3)  # nobody is faster: a signal between the prompt and the wait for keys is seen with the next key
        os.write(self._fd, keys.encode())

    def end(self) -> int:
        """The exit code; whoever does not end within a while is killed."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                os.close(self._fd)
                return os.waitstatus_to_exitcode(status)
            if select.select([self._fd], [], [], 0.05)[0]:
                try:
                    self.text += os.read(self._fd, 65536).decode(errors="replace")
                except OSError:
                    time.sleep(0.05)
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)
        raise AssertionError(f"still there: {self.text[-2000:]!r}")


def endless(request: dict[str, Any]) -> dict[str, Any]:
    if last(request)["content"] == "endless":
        return {"content": "word " * 2000, "pause_s": 0.05}
    if last(request)["content"] == "refuse":
        return 400  # type: ignore[return-value]
    return add_or_say(request)


def test_a_person_at_a_terminal():
    with playing(endless) as endpoint:
        terminal = Terminal("--url", endpoint.url, "--toolset", "maths")
        terminal.wait_for("> ")
        terminal.type("add them\r")
        card = terminal.wait_for('It gave {"result": 5}')
        assert "╭─" in card
        assert "sum_values" in card
        assert "\x1b[32m" in card, "colours"
        terminal.wait_for("> ")
        terminal.type("/tools\r")
        terminal.wait_for("round_number(value: number, digits: integer)")
        terminal.wait_for("> ")
        terminal.type("endless\r")
        terminal.wait_for("word word word")
        terminal.type("\x03")
        terminal.wait_for("stopped; your message was taken back")
        assert endpoint.dropped.wait(10), "the endpoint is told"
        terminal.wait_for("> ")
        terminal.type("refuse\r")
        terminal.wait_for("error: ")
        terminal.wait_for("HTTP 400")
        terminal.wait_for("> ")
        terminal.type("hello\r")
        terminal.wait_for("You said 'hello'.")
        assert [message["role"] for message in endpoint.requests[-1]["messages"]] == [
            *("user", "assistant", "tool", "assistant", "user"),
        ]
        terminal.wait_for("> ")
        terminal.type("\x03")
        terminal.wait_for("Ctrl-C again")
        terminal.wait_for("> ")
        terminal.type("/quit\r")
        assert terminal.end() == 0


@pytest.mark.parametrize(("keys", "code"), [("\x04", 0), ("\x03\x03", 130)])
def test_ctrl_d_and_two_ctrl_c_end_the_chat(keys, code):
    with playing(add_or_say) as endpoint:
        terminal = Terminal("--url", endpoint.url, "--toolset", "maths")
        for key in keys:
            terminal.wait_for("> ")
            terminal.type(key)
        assert terminal.end() == code
    assert "Traceback" not in terminal.text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_chat_that_is_told_to_end_saves_and_leaves_nothing_behind(number, tmp_path):
    def play(request: dict[str, Any]) -> dict[str, Any]:
        return called("hang") if last(request)["content"] == "hang" else {"content": "I see."}

    saved, pid_file = tmp_path / "saved.jsonl", tmp_path / "pid"
    code = f"open({str(pid_file)!r}, 'w').write(str(__import__('os').getpid()))\n{SERVER}"
    with playing(play) as endpoint:
        words = ("--url", endpoint.url, "--mcp-config", mcp_file(tmp_path, code, 60), "--save", str(saved))
        terminal = Terminal(*words)
        for line in ("hello", "hang"):
            terminal.wait_for("> ")
            terminal.type(f"{line}\r")
        terminal.wait_for("running hang")
        os.kill(terminal.pid, number)
        assert terminal.end() == 128 + number
    assert "Traceback" not in terminal.text
    assert [message["role"] for message in json.loads(saved.read_text())["messages"]] == ["user", "assistant"]
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


def test_halves_of_characters_are_put_together_or_replaced(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("hi\nagain\n"))
    with playing(lambda _: {"content": "a whole \ud83d\ude00 and half \ud83d"}) as endpoint:
        assert main(["--url", endpoint.url, "--toolset", "maths"]) == 0
        assert capsys.readouterr().out == "a whole 😀 and half �\n" * 2
        terminal = Terminal("--url", endpoint.url, "--toolset", "maths")
        for line in ("hi", "again"):
            terminal.wait_for("> ")
            terminal.type(f"{line}\r")
            terminal.wait_for("and half")
        terminal.wait_for("> ")
        terminal.type("\x04")
        assert terminal.end() == 0
    assert endpoint.requests[-1]["messages"][1]["content"].strip() == "a whole 😀 and half �"


@pytest.mark.skipif(choose_level() is None, reason="no sandbox works on this machine, so code is refused")
@pytest.mark.parametrize("transport", ["inprocess", "stdio"])
def test_ctrl_c_stops_the_tool_that_runs_and_the_environment_goes_on(transport):
    def play(request: dict[str, Any]) -> dict[str, Any]:
        message = last(request)
        if message["role"] == "tool":
            return {"content": f"Python says {message['content']}"}
        return called("run_python", code=message["content"])

    with playing(play) as endpoint:
        terminal = Terminal("--url", endpoint.url, "--toolset", "python", f"tools.transport={transport}")
        terminal.wait_for("> ")
        terminal.type("open('kept.txt', 'w').write('mine')\r")
        terminal.wait_for("Python says")
        terminal.wait_for("> ")
        terminal.type("import time; time.sleep(600)\r")
        terminal.wait_for("running run_python")
        terminal.type("\x03")
        terminal.wait_for("stopped; your message was taken back", 10)
        terminal.wait_for("> ")
        terminal.type("print(open('kept.txt').read().upper())\r")
        terminal.wait_for("Python says MINE")
        terminal.wait_for("> ")
        terminal.type("\x04")
        assert terminal.end() == 0
