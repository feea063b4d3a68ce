"""What stands around every stream: heartbeats, the end of a token's time, clients that go away or take nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from starlette.types import Message

from api.errors import NeighbourAway
from api.sse import AFTER_EXPIRY, EventStream, Streams, event, paced
from tests.api.conftest import Shim
from tests.api.streaming import parse, until


class Script:
    """Tells what it is given, with pauses in seconds between."""

    def __init__(self, *told: bytes | float) -> None:
        self._told = told
        self.position: str | None = None
        self.closed = False

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        try:
            for one in self._told:
                if isinstance(one, bytes):
                    yield one
                else:
                    await asyncio.sleep(one)
        finally:
            self.closed = True


class Client:
    """The other end of the answer, as an ASGI server presents it."""

    def __init__(self, take: Callable[[], Any] = lambda: None) -> None:
        self.gone = asyncio.Event()
        self.sent: list[Message] = []
        self._take = take

    async def receive(self) -> Message:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)
        if (taking := self._take()) is not None:
            await taking

    @property
    def text(self) -> str:
        return b"".join(message.get("body", b"") for message in self.sent).decode()


HELLO = event("hello", {"a": "b\nc"}, "7")


def test_an_event_is_one_line_of_json_with_its_id() -> None:
    assert HELLO == b'event: hello\ndata: {"a":"b\\nc"}\nid: 7\n\n'


async def test_a_quiet_stream_beats_and_says_where_it_is() -> None:
    script = Script(HELLO, 0.25, HELLO)
    script.position = "7"
    chunks = [chunk async for chunk in paced(script, None, heartbeat_seconds=0.1)]
    assert chunks == [b"retry: 2000\n\n", HELLO, b": heartbeat\nid: 7\n\n", b": heartbeat\nid: 7\n\n", HELLO]


@pytest.mark.parametrize("told", [(60.0,), (HELLO, *[0.001, HELLO] * 10_000)], ids=["quiet", "busy"])
async def test_a_stream_ends_a_minute_after_its_token(told: tuple[bytes | float, ...]) -> None:
    expired = datetime.now(UTC) - AFTER_EXPIRY + timedelta(seconds=0.3)
    async with asyncio.timeout(5):
        chunks = [chunk async for chunk in paced(Script(*told), expired)]
    assert parse(chunks[-1].decode().removesuffix("\n\n")).kind == "reauthenticate"
    assert datetime.now(UTC) >= expired + AFTER_EXPIRY


async def test_a_client_that_goes_away_ends_the_telling() -> None:
    script, client, streams = Script(HELLO, 60.0), Client(), Streams(10)
    answer = asyncio.create_task(EventStream(streams, script, None)({}, client.receive, client.send))
    await until(lambda: "hello" in client.text)
    assert len(streams) == 1
    client.gone.set()
    async with asyncio.timeout(1):
        await answer
    assert (script.closed, len(streams)) == (True, 0)


async def test_what_is_told_waits_for_the_client() -> None:
    """Nothing is made for a client that does not take what it has been sent."""
    taken = asyncio.Semaphore(0)
    client = Client(taken.acquire)
    answer = asyncio.create_task(EventStream(Streams(1), Script(*[HELLO] * 100), None)({}, client.receive, client.send))
    for _ in range(5):
        taken.release()
    await asyncio.sleep(0.1)
    assert len(client.sent) == 6
    for _ in range(200):
        taken.release()
    await answer
    assert client.text.count("hello") == 100
    assert client.sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}


async def test_all_streams_end_together_and_no_other_begins() -> None:
    streams = Streams(10)
    scripts, clients = [Script(60.0) for _ in range(3)], [Client() for _ in range(3)]
    answers = [
        asyncio.create_task(EventStream(streams, script, None)({}, client.receive, client.send))
        for script, client in zip(scripts, clients, strict=True)
    ]
    await asyncio.sleep(0.05)
    streams.end()
    async with asyncio.timeout(1):
        await asyncio.gather(*answers)
    assert all(client.sent[-1]["more_body"] is False for client in clients)
    with pytest.raises(NeighbourAway):
        streams.check_room()


async def test_a_mistake_in_the_telling_is_not_a_good_end() -> None:
    class Wrong(Script):
        async def chunks(self) -> AsyncGenerator[bytes, None]:
            yield HELLO
            raise ZeroDivisionError

    client = Client()
    with pytest.raises(ZeroDivisionError):
        await EventStream(Streams(1), Wrong(), None)({}, client.receive, client.send)
    assert client.sent[-1]["more_body"] is True


async def test_a_stream_is_described_as_one_and_its_errors_as_json(shim: Shim) -> None:
    described = (await shim.http.get("/openapi.json")).json()["paths"]
    for path in ("/api/jobs/stream", "/api/jobs/{job_id}/logs/stream"):
        answers = described[path]["get"]["responses"]
        kinds = {status: list(answer["content"]) for status, answer in answers.items()}
        assert kinds.pop("200") == ["text/event-stream"]
        assert all(kind == ["application/json"] for kind in kinds.values())
