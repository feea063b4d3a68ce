"""Turns what handlers raise into answers; which error becomes which status is in `api.errors`."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from api.errors import ApiError, Internal, InvalidRequest, from_scheduler_error, from_status
from api.middleware import answer
from flows.core.errors import SchedulerError
from flows.core.redaction import redact

_MOST_DETAILS = 20


def install(api: FastAPI) -> None:
    """Registers the handlers."""

    @api.exception_handler(ApiError)
    @api.exception_handler(RequestValidationError)
    @api.exception_handler(HTTPException)
    @api.exception_handler(Exception)
    async def _answer(request: Request, error: Exception) -> Response:
        return answer(answered(error), request.headers)

    @api.exception_handler(SchedulerError)
    async def _from_below(request: Request, error: SchedulerError) -> Response:
        translated = from_scheduler_error(error)
        if isinstance(translated, Internal):
            raise error
        return answer(translated, request.headers)


def answered(error: Exception) -> ApiError:
    """The answer that an error becomes when a handler lets it through."""
    match error:
        case ApiError():
            return error
        case SchedulerError():
            return from_scheduler_error(error)
        case RequestValidationError():
            return invalid_request(error)
        case HTTPException():
            return from_status(error.status_code, error.detail, error.headers)
        case _:
            return Internal()


def invalid_request(error: RequestValidationError) -> InvalidRequest:
    """What was wrong and what is valid, the first problem as the sentence. Values sent in are not repeated."""
    details = [_detail(problem) for problem in error.errors()[:_MOST_DETAILS]]
    first = details[0]
    return InvalidRequest(f"{first['field']}: {first['message']}", details=details)


def _detail(problem: Any) -> dict[str, str]:
    place, *path = problem["loc"]
    if problem["type"] == "json_invalid":
        return {"field": "body", "message": f"not valid JSON ({problem['ctx']['error']})"}
    # Names of unknown fields are the caller's own words.
    field = redact(".".join(str(part) for part in path), limit=100) or str(place)
    return {"field": field, "message": _message(problem, str(place))}


def _message(problem: Any, place: str) -> str:
    match problem["type"]:
        case "enum":
            return f"unknown value: valid are {problem['ctx']['expected']}"
        case "extra_forbidden":
            return "unknown field"
        case "missing":
            return "required"
        case "model_attributes_type" if place == "body":
            return "must be a JSON object, sent with Content-Type: application/json"
        case _:
            return str(problem["msg"]).removeprefix("Value error, ")
