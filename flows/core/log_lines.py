"""One JSON line a log record: the form of everything this project logs, in the shim, in flow pods and in the worker."""

from __future__ import annotations

import json
import logging
import traceback
from datetime import UTC, datetime
from typing import Any

from flows.core.lease import current_lease
from flows.core.redaction import redact

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
        """The record as one line of JSON; all of it that is text is redacted."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC)
            .isoformat(timespec="milliseconds")
            .replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(record.getMessage(), limit=8000),
        } | self.context()
        for attribute, name in _EXTRA.items():
            if (value := getattr(record, attribute, None)) is not None:
                line[name] = value if isinstance(value, int | float) else redact(str(value))
        if record.exc_info:
            line["exception"] = redact("".join(traceback.format_exception(*record.exc_info)), limit=8000)
        return json.dumps(line, ensure_ascii=False)

    def context(self) -> dict[str, Any]:
        """What the place that logs knows beyond the record: the job it works for."""
        lease = current_lease()
        return {} if lease is None else {"jobId": str(lease.job_id)}
