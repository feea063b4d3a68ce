"""Mistakes that somebody could make in the manifests, each planted in a copy: the check finds it and names it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from checks import environment, job_template, network, rbac, references, render, restricted, timing
from checks.flow_jobs import template
from tests.checks.planting import ROOT, copy_of_manifests, plant

CRON_JOB = """
apiVersion: batch/v1
kind: CronJob
metadata:
  name: nightly
spec:
  schedule: "61 2 * * *"
  jobTemplate:
    spec:
      template: {}
"""
SHIM = "base/scheduler-service.yaml"
SERVER = "base/prefect-server.yaml"
Check = Callable[[Path], list[str]]


@pytest.mark.parametrize("check", [render, references, restricted, network, rbac, timing, environment, job_template])
def test_what_is_shipped_has_no_mistake(check: Any) -> None:
    assert check.mistakes(ROOT) == []


@pytest.mark.parametrize(
    ("check", "file", "old", "new", "said"),
    [
        # A Service of nobody: every call would be refused.
        (
            references.mistakes,
            SHIM,
            "  selector:\n    app: scheduler-service\n  ports",
            "  selector:\n    app: scheduler\n  ports",
            "service/scheduler-service: its selector {'app': 'scheduler'} matches no pod",
        ),
        # A Deployment whose pods it does not know itself: the API server refuses it.
        (
            references.mistakes,
            SERVER,
            "    matchLabels:\n      app: prefect-server",
            "    matchLabels:\n      app: prefect",
            "deployment/prefect-server: its selector {'app': 'prefect'} does not match its own pods",
        ),
        # A key that no Secret has: the pod would wait for it, and say nothing.
        (
            references.mistakes,
            SHIM,
            "key: CLERK_SECRET_KEY",
            "key: CLERK_SECRET",
            "Secret 'stumbleable-secrets' has no key 'CLERK_SECRET'; valid are CLERK_SECRET_KEY",
        ),
        # A key that may be missing, misspelt: it would be missing for ever.
        (
            references.mistakes,
            SHIM,
            "key: MACHINE_KEYS",
            "key: MACHINE_KEY",
            "Secret 'scheduler-secrets' has no key 'MACHINE_KEY'",
        ),
        # A ConfigMap that nobody makes.
        (references.mistakes, SHIM, "name: scheduler-config", "name: scheduler", "ConfigMap 'scheduler' is neither"),
        # A Service that sends calls where nobody listens.
        (
            references.mistakes,
            SHIM,
            "targetPort: 8080",
            "targetPort: 8081",
            "service/scheduler-service: targetPort 8081 is none of deployment/scheduler-service; valid are 8080, http",
        ),
        # An address with a port that its Service does not have.
        (
            network.mistakes,
            "base/configuration.yaml",
            "http://prefect-server:4200/api",
            "http://prefect-server:4201/api",
            "PREFECT_API_URL: port 4201 is none of service/prefect-server; valid are 4200",
        ),
        # A policy that shuts the shim off from Prefect.
        (
            network.mistakes,
            "base/network.yaml",
            "values: [scheduler-service, scheduler-worker, scheduler-flow, scheduler-deployments]",
            "values: [scheduler-worker, scheduler-flow, scheduler-deployments]",
            "deployment/scheduler-service: PREFECT_API_URL: no NetworkPolicy lets it in to deployment/prefect-server",
        ),
        # A pod that nobody's policy names.
        (
            network.mistakes,
            SERVER,
            "        app: prefect-server\n        app.kubernetes.io/name",
            "        app: prefect\n        app.kubernetes.io/name",
            "deployment/prefect-server: no NetworkPolicy says what its ingress is",
        ),
        # The worker could not make a single Job.
        (
            rbac.mistakes,
            "base/accounts.yaml",
            "verbs: [create, get, list, watch, delete]",
            "verbs: [get, list, watch, delete]",
            "verb 'create' on 'jobs' (batch) is missing; the worker calls it",
        ),
        # The worker could read every password of the namespace.
        (
            rbac.mistakes,
            "base/accounts.yaml",
            "resources: [pods]",
            "resources: [pods, secrets]",
            "verb 'get' on 'secrets' (core) is granted; nothing calls it",
        ),
        # An overlay that says no namespace: the API server refuses a subject without one.
        (
            references.mistakes,
            "overlays/production/kustomization.yaml",
            "namespace: stumbleable\n",
            "",
            "rolebinding/scheduler-worker: its ServiceAccount has no namespace",
        ),
        # A field that Kubernetes does not know, and would drop without a word.
        (
            render.mistakes,
            SHIM,
            "  revisionHistoryLimit: 5",
            "  revisionHistorylimit: 5",
            "deployment/scheduler-service: spec: Additional properties are not allowed ('revisionHistorylimit'",
        ),
        # A kind of the past.
        (
            render.mistakes,
            "overlays/production/scaling.yaml",
            "apiVersion: autoscaling/v2",
            "apiVersion: autoscaling/v2beta2",
            "autoscaling/v2beta2 HorizontalPodAutoscaler is no kind of 1.36",
        ),
        # An overlay that patches what is not there.
        (
            render.mistakes,
            "overlays/production/scheduler-service.yaml",
            "  name: scheduler-service\n",
            "  name: scheduler\n",
            "k8s/overlays/production: kubectl cannot render it",
        ),
        # A container that owns its node.
        (
            restricted.mistakes,
            SHIM,
            "            allowPrivilegeEscalation: false",
            "            privileged: true",
            "deployment/scheduler-service: container scheduler-service: privileged is on; restricted forbids it",
        ),
        (restricted.mistakes, SERVER, "runAsNonRoot: true", "runAsNonRoot: false", "runAsNonRoot is not true"),
        # A container without an end to its memory.
        (
            restricted.mistakes,
            SHIM,
            "memory: 768Mi",
            "memory: 768MB",
            "resources.limits.memory: '768MB' is no quantity",
        ),
        # Another database every day.
        (
            restricted.mistakes,
            "overlays/local/postgres.yaml",
            "postgres:17.6-bookworm",
            "postgres:latest",
            "is not pinned",
        ),
        # Flow runs of another release than the shim's.
        (
            restricted.mistakes,
            "overlays/production/kustomization.yaml",
            "newTag: latest",
            "newTag: 0a1b2c",
            "IMAGE is stumbleable.azurecr.io/scheduler-service:latest, and the pods run",
        ),
        # Prefect would read the Service's variables as its settings.
        (restricted.mistakes, SERVER, "enableServiceLinks: false", "enableServiceLinks: true", "enableServiceLinks"),
        # A setting that nobody reads.
        (
            environment.mistakes,
            "base/configuration.yaml",
            "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED",
            "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLE",
            "no settings know PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLE; did you mean PREFECT_SERVER_SERVICES_DB",
        ),
        # What the shim would refuse to start with.
        (
            environment.mistakes,
            "overlays/production/configuration.yaml",
            "  CLERK_ISSUER: https://clerk.stumbleable.com\n",
            "",
            "deployment/scheduler-service: CLERK_ISSUER is not set",
        ),
        (
            environment.mistakes,
            "overlays/local/site.yaml",
            "sk_local_of_no_clerk_anywhere",
            "changeme",
            "CLERK_SECRET_KEY is a placeholder, not a secret",
        ),
        (
            environment.mistakes,
            "base/configuration.yaml",
            'FLUSH_INTERVAL: "1"',
            'FLUSH_INTERVAL: "soon"',
            "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL is 'soon'",
        ),
        # A Job that hangs for ever.
        (
            timing.mistakes,
            "base/scheduler-migrate.yaml",
            "  activeDeadlineSeconds: 1800\n",
            "",
            "activeDeadlineSeconds",
        ),
        # A minute that no hour has.
        (timing.mistakes, "base/accounts.yaml", "apiVersion: v1", f"{CRON_JOB}---\napiVersion: v1", "'61 2 * * *'"),
        # Two at once; and none ever again, after a hundred missed starts.
        (
            timing.mistakes,
            "base/accounts.yaml",
            "apiVersion: v1",
            f"{CRON_JOB}---\napiVersion: v1",
            "concurrencyPolicy",
        ),
    ],
)
def test_a_planted_mistake_is_named(tmp_path: Path, *, check: Check, file: str, old: str, new: str, said: str) -> None:
    root = copy_of_manifests(tmp_path)
    plant(root, file, old, new)
    assert said in "\n".join(check(root))


def test_an_ingress_that_shows_the_metrics_is_named(tmp_path: Path) -> None:
    root = copy_of_manifests(tmp_path)
    plant(root, "examples/ingress.yaml", "path: /health, pathType: Exact", "path: /, pathType: Prefix")
    assert "would show /metrics to everybody" in "\n".join(references.mistakes(root))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        # A run that sets nothing would have a pod without a limit.
        (lambda t: variable(t, "memory_limit").pop("default"), "variable 'memory_limit' has no default"),
        (lambda t: variable(t, "image").update(default=None), "variable 'image' has no default"),
        # Prefect would put nothing in its place.
        (lambda t: t["variables"]["properties"].pop("cpu_limit"), "placeholder 'cpu_limit' has no variable"),
        # People would set it, and nothing would happen.
        (lambda t: t["variables"]["properties"].update(priority={"default": 1}), "variable 'priority' is used nowhere"),
        # Kubernetes would start a run again beside the one that Prefect continues.
        (lambda t: manifest(t)["spec"].update(backoffLimit=3), "backoffLimit is 3; it must be 0"),
        (lambda t: manifest(t)["spec"].pop("activeDeadlineSeconds"), "activeDeadlineSeconds is None"),
    ],
)
def test_a_mistake_in_the_job_template_is_named(spoil: Callable[[dict[str, Any]], object], said: str) -> None:
    spoiled = copy.deepcopy(template())
    spoil(spoiled)
    assert said in "\n".join(job_template.template_mistakes(spoiled))


def variable(template: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = template["variables"]["properties"][name]
    return found


def manifest(template: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = template["job_configuration"]["job_manifest"]
    return found
