"""A job's log, by the page and as a stream, out of what Prefect has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, TypeAlias
from uuid import UUID, uuid4

import asyncpg
import pytest

from api.log_lines import level_name
from tests.api.conftest import Shim
from tests.api.streaming import Served, Stream, Told, another_replica, served

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


async def a_job(sql: Connection, run: UUID | None = None, status: str = "running", **more: Any) -> UUID:
    """A row, as a run that is under way or has just ended has it."""
    values = {"job_type": "crawl_pending", "flow_run_id": run, "attempt": 1 if run else None, "status": status} | more
    if status in ("completed", "failed", "cancelled"):
        values.setdefault("completed_at", datetime.now(UTC))
    names = ", ".join(values)
    places = ", ".join(f"${number}" for number in range(1, len(values) + 1))
    job: UUID = await sql.fetchval(
        f"insert into scheduled_jobs ({names}) values ({places}) returning id", *values.values()
    )
    return job


async def page(shim: Shim, job: object, query: str = "") -> dict[str, Any]:
    answer = await shim.get(f"/api/jobs/{job}/logs{query}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def messages(found: dict[str, Any]) -> list[str]:
    return [line["message"] for line in found["logs"]]


class TestPage:
    async def test_lines_are_given_oldest_first_with_level_and_task_by_name(self, shim: Shim, sql: Connection) -> None:
        run, task = uuid4(), uuid4()
        job = await a_job(sql, run)
        shim.prefect.task_runs[str(task)] = "fetch_pages-0"
        shim.prefect.say(uuid4(), "of another run")
        second = shim.prefect.say(run, "second", ago=1, level=30, task=task)
        first = shim.prefect.say(run, "first", ago=2, late=5)
        found = await page(shim, job)
        assert found["nextCursor"] is None
        assert [line["id"] for line in found["logs"]] == [str(first), str(second)]
        assert all(line.pop("timestamp").endswith("Z") and line.pop("id") for line in found["logs"])
        assert found["logs"] == [
            {"level": "INFO", "message": "first", "task": None},
            {"level": "WARNING", "message": "second", "task": "fetch_pages-0"},
        ]

    async def test_pages_follow_one_another_also_where_many_lines_are_of_one_moment(
        self, shim: Shim, sql: Connection
    ) -> None:
        run = uuid4()
        job = await a_job(sql, run)
        for number in range(25):
            shim.prefect.say(run, str(number), ago=100 - number)
        moment = shim.prefect.log_lines[10]["timestamp"]
        for line in shim.prefect.log_lines[10:18]:
            line["timestamp"] = moment
        told, cursor, sizes = [], None, []
        while True:
            found = await page(shim, job, f"?limit=5{f'&cursor={cursor}' if cursor else ''}")
            told += messages(found)
            sizes.append(len(found["logs"]))
            if (cursor := found["nextCursor"]) is None:
                break
        assert (told, sizes) == ([str(number) for number in range(25)], [5] * 5)

    async def test_less_severe_lines_are_left_out(self, shim: Shim, sql: Connection) -> None:
        run = uuid4()
        job = await a_job(sql, run)
        for level in (10, 20, 30, 40, 50):
            shim.prefect.say(run, str(level), level=level)
        assert messages(await page(shim, job, "?level=WARNING")) == ["30", "40", "50"]
        assert len(messages(await page(shim, job))) == 5

    @pytest.mark.parametrize(
        ("query", "sentence"),
        [
            ("?level=loud", "level: Input should be 'DEBUG', 'INFO', 'WARNING', 'ERROR' or 'CRITICAL'"),
            ("?limit=0", "limit: Input should be greater than or equal to 1"),
            ("?limit=201", "limit: Input should be less than or equal to 200"),
            ("?page=2", "page: unknown field"),
            ("?cursor=x", "cursor: not a cursor of this API"),
            # Of another list, of another job, of another level.
            ("?cursor={jobs}", "cursor: not a cursor of this API"),
            ("?cursor={other}", "cursor: it was made for another job or level; ask for the first page with these"),
            ("?cursor={level}", "cursor: it was made for another job or level; ask for the first page with these"),
        ],
    )
    async def test_other_questions_are_refused(self, shim: Shim, sql: Connection, query: str, sentence: str) -> None:
        run, another = uuid4(), uuid4()
        job, other = await a_job(sql, run), await a_job(sql, another, "completed")
        for one in (run, another):
            shim.prefect.say(one, "one", level=40)
            shim.prefect.say(one, "two", level=40)
        cursors = {
            "jobs": (await shim.get("/api/jobs?limit=1")).json()["nextCursor"],
            "other": (await page(shim, other, "?limit=1"))["nextCursor"],
            "level": (await page(shim, job, "?limit=1&level=ERROR"))["nextCursor"],
        }
        answer = await shim.get(f"/api/jobs/{job}/logs{query.format(**cursors)}")
        assert (answer.status_code, answer.json()["error"]) == (400, sentence)

    async def test_a_job_without_a_run_has_no_lines(self, shim: Shim, sql: Connection) -> None:
        job = await a_job(sql, status="pending")
        shim.prefect.down = True
        assert await page(shim, job) == {"logs": [], "nextCursor": None}

    @pytest.mark.parametrize("job", ["nonsense", "00000000-0000-0000-0000-000000000000"])
    @pytest.mark.parametrize("path", ["logs", "logs/stream"])
    async def test_a_job_that_is_none_is_not_found(self, shim: Shim, job: str, path: str) -> None:
        answer = await shim.get(f"/api/jobs/{job}/{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "JOB_NOT_FOUND")

    async def test_prefect_away_is_said_with_when_to_come_back(self, shim: Shim, sql: Connection) -> None:
        job = await a_job(sql, uuid4())
        shim.prefect.down = True
        answer = await shim.get(f"/api/jobs/{job}/logs")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")

    async def test_lines_without_the_names_of_their_tasks_are_better_than_none(
        self, shim: Shim, sql: Connection
    ) -> None:
        run = uuid4()
        job = await a_job(sql, run)
        shim.prefect.say(run, "of a task that Prefect does not know yet", task=uuid4())
        assert (await page(shim, job))["logs"][0]["task"] is None

    async def test_the_name_of_a_task_is_asked_for_once(self, shim: Shim, sql: Connection) -> None:
        run, task = uuid4(), uuid4()
        job = await a_job(sql, run)
        shim.prefect.task_runs[str(task)] = "fetch_pages-0"
        shim.prefect.say(run, "hello", task=task)
        for _ in range(3):
            await page(shim, job)
        assert sum(path == "/task_runs/filter" for path, _ in shim.prefect.asked) == 1

    async def test_nothing_secret_goes_out(self, shim: Shim, sql: Connection) -> None:
        run = uuid4()
        job = await a_job(sql, run)
        shim.prefect.say(run, "mailed ada@example.com with token=0123456789 at https://x.test/a?b=c")
        shim.prefect.say(run, "x" * 10_000)
        secret, long = messages(await page(shim, job))
        assert secret == "mailed <address> with token=<secret> at https://x.test/a"
        assert len(long) == 4000

    async def test_attempts_of_one_run_have_each_their_own_lines(self, shim: Shim, sql: Connection) -> None:
        run = uuid4()
        shim.prefect.say(run, "first attempt", ago=60)
        shim.prefect.say(run, "second attempt")
        moment = datetime.fromisoformat(shim.prefect.log_lines[1]["timestamp"])
        first = await a_job(sql, run, "failed")
        second = await a_job(sql, run, attempt=2, created_at=moment, retry_of=first)
        assert messages(await page(shim, first)) != messages(await page(shim, second))
        assert messages(await page(shim, second)) == ["second attempt"]
        assert messages(await page(shim, first))[:1] == ["first attempt"]

    async def test_an_archived_job_still_has_its_lines(self, shim: Shim, sql: Connection) -> None:
        run = uuid4()
        job = await a_job(sql, run, "completed")
        await sql.execute(
            "with gone as (delete from scheduled_jobs returning *)"
            " insert into scheduled_jobs_archive select * from gone"
        )
        shim.prefect.say(run, "long ago", ago=10_000)
        assert messages(await page(shim, job)) == ["long ago"]


@pytest.mark.parametrize(
    ("level", "name"),
    [(0, "DEBUG"), (5, "DEBUG"), (10, "DEBUG"), (25, "INFO"), (40, "ERROR"), (99, "CRITICAL"), (-3, "DEBUG")],
)
def test_levels_between_have_the_name_below(level: int, name: str) -> None:
    assert level_name(level) == name


@pytest.fixture
async def replica(shim: Shim) -> AsyncIterator[Served]:
    async with served(shim.runtime) as one:
        yield one


def follow(shim: Shim, replica: Served, job: object, last_event_id: str | None = None, query: str = "") -> Stream:
    return replica.stream(f"/api/jobs/{job}/logs/stream{query}", shim.tokens.admin_headers(), last_event_id)


def said(events: list[Told]) -> list[str]:
    return [event.data["message"] for event in events if event.kind == "log"]


class TestStream:
    async def test_what_was_said_before_and_what_is_said_now(
        self, shim: Shim, replica: Served, sql: Connection
    ) -> None:
        run = uuid4()
        job = await a_job(sql, run)
        line = shim.prefect.say(run, "before", ago=10)
        async with follow(shim, replica, job) as stream:
            assert (stream.status, stream.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
            before = await stream.until("ready")
            assert before[0].data == {
                "id": str(line),
                "timestamp": shim.prefect.log_lines[0]["timestamp"].replace("+00:00", "Z"),
                "level": "INFO",
                "message": "before",
                "task": None,
            }
            shim.prefect.say(run, "now")
            began = datetime.now(UTC)
            assert (await stream.event()).data["message"] == "now"
            assert (datetime.now(UTC) - began).total_seconds() < 2

    async def test_a_long_log_comes_whole_and_in_the_order_of_arrival(
        self, shim: Shim, replica: Served, sql: Connection
    ) -> None:
        run = uuid4()
        job = await a_job(sql, run)
        # Batches of several processes: each line is late by up to two seconds.
        for number in range(3000):
            shim.prefect.say(run, str(number), ago=4000 - number * 1.3, late=number * 7 % 20 / 10)
        order = sorted(shim.prefect.log_lines, key=lambda line: (line["created"], UUID(line["id"])))
        async with follow(shim, replica, job) as stream:
            told = await stream.until("ready", 20)
        assert said(told) == [line["message"] for line in order]

    async def test_a_burst_longer_than_every_page_comes_whole(
        self, shim: Shim, replica: Served, sql: Connection
    ) -> None:
        run = uuid4()
        job = await a_job(sql, run)
        for number in range(3000):
            shim.prefect.say(run, str(number), ago=60)
        for line in shim.prefect.log_lines:
            line["timestamp"] = shim.prefect.log_lines[0]["timestamp"]
        async with follow(shim, replica, job) as stream:
            told = await stream.until("ready", 20)
        assert sorted(map(int, said(told))) == list(range(3000))

    async def test_it_resumes_on_any_replica_without_a_gap_or_a_repeat(
        self, shim: Shim, replica: Served, sql: Connection
    ) -> None:
        run = uuid4()
        job = await a_job(sql, run)
        for number in range(10):
            shim.prefect.say(run, f"early {number}", ago=20)
        async with another_replica(shim) as other, follow(shim, replica, job) as stream:
            first = [await stream.event() for _ in range(4)]
            # This one was said before lines that have been told, and arrives only now.
            await asyncio.sleep(1)
            shim.prefect.say(run, "late", ago=15, late=15)
            async with follow(shim, other, job, first[-1].id) as resumed:
                rest = await resumed.until("ready")
                while "late" not in said(rest):
                    rest.append(await resumed.event())
            told = first + rest
            while "late" not in said(first):
                first.append(await stream.event())
        assert said(told) == said(first)
        assert sorted(said(told)) == sorted([*(f"early {number}" for number in range(10)), "late"])
        assert len({event.data["id"] for event in told if event.kind == "log"}) == 11

    async def test_several_listeners_cost_one_reading_a_second(
        self, shim: Shim, replica: Served, sql: Connection
    ) -> None:
        run = uuid4()
        job = await a_job(sql, run)
        streams = [await follow(shim, replica, job).__aenter__() for _ in range(5)]
        for stream in streams:
            await stream.until("ready")
        shim.prefect.asked.clear()
        await asyncio.sleep(2.5)
        assert sum(path == "/logs/filter" for path, _ in shim.prefect.asked) in (2, 3)
        for stream in streams:
            await stream.__aexit__(None, None, None)
        await asyncio.sleep(0.2)
        assert len(shim.runtime.log_feeds) == 0

    async def test_less_severe_lines_are_left_out(self, shim: Shim, replica: Served, sql: Connection) -> None:
        run = uuid4()
        job = await a_job(sql, run)
        shim.prefect.say(run, "info", ago=5)
        shim.prefect.say(run, "error", ago=4, level=40)
        async with follow(shim, replica, job, query="?level=ERROR") as stream:
            assert said(await stream.until("ready")) == ["error"]

    async def test_a_job_without_a_run_waits_and_says_so(self, shim: Shim, replica: Served, sql: Connection) -> None:
        job = await a_job(sql, status="pending")
        async with follow(shim, replica, job) as stream:
            waiting = await stream.event()
            assert (waiting.kind, waiting.data["reason"]) == ("waiting", "The job has no flow run yet")
            run = uuid4()
            await sql.execute("update scheduled_jobs set flow_run_id = $1 where id = $2", run, job)
            shim.prefect.say(run, "begun", ago=1)
            assert said(await stream.until("ready")) == ["begun"]

    async def test_it_ends_when_the_job_has_ended_and_its_last_lines_are_there(
        self, shim: Shim, replica: Served, sql: Connection
    ) -> None:
        run = uuid4()
        job = await a_job(sql, run)
        async with follow(shim, replica, job) as stream:
            await stream.until("ready")
            await sql.execute("update scheduled_jobs set status = 'completed', completed_at = now() where id = $1", job)
            began = datetime.now(UTC)
            await asyncio.sleep(2)
            shim.prefect.say(run, "the last", ago=2, late=2)
            assert said(await stream.until("end", 10)) == ["the last"]
            assert 5 <= (datetime.now(UTC) - began).total_seconds() < 8
            assert await stream.next() is None

    async def test_a_log_that_is_complete_ends_at_once(self, shim: Shim, replica: Served, sql: Connection) -> None:
        run = uuid4()
        job = await a_job(sql, run, "completed", completed_at=datetime(2026, 1, 1, tzinfo=UTC))
        never_begun = await a_job(sql, status="cancelled")
        shim.prefect.say(run, "long ago", ago=100_000)
        async with follow(shim, replica, job) as stream:
            told = await stream.until("end")
            assert said(told) == ["long ago"]
        async with follow(shim, replica, job, told[0].id) as stream:
            assert said(await stream.until("end")) == []
        async with follow(shim, replica, never_begun) as stream:
            assert (await stream.event()).kind == "end"

    async def test_it_outlives_prefect(self, shim: Shim, replica: Served, sql: Connection) -> None:
        run = uuid4()
        job = await a_job(sql, run)
        shim.prefect.say(run, "before", ago=5)
        async with follow(shim, replica, job) as stream:
            await stream.until("ready")
            shim.prefect.down = True
            away = await stream.event()
            assert (away.kind, away.data["reason"]) == (
                "unavailable",
                "Prefect cannot be reached (to read logs: ConnectError)",
            )
            shim.prefect.say(run, "meanwhile")
            async with follow(shim, replica, job) as another:
                assert said([(await another.event())]) == ["before"], "what was read is still told"
            shim.prefect.down = False
            assert said(await stream.until("ready")) == ["meanwhile"]

    async def test_nothing_secret_goes_out(self, shim: Shim, replica: Served, sql: Connection) -> None:
        run = uuid4()
        job = await a_job(sql, run)
        shim.prefect.say(run, "mailed ada@example.com", ago=5)
        async with follow(shim, replica, job) as stream:
            assert said(await stream.until("ready")) == ["mailed <address>"]

    @pytest.mark.parametrize("last_event_id", ["", "x", "7", "1-2", f"1-{'g' * 32}", f"{'9' * 17}-{'0' * 32}"])
    async def test_an_id_that_is_none_is_refused(
        self, shim: Shim, replica: Served, sql: Connection, last_event_id: str
    ) -> None:
        job = await a_job(sql, uuid4())
        async with follow(shim, replica, job, last_event_id) as stream:
            assert stream.status == 400
            assert (await stream.body())["error"] == "Last-Event-ID: not an id of this stream"

    @pytest.mark.parametrize("path", ["logs?limit=0", "logs/stream?level=x"])
    async def test_who_calls_is_asked_before_anything_else(self, shim: Shim, path: str) -> None:
        assert (await shim.http.get(f"/api/jobs/nonsense/{path}")).status_code == 401
