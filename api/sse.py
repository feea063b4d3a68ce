"""Server-sent events: their form, and an answer that lasts.

A stream begins with `retry:`, beats every 15 s (a comment, with the id it has come to), and ends with `event:
reauthenticate` a minute after its token's time. What is sent waits for the client: a slow one holds up nobody and
costs one piece, and one that takes nothing for half a minute is let go; it resumes with `Last-Event-ID`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from fastapi.sse import format_sse_event
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.errors import NeighbourAway

HEARTBEAT_SECONDS = 15.0
AFTER_EXPIRY = timedelta(seconds=60)
_SEND_SECONDS = 30.0
_LAST_SEND_SECONDS = 0.5
_RETRY_MILLISECONDS = 2000
_HEADERS = {
    # Neither a cache nor a proxy may keep back or repack what is sent.
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
}

logger = logging.getLogger(__name__)


def event(kind: str, data: Any, position: str | None = None) -> bytes:
    """An event as it goes over the wire, its data as JSON on one line."""
    return format_sse_event(event=kind, data_str=json.dumps(data, separators=(",", ":")), id=position)


def heartbeat(position: str | None) -> bytes:
    """A comment. The id beside it is where a client that saw nothing new resumes, without an event of its own."""
    return format_sse_event(comment="heartbeat", id=position)


class Told(Protocol):
    """What a stream tells, and how far it has come: the id to resume at."""

    @property
    def position(self) -> str | None: ...

    def chunks(self) -> AsyncGenerator[bytes, None]: ...


class Streams:
    """The open streams of the process: not too many, and all of them end when it stops."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._pumps: set[asyncio.Task[None]] = set()
        self._ending = False

    def __len__(self) -> int:
        return len(self._pumps)

    def check_room(self) -> None:
        """Raises NeighbourAway where another stream would be too many."""
        if self._ending or len(self._pumps) >= self._most:
            raise NeighbourAway("Too many streams are open here; try again later")

    @contextmanager
    def holding(self, pump: asyncio.Task[None]) -> Iterator[None]:
        """Counts a stream while it is open."""
        self._pumps.add(pump)
        if self._ending:
            pump.cancel()
        try:
            yield
        finally:
            self._pumps.discard(pump)

    def end(self) -> None:
        """Ends every stream; clients resume at another replica."""
        self._ending = True
        for pump in self._pumps:
            pump.cancel()


class EventStream(Response):
    """An answer that lasts until its events, its token's time, the client or the process end."""

    media_type = "text/event-stream"

    def __init__(self, streams: Streams, told: Told, expires_at: datetime | None) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._streams = streams
        self._told = told
        self._expires_at = expires_at

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        pump = asyncio.create_task(self._pump(send), name="stream")
        gone = asyncio.create_task(_until_gone(receive), name="client of a stream")
        try:
            with self._streams.holding(pump):
                await asyncio.wait({pump, gone}, return_when=asyncio.FIRST_COMPLETED)
                is_gone = gone.done()
        finally:
            pump.cancel()
            gone.cancel()
            await asyncio.gather(pump, gone, return_exceptions=True)
        if not pump.cancelled() and (error := pump.exception()) is not None:
            raise error
        if not is_gone:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LAST_SEND_SECONDS):
                    await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _pump(self, send: Send) -> None:
        async with aclosing(paced(self._told, self._expires_at)) as chunks:
            async for chunk in chunks:
                try:
                    async with asyncio.timeout(_SEND_SECONDS):
                        await send({"type": "http.response.body", "body": chunk, "more_body": True})
                except TimeoutError:
                    logger.info("A client of a stream took nothing for %.0f s and is let go", _SEND_SECONDS)
                    return


async def paced(
    told: Told, expires_at: datetime | None, *, heartbeat_seconds: float = HEARTBEAT_SECONDS
) -> AsyncGenerator[bytes, None]:
    """What is told, with a heartbeat where nothing is for a while, and an end when the token's time is over."""
    yield format_sse_event(retry=_RETRY_MILLISECONDS)
    left = (expires_at + AFTER_EXPIRY - datetime.now(UTC)).total_seconds() if expires_at else float("inf")
    ends_at = time.monotonic() + left
    chunks = told.chunks()
    following = asyncio.ensure_future(anext(chunks, None))
    try:
        while (left := ends_at - time.monotonic()) > 0:
            await asyncio.wait({following}, timeout=min(heartbeat_seconds, left))
            if not following.done():
                if time.monotonic() < ends_at:
                    yield heartbeat(told.position)
                continue
            chunk = following.result()
            if chunk is None:
                return
            yield chunk
            following = asyncio.ensure_future(anext(chunks, None))
        yield event("reauthenticate", {"reason": "The token's time is over: open the stream again with a new one"})
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await chunks.aclose()


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
