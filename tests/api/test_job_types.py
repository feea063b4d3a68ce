"""GET /api/job-types: what each kind of job is, when it runs, and how it has been doing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flows.core.domain import JobType
from tests.api.conftest import MakeShim, Shim
from tests.api.fakes import PLAIN, SCHEMA
from tests.conftest import Connection

PATH = "/api/job-types"


async def listed(shim: Shim) -> list[dict[str, Any]]:
    answer = await shim.get(PATH)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["jobTypes"]
    return found


async def one(shim: Shim, job_type: str = "crawl_pending") -> dict[str, Any]:
    return next(found for found in await listed(shim) if found["jobType"] == job_type)


async def insert(sql: Connection, status: str, seconds: float | None = None, job_type: str = "crawl_pending") -> str:
    now = datetime.now(UTC)
    ended = now if status in ("completed", "failed", "cancelled") else None
    started = now - timedelta(seconds=seconds) if seconds is not None else None
    found = await sql.fetchval(
        "insert into scheduled_jobs (job_type, status, started_at, completed_at, origin)"
        " values ($1, $2, $3, $4, 'dashboard') returning id::text",
        *(job_type, status, started, ended),
    )
    return str(found)


async def test_anonymous(shim: Shim) -> None:
    assert (await shim.http.get(PATH)).status_code == 401


async def test_not_admin(shim: Shim) -> None:
    plain = {"Authorization": f"Bearer {shim.tokens.sign(sub=PLAIN)}"}
    assert (await shim.http.get(PATH, headers=plain)).status_code == 403


async def test_every_type_is_there_always_in_the_same_order(shim: Shim) -> None:
    assert [found["jobType"] for found in await listed(shim)] == list(JobType)
    assert [found["jobType"] for found in await listed(shim)] == list(JobType)


async def test_what_mails_and_what_deletes_says_so(shim: Shim) -> None:
    lasting = {found["jobType"]: found["lasting"] for found in await listed(shim)}
    assert {name: what for name, what in lasting.items() if what} == {
        "weekly_digest": "mails",
        "submission_notifications": "mails",
        "moderation_updates": "mails",
        "cleanup_old_data": "deletes",
    }


async def test_a_deployed_type_with_nothing_behind_it(shim: Shim) -> None:
    found = await one(shim)
    next_runs = found.pop("nextRuns")
    properties = found.pop("parameterSchema")["properties"]
    assert found == {
        "jobType": "crawl_pending",
        "title": "Crawl pending",
        "buttonLabel": "Crawl Pending Content",
        "description": "Fetches pages that nobody has looked at.",
        "category": "content",
        "lasting": None,
        "defaults": {"max_items": 1000, "mode": "stale"},
        "cron": "*/15 * * * *",
        "timezone": "UTC",
        "enabled": True,
        "overridden": False,
        "overriddenFields": [],
        "fileCron": "*/15 * * * *",
        "fileTimezone": "UTC",
        "fileEnabled": True,
        "version": 0,
        "etag": '"0"',
        "updatedBy": None,
        "updatedAt": None,
        "lastJob": None,
        "successRate": None,
        "medianDurationSeconds": None,
        "running": 0,
        "queued": 0,
    }
    assert set(properties) == set(SCHEMA["properties"])
    times = [datetime.fromisoformat(at) for at in next_runs]
    assert times == sorted(times)
    assert (len(times), {at.minute % 15 for at in times}) == (5, {0})
    assert times[0] > datetime.now(UTC)


async def test_a_type_that_was_never_deployed(shim: Shim) -> None:
    found = await one(shim, "weekly_digest")
    assert (found["title"], found["buttonLabel"], found["description"]) == ("Weekly digest", "Weekly digest", None)
    assert (found["parameterSchema"], found["defaults"], found["cron"]) == (None, {}, "0 9 * * MON")


async def test_its_history(shim: Shim, sql: Connection) -> None:
    for status, seconds in (("completed", 10), ("completed", 30), ("completed", 20), ("failed", 5)):
        await insert(sql, status, seconds)
    await insert(sql, "cancelled")
    await insert(sql, "pending")
    await insert(sql, "completed", 900, job_type="weekly_digest")
    newest = await insert(sql, "running", 3)
    found = await one(shim)
    assert (found["lastJob"]["id"], found["lastJob"]["status"]) == (newest, "running")
    assert (found["running"], found["queued"], found["successRate"]) == (1, 1, 0.75)
    # It may come from a histogram.
    assert found["medianDurationSeconds"] == pytest.approx(20, rel=0.15)


async def test_an_edited_schedule(shim: Shim) -> None:
    path = f"{PATH}/crawl_pending/schedule"
    answer = await shim.patch(path, {"cron": "0 6 * * *"})
    found = await one(shim)
    assert (found["cron"], found["fileCron"], found["overriddenFields"]) == ("0 6 * * *", "*/15 * * * *", ["cron"])
    assert found["etag"] == answer.headers["etag"]
    assert (await shim.patch(path, {"enabled": False}, If_Match=found["etag"])).status_code == 200
    assert ((await one(shim))["enabled"], (await one(shim))["nextRuns"]) == (False, [])


async def test_while_all_is_paused_there_are_no_next_runs(shim: Shim) -> None:
    await shim.put("/api/maintenance", {"paused": True, "reason": "a new index"})
    assert [found["nextRuns"] for found in await listed(shim)] == [[]] * len(JobType)


async def test_while_prefect_is_down(make_shim: MakeShim) -> None:
    """A shim that has just started knows the types from the table."""
    async with make_shim():
        pass
    async with make_shim(catalogue=False) as later:
        later.prefect.down = True
        found = await one(later)
    assert (found["buttonLabel"], found["defaults"]["max_items"]) == ("Crawl Pending Content", 1000)
    assert found["parameterSchema"]["properties"]["max_items"]["maximum"] == 10_000
