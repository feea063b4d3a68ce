"""GET /api/jobs/stream: every change once, in order, on any replica, and what is said when that cannot be."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import asyncpg
import pytest

from flows.core import job_events
from sandbox.stack import Stack
from tests.api.conftest import Shim
from tests.api.fakes import PLAIN
from tests.api.streaming import Served, Stream, Told, another_replica, served, until

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

PATH = "/api/jobs/stream"


@pytest.fixture
async def replica(shim: Shim) -> AsyncIterator[Served]:
    async with served(shim.runtime) as one:
        yield one


def follow(shim: Shim, replica: Served, last_event_id: str | None = None, query: str = "") -> Stream:
    return replica.stream(f"{PATH}{query}", shim.tokens.admin_headers(), last_event_id)


async def trigger(shim: Shim) -> str:
    job_id: str = (await shim.trigger()).json()["id"]
    return job_id


def told_jobs(events: list[Told]) -> list[str]:
    return [event.data["jobId"] for event in events if event.kind == "accepted"]


async def test_each_change_is_an_event_with_its_job_type_status_and_time(shim: Shim, replica: Served) -> None:
    async with follow(shim, replica) as stream:
        assert (stream.status, stream.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert stream.headers["cache-control"] == "no-cache, no-transform"
        assert "content-length" not in stream.headers
        ready = await stream.event()
        assert ready.kind == "ready"
        job_id = await trigger(shim)
        await shim.post(f"/api/jobs/{job_id}/cancel")
        accepted, cancelled = [await stream.event() for _ in range(2)]
    assert (accepted.kind, cancelled.kind) == ("accepted", "status")
    assert accepted.data["at"].endswith("Z")
    assert accepted.data == {
        "jobId": job_id,
        "jobType": "crawl_pending",
        "status": "pending",
        "at": accepted.data["at"],
    }
    assert (cancelled.data["status"], cancelled.data["result"]["success"]) == ("cancelled", False)
    assert int(str(ready.id)) < int(str(accepted.id)) < int(str(cancelled.id))


async def test_a_list_loaded_after_ready_and_the_stream_together_miss_nothing(shim: Shim, replica: Served) -> None:
    async def keep_triggering() -> list[str]:
        return [await trigger(shim) for _ in range(30)]

    busy = asyncio.create_task(keep_triggering())
    await asyncio.sleep(0.1)
    async with follow(shim, replica) as stream:
        assert (await stream.event()).kind == "ready"
        listed = [job["id"] for job in (await shim.get("/api/jobs?limit=200")).json()["jobs"]]
        triggered = set(await busy)
        seen = set(listed)
        while seen != triggered:
            seen.add((await stream.event()).data["jobId"])


async def test_a_client_resumes_on_another_replica_without_a_gap_or_a_repeat(shim: Shim, replica: Served) -> None:
    async with another_replica(shim) as other, follow(shim, replica) as stream:
        await stream.until("ready")
        jobs = [await trigger(shim) for _ in range(3)]
        seen = [await stream.event() for _ in range(2)]
        jobs += [await trigger(shim) for _ in range(3)]
        async with follow(shim, other, seen[-1].id) as resumed:
            after = await resumed.until("ready")
            jobs.append(await trigger(shim))
            after.append(await resumed.event())
        whole = seen + [await stream.event() for _ in range(5)]
    assert told_jobs(seen + after) == jobs == told_jobs(whole)
    assert [event.id for event in seen + after if event.kind != "ready"] == [event.id for event in whole]


async def test_an_event_that_is_committed_late_is_told_before_those_that_overtook_it(
    shim: Shim, replica: Served, sql: Connection
) -> None:
    async with follow(shim, replica) as stream, another_replica(shim) as other:
        ready = await stream.event()
        held = sql.transaction()
        await held.start()
        late = await sql.fetchval("insert into scheduled_jobs (job_type) values ('update_metrics') returning id")
        early = await trigger(shim)
        async with follow(shim, other, ready.id) as resumed:
            await asyncio.sleep(1.0)
            await held.commit()
            for one in (stream, resumed):
                events = [event for event in await one.until("accepted") if event.kind != "ready"]
                events.append(await one.event())
                assert told_jobs(events) == [str(late), early]


async def test_only_the_wanted_types_and_jobs_are_told(shim: Shim, replica: Served, sql: Connection) -> None:
    first = await trigger(shim)
    async with (
        follow(shim, replica, query=f"?jobId={first}") as of_job,
        follow(shim, replica, query="?type=update_metrics&type=weekly_digest") as of_type,
    ):
        await of_job.until("ready")
        await of_type.until("ready")
        await trigger(shim)
        metrics = await sql.fetchval("insert into scheduled_jobs (job_type) values ('update_metrics') returning id")
        await shim.post(f"/api/jobs/{first}/cancel")
        assert (await of_job.event()).data["jobId"] == first
        assert (await of_type.event()).data["jobId"] == str(metrics)


async def test_an_id_older_than_what_is_kept_is_reset(shim: Shim, replica: Served, sql: Connection) -> None:
    async with follow(shim, replica) as stream:
        old = (await stream.event()).id
    await trigger(shim)
    await sql.execute("update job_events set at = at - interval '25 hours'")
    assert await job_events.forget_old(100) == 1
    await trigger(shim)
    async with follow(shim, replica, old) as stream:
        reset = await stream.event()
        assert (reset.kind, reset.id) == ("reset", reset.data["lastEventId"])
        newest = await sql.fetchval("select max(id) from job_events")
        assert int(str(reset.id)) == newest
        assert (await stream.event()).kind == "ready"
        job_id = await trigger(shim)
        assert (await stream.event()).data["jobId"] == job_id


async def test_an_id_that_was_never_given_out_is_reset(shim: Shim, replica: Served) -> None:
    async with follow(shim, replica, "1000000000") as stream:
        assert [(await stream.event()).kind for _ in range(2)] == ["reset", "ready"]


@pytest.mark.parametrize("last_event_id", ["", "x", "-1", "1.5", "1 or 1", "9223372036854775808", "9" * 5000])
async def test_an_id_that_is_none_is_refused(shim: Shim, replica: Served, last_event_id: str) -> None:
    async with follow(shim, replica, last_event_id) as stream:
        assert stream.status == 400
        assert (await stream.body())["error"] == "Last-Event-ID: not an id of this stream"


@pytest.mark.parametrize("query", ["?type=nonsense", "?jobId=1", "?token=x", "?access_token=x"])
async def test_other_queries_are_refused(shim: Shim, query: str) -> None:
    assert (await shim.get(f"{PATH}{query}")).status_code == 400


@pytest.mark.parametrize("path", [PATH, "/api/jobs/nonsense/logs", "/api/jobs/nonsense/logs/stream"])
async def test_who_calls_is_asked_before_anything_else(shim: Shim, path: str) -> None:
    for token, status in (("", 401), (shim.tokens.sign(exp=1), 401), (shim.tokens.sign(sub=PLAIN), 403)):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        answer = await shim.http.get(f"{path}?nonsense=1", headers=headers | {"Last-Event-ID": "x"})
        assert answer.status_code == status


@pytest.mark.parametrize("exp", [10**18, 1e300, 253_402_300_799])
async def test_a_token_may_last_longer_than_the_calendar(shim: Shim, replica: Served, exp: float) -> None:
    headers = {"Authorization": f"Bearer {shim.tokens.sign(exp=exp)}"}
    async with replica.stream(PATH, headers) as stream:
        assert (await stream.event()).kind == "ready"


async def test_a_user_carries_the_end_of_the_tokens_time(shim: Shim) -> None:
    exp = int(time.time()) + 42
    actor = await shim.runtime.authenticator.admin([f"Bearer {shim.tokens.sign(exp=exp)}"])
    assert actor.expires_at == datetime.fromtimestamp(exp, UTC)


async def test_a_client_that_takes_nothing_costs_no_memory_and_holds_up_nobody(
    shim: Shim, replica: Served, sql: Connection
) -> None:
    where = urlsplit(replica.url)
    with socket.socket() as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.connect((where.hostname, where.port))
        authorization = shim.tokens.admin_headers()["Authorization"]
        lazy.sendall(f"GET {PATH} HTTP/1.1\r\nHost: shim\r\nAuthorization: {authorization}\r\n\r\n".encode())
        await until(lambda: len(shim.runtime.streams) == 1)
        async with follow(shim, replica) as quick:
            await quick.until("ready")
            for _ in range(20):
                await sql.execute(
                    "insert into scheduled_jobs (job_type) select 'update_metrics' from generate_series(1, 1000)"
                )
            last = str(await sql.fetchval("select max(id) from job_events"))
            while (await quick.event()).id != last:
                pass
        kept = sum(len(entry.chunk) for entry in shim.runtime.job_feed._kept)
        assert kept < 400_000, "of four megabytes the last thousand events are kept"
        # It takes what it was told after all, and nothing is missing or there twice.
        told = await asyncio.to_thread(_read_until, lazy, f"id: {last}\n")
    ids = [int(number) for number in re.findall(r"event: accepted\ndata: .*\nid: (\d+)\n", told)]
    assert ids == list(range(ids[0], int(last) + 1))
    assert len(ids) == 20_000


def _read_until(lazy: socket.socket, words: str) -> str:
    """What was sent up to these words, without the sizes of HTTP's chunks."""
    lazy.settimeout(20)
    text = b""
    while words.encode() not in text[-5000:]:
        text += lazy.recv(65536)
    return re.sub(rb"\r\n[0-9a-f]+\r\n", b"", text).decode()


async def test_no_more_streams_than_the_process_can_keep(make_shim: Any) -> None:
    async with make_shim(most_streams=1) as shim, served(shim.runtime) as replica:
        async with follow(shim, replica) as stream:
            await stream.event()
            async with follow(shim, replica) as refused:
                assert (refused.status, refused.headers["retry-after"]) == (503, "5")
        await until(lambda: len(shim.runtime.streams) == 0)
        async with follow(shim, replica) as stream:
            assert (await stream.event()).kind == "ready"


async def test_the_table_is_read_only_while_somebody_listens(shim: Shim, replica: Served) -> None:
    def readers() -> int:
        return sum(task.get_name().startswith("reader of changes") for task in asyncio.all_tasks())

    assert readers() == 0
    async with follow(shim, replica) as first, follow(shim, replica) as second:
        await first.until("ready")
        await second.until("ready")
        assert readers() == 1
    await until(lambda: readers() == 0)


async def test_streams_end_at_once_when_the_process_stops(shim: Shim) -> None:
    began = datetime.now(UTC)
    async with served(shim.runtime) as replica:
        stream = await follow(shim, replica).__aenter__()
        await stream.until("ready")
        began = datetime.now(UTC)
    assert (datetime.now(UTC) - began).total_seconds() < 2
    assert await stream.next() is None, "it ends in good order"
    await stream.__aexit__(None, None, None)


async def test_a_stream_outlives_the_database(shim: Shim, replica: Served, database: Stack) -> None:
    async with follow(shim, replica) as stream:
        ready = await stream.event()
        await database.stop("gateway")
        try:
            told = await stream.event(20)
            assert (told.kind, told.id) == ("unavailable", ready.id)
            async with follow(shim, replica) as another, follow(shim, replica, ready.id) as resumed:
                assert (await another.event()).kind == "unavailable"
                assert (await resumed.event()).kind == "unavailable"
                await database.start("gateway")
                for one in (stream, another, resumed):
                    assert (await one.event(20)).kind == "ready"
                job_id = await trigger(shim)
                for one in (stream, another, resumed):
                    assert (await one.event()).data["jobId"] == job_id
        finally:
            if not database.is_running("gateway"):
                await database.start("gateway")


async def test_a_state_change_is_told_within_a_second(shim: Shim, replica: Served) -> None:
    async with follow(shim, replica) as stream:
        await stream.until("ready")
        job_id = await trigger(shim)
        told = await stream.event()
        late = datetime.now(UTC) - datetime.fromisoformat(told.data["at"])
    assert told.data["jobId"] == job_id
    assert late.total_seconds() < 1
