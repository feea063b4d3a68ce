"""A job that fans out: its shards are jobs of the same type that help it with the same ledger.

Nobody waits for a shard that has not started. However the parent ends, its shards end with it: the database sees to it.
"""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

from flows.clients import database
from flows.core.domain import JobStatus
from flows.core.lease import current_lease, under_lease

_LOOK_SECONDS = 1.0


def is_shard() -> bool:
    """True in a job that another job has fanned out."""
    lease = current_lease()
    return lease is not None and lease.parent_id is not None


async def fan_out(count: int, parameters: dict[str, Any]) -> list[UUID]:
    """Makes this job's shards, where it has less than `count`; returns the ids of all."""
    ids = await database.patient_rpc("accept_shards", **under_lease(), count=count, parameters=parameters)
    return [UUID(shard) for shard in ids]


async def wait_for_started() -> None:
    """Cancels the shards that have not started and returns when those that have are over."""
    while True:
        statuses = await database.patient_rpc("release_shards", **under_lease())
        if all(JobStatus(status).has_ended for status in statuses.values()):
            return
        await asyncio.sleep(_LOOK_SECONDS)
