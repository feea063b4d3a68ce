"""The worker may do what it does, and nothing it does not do. What it does is read off the installed package."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from checks.objects import Objects, name
from checks.overlays import with_flow_jobs

ACCOUNT = "scheduler-worker"
Permission = tuple[str, str, str]
"""API group, resource and verb."""

_CALL = re.compile(r"\.(create|read|list|watch|patch|replace|delete)_namespaced_(\w+?)\(")
_OBSERVED = re.compile(r'kopf\.on\.event\(\s*((?:"\w+",\s*)+)')
_VERBS = {"read": "get", "replace": "update"}
_RESOURCES = {"job": ("batch", "jobs"), "pod": ("", "pods"), "pod_log": ("", "pods/log"), "secret": ("", "secrets")}
# Only where the worker is told to keep keys or environments in Secrets of its own making.
_SECRETS_SETTINGS = ("CREATE_SECRET_FOR_API_KEY", "STORE_ENV_AS_SECRET", "API_KEY_SECRET_NAME")
_READING = {"get", "list", "watch"}


def mistakes(root: Path) -> list[str]:
    """What the worker's account lacks or has too much of, in each overlay."""
    return [f"{objects.folder}: {mistake}" for objects in with_flow_jobs(root) for mistake in _account(objects)]


@cache
def called() -> frozenset[Permission]:
    """What Prefect's Kubernetes worker and its observer ask of the API server."""
    package = importlib.util.find_spec("prefect_kubernetes")
    assert package is not None  # noqa: S101  # it is a dependency
    assert package.origin is not None  # noqa: S101
    found: set[Permission] = set()
    for file in ("worker.py", "observer.py", "diagnostics.py"):
        source = Path(package.origin).with_name(file).read_text(encoding="utf-8")
        found |= {(*_RESOURCES[resource], _VERBS.get(verb, verb)) for verb, resource in _CALL.findall(source)}
        for arguments in _OBSERVED.findall(source):
            resource = re.findall(r'"(\w+)"', arguments)[-1]
            group = "batch" if resource == "jobs" else ""
            found |= {(group, resource, "list"), (group, resource, "watch")}
    return frozenset(found)


def _account(objects: Objects) -> Iterator[str]:
    for binding in objects.of_kind("ClusterRoleBinding"):
        yield f"{name(binding)}: is for the whole cluster; everything of ours stays in its namespace"
    needed = set(called())
    if not _keeps_secrets(objects):
        needed = {permission for permission in needed if permission[1] != "secrets"}
    granted = _granted(objects)
    for group, resource, verb in sorted(needed - granted):
        yield f"role of {ACCOUNT}: verb {verb!r} on {resource!r} ({group or 'core'}) is missing; the worker calls it"
    read = {(group, resource) for group, resource, _ in needed}
    for group, resource, verb in sorted(granted - needed):
        if verb not in _READING or (group, resource) not in read:
            yield f"role of {ACCOUNT}: verb {verb!r} on {resource!r} ({group or 'core'}) is granted; nothing calls it"


def _keeps_secrets(objects: Objects) -> bool:
    return any(
        str(entry["name"]).endswith(_SECRETS_SETTINGS) and not str(entry["name"]).endswith("AUTH_STRING_SECRET_NAME")
        for pod in objects.pods
        if pod.spec.get("serviceAccountName") == ACCOUNT
        for container in pod.containers
        for entry in container.get("env", [])
    )


def _granted(objects: Objects) -> set[Permission]:
    found: set[Permission] = set()
    for binding in objects.of_kind("RoleBinding"):
        if not any(subject["name"] == ACCOUNT for subject in binding["subjects"]):
            continue
        role = objects.find(binding["roleRef"]["kind"], binding["roleRef"]["name"])
        for rule in (role or {}).get("rules", []):
            found |= {(g, r, v) for g in rule["apiGroups"] for r in rule["resources"] for v in rule["verbs"]}
    return found
