"""The kinds of jobs: what each does, when it runs by itself, and how it has been doing."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter
from pydantic import Field

from api.deps import AdminDep, AdminRoute, RuntimeDep
from api.errors import admin_responses
from api.orchestrator import Deployment
from api.runtime import Runtime
from api.schedule_view import ScheduleView, schedule_fields
from api.schemas import Answer, JobView
from flows.core import history, schedules
from flows.core.domain import JobType
from flows.core.history import TypeHistory
from flows.core.prefect_yaml import Lasting
from flows.core.schedules import Overrides

router = APIRouter(prefix="/api/job-types", tags=["job types"], route_class=AdminRoute)

DAYS = 30


class JobTypeView(ScheduleView):
    """A kind of job, its schedule, and its last 30 days."""

    title: str = Field(description="Its name for people")
    button_label: str = Field(description="What a button that triggers it says")
    description: str | None = Field(description="What it does; null while it was never deployed")
    category: str | None = Field(description="content, mail or maintenance, by the deployment's tags")
    lasting: Lasting | None = Field(
        description="What it does that nobody can take back, so that people are asked before they run it: mails or"
        " deletes, by the deployment's tags"
    )
    parameter_schema: dict[str, Any] | None = Field(
        description="JSON schema of its parameters, with the deployment's defaults; null while it was never deployed"
    )
    defaults: dict[str, Any] = Field(description="Parameters that a trigger need not give, with their values")
    etag: str = Field(description="The version as If-Match takes it")
    last_job: JobView | None = Field(description="Its newest job")
    success_rate: float | None = Field(description="completed / (completed + failed), 0 to 1; null without an end")
    median_duration_seconds: float | None = Field(description="Of its completed jobs; null without one")
    running: int = Field(description="Jobs that run now")
    queued: int = Field(description="Jobs that wait now")


class JobTypes(Answer):
    job_types: list[JobTypeView] = Field(description="Every kind of job, always in the same order")


@router.get("", summary="List the job types", responses=admin_responses())
async def list_job_types(_admin: AdminDep, runtime: RuntimeDep) -> JobTypes:
    """Every kind of job as it is deployed, with its schedule and its last 30 days; also while Prefect is down."""
    now = datetime.now(UTC)
    overrides, past, _ = await asyncio.gather(schedules.now(), history.overview(DAYS), runtime.catalogue.load_once())
    return JobTypes(job_types=[await _view(job_type, overrides, past, runtime, now) for job_type in JobType])


async def _view(
    job_type: JobType, overrides: Overrides, past: dict[str, TypeHistory], runtime: Runtime, now: datetime
) -> JobTypeView:
    deployment, of_type = runtime.catalogue.get(job_type), past.get(job_type)
    fields = await schedule_fields(
        job_type,
        runtime.schedules.file(job_type),
        overrides.by_type.get(job_type),
        paused=overrides.paused is not None,
        now=now,
    )
    last_job = of_type.last_job if of_type else None
    return JobTypeView(
        **fields,
        **_words(job_type, deployment),
        category=runtime.catalogue.category(job_type),
        lasting=runtime.catalogue.lasting(job_type),
        etag=f'"{fields["version"]}"',
        last_job=JobView.of(last_job, runtime.settings.ui_url) if last_job else None,
        success_rate=of_type.success_rate if of_type else None,
        median_duration_seconds=of_type.median_seconds if of_type else None,
        running=of_type.running if of_type else 0,
        queued=of_type.queued if of_type else 0,
    )


def _words(job_type: str, deployment: Deployment | None) -> dict[str, Any]:
    """What the deployment says of itself: the first line of its description is the label, the rest what it does."""
    title = job_type.replace("_", " ").capitalize()
    if deployment is None:
        return {
            "title": title,
            "button_label": title,
            "description": None,
            "parameter_schema": None,
            "defaults": {},
        }
    label, _, rest = (deployment.description or "").strip().partition("\n")
    properties: dict[str, Any] = deployment.parameter_schema.get("properties", {})
    return {
        "title": title,
        "button_label": label.strip().removesuffix(".") or title,
        "description": " ".join(rest.split()) or label.strip() or None,
        "parameter_schema": deployment.parameter_schema,
        "defaults": {name: one["default"] for name, one in properties.items() if "default" in one},
    }
