"""Deployments and their schedules, as Prefect has them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from prefect.client.schemas.actions import DeploymentScheduleCreate, DeploymentUpdate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName, FlowFilter, FlowFilterName
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from pydantic import BaseModel, TypeAdapter

from api.orchestrator.connection import BRIEF_SECONDS, Connection
from flows.core.domain import JobType
from flows.core.errors import NotFound


@dataclass(frozen=True)
class Deployment:
    """A job type as it is deployed; `parameter_schema` has the deployment's own parameters as its defaults."""

    job_type: str
    deployment_id: UUID
    description: str | None
    parameter_schema: dict[str, Any]


@dataclass(frozen=True)
class DeployedSchedule:
    """A schedule as Prefect has it. `is_plain` is False for what we never make: an interval, parameters of its own."""

    schedule_id: UUID
    slug: str | None
    cron: str | None
    timezone: str
    active: bool
    is_plain: bool


@dataclass(frozen=True)
class DeployedSchedules:
    """The schedules of a job type's deployment, and whether somebody has paused them all."""

    job_type: str
    deployment_id: UUID
    paused: bool
    schedules: tuple[DeployedSchedule, ...]


class _Schedule(BaseModel):
    """A schedule of any kind; an interval or a recurrence rule has no `cron`."""

    cron: str | None = None
    timezone: str | None = None
    day_or: bool = True


class _FoundSchedule(BaseModel):
    id: UUID
    slug: str | None = None
    active: bool
    schedule: _Schedule
    parameters: dict[str, Any] | None = None


class _FoundDeployment(BaseModel):
    id: UUID
    name: str
    paused: bool
    schedules: list[_FoundSchedule]


_found = TypeAdapter(list[_FoundDeployment])


class Deployments(Connection):
    async def deployments(self) -> list[Deployment]:
        """Every job type that is deployed."""
        names = [job_type.value for job_type in JobType]
        async with self.asking("list deployments"):
            found = await self.client.read_deployments(
                flow_filter=FlowFilter(name=FlowFilterName(any_=names)),
                deployment_filter=DeploymentFilter(name=DeploymentFilterName(any_=names)),
            )
        self.deployment_ids = {deployment.name: deployment.id for deployment in found}
        self.job_types = {deployment.id: deployment.name for deployment in found}
        self.pools = {deployment.name: deployment.work_pool_name for deployment in found if deployment.work_pool_name}
        await self._read_pool_types()
        return [_deployment(one) for one in found]

    async def schedules(self, job_types: Sequence[str] = tuple(JobType)) -> list[DeployedSchedules]:
        """The schedules of these job types, as far as they are deployed."""
        names = list(job_types)
        wanted = {
            "flows": FlowFilter(name=FlowFilterName(any_=names)).model_dump(mode="json"),
            "deployments": DeploymentFilter(name=DeploymentFilterName(any_=names)).model_dump(mode="json"),
        }
        async with self.asking("read schedules", BRIEF_SECONDS):
            # Not `read_deployments`: its models look up every time zone of the machine, in files, for each schedule;
            # 40 ms of work for what is asked every few seconds.
            answer = await self.client.request("POST", "/deployments/filter", json=wanted)
            found = _found.validate_json(answer.content)
        return [
            DeployedSchedules(one.name, one.id, one.paused, tuple(_schedule(schedule) for schedule in one.schedules))
            for one in found
        ]

    async def make_schedule(self, deployment_id: UUID, *, slug: str, cron: str, timezone: str, active: bool) -> None:
        """Adds a schedule to a deployment."""
        wanted = DeploymentScheduleCreate(schedule=_cron(cron, timezone), active=active, slug=slug, parameters={})
        async with self.asking("make a schedule", BRIEF_SECONDS):
            await self.client.create_deployment_schedules(deployment_id, [wanted])

    async def change_schedule(
        self, deployment_id: UUID, schedule_id: UUID, *, slug: str, cron: str, timezone: str, active: bool
    ) -> None:
        """Makes a schedule what is given; the runs that Prefect has made of it for later are gone."""
        async with self.asking("change a schedule", BRIEF_SECONDS):
            await self.client.update_deployment_schedule(
                deployment_id,
                schedule_id,
                active=active,
                schedule=_cron(cron, timezone),
                parameters={},
                slug=slug,
            )

    async def drop_schedule(self, deployment_id: UUID, schedule_id: UUID) -> None:
        """Takes a schedule away; one that is gone stays gone."""
        with suppress(NotFound):
            async with self.asking("drop a schedule", BRIEF_SECONDS):
                await self.client.delete_deployment_schedule(deployment_id, schedule_id)

    async def wake_deployment(self, deployment_id: UUID) -> None:
        """Un-pauses a deployment, and has Prefect plan its runs within seconds.

        Otherwise it looks once a minute for schedules that have changed, and a fire until then would be left out.
        """
        async with self.asking("wake a deployment", BRIEF_SECONDS):
            await self.client.update_deployment(deployment_id, DeploymentUpdate(paused=False))

    async def deployment_id(self, job_type: str) -> UUID:
        if job_type not in self.deployment_ids:
            async with self.asking(f"find deployment {job_type}/{job_type}"):
                found = await self.client.read_deployment_by_name(f"{job_type}/{job_type}")
            self.deployment_ids[job_type] = found.id
        return self.deployment_ids[job_type]

    def pool_type(self, job_type: str) -> str | None:
        """The type of the pool that a job type's runs go to; None before Prefect has told it."""
        return self.pool_types.get(self.pools.get(job_type, ""))

    async def _read_pool_types(self) -> None:
        for pool in sorted(set(self.pools.values())):
            with suppress(NotFound):
                async with self.asking("read a work pool"):
                    self.pool_types[pool] = (await self.client.read_work_pool(pool)).type


def _cron(cron: str, timezone: str) -> CronSchedule:
    # Said, or Prefect's client would leave it out.
    return CronSchedule(cron=cron, timezone=timezone, day_or=True)


def _schedule(found: _FoundSchedule) -> DeployedSchedule:
    plain = found.schedule
    return DeployedSchedule(
        schedule_id=found.id,
        slug=found.slug,
        cron=plain.cron,
        timezone=plain.timezone or "UTC",
        active=found.active,
        is_plain=plain.cron is not None and plain.day_or and not found.parameters,
    )


def _deployment(found: DeploymentResponse) -> Deployment:
    schema = dict(found.parameter_openapi_schema or {})
    properties = {name: dict(one) for name, one in (schema.get("properties") or {}).items()}
    for name, value in (found.parameters or {}).items():
        properties.setdefault(name, {})["default"] = value
    return Deployment(found.name, found.id, found.description, {**schema, "properties": properties})
