"""Who did what: the only words for reading `scheduler_audit`. Whatever changes something writes its own entry."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter

from flows.clients import database


@dataclass(frozen=True)
class Entry:
    id: int
    at: datetime
    actor: str
    action: str
    job_id: UUID | None
    job_type: str | None
    parameters: Any  # of a refused call, whatever JSON it brought
    outcome: str
    details: dict[str, Any] | None


@dataclass(frozen=True)
class EntryPage:
    entries: list[Entry]
    total: int
    total_is_estimate: bool


_entries = TypeAdapter(list[Entry])


async def list_entries(
    filters: dict[str, Any], *, limit: int, offset: int = 0, before: tuple[datetime, int] | None = None
) -> EntryPage:
    """A page of the audit, newest first by (at, id), starting below `before` or after `offset` entries.

    `filters` may have actor, action, type, jobId, from, to. The total is exact to 10,000.
    """
    answer = await database.rpc(
        "list_audit",
        filter=filters,
        limit=limit,
        offset=offset,
        before_at=before[0].isoformat() if before else None,
        before_id=before[1] if before else None,
    )
    return EntryPage(_entries.validate_python(answer["entries"]), answer["total"], answer["totalIsEstimate"])
