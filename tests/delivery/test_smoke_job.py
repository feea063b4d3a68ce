"""The smoke test's Job stands in no overlay, so that what `make check` holds of the others is held here."""

from __future__ import annotations

from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from api import smoke
from checks.restricted import pod_mistakes
from flows.core.domain import JobType
from sandbox.state import REPOSITORY

K8S = REPOSITORY / "k8s"


@pytest.fixture
def job() -> dict[str, Any]:
    """The Job as it is applied, but for its image."""
    found: dict[str, Any] = yaml.safe_load((K8S / "jobs/smoke/scheduler-smoke.yaml").read_text())
    return found


@pytest.fixture
def container(job: dict[str, Any]) -> dict[str, Any]:
    """Its only container."""
    (found,) = job["spec"]["template"]["spec"]["containers"]
    return dict(found)


def test_it_fits_the_schema_and_the_restricted_standard(job: dict[str, Any]) -> None:
    kubernetes_validate.validate(job, "1.36", strict=True)
    assert list(pod_mistakes(job["spec"]["template"]["spec"])) == []
    assert job["spec"]["template"]["metadata"]["labels"] == job["metadata"]["labels"]


def test_its_words_are_those_of_the_command_and_name_the_shims_service(container: dict[str, Any]) -> None:
    program, *words = container["args"][1:]
    assert program == "-m"
    assert words.pop(0) == smoke.__name__
    arguments = smoke._arguments(words)
    services = list(yaml.safe_load_all((K8S / "base/scheduler-service.yaml").read_text()))
    (service,) = [one for one in services if one["kind"] == "Service"]
    (port,) = service["spec"]["ports"]
    assert arguments.url == f"http://{service['metadata']['name']}:{port['port']}"
    assert arguments.trigger is JobType.CLEANUP_OLD_DATA


def test_it_outlasts_its_own_patience(job: dict[str, Any], container: dict[str, Any]) -> None:
    arguments = smoke._arguments(container["args"][3:])
    # Health, readiness and job types may each take the wait; then the job, and a minute for the pod to start.
    assert 3 * arguments.wait + arguments.job_wait + 60 <= job["spec"]["activeDeadlineSeconds"]


def test_it_needs_no_key(container: dict[str, Any]) -> None:
    (key,) = [one["valueFrom"]["secretKeyRef"] for one in container["env"] if one["name"] == "SMOKE_KEY"]
    assert key == {"name": "scheduler-secrets", "key": "SMOKE_KEY", "optional": True}
