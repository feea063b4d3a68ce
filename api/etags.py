"""ETag on what is read under /api, and 304 for a client that has it already."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.status import HTTP_200_OK, HTTP_304_NOT_MODIFIED
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_TAG = re.compile(r'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')
# Whoever is not asked again each time would go on showing what has changed, or what is no longer theirs to see.
_FRESH_ONLY = "private, no-cache"
_DESCRIPTION = {"description": "Tag of this answer, for If-None-Match", "schema": {"type": "string"}}
_NOT_MODIFIED = {
    "description": "What was asked for is as If-None-Match says; no body",
    "headers": {
        "ETag": _DESCRIPTION,
        "X-Request-Id": {"description": "Id of this request, in the log too", "schema": {"type": "string"}},
    },
}
_OF_A_BODY = ("content-length", "content-type")


def install(api: FastAPI) -> None:
    """Adds the tag to the description of everything that is read under /api and is JSON."""
    generate = api.openapi

    def described() -> dict[str, Any]:
        schema = generate()
        for path, operations in schema["paths"].items():
            answer = operations.get("get", {}).get("responses", {}).get("200", {})
            if path.startswith("/api/") and "application/json" in answer.get("content", {}):
                answer.setdefault("headers", {}).setdefault("ETag", _DESCRIPTION)
                operations["get"]["responses"].setdefault("304", _NOT_MODIFIED)
        return schema

    api.openapi = described  # type: ignore[method-assign]  # the framework's documented way


class ETags:
    """A weak tag by the hash of the body, for answers 200 that come in one piece; streams pass through as they come.

    A tag that the handler has set stays, and is the handler's business altogether.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET" or not scope["path"].startswith("/api/"):
            await self._app(scope, receive, send)
            return
        held: Message | None = None

        async def tagging(message: Message) -> None:
            nonlocal held
            if message["type"] == "http.response.start":
                if _may_be_tagged(message):
                    held = message
                    return
            elif held is not None:
                start, held = held, None
                if not message.get("more_body", False):
                    message = _tagged(scope, start, message)
                await send(start)
            await send(message)

        await self._app(scope, receive, tagging)


def _may_be_tagged(start: Message) -> bool:
    headers = Headers(raw=start["headers"])
    if start["status"] == HTTP_200_OK and "etag" in headers and "cache-control" not in headers:
        MutableHeaders(raw=start["headers"])["Cache-Control"] = _FRESH_ONLY
    return (
        start["status"] == HTTP_200_OK
        and "etag" not in headers
        and "no-store" not in headers.get("cache-control", "")
        and not headers.get("content-type", "").startswith("text/event-stream")
    )


def _tagged(scope: Scope, start: Message, body: Message) -> Message:
    """The body to send after `start`, which gets its tag, or becomes a 304."""
    tag = f'"{hashlib.blake2b(body.get("body", b""), digest_size=12).hexdigest()}"'
    headers = MutableHeaders(raw=start["headers"])
    headers["ETag"] = f"W/{tag}"
    headers.setdefault("Cache-Control", _FRESH_ONLY)
    if not is_known(Headers(scope=scope).getlist("if-none-match"), tag):
        return body
    start["status"] = HTTP_304_NOT_MODIFIED
    for name in _OF_A_BODY:
        del headers[name]
    return {"type": "http.response.body", "body": b""}


def is_known(if_none_match: list[str], tag: str) -> bool:
    """Whether the client has the answer with this tag, compared weakly."""
    return any(one.strip() == "*" or tag in _TAG.findall(one) for one in if_none_match)
