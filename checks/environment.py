"""Variables are spelt as the settings spell them; what a process cannot do without is there and of the right form."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from prefect.settings import Settings as PrefectSettings
from prefect.settings.base import PrefectBaseSettings
from prefect_kubernetes.settings import KubernetesSettings  # type: ignore[import-untyped]
from prefect_redis.cleanup_queue import RedisWorkerCleanupQueueSettings  # type: ignore[import-untyped]
from prefect_redis.client import RedisMessagingSettings  # type: ignore[import-untyped]
from pydantic import BaseModel, ValidationError

from api.settings import ShimSettings, explain
from checks import site
from checks.objects import Objects, Pod
from checks.overlays import with_flow_jobs
from checks.restricted import OUR_IMAGE
from flows.core.settings import Settings
from worker.settings import Settings as WorkerSettings

# Read by no settings class: by the programs, by `deployments` and by Python's and Prefect's own start.
_OTHERS = {
    "HOME",
    "DO_NOT_TRACK",
    "DATABASE_URL",
    "IMAGE",
    "NAMESPACE",
    "POD_NAME",
    "REDIS_PASSWORD",
    "WARM_JOB_TYPES",
    "WORK_POOL_TYPE",
    # The worker gives it to every flow run, and `prefect flow-run execute` reads it.
    "PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR",
}
_EXPANDED = re.compile(r"\$\((\w+)\)")


def mistakes(root: Path) -> list[str]:
    """Unknown names, and settings that a process of an overlay would refuse to start with."""
    found: list[str] = []
    for objects in with_flow_jobs(root):
        lines = []
        for pod in objects.pods:
            for container in pod.containers:
                if container["image"].rpartition(":")[0].endswith(OUR_IMAGE):
                    lines += list(_container(objects, pod, container))
        found += [f"{objects.folder}: {line}" for line in lines]
    return found


def variables_of(objects: Objects, container: Mapping[str, Any]) -> dict[str, str]:
    """The environment of a container, as far as the overlay knows it; the rest as `checks.site` makes it up."""
    found: dict[str, str] = {}
    for entry in container.get("envFrom", []):
        for field, kind in (("secretRef", "Secret"), ("configMapRef", "ConfigMap")):
            if field in entry:
                found |= objects.values(kind, entry[field]["name"]) or {}
    for entry in container.get("env", []):
        value = entry.get("value", "") if "valueFrom" not in entry else _referred(objects, entry["valueFrom"])
        if value is not None:
            # Kubernetes puts in what stands before; what it does not know it leaves as it is.
            found[entry["name"]] = _EXPANDED.sub(lambda match: found.get(match[1], match[0]), str(value))
    return found


def _referred(objects: Objects, source: Mapping[str, Any]) -> str | None:
    for field, kind in (("secretKeyRef", "Secret"), ("configMapKeyRef", "ConfigMap")):
        if field in source:
            values = objects.values(kind, source[field]["name"])
            return site.TRIAL.get(source[field]["key"]) if values is None else values.get(source[field]["key"])
    return None


def _container(objects: Objects, pod: Pod, container: Mapping[str, Any]) -> Iterator[str]:
    variables = variables_of(objects, container)
    names = {entry["name"] for entry in container.get("env", [])} | set(variables)
    # Two underscores: what Prefect tells itself, a run its id.
    for unknown in sorted(name for name in names - known_names() if not name.startswith("PREFECT__")):
        near = difflib.get_close_matches(unknown, known_names(), n=1)
        yield f"{pod.name}: no settings know {unknown}" + (f"; did you mean {near[0]}?" if near else "")
    if pod.labels.get("app") == "scheduler-service":
        yield from (f"{pod.name}: {line}" for line in _refused(ShimSettings, variables))
    if pod.labels.get("app") == "scheduler-flow":
        yield from (f"{pod.name}: {line}" for line in _refused(Settings, variables))
    for form in (PrefectSettings, KubernetesSettings):
        yield from (f"{pod.name}: {line}" for line in _ill_formed(form, variables))


def _refused(form: type[Settings], variables: Mapping[str, str]) -> Iterator[str]:
    """What the process itself would say at its start."""
    values = {name: variables[name.upper()] for name in form.model_fields if name.upper() in variables}
    try:
        form.model_validate(values)
    except ValidationError as error:
        yield from explain(error).splitlines()


def _ill_formed(form: type[BaseModel], variables: Mapping[str, str]) -> Iterator[str]:
    for field, info, settings in _fields(form):
        name = f"{settings.model_config.get('env_prefix', '')}{field}".upper()
        if name in variables and info.annotation in (int, float, bool):
            try:
                settings.__pydantic_validator__.validate_assignment(settings.model_construct(), field, variables[name])
            except ValidationError as error:
                yield f"{name} is {variables[name]!r}: {error.errors()[0]['msg']}"


def _fields(form: type[BaseModel]) -> Iterator[tuple[str, Any, type[BaseModel]]]:
    """Field, its description and the class it stands in, through all of Prefect's nested settings."""
    for field, info in form.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, PrefectBaseSettings):
            yield from _fields(info.annotation)
        else:
            yield field, info, form


@cache
def known_names() -> frozenset[str]:
    """Every variable that something of ours or of Prefect's reads."""
    names = {name.upper() for name in (*ShimSettings.model_fields, *Settings.model_fields)} | _OTHERS
    names |= {f"WORKER_{name.upper()}" for name in WorkerSettings.model_fields}
    for form in (PrefectSettings, KubernetesSettings, RedisMessagingSettings, RedisWorkerCleanupQueueSettings):
        for field, info, settings in _fields(form):
            names.add(f"{settings.model_config.get('env_prefix', '')}{field}".upper())
            choices = getattr(info.validation_alias, "choices", [])
            names |= {choice.upper() for choice in choices if isinstance(choice, str)}
    return frozenset(names)
