"""Kustomizations as kubectl renders them."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from sandbox.debian import program
from sandbox.errors import SandboxError

Manifest: TypeAlias = dict[str, Any]

# The same in C, where PyYAML was built with it: ten times as fast.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class RenderError(Exception):
    """An overlay cannot be rendered; the message is one line."""


def overlays(root: Path) -> list[str]:
    """The overlays' folders under `root`, one for each kind of cluster."""
    return sorted(str(path.parent.relative_to(root)) for path in (root / "k8s/overlays").glob("*/kustomization.yaml"))


def others(root: Path) -> list[str]:
    """Kustomizations that are applied by themselves: Jobs of the deployment, what a Prometheus operator reads."""
    folders = {str(path.parent.relative_to(root)) for path in (root / "k8s").rglob("kustomization.yaml")}
    return sorted(folders - set(overlays(root)) - {"k8s/base"})


@cache
def rendered(root: Path, folder: str) -> tuple[Manifest, ...]:
    """The objects of a kustomization. Raises RenderError."""
    try:
        # Debian's kubectl is 1.20: what it renders, every later one renders too.
        kubectl = program("kubectl", "kubernetes-client")
    except SandboxError as error:
        raise RenderError(f"{folder}: not rendered: {error}") from error
    done = subprocess.run([kubectl, "kustomize", str(root / folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        reason = " ".join(done.stderr.replace(str(root), "").split())
        raise RenderError(f"{folder}: kubectl cannot render it: {reason[-500:]}")
    try:
        return tuple(document for document in yaml.load_all(done.stdout, Loader=_LOADER) if document)
    except yaml.YAMLError as error:
        raise RenderError(f"{folder}: what kubectl renders is no YAML: {error}") from error


@cache
def all_rendered(root: Path) -> dict[str, tuple[Manifest, ...]]:
    """Every overlay that can be rendered; `checks.render` tells of the others."""
    found = {}
    for folder in overlays(root):
        try:
            found[folder] = rendered(root, folder)
        except RenderError:
            continue
    return found
