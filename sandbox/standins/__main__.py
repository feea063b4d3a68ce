"""Run one stand-in: `python -m sandbox.standins <name> --port N`, configured by the environment alone.

Prints one line when it answers; port 0 takes a free one, which that line names. SIGTERM and SIGINT end it with
status 0, about a second later at most, whatever requests are still open.
"""

import argparse
import asyncio
import importlib
import os
import signal
import socket
import sys
from typing import NoReturn

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from sandbox.standins.service import MissingSettingError

NAMES = ("clerk", "crawler", "email", "user", "discovery", "site")
GRACE_SECONDS = 0.5


class DroppableProtocol(H11Protocol):
    """HTTP/1.1 whose requests can reach their own connection, so that the fault `drop` can close it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


class StandIn(uvicorn.Server):
    """A server that says where it listens once it does, and cuts open requests when it is told to stop."""

    def __init__(self, config: uvicorn.Config, name: str) -> None:
        super().__init__(config)
        self.name = name

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            port = self.servers[0].sockets[0].getsockname()[1]
            print(f"{self.name} ready on http://127.0.0.1:{port}", flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        cutting = asyncio.create_task(self._cut_off())
        await super().shutdown(sockets)
        cutting.cancel()

    async def _cut_off(self) -> None:
        """Close what is still open, then end its work: the other way round each caller would be answered with a 500."""
        await asyncio.sleep(GRACE_SECONDS)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        for task in list(self.server_state.tasks):
            task.cancel()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m sandbox.standins", description="Run one stand-in service.")
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--port", type=int, required=True, help="0 takes a free one")
    wanted = parser.parse_args()
    try:
        app = importlib.import_module(f"sandbox.standins.{wanted.name}").build(os.environ)
    except MissingSettingError as missing:
        print(f"{wanted.name}: {missing}", file=sys.stderr)
        return 2
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=wanted.port,
        http=DroppableProtocol,
        ws="none",
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    # The server raises the signal that stopped it once more when it has finished; with this it means status 0.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    StandIn(config, wanted.name).run()
    return 0


def _stop(_number: int, _frame: object) -> NoReturn:
    sys.exit(0)


if __name__ == "__main__":
    sys.exit(main())
