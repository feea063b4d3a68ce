"""Pause all: no job starts while it holds; those that run go on."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Self

from fastapi import APIRouter
from pydantic import Field, StrictBool, StringConstraints, ValidationInfo, field_validator

from api.deps import AdminDep, AdminRoute, RuntimeDep
from api.errors import InvalidRequest, admin_responses
from api.queries import Time
from api.schemas import Answer, Body, UtcTime
from flows.core import scheduled_jobs
from flows.core.redaction import redact
from flows.core.scheduled_jobs import Maintenance

router = APIRouter(prefix="/api/maintenance", tags=["maintenance"], route_class=AdminRoute)

Reason = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500, pattern=r"^[^\x00-\x1f\x7f]*$")
]


class PauseOrder(Body):
    paused: StrictBool = Field(description="true holds every start back, false lets starts go on")
    reason: Reason | None = Field(
        None,
        validate_default=True,
        description="Why, 1-500 characters; required for a pause. Jobs that wait show it; addresses and tokens are"
        " taken out",
    )
    until: Time | None = Field(
        None, description="When the pause ends by itself (UTC if unsaid), in the future; without it a resume ends it"
    )

    @field_validator("reason")
    @classmethod
    def _given_for_a_pause(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None and info.data.get("paused"):
            raise ValueError("required for a pause")
        return value

    @field_validator("until")
    @classmethod
    def _in_the_future(cls, value: datetime | None, info: ValidationInfo) -> datetime | None:
        if value is not None and info.data.get("paused") is False:
            raise ValueError("only for a pause")
        if value is not None and value <= datetime.now(UTC):
            raise ValueError("must be in the future")
        return value


class MaintenanceView(Answer):
    paused: bool = Field(description="Whether starts are held back now; false again once `until` has passed")
    reason: str | None = Field(description="What was said last about why")
    until: UtcTime | None = Field(description="When the pause ends, or ended, by itself; null without such a time")
    set_by: str | None = Field(description="Internal id of the user who said so last; null if nobody ever did")
    set_at: UtcTime | None = Field(description="When that was")

    @classmethod
    def of(cls, said: Maintenance) -> Self:
        return cls(
            paused=said.holds_at(datetime.now(UTC)),
            reason=said.reason,
            until=said.until,
            set_by=said.set_by,
            set_at=said.set_at,
        )


@router.get("", summary="Show whether starts are paused", responses=admin_responses())
async def get_maintenance(_admin: AdminDep) -> MaintenanceView:
    """Whether jobs may start now, and what was said last about it."""
    return MaintenanceView.of(await scheduled_jobs.maintenance())


@router.put("", summary="Pause or resume every start", responses=admin_responses(InvalidRequest))
async def put_maintenance(body: PauseOrder, admin: AdminDep, runtime: RuntimeDep) -> MaintenanceView:
    """Holds every start back, or lets it go on. Running jobs are left alone; accepted jobs wait and then start."""
    said = await scheduled_jobs.set_maintenance(
        paused=body.paused,
        reason=redact(body.reason) if body.reason else None,
        until=body.until,
        set_by=await runtime.users.started_by(admin),
        actor=admin.clerk_user_id,
    )
    if not body.paused:
        runtime.dispatcher.kick()
    return MaintenanceView.of(said)
