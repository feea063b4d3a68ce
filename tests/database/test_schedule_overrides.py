"""The functions behind schedule edits: versions, audit, first edits at once, and one watcher of several."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.database.conftest import Scheduler

CLOSED = {"cron": None, "timezone": None, "enabled": None}


@pytest.fixture(autouse=True)
async def nothing_edited(scheduler: Scheduler) -> None:
    await scheduler.connection.execute("truncate public.schedule_overrides, public.schedule_watch, public.maintenance")


async def edit(scheduler: Scheduler, changes: dict[str, Any], expected: list[int] | None = None) -> dict[str, Any]:
    answer: dict[str, Any] = await scheduler.call(
        "edit_schedule",
        job_type="crawl_pending",
        changes=changes,
        asked=changes,
        action="edit_schedule",
        by="an admin",
        actor="user_admin",
        expected=expected,
    )
    return answer


async def audit(scheduler: Scheduler) -> list[tuple[str, dict[str, Any]]]:
    rows = await scheduler.connection.fetch("select outcome, details from public.scheduler_audit order by id")
    return [(row["outcome"], row["details"]) for row in rows]


def said(answer: dict[str, Any]) -> tuple[Any, ...]:
    override = answer["override"] or {}
    return (answer["outcome"], *(override.get(name) for name in ("version", "cron", "timezone", "enabled")))


async def test_an_edit_keeps_what_it_says_and_leaves_the_rest(scheduler: Scheduler) -> None:
    assert said(await edit(scheduler, {"cron": "0 6 * * *"})) == ("done", 1, "0 6 * * *", None, None)
    assert said(await edit(scheduler, {"enabled": False})) == ("done", 2, "0 6 * * *", None, False)
    assert said(await edit(scheduler, {"cron": None})) == ("done", 3, None, None, False)
    assert [outcome for outcome, _ in await audit(scheduler)] == ["done"] * 3
    (_, details) = (await audit(scheduler))[1]
    assert details == {
        "version": 2,
        "before": {"cron": "0 6 * * *", "timezone": None, "enabled": None},
        "after": {"cron": "0 6 * * *", "timezone": None, "enabled": False},
    }


async def test_the_same_again_is_no_new_version(scheduler: Scheduler) -> None:
    first = await edit(scheduler, {"cron": "0 6 * * *"})
    again = await edit(scheduler, {"cron": "0 6 * * *"})
    assert (again["outcome"], again["override"]) == ("unchanged", first["override"])


async def test_nothing_edited_leaves_no_row(scheduler: Scheduler) -> None:
    assert said(await edit(scheduler, CLOSED)) == ("unchanged", None, None, None, None)
    assert said(await edit(scheduler, {"enabled": False}, expected=[1])) == ("mismatch", None, None, None, None)
    assert await scheduler.connection.fetchval("select count(*) from public.schedule_overrides") == 0
    assert [outcome for outcome, _ in await audit(scheduler)] == ["unchanged", "refused"]


async def test_a_version_is_never_used_twice(scheduler: Scheduler) -> None:
    await edit(scheduler, {"cron": "0 6 * * *"})
    assert said(await edit(scheduler, CLOSED)) == ("done", 2, None, None, None)
    assert said(await edit(scheduler, {"cron": "0 7 * * *"}))[:2] == ("done", 3)


@pytest.mark.parametrize("expected", [[1], [7, 1], None])
async def test_the_expected_version(scheduler: Scheduler, expected: list[int] | None) -> None:
    await edit(scheduler, {"cron": "0 6 * * *"})
    assert said(await edit(scheduler, {"enabled": False}, expected))[:2] == ("done", 2)


@pytest.mark.parametrize("expected", [[0], [2], []])
async def test_another_version(scheduler: Scheduler, expected: list[int]) -> None:
    await edit(scheduler, {"cron": "0 6 * * *"})
    assert said(await edit(scheduler, {"enabled": False}, expected)) == ("mismatch", 1, "0 6 * * *", None, None)
    assert (await audit(scheduler))[-1] == ("refused", {"version": 1, "expected": expected})


async def test_two_first_edits_at_once_are_one_after_the_other(scheduler: Scheduler, another: Scheduler) -> None:
    async with scheduler.connection.transaction():
        await edit(scheduler, {"cron": "0 6 * * *"})
        waiting = asyncio.create_task(edit(another, {"timezone": "Europe/Berlin"}))
        await asyncio.sleep(0.2)
        assert not waiting.done()
    assert said(await waiting) == ("done", 2, "0 6 * * *", "Europe/Berlin", None)


async def test_of_two_first_edits_that_expect_none_one_is_refused(scheduler: Scheduler, another: Scheduler) -> None:
    async with scheduler.connection.transaction():
        await edit(scheduler, {"cron": "0 6 * * *"}, expected=[0])
        waiting = asyncio.create_task(edit(another, {"cron": "0 7 * * *"}, expected=[0]))
        await asyncio.sleep(0.2)
    assert said(await waiting)[0] == "mismatch"
    assert await scheduler.connection.fetchval("select cron from public.schedule_overrides") == "0 6 * * *"


async def test_an_edit_that_fails_leaves_nothing(scheduler: Scheduler) -> None:
    with pytest.raises(Exception, match="invalid input syntax for type boolean"):
        await edit(scheduler, {"enabled": "perhaps"})
    assert await scheduler.connection.fetchval("select count(*) from public.schedule_overrides") == 0
    assert await audit(scheduler) == []


async def test_all_of_it_is_read_at_once(scheduler: Scheduler) -> None:
    assert await scheduler.call("schedules_now") == {"paused": None, "overrides": []}
    await edit(scheduler, {"cron": "0 6 * * *"})
    await scheduler.connection.execute("insert into public.maintenance (paused, reason) values (true, 'a new index')")
    now = await scheduler.call("schedules_now")
    assert (now["paused"], [one["job_type"] for one in now["overrides"]]) == ("paused: a new index", ["crawl_pending"])


async def test_one_watcher_at_a_time(scheduler: Scheduler) -> None:
    async def mine(watcher: str) -> bool:
        answer: dict[str, Any] = await scheduler.call("watch_schedules", watcher=watcher, seconds=6.0)
        assert answer["overrides"] == []
        return bool(answer["mine"])

    assert [await mine("one"), await mine("two"), await mine("one")] == [True, False, True]
    await scheduler.connection.execute("update public.schedule_watch set until = now() - interval '1 millisecond'")
    assert [await mine("two"), await mine("one")] == [True, False]


async def test_the_audit_is_quick_whatever_it_is_filtered_by(scheduler: Scheduler) -> None:
    """Each filter has its index; the plan is made for the value that is asked for."""
    await scheduler.connection.execute(
        "insert into public.scheduler_audit (actor, action, job_id, job_type, outcome, at)"
        " select case when n % 1000 = 0 then 'user_rare' else 'user_' || n % 50 end,"
        " case when n % 2000 = 0 then 'pause' else 'trigger' end, gen_random_uuid(),"
        " (array['crawl_pending', 'weekly_digest', 'update_metrics'])[1 + n % 3], 'accepted',"
        " now() - n * interval '1 minute' from generate_series(1, 30000) n"
    )
    await scheduler.connection.execute("analyze public.scheduler_audit")
    one = await scheduler.connection.fetchval("select job_id::text from public.scheduler_audit limit 1")
    for filters in ({}, {"actor": "user_rare"}, {"action": "pause"}, {"type": "weekly_digest"}, {"jobId": one},
                    {"actor": "user_7", "type": "weekly_digest"}):  # fmt: skip
        conditions = " and ".join(
            f"{ {'type': 'job_type', 'jobId': 'job_id'}.get(name, name) } = '{value}'"
            for name, value in filters.items()
        )
        plan = await scheduler.connection.fetchval(
            "explain (format json) select * from public.scheduler_audit"
            f" where {conditions or 'true'} order by at desc, id desc limit 51"
        )
        assert '"Seq Scan"' not in json.dumps(json.loads(plan) if isinstance(plan, str) else plan), filters
        answer = await scheduler.call("list_audit", filter=filters, limit=51)
        assert answer["entries"], filters
