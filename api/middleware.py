"""Around every request: its id, its log line, its limits, its origin, an answer also where our code fails.

All of it passes messages on as they come: an answer that is streamed is not held back, and a client that goes away is
seen by the handler.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import Sequence
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response
from starlette.status import HTTP_200_OK
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import logs
from api.errors import ApiError, BodyTooLarge, BodyTooSlow, Internal, InvalidRequest
from api.headers import SecurityHeaders, excess
from flows.core.redaction import redact

LARGEST_BODY = 64 * 1024
SLOWEST_BODY_SECONDS = 30.0
_DRAINED = 1024 * 1024
_SANE_ID = re.compile(r"[\w.:/+=-]{1,128}", re.ASCII)
_QUIET = ("/health", "/ready")

logger = logging.getLogger(__name__)


class RequestContext:
    """Gives each request its id, in the log and in X-Request-Id, and logs one line for it when its answer has ended.

    Requests that are too large in what comes before the body get no further than this.
    """

    def __init__(self, app: ASGIApp, security: SecurityHeaders) -> None:
        self._app = app
        self._security = security

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(Headers(scope=scope).get("x-request-id", ""))
        token = logs.request_id.set(request_id)
        began = time.perf_counter()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
                self._security.add_to(message, scope["path"])
            await send(message)

        try:
            if (too_much := excess(scope)) is None:
                await self._app(scope, receive, send_with_id)
            else:
                await answer(too_much, Headers(scope=scope))(scope, receive, send_with_id)
        except Exception:
            # Raised again by the framework once it has answered 500; here is where it is told.
            logger.exception("A request failed")
            if not status:
                await answer(Internal(), Headers(scope=scope))(scope, receive, send_with_id)
        finally:
            level = logging.DEBUG if scope["path"] in _QUIET else logging.INFO
            told = {"method": scope["method"], "path": scope["path"], "status": status}
            elapsed = round((time.perf_counter() - began) * 1000, 1)
            logger.log(level, "%s %s %s", *told.values(), extra={**told, "duration_ms": elapsed})
            logs.request_id.reset(token)


class BodyLimit:
    """Reads the body before the app does, 64 KiB and half a minute at most, whether its length was announced or not."""

    def __init__(self, app: ASGIApp, seconds: float = SLOWEST_BODY_SECONDS) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        if "content-length" not in headers and "transfer-encoding" not in headers:
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._seconds):
                body = await _read(receive)
        except TimeoutError:
            await answer(BodyTooSlow(headers={"Connection": "close"}), headers)(scope, receive, send)
            return
        if body is None:
            return
        if len(body) > LARGEST_BODY:
            await answer(BodyTooLarge(headers={"Connection": "close"}), headers)(scope, receive, send)
            return
        pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return pending.pop() if pending else await receive()

        await self._app(scope, replay, send)


class Cors(CORSMiddleware):
    """Lets pages of exactly these origins call the API and read what they need of the answer's headers."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=[
                "Authorization",
                "Content-Type",
                "Idempotency-Key",
                "If-Match",
                "If-None-Match",
                "Last-Event-ID",
                "X-Request-Id",
            ],
            expose_headers=["ETag", "Idempotent-Replayed", "Location", "Retry-After", "X-Request-Id"],
            max_age=600,
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        """The answer to an OPTIONS request; a refusal in the shape of every other error."""
        response = super().preflight_response(request_headers)
        if response.status_code == HTTP_200_OK:
            return response
        told = bytes(response.body).decode()
        kept = {name: value for name, value in response.headers.items() if name.startswith(("access-control", "vary"))}
        return answer(InvalidRequest(told, headers=kept), request_headers)


def _request_id(given: str) -> str:
    """The caller's id of the request where it is one, and no address or token either: it goes into the log."""
    return given if _SANE_ID.fullmatch(given) and redact(given) == given else str(uuid4())


async def _read(receive: Receive) -> bytes | None:
    """The body; more than 64 KiB of it if it is too large; None if the client went away.

    A little of what is too much is read, because a client that is still sending would not see the answer.
    """
    body = bytearray()
    read = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunk = message.get("body", b"")
        read += len(chunk)
        if len(body) <= LARGEST_BODY:
            body += chunk
        if not message.get("more_body", False) or read > _DRAINED:
            return bytes(body)


def answer(error: ApiError, request_headers: Headers) -> JSONResponse:
    """The error as an answer, in the form that the request's Accept asks for."""
    as_problem = "application/problem+json" in request_headers.get("accept", "")
    response = _Json(error.body(logs.request_id.get() or "", as_problem=as_problem), error.status, error.headers)
    if as_problem:
        response.headers["content-type"] = "application/problem+json"
    return response


class _Json(JSONResponse):
    def render(self, content: object) -> bytes:
        # Messages quote what callers sent; a lone surrogate in it must not break the answer.
        return json.dumps(content, separators=(",", ":")).encode()
