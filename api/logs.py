"""The shim's log: one JSON line a record on stdout, with the request's and the job's id where there is one."""

from __future__ import annotations

import logging
import sys
from contextvars import ContextVar
from typing import Any

from flows.core import log_lines

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)


class JsonLines(log_lines.JsonLines):
    def context(self) -> dict[str, Any]:
        """The id of the request that is being answered."""
        current = request_id.get()
        return {} if current is None else {"requestId": current}


def configure_logging(level: str) -> None:
    """Sends every logger of the process to stdout in that form."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # They log every request of ours at INFO, with its address.
    for noisy in ("httpx", "httpcore", "hpack"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
