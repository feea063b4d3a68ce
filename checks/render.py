"""Every overlay renders, and what it renders fits the schemas of the Kubernetes it runs on, strictly."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import kubernetes_validate  # type: ignore[import-untyped]
import yaml

from checks.flow_jobs import flow_jobs
from checks.kustomize import Manifest, RenderError, others, overlays, rendered
from checks.objects import CUSTOM, name

VERSION = "1.36"


def mistakes(root: Path) -> list[str]:
    """What cannot be rendered, does not fit its schema, or is there twice."""
    found: list[str] = []
    folders = overlays(root)
    if not folders:
        return [
            "k8s/overlays: there is no overlay; valid is a folder with a kustomization.yaml for each kind of cluster"
        ]
    for folder in (*folders, *others(root)):
        try:
            objects = rendered(root, folder)
        except RenderError as error:
            found.append(str(error))
            continue
        found += [f"{folder}: {mistake}" for mistake in (*_schema(objects), *_twice(objects))]
    for path in sorted((root / "k8s/examples").glob("*.yaml")):
        examples = [document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if document]
        found += [f"{path.relative_to(root)}: {mistake}" for mistake in _schema(examples)]
    return found + [f"the Jobs of flow runs: {mistake}" for mistake in _schema(flow_jobs())]


def _schema(objects: Iterable[Manifest]) -> Iterator[str]:
    for manifest in objects:
        if manifest.get("kind") in CUSTOM:
            continue
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            try:
                kubernetes_validate.validate(manifest, VERSION, strict=True)
            except kubernetes_validate.ValidationError as error:
                where = ".".join(str(part) for part in error.path)
                yield f"{name(manifest)}: {where or 'its top'}: {error.message[:300]} (Kubernetes {VERSION})"
            except (kubernetes_validate.SchemaNotFoundError, kubernetes_validate.InvalidSchemaError):
                yield f"{name(manifest)}: {manifest.get('apiVersion')} {manifest.get('kind')} is no kind of {VERSION}"
        for warning in warned:
            yield f"{name(manifest)}: {warning.message}"


def _twice(objects: Iterable[Manifest]) -> Iterator[str]:
    counts = Counter(name(manifest) for manifest in objects)
    for twice in (key for key, count in counts.items() if count > 1):
        yield f"{twice}: is there more than once"
