"""An admin's edit of a schedule reaches Prefect, outlives deploys and outages, and decides what runs."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.harness import Admin, until

ROOT = Path(__file__).resolve().parents[2]
PATH = "/api/job-types/crawl_pending/schedule"
SOON = 5.0


async def in_prefect(admin: Admin, job_type: str = "crawl_pending") -> dict[str, Any]:
    """The deployment as Prefect has it."""
    async with httpx.AsyncClient(trust_env=False, headers=admin.stack.wiring.prefect_headers) as http:
        answer = await http.get(f"{admin.stack.wiring.url('prefect')}/deployments/name/{job_type}/{job_type}")
        found: dict[str, Any] = answer.raise_for_status().json()
        return found


async def schedule(admin: Admin) -> tuple[str, str, bool]:
    """Cron, zone and whether it is active, of the one schedule that Prefect has."""
    (found,) = (await in_prefect(admin))["schedules"]
    return found["schedule"]["cron"], found["schedule"]["timezone"], found["active"]


async def edit(admin: Admin, **body: Any) -> dict[str, Any]:
    answer = await admin.http.patch(PATH, json=body)
    assert answer.status_code == 200, answer.text
    edited: dict[str, Any] = answer.json()
    return edited


async def planned_runs(admin: Admin) -> list[dict[str, Any]]:
    """The runs that Prefect has made of schedules and nobody has begun."""
    wanted = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
    async with httpx.AsyncClient(trust_env=False, headers=admin.stack.wiring.prefect_headers) as http:
        answer = await http.post(f"{admin.stack.wiring.url('prefect')}/flow_runs/filter", json=wanted)
        return [run for run in answer.raise_for_status().json() if run["auto_scheduled"]]


@pytest.fixture(autouse=True)
async def as_the_file_says(admin: Admin) -> None:
    async def is_so() -> bool:
        return await schedule(admin) == ("*/15 * * * *", "UTC", False)

    await until(is_so, seconds=20, what="the schedule is what the file says, switched off")


async def test_an_edit_is_in_prefect_when_it_is_answered_and_a_deploy_does_not_undo_it(admin: Admin) -> None:
    edited = await edit(admin, cron="7 3 * * *", timezone="Europe/Berlin")
    assert edited["applied"] is True
    wanted = ("7 3 * * *", "Europe/Berlin", False)
    assert await schedule(admin) == wanted

    async def deploying() -> None:
        await admin.prefect("--no-prompt", "deploy", "--all", "--prefect-file", str(ROOT / "prefect.yaml"))

    deployment = asyncio.create_task(deploying())
    deployed_at, overwritten_at, longest = None, None, 0.0
    while deployed_at is None or time.monotonic() - deployed_at < SOON:
        now = time.monotonic()
        if deployment.done():
            deployed_at = deployed_at or now
        overwritten_at = None if await schedule(admin) == wanted else overwritten_at or now
        longest = max(longest, time.monotonic() - overwritten_at if overwritten_at else 0.0)
        await asyncio.sleep(0.1)
    await deployment
    assert overwritten_at is None
    assert longest < SOON
    restored = "select count(*) from public.scheduler_audit where action = 'restore_schedule' and job_type = $1"
    assert await admin.sql.fetchval(restored, "crawl_pending") >= 1, "the deploy has overwritten nothing"
    # The deploy has switched on what is to be off here.
    others = [one for one in (await in_prefect(admin, "weekly_digest"))["schedules"] if one["active"]]
    assert others == []


async def test_what_somebody_changes_in_prefect_is_put_right(admin: Admin) -> None:
    await edit(admin, cron="7 3 * * *")
    deployment = await in_prefect(admin)
    (found,) = deployment["schedules"]
    path = f"/deployments/{deployment['id']}"
    async with httpx.AsyncClient(
        base_url=admin.stack.wiring.url("prefect"), headers=admin.stack.wiring.prefect_headers, trust_env=False
    ) as http:
        (await http.delete(f"{path}/schedules/{found['id']}")).raise_for_status()
        (await http.patch(path, json={"paused": True})).raise_for_status()

    async def is_back() -> bool:
        now = await in_prefect(admin)
        crons = [one["schedule"]["cron"] for one in now["schedules"]]
        return crons == ["7 3 * * *"] and now["paused"] is False

    await until(is_back, seconds=SOON, what="the schedule is back and the deployment not paused")


async def test_an_edit_while_prefect_is_down_is_applied_when_it_is_back(admin: Admin) -> None:
    await admin.stack.stop("prefect")
    edited = await edit(admin, cron="7 3 * * *")
    assert (edited["applied"], edited["cron"]) == (False, "7 3 * * *")
    types = (await admin.http.get("/api/job-types")).raise_for_status().json()["jobTypes"]
    assert [one["cron"] for one in types if one["jobType"] == "crawl_pending"] == ["7 3 * * *"]
    await admin.stack.start("prefect")

    async def is_applied() -> bool:
        return (await schedule(admin))[0] == "7 3 * * *"

    await until(is_applied, seconds=SOON, what="the edit is in Prefect")


async def test_a_type_runs_while_it_is_switched_on_and_not_after_it_is_switched_off(admin: Admin) -> None:
    await admin.seed_bulk(3)
    edited = await edit(admin, cron="* * * * *", enabled=True)
    assert len(edited["nextRuns"]) == 5

    async def are_planned() -> bool:
        return len(await planned_runs(admin)) >= 3

    await until(are_planned, seconds=15, what="Prefect has planned runs")
    done = "select * from public.scheduled_jobs where origin = 'schedule' and status = 'completed'"

    async def has_run() -> Any:
        return await admin.sql.fetchrow(done)

    ran = await until(has_run, seconds=90, what="the schedule has run a job")
    assert ran["created_at"].second == 0
    assert (await edit(admin, enabled=False))["nextRuns"] == []
    assert await planned_runs(admin) == []
    started = "select count(*) from public.scheduled_jobs where started_at is not null"
    before = await admin.sql.fetchval(started)
    await asyncio.sleep(65 - time.time() % 60)
    assert await admin.sql.fetchval(started) == before


async def test_deployments_apply_deploys_the_edits_and_says_so(admin: Admin) -> None:
    await edit(admin, cron="7 3 * * *", enabled=True)
    wiring = admin.stack.wiring
    environment = {**wiring.base_environment(), **wiring.flow_environment(), **wiring.deployment_environment()}
    told = await apply(environment)
    assert "kept crawl_pending: cron 7 3 * * * instead of */15 * * * *, on instead of off (edited by " in told
    assert await schedule(admin) == ("7 3 * * *", "UTC", True)

    without = {name: value for name, value in environment.items() if name != "SUPABASE_URL"}
    told = await apply(without)
    assert "schedules are the file's (SUPABASE_URL is not set): where an admin has edited one, the shim" in told
    told = await apply(environment | {"SUPABASE_URL": "http://127.0.0.1:9"})
    assert "schedules are the file's (the database cannot be reached" in told


async def apply(environment: dict[str, str]) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "deployments", "apply"),
        cwd=ROOT,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()
