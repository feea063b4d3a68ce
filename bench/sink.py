"""A mail service that does nothing: the fastest that asyncio has, so that what is measured is whoever posts.

`python -m bench.sink --port N [--record file]` prints a line when it answers. `--record` keeps every body, each after
its length in four bytes. `GET /told` tells how many mails and how many different users it has had.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import secrets
from pathlib import Path
from typing import BinaryIO

import orjson

LENGTH_BYTES = 4
_HEAD_END = b"\r\n\r\n"
_BUFFER_BYTES = 1 << 20


class Sink:
    """What has arrived. `users` are counted only where that is asked for: a million of them are memory."""

    def __init__(self, *, record: BinaryIO | None = None, count_users: bool = False) -> None:
        self.mails = 0
        self.users: set[str] | None = set() if count_users else None
        self._record = record
        # Ids like random ones, at no cost: no two sinks begin alike.
        self._id_begin = f"{secrets.token_hex(4)}-{secrets.token_hex(2)}-4{secrets.token_hex(2)[:3]}-8000-"

    async def serve(self, port: int = 0) -> asyncio.Server:
        return await asyncio.get_running_loop().create_server(lambda: _Connection(self), "127.0.0.1", port)

    def answer(self, head: bytes, body: bytes) -> tuple[int, bytes]:
        """Status and body of the answer to a request."""
        if head.startswith(b"GET "):
            if self._record is not None:
                self._record.flush()
            return 200, orjson.dumps({"mails": self.mails, "users": len(self.users or ())})
        mail = orjson.loads(body)
        if not head.startswith(b"POST /api/send ") or not mail["emailType"] or not mail["recipientEmail"]:
            return 400, b'{"success":false,"error":"Invalid request data"}'
        self.mails += 1
        if self.users is not None:
            self.users.add(mail["userId"])
        if self._record is not None:
            self._record.write(len(body).to_bytes(LENGTH_BYTES))
            self._record.write(body)
        return 201, b'{"success":true,"emailId":"%s%012x","message":"queued"}' % (self._id_begin.encode(), self.mails)


class _Connection(asyncio.Protocol):
    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._transport: asyncio.Transport
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received = received = self._received + data if self._received else data
        while (head_end := received.find(_HEAD_END)) >= 0:
            head = received[:head_end]
            body_end = head_end + len(_HEAD_END) + _content_length(head)
            if len(received) < body_end:
                break
            status, answer = self._sink.answer(head, received[head_end + len(_HEAD_END) : body_end])
            self._transport.write(
                b"HTTP/1.1 %d Said\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
                % (status, len(answer), answer)
            )
            received = received[body_end:]
        self._received = received


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def _serve(port: int, record: Path | None) -> None:
    sink = Sink(record=record.open("wb", _BUFFER_BYTES) if record else None, count_users=True)
    server = await sink.serve(port)
    print(f"sink ready on http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.sink", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--record", type=Path)
    options = parser.parse_args()
    gc.freeze()
    asyncio.run(_serve(options.port, options.record))
