"""Answers probes: whether the worker polls and its fork server lives."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

_READ_SECONDS = 5.0


class HealthPort:
    """A port that answers any HTTP request: 200 while `report()["healthy"]`, otherwise 503, with the report as JSON."""

    def __init__(self, port: int, report: Callable[[], dict[str, Any]]) -> None:
        self._port = port
        self._report = report
        self._server: asyncio.Server | None = None

    async def open(self) -> int:
        """The port that it listens at."""
        self._server = await asyncio.start_server(self._answer, "0.0.0.0", self._port)  # noqa: S104  # probes come from outside
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def close(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _READ_SECONDS)
            report = self._report()
            body = json.dumps(report).encode()
            status = b"200 OK" if report["healthy"] else b"503 Service Unavailable"
            writer.write(
                b"HTTP/1.1 " + status + b"\r\nContent-Type: application/json\r\nConnection: close\r\n"
                b"Content-Length: " + str(len(body)).encode() + b"\r\n\r\n" + body
            )
            await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return
        finally:
            writer.close()


class HealthFile:
    """A file as old as the last healthy poll; gone when the worker is ending."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def touch(self) -> None:
        self._path.touch()

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)
