"""A run's Job, made of our template and prefect.yaml by Prefect's own Kubernetes worker code."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.utilities.templating import apply_values
from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration  # type: ignore[import-untyped]

from deployments.pool import base_job_template
from flows.core.prefect_yaml import Stanza, stanzas


async def job_of(stanza: Stanza, monkeypatch: pytest.MonkeyPatch, **variables: Any) -> dict[str, Any]:
    """The Job that the worker would create for a run of the stanza, as `from_template_and_values` makes it offline."""
    monkeypatch.setenv("IMAGE", "registry.test/scheduler-service:0a1b2c")
    monkeypatch.setenv("NAMESPACE", "elsewhere")
    template = await base_job_template("kubernetes")
    defaults = KubernetesWorkerJobConfiguration._get_base_config_defaults(template["variables"]["properties"])
    values = {**defaults, **stanza.work_pool.job_variables, **variables}
    configuration = KubernetesWorkerJobConfiguration(**apply_values(template["job_configuration"], values))
    configuration.prepare_for_flow_run(FlowRun(id=uuid4(), name=f"{stanza.name} 2026-11-27", flow_id=uuid4()))
    manifest: dict[str, Any] = configuration.job_manifest
    return manifest


@pytest.mark.parametrize("stanza", stanzas(), ids=lambda stanza: str(stanza.name))
async def test_a_run_is_a_job_that_kubernetes_neither_repeats_nor_keeps(
    stanza: Stanza, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await job_of(stanza, monkeypatch)
    variables = stanza.work_pool.job_variables
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert job["metadata"]["namespace"] == "elsewhere"
    assert (job["spec"]["backoffLimit"], job["spec"]["ttlSecondsAfterFinished"]) == (0, 3600)
    assert job["spec"]["podReplacementPolicy"] == "Failed"
    assert job["spec"]["activeDeadlineSeconds"] == variables["active_deadline_seconds"]
    assert container["image"] == "registry.test/scheduler-service:0a1b2c"
    assert container["args"] == ["python", "-m", "worker.pod"]
    assert container["resources"]["limits"] == {"cpu": variables["cpu_limit"], "memory": variables["memory_limit"]}


async def test_a_run_gets_its_secrets_by_reference_and_an_eviction_continues_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = await job_of(stanzas()[0], monkeypatch, env={"MAX_RUN_SECONDS": "60"})
    pod = job["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    plain = {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}
    referred = {entry["name"] for entry in container["env"] if "valueFrom" in entry}
    assert plain["MAX_RUN_SECONDS"] == "60"
    assert plain["PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR"] == "reschedule"
    assert referred == {"SUPABASE_URL", "SUPABASE_SERVICE_KEY", "SERVICE_TOKEN", "PREFECT_API_AUTH_STRING"}
    assert len({entry["name"] for entry in container["env"]}) == len(container["env"]), "a name is set twice"
    assert pod["metadata"]["labels"]["app"] == "scheduler-flow"
    assert pod["spec"]["serviceAccountName"] == "scheduler-flow"
