"""The API's own description, as far as the routes do not give it themselves."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

DESCRIPTION = """Starts, shows, lists, explains, stops and retries the jobs of Stumbleable, and pauses them all. An
admin's Clerk session token goes into `Authorization: Bearer`. Every answer carries `X-Request-Id`; every error has the
same shape."""

_FRAMEWORK_ERROR = "#/components/schemas/HTTPValidationError"
_TEXT = {"type": "string"}
_REQUEST_ID = {"X-Request-Id": {"description": "Id of this request, in the log too", "required": True, "schema": _TEXT}}
_RETRY_AFTER = {
    "Retry-After": {
        "description": "Seconds after which to try again",
        "required": True,
        "schema": {"type": "integer", "minimum": 0},
    }
}
# Headers that the errors of a status bring with them, whichever route has raised them.
_HEADERS: dict[str, dict[str, Any]] = {
    "401": {"WWW-Authenticate": {"description": "The scheme: Bearer", "required": True, "schema": _TEXT}},
    "429": _RETRY_AFTER,
    "503": _RETRY_AFTER,
}


_TAG = {"ETag": {"description": "Tag of this answer, for If-None-Match", "required": True, "schema": _TEXT}}
_TAGGED = ("200", "304")


def install(api: FastAPI) -> None:
    """Describes the headers that every answer has, and no error of the framework: a bad request is answered 400."""
    generate = api.openapi

    def described() -> dict[str, Any]:
        if api.openapi_schema is None:
            api.openapi_schema = _with_headers(_without_framework_errors(generate()))
        return api.openapi_schema

    api.openapi = described  # type: ignore[method-assign]  # the framework's documented way


def _without_framework_errors(schema: dict[str, Any]) -> dict[str, Any]:
    for path in schema["paths"].values():
        for operation in path.values():
            answers = operation["responses"]
            if _FRAMEWORK_ERROR in str(answers.get("422")):
                del answers["422"]
    for name in ("HTTPValidationError", "ValidationError"):
        schema.get("components", {}).get("schemas", {}).pop(name, None)
    return schema


def _with_headers(schema: dict[str, Any]) -> dict[str, Any]:
    for path in schema["paths"].values():
        for operation in path.values():
            answers = operation["responses"]
            for status, answer in answers.items():
                tag = _TAG if "304" in answers and status in _TAGGED and not _is_stream(answer) else {}
                answer["headers"] = {**_REQUEST_ID, **tag, **_HEADERS.get(status, {}), **answer.get("headers", {})}
    return schema


def _is_stream(answer: dict[str, Any]) -> bool:
    return "text/event-stream" in answer.get("content", {})
