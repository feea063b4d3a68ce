"""The API's own description, as far as the routes do not give it themselves."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

DESCRIPTION = """Starts, shows, lists, explains, stops and retries the jobs of Stumbleable, and pauses them all. An
admin's Clerk session token goes into `Authorization: Bearer`. Every answer carries `X-Request-Id`; every error has the
same shape."""

_FRAMEWORK_ERROR = "#/components/schemas/HTTPValidationError"


def install(api: FastAPI) -> None:
    """Takes the framework's 422 out of the description: a bad request is answered 400 here."""
    generate = api.openapi

    def described() -> dict[str, Any]:
        if api.openapi_schema is None:
            api.openapi_schema = _without_framework_errors(generate())
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
