"""The pool's form as Prefect checks it whenever a run is created."""

from __future__ import annotations

from typing import Any

import pytest
from prefect.server.api.validation import _validate_work_pool_job_variables
from prefect.utilities.schema_tools import ValidationError

from flows.core.prefect_yaml import load
from worker.forkworker import ForkWorker


async def check(variables: dict[str, Any]) -> None:
    template = ForkWorker.get_default_base_job_template()
    await _validate_work_pool_job_variables(None, "a pool", template, variables, ignore_required=False)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"memory_mb": None, "cpu_seconds": None, "max_processes": None, "max_open_files": None, "working_dir": None},
        {"memory_mb": 64, "working_dir": "/tmp", "env": {"A": "b", "C": None}, "labels": {"a": "b"}, "name": "x"},
        {"grace_seconds": 0.5, "stream_output": False},
    ],
)
async def test_what_may_be_set(variables: dict[str, Any]) -> None:
    await check(variables)


@pytest.mark.parametrize(
    "variables",
    [{"memory_mb": 31}, {"memory_mb": "64"}, {"grace_seconds": None, "cpu_seconds": 0}, {"env": {"A": 1}}],
)
async def test_what_may_not(variables: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        await check(variables)


async def test_what_prefect_yaml_sets_for_pods_passes() -> None:
    stanzas = load()["deployments"]
    assert stanzas
    for stanza in stanzas:
        await check(stanza["work_pool"]["job_variables"])


def test_nothing_has_more_alternatives_than_it_needs() -> None:
    """Each costs a millisecond for each run."""
    form = ForkWorker.get_default_base_job_template()["variables"]["properties"]
    assert [name for name, variable in form.items() if "anyOf" in variable] == []
    assert form["memory_mb"]["type"] == "integer"
    assert form["memory_mb"]["default"] == 1024
    assert "cpu_limit" not in form


async def test_what_a_pool_requires_of_its_own_is_still_required() -> None:
    template = ForkWorker.get_default_base_job_template()
    template["variables"]["properties"]["tenant"] = {"type": "string"}
    template["variables"]["required"] = ["tenant"]
    with pytest.raises(ValidationError, match="tenant"):
        await _validate_work_pool_job_variables(None, "a pool", template, {}, ignore_required=False)  # type: ignore[arg-type]
