"""A service that answers 302 to another host: what was meant for it arrives nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from pydantic import BaseModel
from websockets.exceptions import InvalidStatus

from api.auth import Actor
from api.clerk import Roles, SigningKeys
from api.events import RunEvents
from api.neighbours import Neighbours
from api.orchestrator import Orchestrator
from api.users import Users
from flows.clients import database, http
from flows.core.errors import SchedulerError
from flows.core.settings import settings
from tests.api.fakes import SECRET_KEY

_LIMIT_SECONDS = 5


class Host:
    """A server that keeps every request's head and gives one answer."""

    def __init__(self) -> None:
        self.heads: list[str] = []
        self.answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            writer.write(self.answer.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def host() -> AsyncIterator[Host]:
    made = Host()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    # Another name for the same machine: another host for whoever compares names.
    made.url = f"http://localhost:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield made


@pytest.fixture
async def stranger() -> AsyncIterator[Host]:
    async with host() as made:
        yield made


@pytest.fixture
async def turncoat(stranger: Host) -> AsyncIterator[Host]:
    """A service of ours that sends everybody on to a stranger, and hands out a cookie."""
    async with host() as made:
        made.url = made.url.replace("localhost", "127.0.0.1")
        made.answer = (
            f"HTTP/1.1 307 Temporary Redirect\r\nLocation: {stranger.url}/taken\r\nSet-Cookie: session=1; Path=/\r\n"
            "Content-Length: 0\r\n\r\n"
        ).encode()
        yield made


async def test_clerk(turncoat: Host, stranger: Host) -> None:
    async with Neighbours().opened() as neighbours:
        for _ in range(2):
            with pytest.raises(SchedulerError):
                await Roles(neighbours, turncoat.url, SECRET_KEY).role("user_1")
        with pytest.raises(SchedulerError):
            await SigningKeys(neighbours, f"{turncoat.url}/v1/jwks", SECRET_KEY).key("ins_1")
    assert len(turncoat.heads) == 3
    assert all(SECRET_KEY in head for head in turncoat.heads)
    assert not any("cookie" in head.lower() for head in turncoat.heads)
    assert stranger.heads == []


async def test_the_user_service(environment: None, turncoat: Host, stranger: Host) -> None:
    async with Neighbours().opened() as neighbours:
        users = Users(neighbours, turncoat.url, 2, "service-token-0123456789")
        for name in ("user_1", "user_2"):
            await users._from_service(Actor(name, f"token-of-{name}"))
    first, second = turncoat.heads
    assert "token-of-user_1" in first
    assert "service-token-0123456789" in first
    # The cookie of the first caller is not sent with the second one's token.
    assert "cookie" not in second.lower()
    assert stranger.heads == []


async def test_prefect(turncoat: Host, stranger: Host) -> None:
    async with Orchestrator(f"{turncoat.url}/api", "admin:secret").opened() as orchestrator:
        with pytest.raises(SchedulerError):
            await orchestrator.check()
    assert any("authorization: basic" in head.lower() for head in turncoat.heads)
    assert stranger.heads == []


async def test_prefects_events(turncoat: Host, stranger: Host) -> None:
    # The first message on that connection would be the auth string.
    turncoat.answer = turncoat.answer.replace(b"http://", b"ws://")
    async with asyncio.timeout(_LIMIT_SECONDS):
        with pytest.raises(InvalidStatus):
            await RunEvents(f"{turncoat.url}/api", lambda _id, _is_beginning: None)._listen()
    assert "upgrade: websocket" in turncoat.heads[-1].lower()
    assert stranger.heads == []


class Nothing(BaseModel):
    pass


async def test_the_services_of_jobs(
    environment: None, monkeypatch: pytest.MonkeyPatch, turncoat: Host, stranger: Host
) -> None:
    monkeypatch.setenv("SERVICE_TOKEN", "service-token-0123456789")
    settings.cache_clear()
    try:
        for _ in range(2):
            for call in (
                http.post("crawler", f"{turncoat.url}/a", {}, answer=Nothing, timeout_seconds=2),
                http.get("discovery", f"{turncoat.url}/b", answer=Nothing, timeout_seconds=2),
                http.post_many("mail", f"{turncoat.url}/c", b"{}", answer=Nothing, timeout_seconds=2),
            ):
                with pytest.raises(SchedulerError):
                    await call
    finally:
        await http.close()
    assert len(turncoat.heads) == 6
    assert all("service-token-0123456789" in head for head in turncoat.heads)
    assert not any("cookie" in head.lower() for head in turncoat.heads)
    assert stranger.heads == []


async def test_the_database(environment: None, monkeypatch: pytest.MonkeyPatch, turncoat: Host, stranger: Host) -> None:
    monkeypatch.setenv("SUPABASE_URL", turncoat.url)
    settings.cache_clear()
    await database.close()
    try:
        with pytest.raises(SchedulerError):
            await database.rpc("accept_job", job={})
    finally:
        await database.close()
    assert len(turncoat.heads) == 1
    assert stranger.heads == []


@pytest.mark.filterwarnings("ignore:The '.*' parameter is deprecated")
async def test_the_database_from_the_thread_that_beats(
    environment: None, monkeypatch: pytest.MonkeyPatch, turncoat: Host, stranger: Host
) -> None:
    monkeypatch.setenv("SUPABASE_URL", turncoat.url)
    settings.cache_clear()
    client = database.make_sync_client()
    try:
        with pytest.raises(SchedulerError):
            await asyncio.to_thread(database.sync_rpc, client, "beat_job", id="x")
    finally:
        client.postgrest.aclose()
    assert stranger.heads == []
