"""A shim that listens on a port of its own in the test's process, and a client that reads server-sent events.

httpx's ASGI transport gives an answer only when it is complete, which a stream never is.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx
import uvicorn

from api.main import create_api, wrap
from api.runtime import Runtime, build_runtime
from api.server import Server
from tests.api.conftest import Shim


@dataclass(frozen=True)
class Told:
    """One event; a comment has no kind."""

    kind: str | None
    data: Any
    id: str | None
    comment: str | None = None


def parse(block: str) -> Told:
    """The event that a block of lines says."""
    fields: dict[str, str] = {}
    for line in block.split("\n"):
        name, _, value = line.partition(":")
        fields[name] = value.removeprefix(" ")
    data = json.loads(fields["data"]) if "data" in fields else None
    return Told(fields.get("event"), data, fields.get("id"), fields.get(""))


async def until(holds: Callable[[], bool], seconds: float = 5) -> None:
    """Returns when it holds; fails when it does not in time."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110  # what is waited for is not ours to signal
            await asyncio.sleep(0.02)


class Stream:
    """An open stream: `status` and `headers` of its answer, then its events one by one."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self._http = httpx.AsyncClient(trust_env=False, timeout=httpx.Timeout(5, read=30))
        self._request = self._http.build_request("GET", url, headers=headers)
        self.last_id: str | None = None

    async def __aenter__(self) -> Self:
        self._answer = await self._http.send(self._request, stream=True)
        self.status = self._answer.status_code
        self.headers = self._answer.headers
        self._blocks = self._read()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._blocks.aclose()
        await self._answer.aclose()
        await self._http.aclose()

    async def body(self) -> Any:
        """The whole answer, where it is an error."""
        return json.loads(await self._answer.aread())

    async def next(self, seconds: float = 5) -> Told | None:
        """The next event or comment, None at the end of the stream. Fails when there is none in time."""
        async with asyncio.timeout(seconds):
            told = await anext(self._blocks, None)
        if told is not None and told.id is not None:
            self.last_id = told.id
        return told

    async def event(self, seconds: float = 5) -> Told:
        """The next event, comments aside."""
        while (told := await self.next(seconds)) is not None:
            if told.kind is not None:
                return told
        raise AssertionError("the stream has ended")

    async def until(self, kind: str, seconds: float = 5) -> list[Told]:
        """The events up to and with the next one of a kind."""
        found = [await self.event(seconds)]
        while found[-1].kind != kind:
            found.append(await self.event(seconds))
        return found

    async def _read(self) -> Any:
        text = ""
        async for piece in self._answer.aiter_text():
            text += piece
            while "\n\n" in text:
                block, text = text.split("\n\n", 1)
                yield parse(block)


@dataclass
class Served:
    url: str
    server: Server

    def stream(self, path: str, headers: dict[str, str], last_event_id: str | None = None) -> Stream:
        """A stream, to be opened with `async with`."""
        resuming = {"Last-Event-ID": last_event_id} if last_event_id is not None else {}
        return Stream(f"{self.url}{path}", headers | resuming)


@asynccontextmanager
async def served(runtime: Runtime) -> AsyncIterator[Served]:
    """The shim with this runtime on a free port; it is stopped as SIGTERM would."""
    app = wrap(create_api(runtime), runtime.settings)
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=4)
    server = Server(config, runtime.streams.end)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield Served(f"http://127.0.0.1:{listener.getsockname()[1]}", server)
        finally:
            server.should_exit = True
            await serving


@asynccontextmanager
async def another_replica(shim: Shim) -> AsyncIterator[Served]:
    """A second shim on the same database, with the same neighbours."""
    runtime = build_runtime(
        shim.runtime.settings,
        prefect=httpx.MockTransport(shim.prefect.answer),
        neighbours=httpx.MockTransport(shim.clerk.answer),
    )
    async with runtime.orchestrator.opened(), runtime.neighbours.opened(), served(runtime) as replica:
        yield replica
