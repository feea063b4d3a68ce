"""Every pod is under a policy, and every address that a pod is given can be reached through the policies."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from checks.environment import variables_of
from checks.kustomize import Manifest
from checks.objects import Objects, Pod, name
from checks.overlays import with_flow_jobs

_ADDRESS = re.compile(r"^[\w+]+://(?:[^@/\s]*@)?([a-z][a-z0-9-]*)(?::(\d+))?(?:[/?]|$)")
_DEFAULT_PORTS = {"http": 80, "https": 443}


def mistakes(root: Path) -> list[str]:
    """Pods that anybody could reach, policies of nobody, and addresses that are wrong or shut off."""
    found: list[str] = []
    for objects in with_flow_jobs(root):
        addresses = [line for pod in objects.pods for line in _addresses(objects, pod)]
        found += [f"{objects.folder}: {line}" for line in (*_coverage(objects), *addresses)]
    return found


def _coverage(objects: Objects) -> Iterator[str]:
    policies = objects.of_kind("NetworkPolicy")
    for pod in objects.pods:
        for direction in ("Ingress", "Egress"):
            if not _of(policies, pod, direction):
                yield f"{pod.name}: no NetworkPolicy says what its {direction.lower()} is"
    for policy in policies:
        selector = policy["spec"].get("podSelector", {})
        if not selector:
            yield f"{name(policy)}: selects every pod of the namespace, which is the site's too"
        if not any(_matches(selector, pod.labels) for pod in objects.pods):
            yield f"{name(policy)}: selects no pod"


def _addresses(objects: Objects, pod: Pod) -> Iterator[str]:
    """Addresses of Services here, in the environment of a pod."""
    seen = set()
    for container in pod.containers:
        for variable, value in variables_of(objects, container).items():
            address = _ADDRESS.match(value)
            service = objects.find("Service", address[1]) if address else None
            if address is None or service is None:
                continue
            port = int(address[2] or _DEFAULT_PORTS.get(value.split(":")[0], 0))
            if (service["metadata"]["name"], port) in seen:
                continue
            seen.add((service["metadata"]["name"], port))
            yield from (f"{pod.name}: {variable}: {line}" for line in _reach(objects, pod, service, port))


def _reach(objects: Objects, pod: Pod, service: Manifest, port: int) -> Iterator[str]:
    ports = {entry["port"]: entry.get("targetPort", entry["port"]) for entry in service["spec"]["ports"]}
    if port not in ports:
        yield f"port {port} is none of {name(service)}; valid are {', '.join(map(str, sorted(ports)))}"
        return
    policies = objects.of_kind("NetworkPolicy")
    for target in objects.selected(service["spec"]["selector"]):
        number = _number(target, ports[port])
        out = _allowed(_of(policies, pod, "Egress"), "egress", "to", target.labels, number)
        into = _allowed(_of(policies, target, "Ingress"), "ingress", "from", pod.labels, number)
        if not out:
            yield f"no NetworkPolicy lets it out to {target.name} at {number}"
        if not into:
            yield f"no NetworkPolicy lets it in to {target.name} at {number}"


def _number(pod: Pod, port: int | str) -> int | str:
    """The number of a port that a Service calls by its name."""
    declared = [entry for container in pod.containers for entry in container.get("ports", [])]
    return next((int(entry["containerPort"]) for entry in declared if entry.get("name") == port), port)


def _of(policies: list[Manifest], pod: Pod, direction: str) -> list[Manifest]:
    """The policies that decide over one direction of a pod's traffic."""
    return [
        policy
        for policy in policies
        if direction in policy["spec"].get("policyTypes", [])
        and _matches(policy["spec"].get("podSelector", {}), pod.labels)
    ]


def _allowed(policies: list[Manifest], field: str, peers: str, labels: Mapping[str, str], port: int | str) -> bool:
    for policy in policies:
        for rule in policy["spec"].get(field) or []:
            ports = [entry["port"] for entry in rule.get("ports", [])]
            if ports and port not in ports:
                continue
            if not rule.get(peers) or any(_is_peer(peer, labels) for peer in rule[peers]):
                return True
    return not policies


def _is_peer(peer: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a pod of this namespace is meant. An address block never is: not every network plugin takes it so."""
    if "ipBlock" in peer or peer.get("namespaceSelector"):
        return False
    return _matches(peer.get("podSelector", {}), labels)


def _matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    for expression in selector.get("matchExpressions", []):
        value = labels.get(expression["key"])
        if expression["operator"] == "In" and value not in expression["values"]:
            return False
        if expression["operator"] == "NotIn" and value in expression["values"]:
            return False
        if expression["operator"] == "Exists" and value is None:
            return False
    wanted: dict[str, str] = selector.get("matchLabels", {})
    return wanted.items() <= labels.items()
