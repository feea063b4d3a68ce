"""Jobs end and are not kept for ever; a CronJob's schedule is one, and a slow run meets no second one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prefect.client.schemas.schedules import CronSchedule
from pydantic import ValidationError

from checks.kustomize import Manifest
from checks.objects import name
from checks.overlays import with_flow_jobs

_JOB_FIELDS = ("activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished")


def mistakes(root: Path) -> list[str]:
    """What is missing or wrong in Jobs and CronJobs."""
    found = []
    for objects in with_flow_jobs(root):
        for manifest in objects.of_kind("Job"):
            found += [f"{objects.folder}: {name(manifest)}: {line}" for line in _job(manifest["spec"])]
        for manifest in objects.of_kind("CronJob"):
            found += [f"{objects.folder}: {name(manifest)}: {line}" for line in _cron_job(manifest)]
    return found


def _job(spec: dict[str, Any]) -> Iterator[str]:
    for field in _JOB_FIELDS:
        if not isinstance(spec.get(field), int):
            yield f"{field} is {spec.get(field)!r}; valid is a number"


def _cron_job(manifest: Manifest) -> Iterator[str]:
    spec = manifest["spec"]
    try:
        CronSchedule(cron=spec["schedule"], timezone=spec.get("timeZone", "UTC"))
    except ValidationError as error:
        yield f"schedule {spec['schedule']!r}: {error.errors()[0]['msg']}"
    if spec.get("concurrencyPolicy") not in ("Forbid", "Replace"):
        yield f"concurrencyPolicy is {spec.get('concurrencyPolicy')!r}; valid are Forbid and Replace"
    if not isinstance(spec.get("startingDeadlineSeconds"), int):
        yield "startingDeadlineSeconds is missing: after a hundred missed starts it would never run again"
    yield from _job(spec["jobTemplate"]["spec"])
