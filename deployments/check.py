"""Checks prefect.yaml against the code, offline: names agree, entrypoints import, cron parses, parameters validate."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

from prefect import Flow
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ParameterTypeError
from pydantic import ValidationError

from deployments.pool import QUEUES
from deployments.stanzas import Stanza, load, parse
from flows.core.domain import JobType


def mistakes(content: dict[str, Any] | None = None) -> list[str]:
    """Everything wrong with the deployments, one sentence each; empty when all is well.

    Raises InvalidDeploymentsError when the file itself cannot be understood.
    """
    stanzas = parse(load() if content is None else content)
    found = list(_registry(stanzas))
    for stanza in stanzas:
        found += [f"{stanza.name}: {mistake}" for mistake in _stanza(stanza)]
    return found


def _registry(stanzas: list[Stanza]) -> Iterator[str]:
    names = [stanza.name for stanza in stanzas]
    known = [job_type.value for job_type in JobType]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"{name}: has more than one deployment; a job type has exactly one"
    for name in sorted(set(known) - set(names)):
        yield f"{name}: is a JobType without a deployment in prefect.yaml"
    for name in sorted(set(names) - set(known)):
        yield f"{name}: is a deployment without a JobType; valid are {', '.join(known)}"
    pools = {stanza.work_pool.name for stanza in stanzas}
    if len(pools) > 1:
        yield f"deployments use more than one work pool: {', '.join(sorted(pools))}"


def _stanza(stanza: Stanza) -> Iterator[str]:
    if stanza.work_pool.work_queue_name not in QUEUES:
        # Prefect would make a queue of that name, and no worker might ever look at it.
        yield f"work queue {stanza.work_pool.work_queue_name!r} does not exist; valid are {', '.join(QUEUES)}"
    for schedule in stanza.schedules:
        try:
            CronSchedule(cron=schedule.cron, timezone=schedule.timezone)
        except ValidationError as error:
            yield f"schedule {schedule.cron!r} ({schedule.timezone}): {error.errors()[0]['msg']}"
    expected = f"flows.{stanza.name}.{stanza.name}"
    if stanza.entrypoint != expected:
        yield f"entrypoint is {stanza.entrypoint!r}, by its name it must be {expected!r}"
        return
    try:
        flow = getattr(importlib.import_module(f"flows.{stanza.name}"), stanza.name)
    except (ImportError, AttributeError) as error:
        yield f"entrypoint {stanza.entrypoint!r} does not import: {error}"
        return
    yield from _flow(stanza, flow)


def _flow(stanza: Stanza, flow: object) -> Iterator[str]:
    if not isinstance(flow, Flow):
        yield f"{stanza.entrypoint!r} is not a flow"
        return
    if flow.name != stanza.name:
        yield f"its flow is named {flow.name!r}"
    if flow.retries:
        yield "its flow has retries; tasks retry, flows do not"
    schema = flow.parameters.model_dump()
    unknown = set(stanza.parameters) - set(schema["properties"])
    if unknown:
        yield f"unknown parameters {', '.join(sorted(unknown))}; valid are {', '.join(schema['properties'])}"
        return
    defaults = {name: field["default"] for name, field in schema["properties"].items() if "default" in field}
    try:
        flow.validate_parameters({**defaults, **stanza.parameters})
    except ParameterTypeError as error:
        yield f"parameters: {error}"
