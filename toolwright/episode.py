"""The one model-tool loop: data generation, RL rollouts and evaluation all play through it.

The model is asked, its calls run, the results go back, until it answers in words. What a model does wrong (an unknown
tool, bad arguments, a malformed call) and what a tool does wrong (an exception, no answer in time) comes back to the
model as a result with a typed error; it never ends the loop.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from toolwright.calls import check_arguments, check_schema
from toolwright.chat import Chat, Reply
from toolwright.errors import EndpointError, ToolServerError
from toolwright.records import ErrorType, Message, ToolCall, ToolResult, ToolSpec
from toolwright.words import nearest

MAX_RESULT_BYTES = 64 * 1024
MAX_CALLS_PER_TURN = 32
GRACE_S = 1.0
"""How long a call that was cancelled at its deadline may take to tidy up, before it is left behind."""


class World(Protocol):
    """Where calls run. It must not block the event loop: a deadline cannot reach into blocking code."""

    async def call(self, call: ToolCall) -> ToolResult:
        """Run a call whose arguments fit its tool."""
        ...


@dataclass(frozen=True)
class Turn:
    """A reply, and the results of its calls in their order; after them one more if part of the reply was malformed."""

    reply: Reply
    results: tuple[ToolResult, ...]


@dataclass(frozen=True)
class Episode:
    """A conversation played to its end.

    ``messages`` is the whole of it, from the first message given. ``stopped`` says why it ended: ``answer`` the model
    answered in words, ``max_turns``, ``length`` a reply was cut short (its calls did not run), ``endpoint`` the model
    could not be asked (``error`` says why). ``sandbox`` is the level at which its calls ran, where the world tells.
    """

    messages: tuple[Message, ...]
    turns: tuple[Turn, ...]
    stopped: Literal["answer", "max_turns", "length", "endpoint"]
    error: str | None = None
    sandbox: str | None = None

    @property
    def synthetic(self) -> tuple[int, ...]:
        """The places in ``messages`` of tool results that no tool gave."""
        results = [result for turn in self.turns for result in turn.results]
        places = [index for index, message in enumerate(self.messages) if message.role == "tool"][-len(results) :]
        return tuple(index for index, result in zip(places, results) if result.synthetic)

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """All calls of the model, in order, whether they ran or not."""
        return tuple(call for turn in self.turns for call in turn.reply.message.tool_calls)

    @property
    def executed(self) -> tuple[ToolCall, ...]:
        """The calls that ran without an error, in order."""
        return tuple(
            call
            for turn in self.turns
            for call, result in zip(turn.reply.message.tool_calls, turn.results)
            if result.ok
        )

    @property
    def answer(self) -> str | None:
        """What the model said at the end; None when it did not come to an answer."""
        return self.messages[-1].content or "" if self.stopped == "answer" else None


async def play(
    chat: Chat,
    world: World,
    messages: Sequence[Message],
    tools: Sequence[ToolSpec],
    *,
    max_turns: int = 8,
    call_timeout_s: float = 20.0,
    seed: int | None = None,
    raise_on_endpoint: bool = True,
    on_turn: Callable[[Turn], None] = lambda _: None,
) -> Episode:
    """Play a conversation until the model answers in words, for at most ``max_turns`` replies.

    The calls of one reply run at the same time, each with a deadline of ``call_timeout_s``. Call ids that are empty or
    used before are replaced, so that each result in the transcript has one call. ``on_turn`` is told of each turn when
    its calls have run.

    Raises:
        DataError: the schema of a tool is wrong.
        EndpointError: the model could not be asked, unless ``raise_on_endpoint`` is off.
    """
    for tool in tools:
        check_schema(tool)
    transcript, turns, sandbox = list(messages), list[Turn](), getattr(world, "sandbox", None)
    for _ in range(max_turns):
        try:
            reply = await chat.complete(transcript, tools, seed=seed)
        except EndpointError as error:
            if raise_on_endpoint:
                raise
            return Episode(tuple(transcript), tuple(turns), "endpoint", str(error), sandbox)
        reply = _with_unique_ids(reply, transcript)
        transcript.append(reply.message)
        calls, malformed = reply.message.tool_calls, _malformed(reply)
        if reply.finish_reason == "length" or not (calls or malformed):
            turns.append(Turn(reply, ()))
            on_turn(turns[-1])
            stopped: Literal["length", "answer"] = "length" if reply.finish_reason == "length" else "answer"
            return Episode(tuple(transcript), tuple(turns), stopped, sandbox=sandbox)
        results = await run_calls(world, calls, tools, call_timeout_s=call_timeout_s)
        transcript += map(_tool_message, calls, results)
        if malformed:
            results.append(malformed)
            transcript.append(Message(role="tool", content=malformed.content, tool_call_id=f"malformed_{len(turns)}"))
        turns.append(Turn(reply, tuple(results)))
        on_turn(turns[-1])
    return Episode(tuple(transcript), tuple(turns), "max_turns", sandbox=sandbox)


def _with_unique_ids(reply: Reply, transcript: Sequence[Message]) -> Reply:
    used = {call.id for message in transcript for call in message.tool_calls}
    count, calls = sum(len(message.tool_calls) for message in transcript), []
    for call in reply.message.tool_calls:
        new_id = call.id
        while not new_id or new_id in used:
            new_id, count = f"call_{count}", count + 1
        used.add(new_id)
        calls.append(call if new_id == call.id else call.model_copy(update={"id": new_id}))
    if tuple(calls) == reply.message.tool_calls:
        return reply
    return replace(reply, message=reply.message.model_copy(update={"tool_calls": tuple(calls)}))


def _malformed(reply: Reply) -> ToolResult | None:
    # A call that the endpoint left in the text ("unparsed") is no fault of the model: nothing for it to repair.
    details = [problem.detail for problem in reply.problems if problem.kind != "unparsed"]
    if not details:
        return None
    return _failed("malformed_call", f"{'; '.join(details)}. Write the call again")


def _tool_message(call: ToolCall, result: ToolResult) -> Message:
    return Message(role="tool", content=result.content, tool_call_id=call.id, name=call.name)


async def run_calls(
    world: World, calls: Sequence[ToolCall], tools: Sequence[ToolSpec], *, call_timeout_s: float
) -> list[ToolResult]:
    """Run the calls of one reply at the same time; results in the order of the calls, failures as results."""
    specs = {tool.name: tool for tool in tools}
    tasks = [
        asyncio.create_task(_run_call(world, call, specs, call_timeout_s, index)) for index, call in enumerate(calls)
    ]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


async def _run_call(
    world: World, call: ToolCall, specs: dict[str, ToolSpec], timeout_s: float, index: int
) -> ToolResult:
    spec = specs.get(call.name)
    if index >= MAX_CALLS_PER_TURN:
        return _failed("limit", f"at most {MAX_CALLS_PER_TURN} calls run in one turn; this one did not")
    if spec is None:
        return _failed("unknown_tool", f"there is no tool {call.name[:80]!r}{nearest(call.name, list(specs))}")
    if complaints := check_arguments(spec, call.arguments):
        return _failed("bad_arguments", "; ".join(complaints))
    result = await _ask_world(world, call, timeout_s)
    return result.model_copy(update={"content": cap(result.content)})


async def _ask_world(world: World, call: ToolCall, timeout_s: float) -> ToolResult:
    # Not asyncio.timeout: that waits for the call to end, and a call that swallows its cancellation never would.
    task = asyncio.create_task(_call(world, call))
    try:
        done, _ = await asyncio.wait({task}, timeout=timeout_s)
        if not done:
            task.cancel()
            await asyncio.wait({task}, timeout=GRACE_S)
            return _failed("timeout", f"no result within {timeout_s:g} s")
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait({task}, timeout=GRACE_S)
        raise
    return task.result()


async def _call(world: World, call: ToolCall) -> ToolResult:
    try:
        result: object = await world.call(call)
    except TimeoutError as error:
        return _failed("timeout", str(error) or "the tool gave up waiting")
    except ToolServerError:
        raise  # no server: not this call's failure, and every later call would fail the same way
    except Exception as error:  # noqa: BLE001  a tool may fail in any way; the failure is data
        return _failed("tool_error", f"{type(error).__name__}: {error}"[:500])
    if not isinstance(result, ToolResult):
        return _failed("tool_error", f"the tool gave no result but {type(result).__name__}")
    return result


def _failed(kind: ErrorType, text: str) -> ToolResult:
    return ToolResult(content=f"{kind}: {text}", error=kind)


def cap(content: str, limit: int = MAX_RESULT_BYTES) -> str:
    """Cut a result to ``limit`` bytes of UTF-8, with a mark at its end that says so."""
    data = content.encode("utf-8", "replace")
    if len(data) <= limit:
        return data.decode()
    mark = f"\n[cut: the result has {len(data)} bytes, more than the limit of {limit}]"
    return data[: limit - len(mark)].decode("utf-8", "ignore") + mark
