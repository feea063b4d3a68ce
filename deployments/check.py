"""Checks prefect.yaml against the code, offline: names agree, entrypoints import, cron parses, parameters validate."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from prefect import Flow
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ParameterTypeError
from pydantic import ValidationError

from deployments.pool import QUEUES
from deployments.quantities import quantity
from flows.core.domain import JobType
from flows.core.prefect_yaml import SLUG, Stanza, load, parse

DEADLINE_MARGIN = timedelta(minutes=5)
# Of those that the templates of our pools have, the ones that a deployment has a reason to set.
_VARIABLES = {
    "cpu_request",
    "cpu_limit",
    "memory_request",
    "memory_limit",
    "active_deadline_seconds",
    "env",
    "finished_job_ttl",
}


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
    if len(stanza.schedules) > 1:
        yield "has more than one schedule; an admin edits the one it has"
    for schedule in stanza.schedules:
        if schedule.slug not in (None, SLUG):
            yield f"schedule {schedule.cron!r} has slug {schedule.slug!r}; ours is known by {SLUG!r}"
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


def _job_variables(stanza: Stanza, flow: Flow[..., Any]) -> Iterator[str]:
    """What the pods of a type ask for, and when Kubernetes ends one that does not end itself."""
    given = stanza.work_pool.job_variables
    unknown = sorted(set(given) - _VARIABLES)
    if unknown:
        # Prefect would keep it, and no template would use it.
        yield f"unknown job variables {', '.join(unknown)}; valid are {', '.join(sorted(_VARIABLES))}"
    for resource in ("cpu", "memory"):
        amounts = []
        for name in (f"{resource}_request", f"{resource}_limit"):
            try:
                amounts.append(quantity(given[name]))
            except KeyError:
                yield f"job variable {name} is missing: each type says what its pods ask for and may use"
            except ValueError as error:
                yield f"job variable {name}: {error}"
        if len(amounts) == 2 and amounts[0] > amounts[1]:  # noqa: PLR2004  # both were said
            yield f"job variable {resource}_request is more than {resource}_limit"
    longest = _longest_run(stanza, flow)
    expected = round((longest + DEADLINE_MARGIN).total_seconds())
    deadline = given.get("active_deadline_seconds")
    if deadline != expected:
        because = f"by its maximum run time of {longest} it must be {expected}"
        yield f"job variable active_deadline_seconds is {deadline}; {because}"


def _longest_run(stanza: Stanza, flow: Flow[..., Any]) -> timedelta:
    """The type's own maximum, unless its job variables set another."""
    seconds = stanza.work_pool.job_variables.get("env", {}).get("MAX_RUN_SECONDS")
    longest: timedelta = vars(flow.fn)["max_run_time"]
    return longest if seconds is None else timedelta(seconds=int(seconds))


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
    yield from _job_variables(stanza, flow)
    defaults = {name: field["default"] for name, field in schema["properties"].items() if "default" in field}
    try:
        flow.validate_parameters({**defaults, **stanza.parameters})
    except ParameterTypeError as error:
        yield f"parameters: {error}"
