"""Keeps event streams open and throws away what they tell: `python -m bench.listeners <url> <count>`, token on stdin.

In a process of its own, which looks at its sockets four times a second: clients elsewhere would not take this machine's
time either. Prints a line when all streams are open; when its stdin ends, prints the fewest bytes that any of them was
told, and ends.
"""

from __future__ import annotations

import select
import socket
import sys
import time
from contextlib import suppress
from urllib.parse import urlsplit

_LOOKS_EACH_SECONDS = 0.25


def _open(url: str, token: str) -> socket.socket:
    where = urlsplit(url)
    stream = socket.create_connection((where.hostname, where.port), timeout=30)
    stream.sendall(
        f"GET {where.path} HTTP/1.1\r\nHost: {where.netloc}\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    )
    told = b""
    while b"event: ready" not in told:
        if not (piece := stream.recv(65536)):
            raise SystemExit(told.decode())
        told += piece
    stream.setblocking(False)
    return stream


def main(url: str, count: int, token: str) -> None:
    streams = [_open(url, token) for _ in range(count)]
    told = [0] * count
    print("open", flush=True)
    while not select.select([sys.stdin], [], [], 0)[0]:
        time.sleep(_LOOKS_EACH_SECONDS)
        for number, stream in enumerate(streams):
            with suppress(BlockingIOError):
                while piece := stream.recv(65536):
                    told[number] += len(piece)
    print(min(told), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.stdin.readline().strip())
