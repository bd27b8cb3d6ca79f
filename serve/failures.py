"""What may go wrong with a request, and how it is told: errors in OpenAI form with the right status."""

import re
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from toolwright.errors import DataError, ToolwrightError

RETRY_AFTER_S = 2
GONE = 499
"""Status that is counted for a client that went away before it was answered."""


class NotFoundError(ToolwrightError):
    """The request asks for a model that is not served here."""


class TooLargeError(ToolwrightError):
    """A body is larger than ``serve.max_body_mib``."""


class TooSlowError(ToolwrightError):
    """A body did not arrive in time."""


class BusyError(ToolwrightError):
    """There is no room for a further request now."""


class FailedError(ToolwrightError):
    """The model failed on a request."""


class ContextError(DataError):
    """The prompt leaves no room for a reply."""


STATUSES: tuple[tuple[type[Exception], int], ...] = (
    (NotFoundError, 404),
    (TooLargeError, 413),
    (TooSlowError, 408),
    (BusyError, 503),
    (FailedError, 500),
    (DataError, 400),
)
CODES: dict[type[Exception], str] = {ContextError: "context_length_exceeded", NotFoundError: "model_not_found"}


def status_of(error: Exception) -> int:
    """The status of an error."""
    return next((status for kind, status in STATUSES if isinstance(error, kind)), 500)


async def answer_error(request: Request, error: Exception) -> Response:
    """The response to an error."""
    if isinstance(error, ClientDisconnect):
        request.app.state.serving.metrics.dropped += 1
        return Response(status_code=GONE)
    if isinstance(error, HTTPException):
        return error_response(error.status_code, str(error.detail))
    status = status_of(error)
    return unavailable(str(error)) if status == 503 else error_response(status, str(error), CODES.get(type(error)))


def error_body(status: int, message: str, code: str | None = None) -> dict[str, Any]:
    """An error in OpenAI form; ``code`` is the status where there is no word for it."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    field = re.match(r"[a-z_]+(?=[:.\[])", message) if status == 400 else None
    return {"error": {"message": message, "type": kind, "param": field and field[0], "code": code or status}}


def error_response(status: int, message: str, code: str | None = None) -> JSONResponse:
    """An error in OpenAI form, as a response."""
    return JSONResponse(error_body(status, message, code), status_code=status)


def unavailable(message: str) -> JSONResponse:
    """The answer to a request that may be sent again later."""
    response = error_response(503, message)
    response.headers["Retry-After"] = str(RETRY_AFTER_S)
    return response
