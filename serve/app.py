"""The small server: the OpenAI API over one engine. For CPUs, tests and demos; vLLM is for the rest."""

import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from serve.body import Bodies
from serve.completions import TextAnswers, build_completion_job, read_completion_request
from serve.failures import NotFoundError, answer_error
from serve.gate import Gate
from serve.generate import State, answer, read_request
from serve.metrics import Metrics
from serve.protocol import build_job, read_chat_request
from serve.replies import Answers, ChatAnswers
from serve.tokens import count_tokens, write_text
from toolwright import __version__
from toolwright.config import ServeConfig
from toolwright.dialect import dialect_for
from toolwright.engine import AsyncEngine, Engine
from toolwright.errors import ToolwrightError
from toolwright.words import shorten


def open_gate(
    gate: Gate, engine: Engine, name: str, section: ServeConfig, template_kwargs: Mapping[str, Any] | None = None
) -> Starlette:
    """Put the application for a loaded model behind a gate; ``template_kwargs`` are what its template was trained with.

    Raises:
        ModelError: the model writes calls in no form that we can read.
    """
    app = build_app(engine, name, section, gate.metrics)
    app.state.serving.template_kwargs = dict(template_kwargs or {})
    gate.app, gate.slots = app, engine.max_batch
    return app


def build_app(engine: Engine, name: str, section: ServeConfig, metrics: Metrics) -> Starlette:
    """The application that serves ``engine`` as ``name``, within the limits of ``section``.

    Raises:
        ModelError: the model writes calls in no form that we can read.
    """
    template = engine.tokenizer.chat_template
    state = State(
        engine=engine,
        batch=AsyncEngine(engine),
        name=name,
        dialect=dialect_for(engine.model.config.model_type, template if isinstance(template, str) else str(template)),
        stop_ids=find_stop_ids(engine),
        bodies=Bodies(section.max_body_mib * 2**20),
        most_under_way=engine.max_batch + section.max_waiting,
        metrics=metrics,
    )

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with state.batch:
            yield
        state.reader.shutdown(wait=False, cancel_futures=True)

    routes = [
        Route("/version", _version),
        Route("/v1/models", _models),
        Route("/v1/models/{name:path}", _model),
        Route("/v1/chat/completions", _chat, methods=["POST"]),
        Route("/v1/completions", _complete, methods=["POST"]),
        Route("/tokenize", _tokenize, methods=["POST"]),
        Route("/detokenize", _detokenize, methods=["POST"]),
    ]
    kinds = (ToolwrightError, HTTPException, ClientDisconnect)
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers={kind: answer_error for kind in kinds})
    app.state.serving = state
    return app


def find_stop_ids(engine: Engine) -> frozenset[int]:
    """The tokens that end a reply: of the generation configuration and of the tokenizer."""
    named = getattr(getattr(engine.model, "generation_config", None), "eos_token_id", None)
    ids = [*(named if isinstance(named, list) else [named]), engine.tokenizer.eos_token_id]
    return frozenset(token for token in ids if token is not None)


def _row(state: State) -> dict[str, Any]:
    return {
        "id": state.name,
        "object": "model",
        "created": state.started,
        "owned_by": "toolwright",
        "max_model_len": state.engine.max_tokens_total,
    }


async def _version(_: Request) -> Response:
    return JSONResponse({"version": __version__})


async def _models(request: Request) -> Response:
    return JSONResponse({"object": "list", "data": [_row(request.app.state.serving)]})


async def _model(request: Request) -> Response:
    state: State = request.app.state.serving
    _check_model(state, request.path_params["name"])
    return JSONResponse(_row(state))


def _check_model(state: State, name: object) -> None:
    if name not in (None, state.name):
        raise NotFoundError(f"model {shorten(name)} is not served here; ask for {state.name!r}")


async def _chat(request: Request) -> Response:
    state: State = request.app.state.serving

    def read(body: dict[str, Any]) -> Answers:
        chat = read_chat_request(_with_template_kwargs(state, body))
        _check_model(state, chat.model)
        job = build_job(chat, state.engine, state.dialect, state.stop_ids, secrets.randbits(48))
        return ChatAnswers(job, state.name, state.dialect, state.engine.tokenizer)

    return await answer(request, state, read)


def _with_template_kwargs(state: State, body: dict[str, Any]) -> dict[str, Any]:
    """A request with the keywords of training for the chat template, as far as the client says nothing else."""
    given = body.get("chat_template_kwargs")
    if not state.template_kwargs or not isinstance(given, dict | None):
        return body
    return {**body, "chat_template_kwargs": {**state.template_kwargs, **(given or {})}}


async def _complete(request: Request) -> Response:
    state: State = request.app.state.serving

    def read(body: dict[str, Any]) -> Answers:
        fields = read_completion_request(body)
        _check_model(state, fields.model)
        job = build_completion_job(fields, state.engine, state.stop_ids, secrets.randbits(48))
        return TextAnswers(job, state.name, state.engine.tokenizer)

    return await answer(request, state, read)


async def _tokenize(request: Request) -> Response:
    state: State = request.app.state.serving

    def read(body: dict[str, Any]) -> Response:
        _check_model(state, body.get("model"))
        return JSONResponse(count_tokens(state.engine, _with_template_kwargs(state, body)))

    return await read_request(request, state, read)


async def _detokenize(request: Request) -> Response:
    state: State = request.app.state.serving

    def read(body: dict[str, Any]) -> Response:
        _check_model(state, body.get("model"))
        return JSONResponse(write_text(state.engine, body))

    return await read_request(request, state, read)
