"""Calls over aiohttp's connections: what surely was not sent, and what may have been, must not be mixed up."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
import pytest

from flows.clients.many import ManyCalls

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


@asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[str]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()


async def request_of(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
    )
    return head + await reader.readexactly(length)


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=ManyCalls(4)) as made:
        yield made


async def test_an_answer_comes_back_whole(client: httpx.AsyncClient) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            asked = await request_of(reader)
            assert asked.endswith(b'{"a":1}')
            assert b"idempotency-key: k" in asked.lower()
            writer.write(OK)

    async with serving(serve) as url:
        for _ in range(3):
            answer = await client.post(url, content=b'{"a":1}', headers={"Idempotency-Key": "k"})
            assert (answer.status_code, answer.json()) == (201, {})
        await client.aclose()


async def test_a_refused_connection_was_not_sent(client: httpx.AsyncClient) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(httpx.ConnectError):
            await client.post(f"http://127.0.0.1:{free.getsockname()[1]}/", content=b"{}")


async def dropped(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await request_of(reader)


async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await request_of(reader)
    kept: socket.socket = writer.get_extra_info("socket")
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    writer.transport.abort()


async def cut_in_the_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await request_of(reader)
    writer.write(OK[:-1])
    await writer.drain()


async def half_a_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await request_of(reader)
    writer.write(b"HTTP/1.1 201 Cre")
    await writer.drain()


async def gibberish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await request_of(reader)
    writer.write(b"\x00\x01\x02 what\r\n\r\n")
    await writer.drain()


@pytest.mark.parametrize("serve", [dropped, reset, cut_in_the_answer, half_a_head, gibberish])
async def test_what_breaks_after_the_request_may_be_done(client: httpx.AsyncClient, serve: Serve) -> None:
    async with serving(serve) as url:
        with pytest.raises(httpx.TransportError) as broken:
            await client.post(url, content=b"{}")
    assert not isinstance(broken.value, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)


async def test_a_connection_that_was_closed_meanwhile_is_not_trusted_blindly(client: httpx.AsyncClient) -> None:
    """A kept connection the server has closed: the request may have reached it, so nothing is sent twice unasked."""
    requests = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        await request_of(reader)
        requests += 1
        writer.write(OK)
        await writer.drain()
        await request_of(reader)
        requests += 1  # and away without an answer

    async with serving(serve) as url:
        assert (await client.post(url, content=b"{}")).is_success
        with pytest.raises(httpx.ReadError):
            await client.post(url, content=b"{}")
    assert requests == 2


async def test_no_answer_in_time_is_no_refused_connection(client: httpx.AsyncClient) -> None:
    async def serve(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        await asyncio.sleep(5)

    async with serving(serve) as url:
        with pytest.raises(httpx.ReadTimeout):
            await client.post(url, content=b"{}", timeout=0.2)


async def test_the_environments_proxy_is_used_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0])
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with serving(serve) as url:
        monkeypatch.setenv("http_proxy", url)
        monkeypatch.setenv("no_proxy", "spared.test")
        for through_proxy in (True, False):
            transport = ManyCalls(2, through_proxy=through_proxy)
            try:
                for host in ("far.test", "spared.test"):
                    request = httpx.Request("GET", f"http://{host}/x")
                    try:
                        answer = await transport.handle_async_request(request)
                    except httpx.ConnectError:
                        continue  # nobody has such a name
                    assert answer.content == b"ok"
            finally:
                await transport.aclose()
    assert asked == [b"GET http://far.test/x HTTP/1.1"]
