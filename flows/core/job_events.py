"""The only words for the table `job_events`: every change of a job, in order, kept 24 h."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import ConfigDict, TypeAdapter
from pydantic.alias_generators import to_camel
from pydantic.dataclasses import dataclass as checked_dataclass

from flows.clients import database


@checked_dataclass(frozen=True, config=ConfigDict(alias_generator=to_camel))
class JobEvent:
    """`kind` is accepted, waiting, dispatched, status, progress or cancel_requested; `data` says what has changed."""

    id: int
    job_id: UUID
    at: datetime
    kind: str
    data: dict[str, Any]


@dataclass(frozen=True)
class EventPage:
    """Events in the order of their ids. None with an id up to `up_to` will be written after this."""

    events: list[JobEvent]
    up_to: int
    settled: int
    """Where a reader goes on that leaves out what there is."""
    newest: int
    """The last id given out, maybe to a transaction that is still open."""
    known: bool
    """False where events beyond the asked id may have been deleted, or the id was never given out."""


_events = TypeAdapter(list[JobEvent])


async def read(after: int | None, limit: int) -> EventPage:
    """The next events beyond an id; without one none, and `up_to` is where a new reader begins."""
    answer = await database.rpc("read_job_events", after=after, limit=limit)
    events = _events.validate_python(answer["events"])
    return EventPage(events, answer["upTo"], answer["settled"], answer["newest"], answer["known"])


async def forget_old(limit: int) -> int:
    """Deletes at most so many events, and idempotency keys, older than 24 h; the larger number of the two."""
    return int(await database.rpc("forget_job_events", limit=limit))
