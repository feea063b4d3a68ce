"""The Jobs that the worker makes of flow runs: our template with prefect.yaml's variables, by Prefect's own code."""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any
from uuid import UUID

from prefect.client.schemas.objects import FlowRun
from prefect.utilities.templating import apply_values
from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration  # type: ignore[import-untyped]

from checks.kustomize import Manifest
from deployments.pool import base_job_template
from flows.core.prefect_yaml import stanzas

_ANY_ID = UUID("00000000-0000-4000-8000-000000000001")


@cache
def template() -> dict[str, Any]:
    """The base job template of the cluster's pool, as `deployments apply` would set it."""
    return asyncio.run(base_job_template("kubernetes"))


@cache
def flow_jobs() -> tuple[Manifest, ...]:
    """One Job for each deployment of prefect.yaml."""
    return tuple(job_of(template(), stanza.name, stanza.work_pool.job_variables) for stanza in stanzas())


def job_of(template: dict[str, Any], name: str, variables: dict[str, Any]) -> Manifest:
    """The Job of a run with these job variables. Raises ValueError where Prefect would refuse the template."""
    defaults = KubernetesWorkerJobConfiguration._get_base_config_defaults(template["variables"]["properties"])  # noqa: SLF001  # `from_template_and_values` would ask a server
    configuration = KubernetesWorkerJobConfiguration(
        **apply_values(template["job_configuration"], {**defaults, **variables})
    )
    configuration.prepare_for_flow_run(FlowRun(id=_ANY_ID, name=name, flow_id=_ANY_ID))
    job: Manifest = configuration.job_manifest
    pod = job["spec"]["template"]["spec"]
    # Prefect insists on these where they mean nothing; the API server drops them with a warning.
    for misplaced in ("parallelism", "completions"):
        pod.pop(misplaced, None)
    return job
