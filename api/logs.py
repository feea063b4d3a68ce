"""One JSON line a log record on stdout, with the request's and the job's id where there is one."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from flows.core.redaction import redact

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)

_EXTRA = {
    "job_id": "jobId",
    "flow_run_id": "flowRunId",
    "method": "method",
    "path": "path",
    "status": "status",
    "duration_ms": "durationMs",
    "actor": "actor",
}


class JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of JSON; messages and tracebacks are redacted."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC)
            .isoformat(timespec="milliseconds")
            .replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(record.getMessage(), limit=8000),
        }
        if current := request_id.get():
            line["requestId"] = current
        for attribute, name in _EXTRA.items():
            if (value := getattr(record, attribute, None)) is not None:
                line[name] = value if isinstance(value, int | float) else str(value)
        if record.exc_info:
            line["exception"] = redact("".join(traceback.format_exception(*record.exc_info)), limit=8000)
        return json.dumps(line, ensure_ascii=False)


def configure_logging(level: str) -> None:
    """Sends every logger of the process to stdout in that form."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # They log every request of ours at INFO, with its address.
    for noisy in ("httpx", "httpcore", "hpack"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
