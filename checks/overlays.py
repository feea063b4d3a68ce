"""The overlays with everything that will run in their clusters: what they render, and the Jobs of flow runs."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from checks.flow_jobs import flow_jobs
from checks.kustomize import all_rendered
from checks.objects import Objects


@cache
def with_flow_jobs(root: Path) -> tuple[Objects, ...]:
    """Each overlay that renders."""
    return tuple(Objects(folder, (*manifests, *flow_jobs())) for folder, manifests in all_rendered(root).items())
