"""Rows as the API shows them, without a model in between: a page of fifty would pay more for models than for all else.

`schemas.JobView` says what comes out, and a test holds the two to each other. Only a job that runs goes through it: its
estimate wants to be worked out.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
from starlette.responses import Response

from api.schemas import JobView, utc
from flows.core import scheduled_jobs

_OFFSET = "+00:00"
_WHOLE_SECONDS = len("2026-11-26T17:49:11+00:00")


class Json(Response):
    """An answer of plain values."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The JSON of what a view has made."""
        return orjson.dumps(content)


def job_view(row: dict[str, Any], prefect_ui_url: str) -> dict[str, Any]:
    """A row of scheduled_jobs, or of its archive, as JSON of a `JobView`."""
    if row["status"] == "running":
        return JobView.of(scheduled_jobs.parse(row), prefect_ui_url).model_dump(mode="json", by_alias=True)
    created_at = row["created_at"] or row["started_at"] or row["updated_at"]
    flow_run_id = row["flow_run_id"]
    return {
        "id": row["id"],
        "jobId": row["id"],
        "jobType": row["job_type"],
        "status": row["status"],
        "startedAt": _time(row["started_at"]),
        "completedAt": _time(row["completed_at"]),
        "startedBy": row["started_by"],
        "error": row["error"],
        "result": _object(row["result"]),
        "progress": _object(row["progress"]),
        "parameters": _object(row["parameters"]),
        "priority": row["priority"],
        "origin": row["origin"],
        "retryOf": row["retry_of"],
        "parentId": row["parent_id"],
        "flowRunId": flow_run_id,
        "flowRunUrl": f"{prefect_ui_url}/runs/flow-run/{flow_run_id}" if flow_run_id else None,
        "pendingReason": row["pending_reason"],
        "cancel": _receipt(row) if row["cancel_requested_at"] else None,
        "createdAt": _time(created_at) or utc(scheduled_jobs.EPOCH),
        "updatedAt": _time(row["updated_at"] or created_at) or utc(scheduled_jobs.EPOCH),
        "estimatedCompletionAt": None,
        "estimatedCompletionFrom": None,
        "estimatedCompletionTo": None,
    }


def _receipt(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "requestedBy": row["cancel_requested_by"],
        "requestedAt": _time(row["cancel_requested_at"]),
        "stoppedAt": _time(row["cancel_stopped_at"]),
        "itemsDone": row["cancel_items_done"],
        "safeToRetry": row["cancel_safe_to_retry"],
    }


def _object(value: Any) -> dict[str, Any] | None:
    # The published scheduler's rows may hold other JSON.
    return value if isinstance(value, dict) else None


def _time(text: str | None) -> str | None:
    """PostgreSQL's text of a time as every answer has it: in UTC, with six digits or none, ending in Z."""
    if text is None:
        return None
    if text.endswith(_OFFSET):
        if len(text) == _WHOLE_SECONDS:
            return f"{text[:-6]}Z"
        if len(text) == _WHOLE_SECONDS + 7:
            return f"{text[:-6]}Z"
    try:
        return utc(datetime.fromisoformat(text).astimezone(UTC))
    except (ValueError, OverflowError):
        return None  # infinity, or before our era: only by hand
