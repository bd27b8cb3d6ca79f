"""The small server: the OpenAI chat API over one engine. For CPUs, tests and demos; vLLM is for the rest."""

import asyncio
import hmac
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException

from serve.protocol import Job, build_job, read_chat_request, read_messages, read_tools
from serve.replies import ChunkWriter, chunk, completion, problems_of, usage
from toolwright.dialect import dialect_for, render_prompt
from toolwright.engine import AsyncEngine, Engine, GenerationError, GenerationResult
from toolwright.errors import DataError, ModelError, ToolwrightError
from toolwright.words import shorten

LOOK_S = 0.5
"""How often it is looked whether a client that waits for a whole answer is still there."""


@dataclass
class Counts:
    """What has happened since the start."""

    requests: int = 0
    tokens: int = 0
    malformed_calls: int = 0


@dataclass
class State:
    """What the handlers share."""

    engine: Engine
    batch: AsyncEngine
    name: str
    dialect: str
    stop_ids: frozenset[int]
    counts: Counts


class NotFoundError(ToolwrightError):
    """The request asks for a model that is not served here."""


def build_app(engine: Engine, name: str, api_key: str | None = None) -> FastAPI:
    """The application that serves ``engine`` as ``name``.

    Raises:
        ModelError: the model writes calls in no form that we can read.
    """
    template = engine.tokenizer.chat_template
    dialect = dialect_for(engine.model.config.model_type, template if isinstance(template, str) else str(template))
    batch = AsyncEngine(engine)
    state = State(engine, batch, name, dialect, find_stop_ids(engine), Counts())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with batch:
            yield

    app = FastAPI(title="toolwright", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.serving = state
    for kind in (DataError, ModelError, NotFoundError, HTTPException, Exception):
        app.add_exception_handler(kind, _answer_error)
    if api_key is not None:
        app.middleware("http")(_require_key(api_key))
    app.get("/health")(_health)
    app.get("/v1/models")(_models)
    app.post("/v1/chat/completions", response_model=None)(_chat)
    app.post("/tokenize")(_tokenize)
    return app


def find_stop_ids(engine: Engine) -> frozenset[int]:
    """The tokens that end a reply: of the generation configuration and of the tokenizer."""
    named = getattr(getattr(engine.model, "generation_config", None), "eos_token_id", None)
    ids = [*(named if isinstance(named, list) else [named]), engine.tokenizer.eos_token_id]
    return frozenset(token for token in ids if token is not None)


def _require_key(key: str) -> Callable[[Request, Callable[[Request], Awaitable[Response]]], Awaitable[Response]]:
    async def check(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if request.url.path != "/health" and not hmac.compare_digest(given.encode("latin-1"), key.encode()):
            return error_response(401, "wrong or missing API key; send it as `Authorization: Bearer KEY`")
        return await call_next(request)

    return check


async def _health(request: Request) -> dict[str, Any]:
    counts: Counts = request.app.state.serving.counts
    return {"status": "ok", **counts.__dict__}


async def _models(request: Request) -> dict[str, Any]:
    state: State = request.app.state.serving
    row = {
        "id": state.name,
        "object": "model",
        "created": int(time.time()),
        "owned_by": "toolwright",
        "max_model_len": state.engine.max_tokens_total,
    }
    return {"object": "list", "data": [row]}


async def _chat(request: Request) -> Response:
    state: State = request.app.state.serving
    body = await read_body(request)
    chat = read_chat_request(body)
    if chat.model not in (None, state.name):
        raise NotFoundError(f"model {shorten(chat.model)} is not served here; ask for {state.name!r}")
    job = build_job(chat, state.engine, state.dialect, state.stop_ids, secrets.randbits(48))
    state.counts.requests += 1
    if job.stream:
        return StreamingResponse(_stream(state, job), media_type="text/event-stream")
    results = await _while_connected(request, _sample_all(state, job))
    if results is None:
        return Response(status_code=499)
    _count(state, job, results)
    return JSONResponse(completion(job, results, state.name, state.dialect, state.engine.tokenizer))


async def _sample_all(state: State, job: Job) -> list[GenerationResult]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(state.batch.sample(one)) for one in job.requests]
    return [task.result() for task in tasks]


async def _while_connected(request: Request, work: Awaitable[list[GenerationResult]]) -> list[GenerationResult] | None:
    """Await ``work``; cancel it, which frees its slots, when the client has gone."""
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait({task}, timeout=LOOK_S))[0]:
            if await request.is_disconnected():
                return None
        return task.result()
    except ExceptionGroup as group:
        raise group.exceptions[0] from None
    finally:
        task.cancel()


def _count(state: State, job: Job, results: list[GenerationResult]) -> None:
    state.counts.tokens += sum(len(result.ids) for result in results)
    state.counts.malformed_calls += sum(len(problems_of(job, result, state.dialect)) for result in results)


async def _stream(state: State, job: Job) -> AsyncIterator[str]:
    """Server-sent events of all choices, mixed as they come."""
    queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
    tasks = [asyncio.create_task(_write_choice(state, job, index, queue)) for index in range(len(job.requests))]
    try:
        left = len(tasks)
        while left:
            event = await queue.get()
            left -= event is None
            if event is not None:
                yield _event(event)
        tokens = sum(task.result() for task in tasks)
        if job.usage:
            yield _event(chunk(job, state.name, []) | {"usage": usage(job, tokens)})
    except ToolwrightError as error:
        yield _event(error_body(500, str(error)))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    yield "data: [DONE]\n\n"


async def _write_choice(state: State, job: Job, index: int, queue: asyncio.Queue[dict[str, Any] | None]) -> int:
    """Put the chunks of one choice, and None at its end, into the queue; gives its number of tokens."""
    writer = ChunkWriter(job, index, state.name, state.dialect, state.engine.tokenizer)
    count = 0
    try:
        queue.put_nowait(writer.start())
        async for event in state.batch.stream(job.requests[index]):
            count += 1
            # The last token may complete a stop string: what of it belongs to the reply is in the result.
            pieces = writer.feed(event.token) if event.result is None else writer.finish(event.result)
            for piece in pieces:
                queue.put_nowait(piece)
    finally:
        queue.put_nowait(None)
        state.counts.tokens += count
        state.counts.malformed_calls += len(writer.problems)
    return count


async def _tokenize(request: Request) -> dict[str, Any]:
    """Token ids of messages with tools, or of a text, as vLLM gives them."""
    state: State = request.app.state.serving
    body = await read_body(request)
    tokenizer = state.engine.tokenizer
    if isinstance(body.get("messages"), list):
        text = render_prompt(
            tokenizer,
            read_messages(body["messages"]),
            read_tools(body.get("tools")),
            add_generation_prompt=body.get("add_generation_prompt", True),
            **(body.get("chat_template_kwargs") or {}),
        )
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    elif isinstance(body.get("prompt"), str):
        ids = tokenizer(body["prompt"], add_special_tokens=body.get("add_special_tokens", True))["input_ids"]
    else:
        raise DataError("body: expected messages (a list) or prompt (a text)")
    return {"count": len(ids), "max_model_len": state.engine.max_tokens_total, "tokens": ids, "token_strs": None}


async def read_body(request: Request) -> dict[str, Any]:
    """The body of a request as a JSON object.

    Raises:
        DataError: it is none.
    """
    try:
        body = json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        raise DataError(f"body: not JSON ({error})") from None
    if not isinstance(body, dict):
        raise DataError(f"body: expected a JSON object, got {shorten(body)}")
    return body


def _event(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"


def error_body(status: int, message: str) -> dict[str, Any]:
    """An error in OpenAI form."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": status}}


def error_response(status: int, message: str) -> JSONResponse:
    """An error in OpenAI form, as a response."""
    return JSONResponse(error_body(status, message), status_code=status)


async def _answer_error(_: Request, error: Exception) -> JSONResponse:
    if isinstance(error, HTTPException):
        return error_response(error.status_code, str(error.detail))
    if isinstance(error, NotFoundError):
        return error_response(404, str(error))
    if isinstance(error, (DataError, ModelError)):
        # A chat template that refuses the messages is the client's mistake; a model that fails is not.
        return error_response(500 if isinstance(error, GenerationError) else 400, str(error))
    return error_response(500, f"{type(error).__name__}: {error}")
