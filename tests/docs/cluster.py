"""What is in the clusters: the objects of every overlay, the pods' labels, and the keys of Secrets that they read."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import yaml

from checks.kustomize import Manifest
from checks.objects import Objects
from checks.overlays import with_flow_jobs
from sandbox.state import REPOSITORY


def manifests() -> dict[str, str]:
    """Every object by kind and name, as YAML."""
    return {
        f"{one['kind'].lower()}/{one['metadata']['name']}": yaml.safe_dump(one)
        for objects in with_flow_jobs(REPOSITORY)
        for one in objects
        if "name" in one["metadata"]
    }


def labelled() -> list[Any]:
    """Everything that can have labels: objects, and the pods that workloads make."""
    return [
        one for objects in with_flow_jobs(REPOSITORY) for one in (*objects, *(pod.template for pod in objects.pods))
    ]


@cache
def find(kind: str, name: str) -> Manifest | None:
    """The object of whichever overlay has it."""
    return next((found for one in with_flow_jobs(REPOSITORY) if (found := one.find(kind, name)) is not None), None)


@cache
def keys_of(secret: str) -> frozenset[str]:
    """The keys of a Secret that some pod reads."""
    return frozenset(key for objects in with_flow_jobs(REPOSITORY) for key in _read_keys(objects, secret))


def _read_keys(objects: Objects, secret: str) -> Iterator[str]:
    for pod in objects.pods:
        for container in pod.containers:
            for variable in container.get("env", []):
                source = variable.get("valueFrom", {}).get("secretKeyRef", {})
                if source.get("name") == secret:
                    yield source["key"]
