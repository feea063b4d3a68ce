"""The process around the app: listening, its log line, and an end within ten seconds."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Sequence

import uvicorn

from api.logs import configure_logging
from api.main import create_api, wrap
from api.protocol import BoundedHeads
from api.runtime import build_runtime
from api.settings import ShimSettings

# Together with the dispatcher's last wait this stays under ten seconds, streams and slow clients included.
GRACE_SECONDS = 4

logger = logging.getLogger(__name__)


class Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ending: Callable[[], None]) -> None:
        super().__init__(config)
        self._ending = ending

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Ends what would go on for as long as its clients like, then waits for the rest."""
        self._ending()
        await super().shutdown(sockets)

    def _log_started_message(self, listeners: Sequence[socket.SocketType]) -> None:
        port = listeners[0].getsockname()[1]
        logger.info("Server listening on %s:%s", self.config.host, port)


def run(settings: ShimSettings) -> None:
    """Serves until told to stop."""
    configure_logging(settings.log_level)
    runtime = build_runtime(settings)
    config = uvicorn.Config(
        wrap(create_api(runtime), settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        http=BoundedHeads,
        ws="none",
        proxy_headers=False,  # nothing here goes by the client's address
        timeout_graceful_shutdown=GRACE_SECONDS,
        lifespan="on",
    )
    Server(config, ending=runtime.streams.end).run()
