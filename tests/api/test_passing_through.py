"""Streams and clients that go away, through everything that stands around a request."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp

from api.deps import AdminDep, AdminRoute
from api.main import wrap
from api.middleware import BodyLimit
from tests.api.conftest import Shim


class Ticker:
    """A stream that says one word, then waits for ever; it notes when it is ended."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.gone = asyncio.Event()

    async def words(self) -> AsyncIterator[bytes]:
        try:
            yield b"data: one\n\n"
            await asyncio.sleep(60)
        finally:
            self.ended.set()

    async def until_gone(self, request: Request) -> Response:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        self.gone.set()
        return Response()


class Client:
    """A connection at ASGI's own level: what is told is seen as it is sent."""

    def __init__(
        self, app: ASGIApp, method: str, path: str, token: str, body: bytes | None = None, *, is_whole: bool = True
    ) -> None:
        self.told: asyncio.Queue[Any] = asyncio.Queue()
        self._coming: asyncio.Queue[Any] = asyncio.Queue()
        headers = [(b"authorization", token.encode()), (b"if-none-match", b"*")]
        if body is not None:
            headers.append((b"content-length", str(len(body)).encode()))
            self._coming.put_nowait({"type": "http.request", "body": body, "more_body": not is_whole})
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": headers,
            "client": ("127.0.0.1", 1),
            "server": ("shim", 80),
        }
        self.answering = asyncio.ensure_future(app(scope, self._coming.get, self.told.put))

    async def next(self) -> Any:
        async with asyncio.timeout(5):
            return await self.told.get()

    def leave(self) -> None:
        self._coming.put_nowait({"type": "http.disconnect"})


@pytest.fixture
def ticker() -> Ticker:
    return Ticker()


@pytest.fixture
def app(shim: Shim, ticker: Ticker) -> ASGIApp:
    """The shim with a stream and a slow call of its own."""
    router = APIRouter(route_class=AdminRoute)

    @router.get("/api/ticks")
    async def ticks(_admin: AdminDep) -> StreamingResponse:
        return StreamingResponse(ticker.words(), media_type="text/event-stream")

    @router.post("/api/slow")
    async def slow(request: Request, _admin: AdminDep) -> Response:
        await request.body()
        return await ticker.until_gone(request)

    api: FastAPI = shim.api
    api.include_router(router)
    return wrap(api, shim.runtime.settings)


def bearer(shim: Shim) -> str:
    return shim.tokens.admin_headers()["Authorization"]


async def test_a_stream_is_sent_as_it_comes_and_ends_with_its_client(
    shim: Shim, app: ASGIApp, ticker: Ticker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "api.middleware")
    client = Client(app, "GET", "/api/ticks", bearer(shim))
    start = await client.next()
    headers = dict(start["headers"])
    assert start["status"] == 200
    assert b"etag" not in headers
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert (await client.next())["body"] == b"data: one\n\n"
    assert not client.answering.done()
    assert not caplog.records  # its line comes at its end
    client.leave()
    async with asyncio.timeout(5):
        await ticker.ended.wait()
        await client.answering
    (line,) = caplog.records
    assert line.getMessage() == "GET /api/ticks 200"
    assert json.dumps(line.__dict__["duration_ms"])


async def test_a_handler_sees_that_its_client_has_gone_also_after_a_body(
    shim: Shim, app: ASGIApp, ticker: Ticker
) -> None:
    client = Client(app, "POST", "/api/slow", bearer(shim), b'{"a": 1}')
    await asyncio.sleep(0.1)
    assert not ticker.gone.is_set()
    client.leave()
    async with asyncio.timeout(5):
        await ticker.gone.wait()
        await client.answering


async def test_a_client_that_goes_away_within_its_body_is_not_answered(shim: Shim, app: ASGIApp) -> None:
    client = Client(app, "POST", "/api/slow", bearer(shim), b"{", is_whole=False)
    client.leave()
    async with asyncio.timeout(5):
        await client.answering
    assert client.told.empty()


async def test_a_body_that_does_not_end_is_not_waited_for(app: ASGIApp) -> None:
    client = Client(BodyLimit(app, seconds=0.2), "POST", "/api/slow", "", b"{", is_whole=False)
    start, body = await client.next(), await client.next()
    assert (start["status"], json.loads(body["body"])["code"]) == (408, "BODY_TOO_SLOW")
    assert (b"connection", b"close") in start["headers"]
    await client.answering
