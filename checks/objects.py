"""Rendered manifests, and how to look things up in them."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from checks.kustomize import Manifest

# Kubernetes has no schema of these; whoever defines them checks them (`checks.rules`).
CUSTOM = frozenset({"ServiceMonitor", "PodMonitor", "PrometheusRule"})
_WORKLOADS = frozenset({"Deployment", "StatefulSet", "DaemonSet", "Job", "ReplicaSet"})


def name(manifest: Manifest) -> str:
    """How a mistake calls an object: `deployment/scheduler-service`."""
    metadata = manifest.get("metadata", {})
    return f"{manifest.get('kind', '?').lower()}/{metadata.get('name') or metadata.get('generateName', '?')}"


@dataclass(frozen=True)
class Pod:
    """A pod as its workload describes it."""

    owner: Manifest
    template: Mapping[str, Any]

    @property
    def name(self) -> str:
        return name(self.owner)

    @property
    def labels(self) -> dict[str, str]:
        found: dict[str, str] = self.template.get("metadata", {}).get("labels", {})
        return found

    @property
    def spec(self) -> dict[str, Any]:
        found: dict[str, Any] = self.template.get("spec", {})
        return found

    @property
    def containers(self) -> list[dict[str, Any]]:
        """All of them, the ones that run first included."""
        return [*self.spec.get("initContainers", []), *self.spec.get("containers", [])]


class Objects:
    """The objects of one overlay, and the Jobs that its worker will make of flow runs."""

    def __init__(self, folder: str, manifests: tuple[Manifest, ...]) -> None:
        self.folder = folder
        self.manifests = manifests

    def __iter__(self) -> Iterator[Manifest]:
        return iter(self.manifests)

    def of_kind(self, *kinds: str) -> list[Manifest]:
        return [manifest for manifest in self.manifests if manifest.get("kind") in kinds]

    def find(self, kind: str, name: str) -> Manifest | None:
        return next((m for m in self.of_kind(kind) if m["metadata"].get("name") == name), None)

    @property
    def pods(self) -> list[Pod]:
        found = [Pod(m, m["spec"]["template"]) for m in self.of_kind(*_WORKLOADS) if "template" in m.get("spec", {})]
        return found + [Pod(m, m["spec"]["jobTemplate"]["spec"]["template"]) for m in self.of_kind("CronJob")]

    def selected(self, labels: Mapping[str, str]) -> list[Pod]:
        """The pods that have all these labels."""
        return [pod for pod in self.pods if labels.items() <= pod.labels.items()]

    def values(self, kind: str, name: str) -> dict[str, str] | None:
        """What a ConfigMap or Secret of this overlay holds; None where it is not here."""
        found = self.find(kind, name)
        if found is None:
            return None
        data: dict[str, str] = dict(found.get("data") or {})
        if kind == "Secret":
            data = {key: base64.b64decode(value).decode() for key, value in data.items()} | found.get("stringData", {})
        return data
