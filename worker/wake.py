"""The worker's ear: a datagram at a local socket means that a run is due. Polling goes on as the safety net."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from pathlib import Path


class WakeSocket:
    """Calls `woken` for every datagram, or once for several that came together."""

    def __init__(self, path: Path, woken: Callable[[], None]) -> None:
        self._path = path
        self._woken = woken
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    def open(self) -> None:
        # Left behind by a worker that was killed: nobody can hear at it any more.
        self._path.unlink(missing_ok=True)
        self._socket.bind(str(self._path))
        self._path.chmod(0o660)
        asyncio.get_running_loop().add_reader(self._socket, self._on_datagram)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def _on_datagram(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                self._socket.recv(64)
        self._woken()
