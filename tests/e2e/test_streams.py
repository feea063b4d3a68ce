"""The streams of the whole stack: a real job, its real log in Prefect, and parts that go away."""

from __future__ import annotations

import time
from typing import Any

from tests.api.streaming import Stream, Told
from tests.e2e.harness import Admin


def follow(admin: Admin, path: str, last_event_id: str | None = None) -> Stream:
    headers = {"Authorization": admin.http.headers["Authorization"]}
    if last_event_id is not None:
        headers["Last-Event-ID"] = last_event_id
    return Stream(f"{admin.stack.wiring.url('shim')}{path}", headers)


def lines(events: list[Told]) -> list[dict[str, Any]]:
    return [event.data for event in events if event.kind == "log"]


async def whole_log(admin: Admin, job_id: str) -> list[dict[str, Any]]:
    """Every line, by following the pages."""
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        query = {"limit": "3", **({"cursor": cursor} if cursor else {})}
        answer = await admin.http.get(f"/api/jobs/{job_id}/logs", params=query)
        page = answer.raise_for_status().json()
        found += page["logs"]
        cursor = page["nextCursor"]
        if cursor is None:
            return found


async def test_a_job_is_followed_from_its_trigger_to_its_last_line(admin: Admin) -> None:
    await admin.seed_bulk(5)
    async with follow(admin, "/api/jobs/stream") as changes:
        assert (await changes.event()).kind == "ready"
        job_id = (await admin.trigger())["id"]
        async with follow(admin, f"/api/jobs/{job_id}/logs/stream") as log:
            told = await log.until("end", 60)
        seen: list[Told] = []
        while not seen or seen[-1].data["status"] != "completed":
            seen.append(await changes.event(20))
    assert {event.data["jobId"] for event in seen} == {job_id}
    statuses = [event.data["status"] for event in seen]
    assert statuses == sorted(statuses, key=["pending", "running", "completed"].index)
    assert [seen[0].kind, seen[-1].kind] == ["accepted", "status"]

    shown = lines(told)
    assert len({line["id"] for line in shown}) == len(shown), "a line came twice"
    everything = await whole_log(admin, job_id)
    assert {line["id"] for line in shown} == {line["id"] for line in everything}, "a line is missing"
    assert everything == sorted(everything, key=lambda line: line["timestamp"])
    assert any("Finished in state" in line["message"] for line in shown)
    assert any(line["task"] for line in everything), "tasks are named"


async def test_a_log_is_resumed_while_it_is_written(admin: Admin) -> None:
    await admin.seed_bulk(5)
    await admin.fault("crawler", "slow", seconds=6, times=1)
    job_id = (await admin.trigger())["id"]
    path = f"/api/jobs/{job_id}/logs/stream"
    async with follow(admin, path) as whole:
        told, last_id, kind = [], None, ""
        # The connection breaks after every second event.
        while kind != "end":
            async with follow(admin, path, last_id) as part:
                for _ in range(2):
                    event = await part.event(60)
                    told.append(event)
                    last_id, kind = event.id, str(event.kind)
                    if kind in ("end", "ready"):
                        break
        unbroken = await whole.until("end", 20)
    assert lines(told) == lines(unbroken)


async def test_a_change_is_seen_within_a_second(admin: Admin) -> None:
    await admin.seed_bulk(5)
    await admin.fault("crawler", "slow", seconds=4, times=1)
    async with follow(admin, "/api/jobs/stream") as changes:
        await changes.until("ready")
        await admin.trigger()
        delays = []
        while (event := await changes.event(30)).data["status"] != "completed":
            at = await admin.sql.fetchval("select at from public.job_events where id = $1", int(str(event.id)))
            delays.append(time.time() - at.timestamp())
        assert max(delays) < 1


async def test_a_log_goes_on_after_prefect_was_away(admin: Admin) -> None:
    await admin.seed_bulk(5)
    await admin.fault("crawler", "slow", seconds=8, times=1)
    job_id = (await admin.trigger())["id"]
    async with follow(admin, f"/api/jobs/{job_id}/logs/stream") as log, follow(admin, "/api/jobs/stream") as changes:
        told = [await log.event(30) for _ in range(2)]
        await admin.wait(job_id, "running")
        await admin.stack.stop("prefect")
        told += await log.until("unavailable", 20)
        job = await admin.wait(job_id)
        assert job["status"] == "completed", "the job does not need Prefect to end"
        while (await changes.event()).data.get("status") != "completed":
            pass
        await admin.stack.start("prefect")
        told += await log.until("end", 60)
    shown = lines(told)
    assert len({line["id"] for line in shown}) == len(shown)
    assert {line["id"] for line in shown} == {line["id"] for line in await whole_log(admin, job_id)}
