"""The supervisor's ear: a socket in the state folder that takes one JSON line and answers with one."""

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sandbox.errors import SandboxError

Answer = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class ControlServer:
    def __init__(self, path: Path, answer: Answer) -> None:
        self._path = path
        self._answer = answer
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with _short(self._path) as address:
            listener.bind(address)
        self._path.chmod(0o600)
        self._server = await asyncio.start_unix_server(self._serve, sock=listener)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            answer = await self._answer(json.loads(await reader.readline()))
        except (SandboxError, ValueError) as error:
            answer = {"error": str(error)}
        with contextlib.suppress(OSError):
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
            writer.close()


def call(path: Path, request: dict[str, Any], *, seconds: float = 150) -> dict[str, Any] | None:
    """The supervisor's answer, or None when there is no supervisor. SandboxError when it refuses."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(seconds)
        try:
            with _short(path) as address:
                client.connect(address)
            client.sendall(json.dumps(request).encode() + b"\n")
            line = client.makefile("rb").readline()
        except (FileNotFoundError, ConnectionError):
            return None
        except TimeoutError as error:
            raise SandboxError(f"The supervisor did not answer within {seconds:.0f} s.") from error
    if not line:
        return None
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        raise SandboxError(answer["error"])
    return answer


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """An address of the socket that fits: the kernel takes 107 bytes, and a clone may lie deep."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
