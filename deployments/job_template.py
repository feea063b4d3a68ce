"""What a flow run's Kubernetes Job looks like: the base job template of the `kubernetes` work pool.

Prefect's own template is the frame. What is the same for every run stands in the manifest; what a deployment or a
single run may set is a variable, and each has a default, so that a run that says nothing is as safe as any other.
"""

from __future__ import annotations

import copy
import os
from typing import Any

IMAGE = "stumbleable.azurecr.io/scheduler-service:latest"
NAMESPACE = "stumbleable"
SERVICE_ACCOUNT = "scheduler-flow"
APP = "scheduler-flow"
# One process instead of the three of `prefect flow-run execute`, which would do as well.
COMMAND = "python -m worker.pod"

# From SIGTERM on: the job's loop is cancelled and gives its lease up (8 s of patience with the database), and Prefect
# hears that the run goes on in another pod. Under load each of these takes its time.
_TERMINATION_SECONDS = 60
# The Job of a run that has ended is gone after an hour; its lines and its row stay.
_KEPT_SECONDS = 3600
_LONGEST_DEADLINE_SECONDS = 6 * 3600 + 300

# Anybody's home in a read-only image; what Prefect and Python write goes there.
_HOME = "/tmp"  # noqa: S108  # an emptyDir of the pod's own
_LOGGING = "/app/flows/core/logging.yml"


def job_template(default: dict[str, Any]) -> dict[str, Any]:
    """Our template, from the default one of Prefect's Kubernetes worker."""
    template = copy.deepcopy(default)
    manifest = template["job_configuration"]["job_manifest"]
    variables = template["variables"]["properties"]
    _describe(variables)
    spec = manifest["spec"]
    # Prefect continues an evicted run in a Job of its own; Kubernetes would start the old one again beside it.
    del variables["backoff_limit"]
    spec["backoffLimit"] = 0
    # A pod that is told to end has not failed yet. The Job would say so within a second otherwise, and Prefect's
    # observer would call the run Crashed, while its process is still handing it over to the next pod.
    spec["podReplacementPolicy"] = "Failed"
    spec["activeDeadlineSeconds"] = "{{ active_deadline_seconds }}"
    pod = spec["template"]
    pod["metadata"] = {"labels": {"app": APP}}
    pod["spec"] |= _pod_settings()
    (container,) = pod["spec"]["containers"]
    container |= _container_settings()
    return template


def _pod_settings() -> dict[str, Any]:
    return {
        "automountServiceAccountToken": False,
        # A Service named prefect-server would set PREFECT_SERVER_PORT and more, and Prefect reads such names.
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": _TERMINATION_SECONDS,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}}],
    }


def _container_settings() -> dict[str, Any]:
    return {
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": _HOME}],
        # Prefect puts its own variables, and those of the job variable `env`, before these.
        "env": [
            {"name": "HOME", "value": _HOME},
            {"name": "PREFECT_LOGGING_SETTINGS_PATH", "value": _LOGGING},
            # A flow needs these and no other of the secrets' keys: neither Clerk's nor any database's.
            _secret("SUPABASE_URL", "stumbleable-secrets"),
            _secret("SUPABASE_SERVICE_KEY", "stumbleable-secrets"),
            _secret("SERVICE_TOKEN", "scheduler-secrets", optional=True),
            _secret("PREFECT_API_AUTH_STRING", "scheduler-secrets", optional=True),
        ],
        "envFrom": [
            {"configMapRef": {"name": "stumbleable-config"}},
            {"configMapRef": {"name": "scheduler-config"}},
        ],
    }


def _secret(name: str, secret: str, *, optional: bool = False) -> dict[str, Any]:
    reference: dict[str, Any] = {"name": secret, "key": name}
    if optional:
        reference["optional"] = True
    return {"name": name, "valueFrom": {"secretKeyRef": reference}}


def _describe(variables: dict[str, Any]) -> None:
    """Completes the variables: a default for each, and ours beside Prefect's."""
    variables["image"]["default"] = os.environ.get("IMAGE") or IMAGE
    variables["namespace"]["default"] = os.environ.get("NAMESPACE") or NAMESPACE
    variables["service_account_name"]["default"] = SERVICE_ACCOUNT
    variables["command"]["default"] = COMMAND
    variables["finished_job_ttl"]["default"] = _KEPT_SECONDS
    # A node that has to be made, or an image that has to be pulled, takes longer than Prefect's minute.
    variables["pod_watch_timeout_seconds"]["default"] = 300
    for name in ("env", "labels", "annotations"):
        variables[name]["default"] = {}
    sizes = {"cpu_request": "100m", "cpu_limit": "1", "memory_request": "256Mi", "memory_limit": "512Mi"}
    for name, size in sizes.items():
        variables[name]["default"] = size
    variables["active_deadline_seconds"] = {
        "title": "Active Deadline",
        "description": "Seconds after which Kubernetes ends the run's pod: its maximum run time and five minutes.",
        "type": "integer",
        "minimum": 1,
        "default": _LONGEST_DEADLINE_SECONDS,
    }
