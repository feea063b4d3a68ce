"""Adding a job type touches four places; this walks them and names whichever is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployments.check import mistakes
from flows.core.domain import JobType
from flows.core.prefect_yaml import load, parse

ROOT = Path(__file__).resolve().parent.parent


def test_deployments_agree_with_the_code() -> None:
    assert mistakes() == []


def test_every_job_file_is_a_job_type() -> None:
    files = {path.stem for path in (ROOT / "flows").glob("*.py")} - {"__init__"}
    assert files == {job_type.value for job_type in JobType}


@pytest.mark.parametrize("job_type", list(JobType))
def test_job_type_has_its_test_file(job_type: JobType) -> None:
    assert (ROOT / "tests" / "flows" / f"test_{job_type}.py").is_file(), f"tests/flows/test_{job_type}.py is missing"


@pytest.mark.parametrize("job_type", list(JobType))
def test_job_type_has_its_row_in_the_readme(job_type: JobType) -> None:
    (stanza,) = [stanza for stanza in parse(load()) if stanza.name == job_type]
    rows = [line for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines() if f"| `{job_type}`" in line]
    assert len(rows) == 1, f"README's job table has no row for {job_type}"
    for schedule in stanza.schedules:
        assert schedule.cron in rows[0], f"README's row for {job_type} names another schedule than prefect.yaml"
