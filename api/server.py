"""The process around the app: listening, its log line, and an end within ten seconds."""

from __future__ import annotations

import logging
import socket
from collections.abc import Sequence

import uvicorn

from api.logs import configure_logging
from api.main import create_app
from api.settings import ShimSettings

# Together with the dispatcher's last wait this stays under ten seconds, streams and slow clients included.
GRACE_SECONDS = 4
_LARGEST_HEADERS = 32 * 1024

logger = logging.getLogger(__name__)


class Server(uvicorn.Server):
    def _log_started_message(self, listeners: Sequence[socket.SocketType]) -> None:
        port = listeners[0].getsockname()[1]
        logger.info("Server listening on %s:%s", self.config.host, port)


def run(settings: ShimSettings) -> None:
    """Serves until told to stop."""
    configure_logging(settings.log_level)
    config = uvicorn.Config(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        h11_max_incomplete_event_size=_LARGEST_HEADERS,
        timeout_graceful_shutdown=GRACE_SECONDS,
        lifespan="on",
    )
    Server(config).run()
