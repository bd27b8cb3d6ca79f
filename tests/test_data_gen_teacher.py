import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random

import pytest

from data_gen import conversations, questions
from data_gen.blueprints import Discard
from data_gen.openai_teacher import HAND_IN, read_question, write_prompt
from toolwright.artifacts import read_manifest, read_records, read_rows
from toolwright.chat import Reply
from toolwright.records import MODES, Conversation, Message, Question, ToolCall, ToolSpec

NUMBERS = "Compute the mean of {} and {}."


class Endpoint:
    """A loopback OpenAI-compatible endpoint; ``answer(body)`` gives a message, ``failures`` come first."""

    def __init__(self, answer, failures=()):
        self.answer, self.failures, self.bodies = answer, list(failures), []
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                endpoint.bodies.append(body)
                failure = endpoint.failures.pop(0) if endpoint.failures else None
                status, text = failure or (200, json.dumps({"choices": [{"message": endpoint.answer(body)}]}))
                self.send_response(status)
                self.send_header("retry-after-ms", "1")
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def words(self, tmp_path, *more):
        return [
            f"runs_dir={tmp_path}",
            "--teacher=openai",
            f"data_gen.teacher.base_url=http://127.0.0.1:{self.server.server_port}/v1",
            "data_gen.teacher.retries=2",
            "data_gen.concurrency=1",
            "data_gen.modes={single: 1.0}",
            *more,
        ]


@pytest.fixture
def endpoint():
    made = []

    def make(answer, failures=()):
        made.append(Endpoint(answer, failures))
        return made[-1]

    yield make
    for each in made:
        each.server.shutdown()
        each.server.server_close()


def tool_call(name, **arguments):
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function", "function": function}]}


def writer():
    """Hands in another question each time."""
    count = iter(range(10_000))

    def answer(body):
        number = next(count)
        text = NUMBERS.format(number, number + 1)
        if number % 2:
            return {"role": "assistant", "content": f'Sure! ```json\n{{"question": "{text}"}}\n``` Enjoy.'}
        return tool_call(HAND_IN.name, question=text)

    return answer


def test_a_model_writes_questions_for_the_tools(endpoint, tmp_path):
    server = endpoint(writer())
    assert questions.main(["-n", "6", *server.words(tmp_path)]) == 0
    written = read_records(tmp_path / "tiny" / "questions.jsonl", Question)
    assert [question.text for question in written] == [NUMBERS.format(n, n + 1) for n in range(6)]
    assert all(question.plan is None and question.mode == "single" for question in written)
    prompt = server.bodies[0]["messages"][0]["content"]
    assert all(name in prompt for name in written[0].tools)
    assert server.bodies[0]["tools"][0]["function"]["name"] == HAND_IN.name


def test_nonsense_and_repetitions_are_dropped_and_counted(endpoint, tmp_path):
    replies = iter(
        [
            {"role": "assistant", "content": "I would rather not."},
            {"role": "assistant", "content": '{"question": 5} {"answer": "x"} {'},
            {"role": "assistant", "content": '{"question": "Add 1 and 2."}'},
            {"role": "assistant", "content": '{"question": "add 1 and 2"}'},
            {"role": "assistant", "content": '{"question": "Add <tool_call> and 2."}'},
            {"role": "assistant", "content": '{"question": "%s"}' % ("word " * 80)},
            {"role": "assistant", "content": '{"question": "Add 3 and 4."}'},
        ]
    )
    server = endpoint(lambda body: next(replies))
    assert questions.main(["-n", "2", *server.words(tmp_path)]) == 0
    counts = read_manifest(tmp_path / "tiny" / "questions.jsonl").counts
    assert counts["drawn"] == 7
    assert counts["dropped"] == {
        "the teacher's reply holds no question": 2,
        "duplicate": 1,
        "markup in the request": 1,
        "the request is too long": 1,
    }


def test_a_model_that_only_talks_is_an_error_that_says_so(endpoint, tmp_path, capsys):
    server = endpoint(lambda body: {"role": "assistant", "content": "Hello!"})
    assert questions.main(["-n", "2", *server.words(tmp_path)]) == 2
    assert "holds no question (20)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("failures", "code", "complaint"),
    [
        ([(429, "slow down"), (500, "oops")], 0, ""),
        ([(401, '{"error": "bad key"}')], 2, "HTTP 401"),
        ([(500, "oops")] * 3, 2, "HTTP 500"),
        ([(200, "<html>hello</html>")], 2, "not JSON"),
        ([(200, '{"choices": []}')], 2, "no choices"),
    ],
)
def test_failures_of_the_endpoint_are_repeated_or_named(
    endpoint, tmp_path, capsys, monkeypatch, failures, code, complaint
):
    monkeypatch.setenv("TEACHER_KEY", "secret-key")
    server = endpoint(writer(), failures)
    words = server.words(tmp_path, "data_gen.teacher.api_key_env=TEACHER_KEY")
    assert questions.main(["-n", "2", *words]) == code
    error = capsys.readouterr().err
    assert complaint in error
    assert "secret-key" not in error
    if code:
        assert "$TEACHER_KEY" in error
        assert len(error.strip().splitlines()) == 1
        assert not (tmp_path / "tiny" / "questions.jsonl").exists()


def test_questions_that_were_written_before_the_endpoint_failed_are_kept(endpoint, tmp_path):
    server = endpoint(writer(), [None, None, None, (401, "no")])
    words = server.words(tmp_path)
    assert questions.main(["-n", "6", *words]) == 2
    assert len(server.bodies) == 4
    assert questions.main(["-n", "6", *words]) == 0
    assert len(server.bodies) == 4 + 3


def player(body):
    """Plays the assistant: calls ``mean`` with the numbers of the question, then tells the result."""
    messages = body["messages"]
    text = next(message["content"] for message in messages if message["role"] == "user")
    numbers = [int(word) for word in text.rstrip(".").split() if word.isdigit()]
    results = [message["content"] for message in messages if message["role"] == "tool"]
    if results:
        good = results[-1].startswith("{")
        text = f"The mean is {json.loads(results[-1])['result']}." if good else "That did not work."
        return {"role": "assistant", "content": text}
    if numbers[0] == 2:
        return {"role": "assistant", "content": "No idea."}
    if numbers[0] == 3:
        return tool_call("mean", values="3 and 4")
    return tool_call("mean", values=numbers)


def test_a_model_plays_the_assistant_on_live_tools_and_bad_conversations_are_rejected(endpoint, tmp_path):
    written = writer()

    def answer(body):
        names = [tool["function"]["name"] for tool in body["tools"]]
        return written(body) if names == [HAND_IN.name] else player(body)

    server = endpoint(answer)
    words = server.words(tmp_path, "data_gen.tools_per_question=[99, 99]")
    assert questions.main(["-n", "5", *words]) == 0
    plain = [word for word in words if not word.startswith("--")] + ["data_gen.teacher.kind=openai"]
    assert conversations.main(plain) == 0
    kept = read_records(tmp_path / "tiny" / "conversations.jsonl", Conversation.from_row)
    rejected = {row["id"]: row["reason"] for _, row in read_rows(tmp_path / "tiny" / "rejected.jsonl")}
    assert rejected == {"q000002": "wrong mode", "q000003": "invalid arguments"}
    assert [row.id for row in kept] == ["q000000", "q000001", "q000004"]
    assert [call.arguments for call in kept[2].plan.calls] == [{"values": [4, 5]}]
    assert kept[2].plan.steps[0].results == ('{"result": 4.5}',)
    assert kept[2].messages[0].role == "user"
    assert kept[2].messages[-1].content == "The mean is 4.5."


@pytest.mark.parametrize("mode", MODES)
def test_the_prompt_names_the_tools_and_the_mode(mode):
    tools = [ToolSpec(name="alpha"), ToolSpec(name="beta")]
    prompt = write_prompt(mode, tools, tools, None, Random(1))
    assert '"alpha"' in prompt
    assert '"beta"' in prompt
    assert "{" not in prompt.replace('{"', "").replace('": {', "").replace("{}", "")


def reply(content=None, *calls):
    return Reply(Message(role="assistant", content=content, tool_calls=calls), "stop")


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (reply(None, ToolCall(name="hand_in_question", arguments={"question": "A  b?"})), "A b?"),
        (reply('{"question": "A?"}'), "A?"),
        (reply('Here: {"note": {"x": 1}} and {"request": "B?"} done'), "B?"),
        (reply('{"question": ""} {"question": "C?"}'), "C?"),
        (reply('{"question": "D? {braces}"}'), "D? {braces}"),
    ],
)
def test_a_question_is_read_from_whatever_the_model_wraps_it_in(given, text):
    assert read_question(given) == text


@pytest.mark.parametrize("content", [None, "", "[1]", "{", '{"question": null}', "{" * 5000])
def test_a_reply_without_a_question_is_dropped(content):
    with pytest.raises(Discard, match="no question"):
        read_question(reply(content))
