"""When job types run by themselves: try a cron out, edit a schedule, take the edit back."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Self

from fastapi import APIRouter, Header, Path, Response
from pydantic import AfterValidator, ConfigDict, Field, StrictBool, StringConstraints, model_validator

from api.crons import LONGEST_CRON, LONGEST_ZONE, known_zone, local_text, next_runs, normal
from api.deps import AdminDep, AdminRoute, RuntimeDep
from api.errors import InvalidRequest, ScheduleChanged, admin_responses
from api.runtime import Runtime
from api.schedule_view import ScheduleView, schedule_fields
from api.schemas import Answer, Body, UtcTime
from flows.core import schedules
from flows.core.domain import JobType
from flows.core.schedules import Edit

router = APIRouter(prefix="/api", tags=["schedules"], route_class=AdminRoute)

_ETAG_LIST = re.compile(r'\s*(?:W/)?"[^"]*"\s*(?:,\s*(?:W/)?"[^"]*"\s*)*')
_VERSION = re.compile(r'(?<!W/)"(0|[1-9][0-9]{0,17})"')
_EXAMPLE = "*/15 * * * *"

Cron = Annotated[
    str,
    StringConstraints(max_length=LONGEST_CRON),
    AfterValidator(normal),
    Field(
        examples=[_EXAMPLE],
        description="Five fields: minute, hour, day of month, month, day of week; or @hourly, @daily, @weekly,"
        " @monthly, @yearly",
    ),
]
Zone = Annotated[
    str,
    StringConstraints(max_length=LONGEST_ZONE),
    AfterValidator(known_zone),
    Field(examples=["Europe/Berlin"], description="Time zone by its IANA name"),
]
JobTypePath = Annotated[JobType, Path(description="Kind of job")]
IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match",
        description='The edit is made only where the version of the schedule is still this one: `"3"`, a list of such,'
        " or `*` for any. Without it the edit is made whatever others have done",
    ),
]
_EDITED: dict[int | str, dict[str, Any]] = {
    200: {"headers": {"ETag": {"description": 'The version, as `"3"`', "schema": {"type": "string"}}}}
}


class Trial(Body):
    cron: Cron
    timezone: Zone = "UTC"


class Preview(Answer):
    cron: str = Field(description="The expression, with single spaces")
    timezone: str = Field(description="The time zone")
    next_runs: list[UtcTime] = Field(description="The next 5 times it would run")
    next_runs_local: list[str] = Field(description="The same by the clocks of the time zone, as text for people")


class ScheduleEdit(Body):
    """What is to be different; at least one of them."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    # What was not sent is never looked at: `given` tells.
    cron: Cron = Field(default_factory=str)
    timezone: Zone = Field(default_factory=str)
    enabled: StrictBool = Field(default_factory=bool, description="Whether it runs by itself")

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("says nothing: give cron, timezone or enabled")
        return self

    def given(self) -> dict[str, Any]:
        """The fields that were sent."""
        return self.model_dump(include=self.model_fields_set)


class EditedSchedule(ScheduleView):
    applied: bool = Field(
        description="Whether Prefect has it already; where it does not answer, it follows as soon as it does"
    )


@router.post("/schedules/preview", summary="Try a cron out", responses=admin_responses(InvalidRequest))
async def preview(body: Trial, _admin: AdminDep) -> Preview:
    """The next five times that a schedule would run, as Prefect will really fire it, summer time included."""
    runs = await _fires(body.cron, body.timezone)
    return Preview(
        cron=body.cron,
        timezone=body.timezone,
        next_runs=list(runs),
        next_runs_local=[local_text(at, body.timezone) for at in runs],
    )


@router.patch(
    "/job-types/{job_type}/schedule",
    summary="Edit a schedule",
    responses={**admin_responses(InvalidRequest, ScheduleChanged), **_EDITED},
)
async def edit_schedule(
    body: ScheduleEdit,
    job_type: JobTypePath,
    admin: AdminDep,
    runtime: RuntimeDep,
    *,
    response: Response,
    if_match: IfMatch = None,
) -> EditedSchedule:
    """Keeps an edit over what prefect.yaml says, and has Prefect follow it; deploys do not undo it.

    A value that is the file's own takes the override of that field back. `enabled: false` is always kept.
    """
    expected, asked = _versions(if_match), body.given()
    file = runtime.schedules.file(job_type)
    if "cron" in asked:
        await _fires(asked["cron"], asked.get("timezone", file.timezone))
    changed = schedules.changes(file, asked)
    edit = await schedules.edit(
        job_type,
        changed,
        asked=asked,
        action="edit_schedule",
        by=await runtime.users.started_by(admin),
        actor=admin.clerk_user_id,
        expected=expected,
    )
    return await _edited(job_type, edit, runtime, response)


@router.delete(
    "/job-types/{job_type}/schedule",
    summary="Take a schedule's edits back",
    responses={**admin_responses(InvalidRequest, ScheduleChanged), **_EDITED},
)
async def reset_schedule(
    job_type: JobTypePath, admin: AdminDep, runtime: RuntimeDep, response: Response, if_match: IfMatch = None
) -> EditedSchedule:
    """Back to what prefect.yaml says. Doing so again changes nothing."""
    edit = await schedules.edit(
        job_type,
        {"cron": None, "timezone": None, "enabled": None},
        asked={},
        action="reset_schedule",
        by=await runtime.users.started_by(admin),
        actor=admin.clerk_user_id,
        expected=_versions(if_match),
    )
    return await _edited(job_type, edit, runtime, response)


async def _fires(cron: str, timezone: str) -> tuple[datetime, ...]:
    try:
        return await next_runs(cron, timezone, datetime.now(UTC))
    except ValueError as error:
        message = str(error)
        raise InvalidRequest(f"cron: {message}", details=[{"field": "cron", "message": message}]) from error


def _versions(if_match: str | None) -> list[int] | None:
    """The versions that an If-Match names, None for any. One that is not ours, or weak, names none that matches."""
    if if_match is None or if_match.strip() == "*":
        return None
    if not _ETAG_LIST.fullmatch(if_match):
        message = 'must be a version as ETag gives it, "3", a list of such, or *'
        raise InvalidRequest(f"If-Match: {message}", details=[{"field": "If-Match", "message": message}])
    return [int(version) for version in _VERSION.findall(if_match)]


async def _edited(job_type: str, edit: Edit, runtime: Runtime, response: Response) -> EditedSchedule:
    version = edit.override.version if edit.override else 0
    if edit.outcome == "mismatch":
        raise ScheduleChanged(details={"version": version}, headers={"ETag": f'"{version}"'}, audited=True)
    response.headers["ETag"] = f'"{version}"'
    applied = await runtime.schedules.applied(job_type, edit.override)
    fields = await schedule_fields(
        job_type,
        runtime.schedules.file(job_type),
        edit.override,
        paused=edit.paused is not None,
        now=datetime.now(UTC),
    )
    return EditedSchedule(**fields, applied=applied)
