"""Every pod satisfies the restricted pod-security standard, and the house's rules beyond it.

The standard: https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from checks.kustomize import Manifest, RenderError, others, rendered
from checks.objects import CUSTOM, Objects, Pod, name
from checks.overlays import with_flow_jobs
from deployments.quantities import quantity

OUR_IMAGE = "scheduler-service"
_LABELS = ("app.kubernetes.io/name", "app.kubernetes.io/component", "app.kubernetes.io/part-of")
_VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
_PROFILES = ("RuntimeDefault", "Localhost")


def mistakes(root: Path) -> list[str]:
    """What a cluster with the restricted standard would refuse, and what has no limit, label or fixed image."""
    found: list[str] = []
    for objects in with_flow_jobs(root):
        lines = [line for manifest in objects for line in _labels(manifest)]
        for pod in objects.pods:
            lines += [f"{pod.name}: {mistake}" for mistake in (*pod_mistakes(pod.spec), *_house(pod))]
        lines += _release(root, objects)
        found += [f"{objects.folder}: {line}" for line in lines]
    for folder in others(root):
        try:
            pods = Objects(folder, rendered(root, folder)).pods
        except RenderError:
            continue
        for pod in pods:
            found += [f"{folder}: {pod.name}: {mistake}" for mistake in (*pod_mistakes(pod.spec), *_house(pod))]
    return found


def _labels(manifest: Manifest) -> Iterator[str]:
    labels = manifest["metadata"].get("labels", {})
    # Those of a flow run's Job are Prefect's to choose.
    if "prefect.io/flow-run-id" not in labels and manifest["kind"] not in CUSTOM:
        missing = [label for label in _LABELS if label not in labels]
        if missing:
            yield f"{name(manifest)}: has no label {', '.join(missing)}"


def pod_mistakes(spec: Mapping[str, Any]) -> Iterator[str]:
    """What the standard forbids."""
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(field):
            yield f"{field} is on; restricted forbids it"
    for volume in spec.get("volumes", []):
        for kind in volume.keys() - {"name"} - _VOLUMES:
            yield f"volume {volume['name']} is a {kind}; restricted allows {', '.join(sorted(_VOLUMES))}"
    context = spec.get("securityContext", {})
    for container in [*spec.get("initContainers", []), *spec.get("containers", [])]:
        own = container.get("securityContext", {})
        for mistake in _container(context, own):
            yield f"container {container['name']}: {mistake}"
        for port in container.get("ports", []):
            if port.get("hostPort"):
                yield f"container {container['name']}: hostPort {port['hostPort']} is forbidden"


def _container(pod: Mapping[str, Any], own: Mapping[str, Any]) -> Iterator[str]:
    merged = {**pod, **own}
    if own.get("privileged"):
        yield "privileged is on; restricted forbids it"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation is not false"
    if merged.get("runAsNonRoot") is not True:
        yield "runAsNonRoot is not true"
    if merged.get("runAsUser") == 0:
        yield "runAsUser is 0"
    capabilities = own.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", []):
        yield "capabilities.drop is not [ALL]"
    if set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
        yield f"capabilities.add is {capabilities['add']}; valid is NET_BIND_SERVICE"
    if merged.get("seccompProfile", {}).get("type") not in _PROFILES:
        yield f"seccompProfile.type is none of {', '.join(_PROFILES)}"


def _house(pod: Pod) -> Iterator[str]:
    """Beyond the standard: nothing is written but what is mounted, everything has a size, no token nobody asks for."""
    spec = pod.spec
    account = spec.get("serviceAccountName")
    if spec.get("automountServiceAccountToken") is not (account == "scheduler-worker"):
        yield "automountServiceAccountToken is not said as it should be: true for the worker, false for everybody else"
    if spec.get("enableServiceLinks") is not False:
        yield "enableServiceLinks is not false: a Service named prefect-server would set PREFECT_SERVER_* variables"
    for container in pod.containers:
        where = f"container {container['name']}:"
        if container.get("securityContext", {}).get("readOnlyRootFilesystem") is not True:
            yield f"{where} readOnlyRootFilesystem is not true"
        resources = container.get("resources", {})
        for part in ("requests", "limits"):
            for resource in ("cpu", "memory"):
                try:
                    quantity(resources.get(part, {}).get(resource))
                except ValueError as error:
                    yield f"{where} resources.{part}.{resource}: {error}"
        yield from (f"{where} {mistake}" for mistake in _image(container["image"]))


def _image(image: str) -> Iterator[str]:
    repository, colon, tag = image.rpartition(":")
    if not colon or "/" in tag:
        yield f"image {image} has no tag"
    elif tag == "latest" and not repository.endswith(OUR_IMAGE):
        yield f"image {image} is not pinned: latest is another one every day"


def _release(root: Path, objects: Objects) -> Iterator[str]:
    """Ours is the same everywhere, flow runs included, and an overlay says which."""
    content = yaml.safe_load((root / objects.folder / "kustomization.yaml").read_text(encoding="utf-8"))
    named = [entry["name"] for entry in content.get("images", [])]
    if not any(image.endswith(OUR_IMAGE) for image in named):
        yield f"kustomization.yaml: images says no tag for {OUR_IMAGE}, so that no release can be chosen"
    images = {
        container["image"]
        for pod in objects.pods
        if "prefect.io/flow-run-id" not in pod.owner["metadata"].get("labels", {})
        for container in pod.containers
        if container["image"].rpartition(":")[0].endswith(OUR_IMAGE)
    }
    wanted = (objects.values("ConfigMap", "scheduler-config") or {}).get("IMAGE")
    if images != {wanted}:
        yield f"configmap/scheduler-config: IMAGE is {wanted}, and the pods run {', '.join(sorted(images))}"
