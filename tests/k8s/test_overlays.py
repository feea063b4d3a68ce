"""What is shipped is what was published, and production has what it needs beyond it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from checks.kustomize import rendered
from checks.objects import Objects
from flows.core.prefect_yaml import stanzas

ROOT = Path(__file__).resolve().parents[2]


def objects(folder: str) -> Objects:
    return Objects(folder, rendered(ROOT, folder))


@pytest.fixture(scope="module")
def production() -> Objects:
    return objects("k8s/overlays/production")


def found(objects: Objects, kind: str, name: str) -> dict[str, Any]:
    manifest = objects.find(kind, name)
    assert manifest is not None, f"{objects.folder} has no {kind} {name}"
    return manifest


def test_the_base_is_the_shim_as_it_was_published() -> None:
    base = objects("k8s/base")
    assert all("namespace" not in manifest["metadata"] for manifest in base)
    deployment = found(base, "Deployment", "scheduler-service")
    assert deployment["spec"]["replicas"] == 1
    assert deployment["spec"]["selector"]["matchLabels"] == {"app": "scheduler-service"}
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["name"] == "scheduler-service"
    assert container["image"].startswith("stumbleable.azurecr.io/scheduler-service:")
    assert {"name": "PORT", "value": "8080"} in container["env"]
    assert {"name": "HOST", "value": "0.0.0.0"} in container["env"]
    probes = {
        kind: (
            container[f"{kind}Probe"]["httpGet"]["path"],
            container[f"{kind}Probe"]["initialDelaySeconds"],
            container[f"{kind}Probe"]["periodSeconds"],
        )
        for kind in ("liveness", "readiness")
    }
    assert probes == {"liveness": ("/health", 30, 10), "readiness": ("/health", 10, 5)}
    service = found(base, "Service", "scheduler-service")["spec"]
    assert (service["type"], service["selector"]) == ("ClusterIP", {"app": "scheduler-service"})
    (port,) = service["ports"]
    assert (port["port"], port["targetPort"], port["protocol"]) == (7005, 8080, "TCP")


def test_production_outlasts_the_loss_of_a_node(production: Objects) -> None:
    deployment = found(production, "Deployment", "scheduler-service")
    assert deployment["spec"]["replicas"] == 2
    assert "podAntiAffinity" in deployment["spec"]["template"]["spec"]["affinity"]
    assert found(production, "PodDisruptionBudget", "scheduler-service")["spec"]["minAvailable"] == 1
    scaler = found(production, "HorizontalPodAutoscaler", "scheduler-service")
    assert scaler["spec"]["minReplicas"] == 2
    assert {m["metadata"].get("namespace") for m in production} == {"stumbleable"}


def test_production_ships_no_secret_and_nothing_of_the_sites(production: Objects) -> None:
    assert production.of_kind("Secret") == []
    assert production.find("ConfigMap", "stumbleable-config") is None


def test_production_has_several_prefect_servers_and_their_services_apart(production: Objects) -> None:
    server = found(production, "Deployment", "prefect-server")["spec"]
    assert server["replicas"] > 1
    assert "--no-services" in server["template"]["spec"]["containers"][0]["args"]
    settings = production.values("ConfigMap", "prefect-server-config") or {}
    assert settings["PREFECT_SERVER_EVENTS_MESSAGING_BROKER"] == "prefect_redis.messaging"
    assert settings["PREFECT_SERVER_DATABASE_MIGRATE_ON_START"] == "false"
    assert found(production, "Deployment", "prefect-services")["spec"]["replicas"] == 1


def test_what_is_applied_first_is_all_that_the_migration_needs(production: Objects) -> None:
    first = Objects(
        "first", tuple(m for m in production if "scheduler.stumbleable.com/apply" in m["metadata"]["labels"])
    )
    job = found(first, "Job", "scheduler-migrate")["spec"]["template"]["spec"]
    assert first.find("ServiceAccount", job["serviceAccountName"]) is not None
    assert first.find("NetworkPolicy", "scheduler-migrate") is not None
    assert [container["args"][-1] for container in job["containers"]] == ["deployments.migrate"]
    assert {m["kind"] for m in first}.isdisjoint({"Deployment", "StatefulSet"})


def test_every_type_has_its_queue_and_its_size() -> None:
    queues = {stanza.work_pool.work_queue_name for stanza in stanzas()}
    assert queues <= {"high", "medium", "low"}
    assert len({stanza.work_pool.job_variables["memory_limit"] for stanza in stanzas()}) > 1


def test_warm_is_production_with_workers_that_fork() -> None:
    warm, production = objects("k8s/overlays/warm"), objects("k8s/overlays/production")
    names = {(manifest["kind"], manifest["metadata"]["name"]) for manifest in warm}
    assert names - {(one["kind"], one["metadata"]["name"]) for one in production} == {("Deployment", "scheduler-warm")}
    chosen = found(warm, "ConfigMap", "scheduler-config")["data"]["WARM_JOB_TYPES"].split(",")
    assert set(chosen) < {stanza.name for stanza in stanzas()}
    assert "WARM_JOB_TYPES" not in found(production, "ConfigMap", "scheduler-config")["data"]
