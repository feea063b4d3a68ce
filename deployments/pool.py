"""The work pool of every job: its three queues by priority, and the template its runs are made from."""

from __future__ import annotations

from typing import Any

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.exceptions import ObjectNotFound
from prefect.workers.utilities import (
    get_available_work_pool_types,
    get_default_base_job_template_for_infrastructure_type,
)

from deployments.job_template import job_template

# Name → priority; a lower number is served first.
QUEUES = {"high": 1, "medium": 2, "low": 3}
WARM = "forkserver"


def warm_pool(name: str) -> str:
    """The pool for short jobs beside the pool of this name: its type is ours, `WARM`."""
    return f"{name}-warm"


async def ensure_pool(client: PrefectClient, name: str, kind: str) -> list[str]:
    """Makes the pool and its queues what they should be; returns a line for each change, none when there was none.

    An existing pool keeps its type: Prefect cannot change it. Raises ValueError when it is of another one.
    """
    changes = []
    template = await base_job_template(kind)
    try:
        pool = await client.read_work_pool(name)
    except ObjectNotFound:
        await client.create_work_pool(WorkPoolCreate(name=name, type=kind, base_job_template=template))
        changes.append(f"created work pool {name} ({kind})")
    else:
        if pool.type != kind:
            raise ValueError(f"work pool {name} is of type {pool.type}, not {kind}: delete it or use another WORK_POOL")
        if pool.base_job_template != template:
            await client.update_work_pool(name, WorkPoolUpdate(base_job_template=template))
            changes.append(f"updated the job template of work pool {name}")
    return changes + await _ensure_queues(client, name)


async def _ensure_queues(client: PrefectClient, pool: str) -> list[str]:
    changes = []
    existing = {queue.name: queue for queue in await client.read_work_queues(work_pool_name=pool)}
    for name, priority in QUEUES.items():
        queue = existing.get(name)
        if queue is None:
            queue = await client.create_work_queue(name=name, work_pool_name=pool, priority=priority)
            changes.append(f"created work queue {name}")
        if queue.priority != priority:
            # Creating or moving one queue shifts the others, so that each is set again to where it belongs.
            await client.update_work_queue(queue.id, priority=priority)
            changes.append(f"work queue {name} has priority {priority}")
    return changes


async def base_job_template(kind: str) -> dict[str, Any]:
    """The default job template of a worker type: an installed one's own, else Prefect's list of them.

    Raises ValueError for an unknown type.
    """
    template = await get_default_base_job_template_for_infrastructure_type(kind)
    if template is None:
        valid = ", ".join(await get_available_work_pool_types())
        raise ValueError(f"work pool type {kind!r} is not known; valid are {valid}")
    if kind == "kubernetes":
        return job_template(template)
    if kind == "process":
        # The generated command imports Prefect twice (2.5 s more before a run's first line).
        template["variables"]["properties"]["command"]["default"] = "python -m prefect.engine"
    return template
