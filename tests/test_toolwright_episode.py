"""The model-tool loop: whatever the model or a tool does, it goes on, and the transcript stays paired."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from toolwright.chat import Reply, ScriptedChat
from toolwright.dialect import Problem
from toolwright.episode import MAX_CALLS_PER_TURN, MAX_RESULT_BYTES, Episode, cap, play
from toolwright.errors import DataError, EndpointError, ToolServerError
from toolwright.records import Message, ToolCall, ToolResult, ToolSpec

ASK = [Message(role="user", content="Go.")]
DONE = Message(role="assistant", content="Done.")
TOOLS = [
    ToolSpec(
        name="add",
        parameters={
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "required": ["a", "b"],
        },
    ),
    ToolSpec(name="wait", parameters={"type": "object", "properties": {"seconds": {"type": "number"}}}),
    ToolSpec(name="fail"),
]


class Desk:
    """A world that adds, waits and fails; keeps the calls that reached it."""

    def __init__(self, fail: Callable[[], ToolResult | Awaitable[ToolResult]] | None = None) -> None:
        self.seen: list[ToolCall] = []
        self.tidied = 0
        self.fail = fail

    async def call(self, call: ToolCall) -> ToolResult:
        self.seen.append(call)
        if call.name == "add":
            return ToolResult(content=str(call.arguments["a"] + call.arguments["b"]))
        if call.name == "wait":
            try:
                await asyncio.sleep(call.arguments["seconds"])
            except asyncio.CancelledError:
                self.tidied += 1
                raise
            return ToolResult(content=f"waited {call.arguments['seconds']}")
        assert self.fail
        result = self.fail()
        return result if isinstance(result, ToolResult) else await result


def calling(*calls: ToolCall, content: str | None = None) -> Message:
    return Message(role="assistant", content=content, tool_calls=calls)


def call(name: str, id_: str = "", /, **arguments: Any) -> ToolCall:
    return ToolCall(name=name, arguments=arguments, id=id_)


def run(replies: Sequence[Message], world: Desk | None = None, **options: Any) -> Episode:
    return asyncio.run(play(ScriptedChat(replies), world or Desk(), ASK, TOOLS, **options))


def test_calls_run_and_their_results_go_back_until_the_model_answers() -> None:
    first, second = calling(call("add", "x", a=1, b=2), content="Adding."), calling(call("add", "y", a=3, b=4))
    episode = run([first, second, DONE])
    assert episode.messages == (
        *ASK,
        first,
        Message(role="tool", content="3", tool_call_id="x", name="add"),
        second,
        Message(role="tool", content="7", tool_call_id="y", name="add"),
        DONE,
    )
    assert (episode.stopped, episode.answer, episode.error) == ("answer", "Done.", None)
    assert episode.calls == episode.executed == (*first.tool_calls, *second.tool_calls)
    assert [len(turn.results) for turn in episode.turns] == [1, 1, 0]


def test_the_model_sees_the_conversation_so_far_and_the_tools() -> None:
    chat = ScriptedChat([calling(call("add", "x", a=1, b=2)), DONE])
    episode = asyncio.run(play(chat, Desk(), ASK, TOOLS))
    assert [len(messages) for messages, _ in chat.requests] == [1, 3]
    assert chat.requests[1] == (episode.messages[:3], tuple(TOOLS))


def test_calls_of_one_turn_run_at_the_same_time() -> None:
    everyone = asyncio.Barrier(3)

    async def meet() -> ToolResult:
        await everyone.wait()
        return ToolResult(content="met")

    episode = run([calling(*[call("fail")] * 3), DONE], Desk(meet), call_timeout_s=5)
    assert [result.content for result in episode.turns[0].results] == ["met"] * 3


def test_results_come_in_the_order_of_the_calls() -> None:
    episode = run([calling(*(call("wait", seconds=s) for s in (0.3, 0.1, 0.2))), DONE])
    assert [result.content for result in episode.turns[0].results] == ["waited 0.3", "waited 0.1", "waited 0.2"]
    assert [message.tool_call_id for message in episode.messages[2:5]] == [c.id for c in episode.calls]


def test_each_call_has_a_deadline_of_its_own() -> None:
    world = Desk()
    episode = run([calling(call("wait", seconds=9), call("add", a=1, b=1)), DONE], world, call_timeout_s=0.5)
    slow, quick = episode.turns[0].results
    assert slow == ToolResult(content="timeout: no result within 0.5 s", error="timeout")
    assert quick.ok
    assert episode.executed == (episode.calls[1],)
    assert episode.stopped == "answer"
    assert world.tidied == 1


def test_a_call_that_swallows_its_cancellation_is_left_behind() -> None:
    played = False

    async def stubborn() -> ToolResult:
        end = time.perf_counter() + 60
        while not played and time.perf_counter() < end:
            try:
                await asyncio.sleep(0.1)
            except asyncio.CancelledError:
                continue
        return ToolResult(content="late")

    async def scene() -> tuple[Episode, float]:
        nonlocal played
        started = time.perf_counter()
        episode = await play(
            ScriptedChat([calling(call("fail")), DONE]), Desk(stubborn), ASK, TOOLS, call_timeout_s=0.1
        )
        played = True
        return episode, time.perf_counter() - started

    episode, duration_s = asyncio.run(scene())
    assert [result.error for result in episode.turns[0].results] == ["timeout"]
    assert duration_s < 60


def raising(error: BaseException) -> Callable[[], ToolResult]:
    def fail() -> ToolResult:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "kind", "content"),
    [
        (ValueError("no such city"), "tool_error", "tool_error: ValueError: no such city"),
        (AssertionError(), "tool_error", "tool_error: AssertionError: "),
        (EndpointError("gone"), "tool_error", "tool_error: EndpointError: gone"),
        (RecursionError("deep"), "tool_error", "tool_error: RecursionError: deep"),
        (ExceptionGroup("all", [ValueError("x")]), "tool_error", "tool_error: ExceptionGroup: all (1 sub-exception)"),
        (TimeoutError("upstream"), "timeout", "timeout: upstream"),
    ],
)
def test_an_exception_of_a_tool_becomes_a_result(error: Exception, kind: str, content: str) -> None:
    episode = run([calling(call("fail"), call("add", a=1, b=1)), DONE], Desk(raising(error)))
    failed, added = episode.turns[0].results
    assert (failed.error, failed.content, added.content) == (kind, content, "2")
    assert episode.executed == (episode.calls[1],)
    assert episode.stopped == "answer"


@pytest.mark.parametrize("error", [asyncio.CancelledError(), KeyboardInterrupt(), SystemExit(3)])
def test_an_interruption_gets_out_and_stops_the_other_calls(error: BaseException) -> None:
    async def fail() -> ToolResult:
        await asyncio.sleep(0.05)
        raise error

    world = Desk(fail)
    with pytest.raises(type(error)):
        run([calling(call("wait", seconds=5), call("fail")), DONE], world)
    assert world.tidied == 1


def test_a_cancelled_episode_cancels_its_calls() -> None:
    world = Desk()

    async def scene() -> None:
        chat = ScriptedChat([calling(call("wait", seconds=5)), DONE])
        task = asyncio.create_task(play(chat, world, ASK, TOOLS))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert world.tidied == 1

    asyncio.run(scene())


def test_a_world_that_gives_no_result_is_a_tool_error() -> None:
    nothing: Any = asyncio.sleep
    episode = run([calling(call("fail")), DONE], Desk(lambda: nothing(0, "text")))
    assert episode.turns[0].results[0].content == "tool_error: the tool gave no result but str"


@pytest.mark.parametrize(
    ("wrong", "kind", "word"),
    [
        (call("ad", a=1, b=2), "unknown_tool", 'did you mean "add"?'),
        (call("x" * 500), "unknown_tool", 'there is "add", "wait", "fail"'),
        (call("add", a=1), "bad_arguments", 'missing parameter "b"'),
        (call("add", a=1, b="2"), "bad_arguments", 'parameter "b": expected integer, got string "2"'),
        (call("add", a=1, b=2, c=3), "bad_arguments", 'unknown parameter "c"'),
    ],
)
def test_a_wrong_call_never_reaches_the_world(wrong: ToolCall, kind: str, word: str) -> None:
    world = Desk()
    episode = run([calling(wrong, call("add", a=1, b=2)), DONE], world)
    failed, added = episode.turns[0].results
    assert failed.error == kind
    assert failed.content.startswith(f"{kind}: ")
    assert word in failed.content
    assert len(failed.content) < 300
    assert added.content == "3"
    assert [c.arguments for c in world.seen] == [{"a": 1, "b": 2}]


def test_a_malformed_call_is_answered_so_that_the_model_can_repair_it() -> None:
    broken = Message(role="assistant", content='<tool_call>\n{"name": "add", "arguments": {"a": 1\n</tool_call>')
    episode = run([broken, calling(call("add", a=1, b=2)), DONE])
    answer = episode.messages[2]
    assert answer.role == "tool"
    assert answer.content is not None
    assert answer.content.startswith("malformed_call: not JSON: ")
    assert [result.error for result in episode.turns[0].results] == ["malformed_call"]
    assert (episode.stopped, len(episode.executed)) == ("answer", 1)


def test_a_malformed_call_beside_a_good_one_is_answered_after_its_result() -> None:
    mixed = calling(call("add", a=1, b=2), content="<tool_call>{</tool_call>")
    episode = run([mixed, DONE])
    assert [result.error for result in episode.turns[0].results] == [None, "malformed_call"]
    assert [message.role for message in episode.messages] == ["user", "assistant", "tool", "tool", "assistant"]
    assert len(episode.executed) == 1


def test_a_call_that_the_endpoint_left_in_the_text_is_no_fault_of_the_model() -> None:
    class Unparsed(ScriptedChat):
        async def complete(self, *args: Any, **kwargs: Any) -> Reply:
            reply = await super().complete(*args, **kwargs)
            return Reply(reply.message, reply.finish_reason, (Problem("unparsed", "text", "detail"),))

    chat = Unparsed([calling(call("add", a=1, b=2)), DONE])
    episode = asyncio.run(play(chat, Desk(), ASK, TOOLS))
    assert [len(turn.results) for turn in episode.turns] == [1, 0]
    assert episode.stopped == "answer"


def test_the_loop_ends_after_its_turns() -> None:
    episode = run([calling(call("add", a=1, b=2))] * 5, max_turns=3)
    assert (episode.stopped, episode.answer, len(episode.turns)) == ("max_turns", None, 3)
    assert episode.messages[-1].content == "3"


def test_a_reply_that_was_cut_short_ends_the_episode_and_runs_nothing() -> None:
    class Cut(ScriptedChat):
        async def complete(self, *args: Any, **kwargs: Any) -> Reply:
            return Reply((await super().complete(*args, **kwargs)).message, "length")

    for message in (DONE, calling(call("add", a=1, b=2)), Message(role="assistant", content="<tool_call>{")):
        world = Desk()
        episode = asyncio.run(play(Cut([message]), world, ASK, TOOLS))
        assert (episode.stopped, episode.answer, world.seen) == ("length", None, [])


def test_an_endpoint_that_fails_raises_or_ends_the_episode() -> None:
    replies = [calling(call("add", a=1, b=2))]
    with pytest.raises(EndpointError):
        run(replies)
    episode = run(replies, raise_on_endpoint=False)
    assert episode.stopped == "endpoint"
    assert episode.error is not None
    assert "request 2" in episode.error
    assert (episode.answer, len(episode.turns), len(episode.messages)) == (None, 1, 3)


def test_a_tool_with_a_wrong_schema_is_named_before_anything_is_asked() -> None:
    chat = ScriptedChat([DONE])
    with pytest.raises(DataError, match="tool 'odd'"):
        asyncio.run(play(chat, Desk(), ASK, [ToolSpec(name="odd", parameters={"type": "string"})]))
    assert chat.requests == []


@pytest.mark.parametrize("id_", ["", "call_0"])
def test_every_call_has_an_id_of_its_own(id_: str) -> None:
    turn = calling(call("add", id_, a=1, b=2), call("add", id_, a=1, b=3))
    episode = run([turn, turn, DONE])
    ids = [c.id for c in episode.calls]
    assert len(set(ids)) == 4
    assert [message.tool_call_id for message in episode.messages if message.role == "tool"] == ids
    assert ids == [c.id for c in run([turn, turn, DONE]).calls]


def test_a_flood_of_calls_is_limited() -> None:
    world = Desk()
    episode = run([calling(*(call("add", a=1, b=i) for i in range(40))), DONE], world)
    assert len(world.seen) == MAX_CALLS_PER_TURN
    assert [result.error for result in episode.turns[0].results[MAX_CALLS_PER_TURN:]] == ["limit"] * 8


def test_a_long_result_is_cut_with_a_mark() -> None:
    episode = run([calling(call("fail")), DONE], Desk(lambda: ToolResult(content="é" * 100_000)))
    content = episode.turns[0].results[0].content
    assert MAX_RESULT_BYTES - 4 < len(content.encode()) <= MAX_RESULT_BYTES
    assert content.endswith("é\n[cut: the result has 200000 bytes, more than the limit of 65536]")


def test_a_result_within_the_limit_is_left_alone() -> None:
    assert cap("é" * (MAX_RESULT_BYTES // 2)) == "é" * (MAX_RESULT_BYTES // 2)
    assert cap("a\ud800b") == "a?b"


def test_the_seed_reaches_the_model() -> None:
    class Seeded(ScriptedChat):
        seeds: list[object] = []

        async def complete(self, *args: Any, **kwargs: Any) -> Reply:
            self.seeds.append(kwargs["seed"])
            return await super().complete(*args, **kwargs)

    asyncio.run(play(Seeded([DONE]), Desk(), ASK, TOOLS, seed=17))
    assert Seeded.seeds == [17]


def test_an_empty_reply_is_an_empty_answer() -> None:
    episode = run([Message(role="assistant")])
    assert (episode.stopped, episode.answer) == ("answer", "")


def test_a_dead_tool_server_ends_the_episode_with_an_error() -> None:
    with pytest.raises(ToolServerError, match="gone"):
        run([calling(call("fail"))], Desk(raising(ToolServerError("gone"))))
