"""What a path allows: the answer to a method that it does not have."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, compile_path
from starlette.status import HTTP_405_METHOD_NOT_ALLOWED

from api.errors import MethodNotAllowed
from api.middleware import answer


def install(api: FastAPI) -> None:
    """Names every method of the path. The framework names those of one route, and each method is a route here."""

    @api.exception_handler(HTTP_405_METHOD_NOT_ALLOWED)
    async def _refused(request: Request, error: HTTPException) -> Response:
        headers = dict(error.headers or {})
        if found := _methods(api, request.scope["path"]):
            as_head = {**request.scope, "method": "HEAD"}
            found |= {"HEAD" for route in api.routes if route.matches(as_head)[0] is Match.FULL}
            headers["Allow"] = ", ".join(sorted(found))
        return answer(MethodNotAllowed(headers=headers), request.headers)


def _methods(api: FastAPI, path: str) -> set[str]:
    """The methods that the description has for the path; none where it is no path of the API."""
    for template, operations in api.openapi()["paths"].items():
        if compile_path(template)[0].match(path):
            return {method.upper() for method in operations}
    return set()
