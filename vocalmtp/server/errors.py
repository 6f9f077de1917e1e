"""Errors of the HTTP interface, in OpenAI's form: {"error": {message, type, param, code}}."""

import logging
import math
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from vocalmtp.errors import InputError
from vocalmtp.server.schedule import Overloaded, SynthesisFailed

logger = logging.getLogger(__name__)

INVALID, SERVER = "invalid_request_error", "server_error"
NAMES = {401: "invalid_api_key", 404: "not_found", 405: "method_not_allowed"}


class ErrorDetail(BaseModel):
    """What is wrong with a request."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(BaseModel):
    """The body of every response that reports an error."""

    error: ErrorDetail


class APIError(Exception):
    """A request is refused.

    Args:
        status: HTTP status.
        message: one line.
        code: identifies the kind of error.
        param: the field that the error is about.
        headers: of the response.

    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str,
        param: str | None = None,
        headers: dict[str, str] | None = None,
    ):
        super().__init__(message)
        self.status, self.code, self.param, self.headers = status, code, param, headers


def error_body(status: int, message: str, code: str | None, param: str | None) -> dict[str, Any]:
    """Return the body of a response with an error."""
    kind = INVALID if status < 500 else SERVER
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def as_api_error(error: Exception) -> APIError:
    """Convert what a request may raise; an unexpected exception is logged, not shown."""
    if isinstance(error, APIError):
        return error
    if isinstance(error, InputError):
        return APIError(400, str(error), error.code, error.key or None)
    if isinstance(error, Overloaded):
        return overloaded(error.retry_after, "the server is busy; try again later")
    if isinstance(error, SynthesisFailed):
        return APIError(500, str(error), "synthesis_failed")
    logger.error("a request has failed", exc_info=error)
    return APIError(500, "the server failed on this request", "internal_error")


def overloaded(retry_after: float, message: str, status: int = 503) -> APIError:
    """Return the refusal of a request that may be sent again after so many seconds."""
    headers = {"Retry-After": str(math.ceil(retry_after))}
    code = "overloaded" if status == 503 else "rate_limit_exceeded"
    return APIError(status, message, code, headers=headers)


def error_response(error: Exception) -> JSONResponse:
    """Return the response to a request that raised `error`."""
    found = as_api_error(error)
    body = error_body(found.status, str(found), found.code, found.param)
    return JSONResponse(body, found.status, found.headers)


def error_event(error: Exception) -> dict[str, Any]:
    """Return the event that reports an error within a response whose status was sent already."""
    found = as_api_error(error)
    body = error_body(found.status, str(found), found.code, found.param)
    return {"type": "error", **body}


def add_error_handlers(app: FastAPI) -> None:
    """Let all errors of an application be reported in OpenAI's form."""

    async def known(request: Request, error: Exception) -> JSONResponse:
        return error_response(error)

    async def invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        problem = error.errors()[0]
        place = [str(part) for part in problem["loc"][1:]]  # after "body", "query" or "path"
        param = ".".join(place) or None
        message = f"{param or 'body'}: {problem['msg']}".encode(errors="replace").decode()
        return error_response(APIError(400, message, problem["type"], param))

    async def refused(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        code = NAMES.get(error.status_code, "http_error")
        body = error_body(error.status_code, str(error.detail), code, None)
        return JSONResponse(body, error.status_code, error.headers)

    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, refused)
    for kind in (APIError, InputError, Overloaded, SynthesisFailed, Exception):
        app.add_exception_handler(kind, known)
