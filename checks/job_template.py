"""The job template of the cluster's pool: each placeholder has a variable, and each variable a default that is used."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from checks.flow_jobs import template

_PLACEHOLDER = re.compile(r"\{\{\s*([\w.]+)\s*\}\}")
# Prefect fills these in from the run where nobody has: its name, and how its Kubernetes client is set up.
_MAY_BE_EMPTY = {"name", "cluster_config", "job_watch_timeout_seconds"}
_FIXED = {"backoffLimit": 0}
_VARIABLE = ("activeDeadlineSeconds", "ttlSecondsAfterFinished")


def mistakes(_: Path) -> list[str]:
    """What is wrong with the template as `deployments apply` makes it."""
    return [f"deployments/job_template.py: {mistake}" for mistake in template_mistakes(template())]


def template_mistakes(template: dict[str, Any]) -> Iterator[str]:
    """What is wrong with any job template."""
    variables = template["variables"]["properties"]
    used = set(_PLACEHOLDER.findall(str(template["job_configuration"])))
    for name in sorted(used - set(variables)):
        yield f"placeholder {name!r} has no variable; valid are {', '.join(sorted(variables))}"
    for name in sorted(set(variables) - used):
        yield f"variable {name!r} is used nowhere"
    for name in sorted(used & set(variables)):
        if variables[name].get("default") is None and name not in _MAY_BE_EMPTY:
            yield f"variable {name!r} has no default: a run that does not set it would get nothing"
    spec = template["job_configuration"]["job_manifest"]["spec"]
    for field, value in _FIXED.items():
        if spec.get(field) != value:
            yield f"{field} is {spec.get(field)!r}; it must be {value}, as nothing but the reconciler tries a job again"
    for field in _VARIABLE:
        if not _PLACEHOLDER.fullmatch(str(spec.get(field, ""))):
            yield f"{field} is {spec.get(field)!r}; it must be a variable"
