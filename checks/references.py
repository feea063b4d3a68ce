"""What one object says of another is true: selectors, ports, Secrets, ConfigMaps, accounts, scaling targets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from checks import site
from checks.kustomize import Manifest
from checks.objects import Objects, Pod, name
from checks.overlays import with_flow_jobs


def mistakes(root: Path) -> list[str]:
    """Every reference of an overlay that leads nowhere."""
    found: list[str] = []
    for objects in with_flow_jobs(root):
        lines = [*_workloads(objects), *_services(objects), *_scaling(objects), *_accounts(objects)]
        for pod in objects.pods:
            lines += [f"{pod.name}: {mistake}" for mistake in _pod(objects, pod)]
        found += [f"{objects.folder}: {line}" for line in lines]
        if objects.folder.endswith("/production"):
            for path in sorted((root / "k8s/examples").glob("*.yaml")):
                for example in filter(None, yaml.safe_load_all(path.read_text(encoding="utf-8"))):
                    found += [f"{path.relative_to(root)}: {mistake}" for mistake in _ingress(objects, example)]
    return found


def _workloads(objects: Objects) -> Iterator[str]:
    for workload in objects.of_kind("Deployment", "StatefulSet", "DaemonSet"):
        wanted = workload["spec"]["selector"].get("matchLabels", {})
        own = Pod(workload, workload["spec"]["template"])
        if not wanted.items() <= own.labels.items():
            yield f"{name(workload)}: its selector {wanted} does not match its own pods, which have {own.labels}"
        others = {pod.name for pod in objects.selected(wanted)} - {own.name}
        if others:
            yield f"{name(workload)}: its selector {wanted} matches pods of {', '.join(sorted(others))} too"
        service = workload["spec"].get("serviceName")
        if service and objects.find("Service", service) is None:
            yield f"{name(workload)}: its Service {service!r} is not here"


def _services(objects: Objects) -> Iterator[str]:
    for service in objects.of_kind("Service"):
        wanted = service["spec"].get("selector", {})
        pods = objects.selected(wanted)
        if not wanted or not pods:
            yield f"{name(service)}: its selector {wanted} matches no pod"
        for port in service["spec"]["ports"]:
            target = port.get("targetPort", port["port"])
            for pod in pods:
                ports = [declared for container in pod.containers for declared in container.get("ports", [])]
                valid = {declared["containerPort"] for declared in ports} | {p["name"] for p in ports if "name" in p}
                if target not in valid:
                    names = ", ".join(sorted(map(str, valid)))
                    yield f"{name(service)}: targetPort {target} is none of {pod.name}; valid are {names}"


def _scaling(objects: Objects) -> Iterator[str]:
    for scaler in objects.of_kind("HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]
        if objects.find(target["kind"], target["name"]) is None:
            yield f"{name(scaler)}: its target {target['kind'].lower()}/{target['name']} is not here"
    for budget in objects.of_kind("PodDisruptionBudget"):
        wanted = budget["spec"].get("selector", {}).get("matchLabels", {})
        if not wanted or not objects.selected(wanted):
            yield f"{name(budget)}: its selector {wanted} matches no pod"


def _accounts(objects: Objects) -> Iterator[str]:
    for binding in objects.of_kind("RoleBinding"):
        role = binding["roleRef"]
        if objects.find(role["kind"], role["name"]) is None:
            yield f"{name(binding)}: its {role['kind']} {role['name']!r} is not here"
        for subject in binding["subjects"]:
            if objects.find("ServiceAccount", subject["name"]) is None:
                yield f"{name(binding)}: its ServiceAccount {subject['name']!r} is not here"
            elif not subject.get("namespace"):
                yield f"{name(binding)}: its ServiceAccount has no namespace: the overlay has to say one"


def _pod(objects: Objects, pod: Pod) -> Iterator[str]:
    account = pod.spec.get("serviceAccountName")
    if account and objects.find("ServiceAccount", account) is None:
        yield f"its ServiceAccount {account!r} is not here"
    volumes = {volume["name"]: volume for volume in pod.spec.get("volumes", [])}
    claims = {claim["metadata"]["name"] for claim in pod.owner["spec"].get("volumeClaimTemplates", [])}
    for container in pod.containers:
        for mount in container.get("volumeMounts", []):
            if mount["name"] not in volumes.keys() | claims:
                yield f"container {container['name']} mounts {mount['name']!r}, which is no volume of the pod"
        for kind, holder, key, optional in _references(container):
            if mistake := _unknown(objects, kind, holder, key, optional=optional):
                yield f"container {container['name']}: {mistake}"
    yield from _volumes(objects, volumes)


def _volumes(objects: Objects, volumes: Mapping[str, Any]) -> Iterator[str]:
    for volume in volumes.values():
        for field, kind in (("configMap", "ConfigMap"), ("secret", "Secret")):
            source = volume.get(field)
            if source is not None:
                holder = source.get("name") or source.get("secretName")
                if mistake := _unknown(objects, kind, holder, None, optional=source.get("optional", False)):
                    yield f"volume {volume['name']}: {mistake}"


def _references(container: Mapping[str, Any]) -> Iterator[tuple[str, str, str | None, bool]]:
    """Kind, name, key (None for all of them) and whether it may be missing."""
    for entry in container.get("env", []):
        source = entry.get("valueFrom", {})
        for field, kind in (("secretKeyRef", "Secret"), ("configMapKeyRef", "ConfigMap")):
            if field in source:
                yield kind, source[field]["name"], source[field]["key"], source[field].get("optional", False)
    for entry in container.get("envFrom", []):
        for field, kind in (("secretRef", "Secret"), ("configMapRef", "ConfigMap")):
            if field in entry:
                yield kind, entry[field]["name"], None, entry[field].get("optional", False)


def _unknown(objects: Objects, kind: str, holder: str, key: str | None, *, optional: bool) -> str | None:
    """What is wrong with a reference. A key that may be missing must still be spelt like one that can be there."""
    here = objects.values(kind, holder)
    elsewhere = (site.SECRETS if kind == "Secret" else site.CONFIG_MAPS).get(holder)
    if here is None and elsewhere is None:
        return None if optional else f"{kind} {holder!r} is neither here nor the site's"
    known = set(here or ()) | (set(elsewhere or ()) if here is None or optional else set())
    if key is None or key in known:
        return None
    return f"{kind} {holder!r} has no key {key!r}; valid are {', '.join(sorted(known))}"


def _ingress(objects: Objects, ingress: Manifest) -> Iterator[str]:
    for rule in ingress["spec"].get("rules", []):
        for path in rule["http"]["paths"]:
            backend = path["backend"]["service"]
            service = objects.find("Service", backend["name"])
            if service is None:
                yield f"{name(ingress)}: its Service {backend['name']!r} is not here"
                continue
            ports = service["spec"]["ports"]
            valid = {port["port"] for port in ports} | {port.get("name") for port in ports}
            if not set(backend["port"].values()) <= valid:
                yield f"{name(ingress)}: port {backend['port']} is none of {name(service)}"
            if path["path"].rstrip("/") in ("", "/metrics", "/ready"):
                yield f"{name(ingress)}: path {path['path']!r} would show /metrics to everybody"
