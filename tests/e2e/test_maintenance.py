"""The maintenance jobs on the whole stack: a process that is killed in the middle, and nobody who triggers again."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from tests.e2e.harness import Admin, until
from tests.maintenance import lifetime_counts, make_discoveries, make_users, scatter, written_counts


async def test_each_runs_and_says_what_it_has_done(admin: Admin) -> None:
    await make_discoveries(admin.sql, 20, age="2 hours")
    await make_users(admin.sql, 20)
    await scatter(admin.sql, 0.1)
    expected = await lifetime_counts(admin.sql)
    for job_type, done in (
        ("update_metrics", "metricsUpdated"),
        ("recalculate_trending", "scoresMoved"),
        ("cleanup_old_data", "interactionsDeleted"),
    ):
        job = await admin.wait((await admin.trigger(jobType=job_type))["id"])
        assert (job["status"], job["result"]["details"]["dryRun"]) == ("completed", False), job
        assert job["result"]["details"][done] > 0
        again = await admin.wait((await admin.trigger(jobType=job_type, parameters={"dry_run": True}))["id"])
        assert again["result"]["details"][done] == 0
    assert await written_counts(admin.sql) == expected


async def test_a_cleanup_that_is_killed_half_way_is_finished_by_its_recovery(admin: Admin) -> None:
    await make_discoveries(admin.sql, 100)
    await make_users(admin.sql, 100)
    await scatter(admin.sql, 0.2)
    expected = await lifetime_counts(admin.sql)
    old = "select count(*) from user_interactions where created_at < now() - interval '2 years'"
    before = await admin.sql.fetchval(old)
    job = await admin.trigger(jobType="cleanup_old_data", parameters={"max_batch": 10})

    async def half_way() -> bool:
        left: int = await admin.sql.fetchval(old)
        return bool(left < before * 0.9)

    await until(half_way, seconds=60, what="a tenth of what is old is deleted")
    os.kill(int((await admin.row(job["id"]))["locked_by"].rpartition("/")[2]), signal.SIGKILL)
    assert (await admin.wait(job["id"]))["status"] == "failed"
    assert await admin.sql.fetchval(old) > 0

    async def recovered() -> Any:
        return await admin.sql.fetchval("select id::text from scheduled_jobs where retry_of = $1", job["id"])

    recovery = await until(recovered, seconds=60, what="a job in its place")
    assert (await admin.wait(recovery, seconds=120))["status"] == "completed"
    assert await admin.sql.fetchval(old) == 0
    assert await written_counts(admin.sql) == expected


@pytest.mark.parametrize("job_type", ["cleanup_old_data", "update_metrics", "recalculate_trending"])
async def test_a_parameter_that_there_is_not_is_refused(admin: Admin, job_type: str) -> None:
    answer = await admin.http.post("/api/jobs/trigger", json={"jobType": job_type, "parameters": {"max_batch": 1}})
    assert answer.status_code == 400, answer.text
