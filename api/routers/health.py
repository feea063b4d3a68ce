"""Is the process up, and are the services it needs?"""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import APIRouter

from api.deps import RuntimeDep
from api.errors import BodyTooLarge, NotReady, responses
from api.schemas import Health, Readiness

router = APIRouter(tags=["health"])


@router.head("/health", include_in_schema=False)  # monitors and `curl -I`
@router.get("/health", summary="Whether the process answers", responses=responses(BodyTooLarge))
async def health() -> Health:
    """For probes: touches nothing else, so that a neighbour's outage does not take the shim out of service."""
    return Health(timestamp=datetime.now(UTC))


@router.head("/ready", include_in_schema=False)
@router.get("/ready", summary="Whether every dependency answers", responses=responses(BodyTooLarge, NotReady))
async def ready(runtime: RuntimeDep) -> Readiness:
    """For people and alerts, never for a probe: one line a dependency, each asked for at most 2 seconds."""
    report = await runtime.readiness.report()
    if report.failing:
        raise NotReady(f"Not ready: {', '.join(report.failing)}", details=report.lines)
    return Readiness(checks=report.lines, timestamp=datetime.now(UTC))
