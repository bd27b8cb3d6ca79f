"""How a request for generation is read, admitted, run and answered, whole or as a stream of server-sent events."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from serve.body import Bodies, parse_body
from serve.failures import GONE, BusyError, FailedError, error_body, status_of
from serve.metrics import Metrics
from serve.replies import Answers, Reply, usage
from toolwright.engine import AsyncEngine, Engine, GenerationError
from toolwright.errors import DataError, ToolwrightError

INLINE_BYTES = 32 * 1024
"""Larger bodies are read in a thread of their own, so that nobody waits for them; smaller ones are sooner read here."""

INLINE_ROWS = 1024
"""The same for log-probabilities in an answer."""

Read = TypeVar("Read")


@dataclass
class State:
    """What the handlers share."""

    engine: Engine
    batch: AsyncEngine
    name: str
    dialect: str
    stop_ids: frozenset[int]
    bodies: Bodies
    most_under_way: int
    metrics: Metrics
    started: int = field(default_factory=lambda: int(time.time()))
    reader: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "read"))
    stopping: bool = False
    template_kwargs: dict[str, Any] = field(default_factory=dict)

    def stop(self) -> None:
        """End all that is under way: its clients are told that there is no more."""
        self.stopping = True
        self.batch.end_all("the server was stopped; send the request again later")

    def failure(self, error: GenerationError) -> ToolwrightError:
        """How a reply that was not finished is told: what a stopped server cuts off may be asked for again."""
        return BusyError(str(error)) if self.stopping else FailedError(str(error))


async def read_request(request: Request, state: State, read: Callable[[dict[str, Any]], Read]) -> Read:
    """What ``read`` makes of the body.

    Raises:
        ToolwrightError: the body cannot be read.
    """
    async with state.bodies.read(request) as body:

        def work() -> Read:
            try:
                return read(parse_body(body))
            except RecursionError:
                raise DataError("body: something in it is nested too deeply") from None

        if len(body) <= INLINE_BYTES:
            return work()
        return await _in_thread(state, work)


async def _in_thread(state: State, work: Callable[[], Read]) -> Read:
    return await asyncio.get_running_loop().run_in_executor(state.reader, work)


async def answer(request: Request, state: State, read: Callable[[dict[str, Any]], Answers]) -> Response:
    """Generate what a request asks for.

    Raises:
        BusyError: too many wait already.
        ToolwrightError: the body cannot be read, or the model failed.
    """
    arrived = time.perf_counter()
    metrics = state.metrics
    _check_room(state)
    answers = await read_request(request, state, read)
    _check_room(state)
    job = answers.job
    metrics.requests += 1
    metrics.prompt_tokens += job.prompt_tokens
    if job.stream:
        return StreamingResponse(_stream(state, answers, arrived), media_type="text/event-stream")
    replies = await _while_connected(request, state, answers)
    if replies is None:
        metrics.dropped += 1
        return Response(status_code=GONE)
    rows = sum(len(result.ids) for result, _ in replies) * (1 + (job.logprobs or 0))
    if job.logprobs is None or rows <= INLINE_ROWS:
        return JSONResponse(answers.whole(replies))
    return await _in_thread(state, lambda: JSONResponse(answers.whole(replies)))


def _check_room(state: State) -> None:
    if state.stopping:
        raise BusyError("the server is stopping; try again later")
    if state.metrics.under_way >= state.most_under_way:
        raise BusyError(f"{state.metrics.under_way} requests are under way or waiting already; try again later")


async def _while_connected(request: Request, state: State, answers: Answers) -> list[Reply] | None:
    """The replies; none if the client goes away, which frees its slots."""
    tasks = [asyncio.create_task(_sample(state, answers, index)) for index in range(len(answers.job.requests))]
    gone = asyncio.create_task(_until_gone(request))
    left: set[asyncio.Task[Any]] = {*tasks, gone}
    try:
        while gone in left and not all(task.done() for task in tasks):
            done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # raises what the model has failed with
        return [task.result() for task in tasks] if all(task.done() for task in tasks) else None
    finally:
        for task in (*tasks, gone):
            task.cancel()
        await asyncio.gather(*tasks, gone, return_exceptions=True)


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _sample(state: State, answers: Answers, index: int) -> Reply:
    state.metrics.under_way += 1
    try:
        result = await state.batch.sample(answers.job.requests[index])
    except GenerationError as error:
        raise state.failure(error) from None
    finally:
        state.metrics.under_way -= 1
    state.metrics.tokens += len(result.ids)
    parsed = answers.read(result)
    _count(state, answers, len(parsed.problems), [call.name for call in parsed.calls])
    return result, parsed


def _count(state: State, answers: Answers, problems: int, called: Sequence[str]) -> None:
    state.metrics.malformed_calls += problems
    state.metrics.missed_calls += answers.job.missed(called)


async def _stream(state: State, answers: Answers, arrived: float) -> AsyncIterator[str]:
    """Server-sent events of all choices, mixed as they come."""
    job = answers.job
    queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
    tasks = [
        asyncio.create_task(_write_choice(state, answers, index, queue, arrived)) for index in range(len(job.requests))
    ]
    over = False
    try:
        left = len(tasks)
        while left:
            event = await queue.get()
            left -= event is None
            if event is not None:
                yield _event(event)
        tokens = sum(task.result() for task in tasks)
        over = True
        if job.usage:
            yield _event(answers.chunk([]) | {"usage": usage(job, tokens)})
    except ToolwrightError as error:
        over = True
        yield _event(error_body(status_of(error), str(error)))
    finally:
        state.metrics.dropped += not over
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    yield "data: [DONE]\n\n"


async def _write_choice(
    state: State, answers: Answers, index: int, queue: asyncio.Queue[dict[str, Any] | None], arrived: float
) -> int:
    """Put the chunks of one choice, and None at its end, into the queue; gives its number of tokens."""
    count = 0
    state.metrics.under_way += 1
    try:
        writer = answers.writer(index)
        for piece in writer.start():
            queue.put_nowait(piece)
        async for event in state.batch.stream(answers.job.requests[index]):
            if not count and not index:
                state.metrics.first_token.observe(time.perf_counter() - arrived)
            count += 1
            for piece in writer.feed(event):
                queue.put_nowait(piece)
        _count(state, answers, len(writer.problems), writer.called)
    except GenerationError as error:
        raise state.failure(error) from None
    finally:
        queue.put_nowait(None)
        state.metrics.under_way -= 1
        state.metrics.tokens += count
    return count


def _event(body: dict[str, Any]) -> str:
    # In ASCII: many clients split lines as Python does, also at U+2028 and its like, which JSON leaves as they are.
    return f"data: {json.dumps(body)}\n\n"
