"""What kustomize is told, so that manifests as they are get a release's image, from any registry."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

# What the manifests call the image; a registry of another name, a tag or a digest takes its place.
IMAGE = "stumbleable.azurecr.io/scheduler-service"
CONFIG = "scheduler-config"


def kustomization(source: Path, folder: Path, image: str) -> dict[str, Any]:
    """What kustomize is told: everything of `source`, seen from `folder`, with this image."""
    # `deployments apply` reads IMAGE and writes it into the pool's job template, from which flow runs are made.
    told = [{"op": "add", "path": "/data/IMAGE", "value": image}]
    return {
        # kubectl's own kustomize takes no absolute path.
        "resources": [os.path.relpath(source, folder)],
        "images": [replacement(image)],
        "patches": [{"target": {"kind": "ConfigMap", "name": CONFIG}, "patch": json.dumps(told)}],
    }


def replacement(image: str) -> dict[str, str]:
    """What kustomize puts in place of the manifests' image. Raises ValueError where it would be any release's."""
    name, at, digest = image.partition("@")
    if at:
        # A tag beside a digest says nothing that the digest does not.
        bare = name.rpartition(":")[0] if ":" in name.rpartition("/")[2] else name
        return {"name": IMAGE, "newName": bare, "digest": digest}
    bare, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        raise ValueError(f"{image} names neither a tag nor a digest.")
    return {"name": IMAGE, "newName": bare, "newTag": tag}
