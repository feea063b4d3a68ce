"""Which later fire of a run's own schedule is due as well: after an outage only the latest is to run, never a storm."""

from __future__ import annotations

from datetime import UTC, datetime

import httpx
from prefect import get_client, get_run_logger
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterExpectedStartTime,
)
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import PrefectException

_LOOKED_AT = 50


async def later_fire_of(run: FlowRun) -> datetime | None:
    """When the latest fire of the run's schedule that is due was due, if it came after the run's own; None otherwise.

    Prefect is asked, and not the cron expression: of the fires that an outage swallowed it has made only some, and a
    run must not give way to one that never comes. Where Prefect does not answer the run goes on.
    """
    due_at = run.expected_start_time
    if due_at is None or run.deployment_id is None:
        return None
    wanted = FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=[run.deployment_id]),
        expected_start_time=FlowRunFilterExpectedStartTime(after_=due_at, before_=datetime.now(UTC)),
    )
    try:
        async with get_client() as client:
            found = await client.read_flow_runs(
                flow_run_filter=wanted, sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=_LOOKED_AT
            )
    except (httpx.HTTPError, PrefectException) as error:
        get_run_logger().warning("Later fires of the schedule cannot be looked for: %s", type(error).__name__)
        return None
    later = [
        one.expected_start_time
        for one in found
        if one.auto_scheduled
        and one.expected_start_time is not None
        and one.expected_start_time > due_at
        and _schedule(one) == _schedule(run)
    ]
    return max(later, default=None)


def _schedule(run: FlowRun) -> str:
    """What Prefect's idempotency key says of deployment and schedule: "scheduled <deployment> <schedule> <time>"."""
    return " ".join((run.idempotency_key or "").split(" ")[:3])
