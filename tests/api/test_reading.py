"""GET /api/jobs and /api/jobs/{id}: the view of a row, filters, pages and cursors."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.api.conftest import Shim
from tests.conftest import Connection

INTERNAL = "6f1c9a34-52d7-4c1e-9b60-3d1f0a7be001"
RUN = "0a7be001-52d7-4c1e-9b60-3d1f6f1c9a34"


async def insert(sql: Connection, count: int = 1, **columns: Any) -> list[str]:
    """Ids of new rows, newest first: each a minute older than the one before, starting at noon."""
    given = {"job_type": "crawl_pending", "status": "pending"} | columns
    names = ", ".join(given)
    places = ", ".join(f"${number}" for number in range(1, len(given) + 1))
    rows = await sql.fetch(
        f"insert into scheduled_jobs ({names}, created_at)"
        f" select {places}, timestamptz '2026-11-23 12:00Z' - n * interval '1 minute'"
        f" from generate_series(0, {count - 1}) n returning id, created_at",
        *given.values(),
    )
    return [str(row["id"]) for row in sorted(rows, key=lambda row: row["created_at"], reverse=True)]


def ids(answer: Any) -> list[str]:
    return [job["id"] for job in answer.json()["jobs"]]


class TestGet:
    async def test_shows_every_field_of_the_contract(self, shim: Shim, sql: Connection) -> None:
        result = {"success": True, "itemsProcessed": 2, "errors": [], "details": {}}
        (job_id,) = await insert(
            sql,
            flow_run_id=UUID(RUN),
            priority="HIGH",
            origin="dashboard",
            started_by="user_1",
            parameters='{"max_items": 5}',
            result=json.dumps(result),
            progress='{"itemsProcessed": 2, "itemsTotal": null, "phase": "crawling"}',
        )
        body = (await shim.get(f"/api/jobs/{job_id}")).json()
        updated_at = body.pop("updatedAt")
        assert updated_at.endswith("Z")
        assert body == {
            "id": job_id,
            "jobId": job_id,
            "jobType": "crawl_pending",
            "status": "pending",
            "startedAt": None,
            "completedAt": None,
            "startedBy": "user_1",
            "error": None,
            "result": result,
            "progress": {"itemsProcessed": 2, "itemsTotal": None, "phase": "crawling"},
            "parameters": {"max_items": 5},
            "priority": "HIGH",
            "origin": "dashboard",
            "retryOf": None,
            "parentId": None,
            "flowRunId": RUN,
            "flowRunUrl": f"http://prefect-ui/runs/flow-run/{RUN}",
            "pendingReason": None,
            "cancel": None,
            "createdAt": "2026-11-23T12:00:00Z",
            "estimatedCompletionAt": None,
            "estimatedCompletionFrom": None,
            "estimatedCompletionTo": None,
        }

    async def test_shows_a_row_of_the_published_scheduler(self, shim: Shim, sql: Connection) -> None:
        (job_id,) = await insert(sql, job_type="an_old_type", status="completed")
        body = (await shim.get(f"/api/jobs/{job_id}")).json()
        assert (body["jobType"], body["origin"], body["flowRunUrl"]) == ("an_old_type", None, None)

    async def test_shows_a_cancel_receipt(self, shim: Shim, sql: Connection) -> None:
        (job_id,) = await insert(sql)
        await sql.execute(
            "update scheduled_jobs set cancel_requested_by = 'user_1', cancel_requested_at = '2026-11-23 12:00Z'"
        )
        assert (await shim.get(f"/api/jobs/{job_id}")).json()["cancel"] == {
            "requestedBy": "user_1",
            "requestedAt": "2026-11-23T12:00:00Z",
            "stoppedAt": None,
            "itemsDone": None,
            "safeToRetry": None,
        }

    async def test_a_row_of_the_published_scheduler_is_shown(self, shim: Shim, sql: Connection) -> None:
        job_id = await sql.fetchval(
            "insert into scheduled_jobs (job_type, status, started_at, created_at, updated_at, result, started_by)"
            " values ('crawl_pending', 'completed', '2024-05-01Z', null, null, '[]', 'user_old') returning id::text"
        )
        body = (await shim.get(f"/api/jobs/{job_id}")).json()
        assert (body["createdAt"], body["updatedAt"], body["result"]) == (
            "2024-05-01T00:00:00Z",
            "2024-05-01T00:00:00Z",
            None,
        )
        assert job_id in ids(await shim.get("/api/jobs"))

    async def test_an_id_in_capitals_is_the_same_id(self, shim: Shim, sql: Connection) -> None:
        (job_id,) = await insert(sql)
        assert (await shim.get(f"/api/jobs/{job_id.upper()}")).json()["id"] == job_id

    @pytest.mark.parametrize(
        "job_id",
        [
            "5f0c2b1e-0000-4000-8000-000000000001",
            "nope",
            "1",
            "%00",
            "{5f0c2b1e-0000-4000-8000-000000000001}",
            "5f0c2b1e000040008000000000000001",
            "é",
            "a" * 5000,
        ],
    )
    async def test_an_unknown_or_malformed_id_is_404(self, shim: Shim, job_id: str) -> None:
        answer = await shim.get(f"/api/jobs/{job_id}")
        assert (answer.status_code, answer.json()["error"]) == (404, "Job not found")


class TestFilters:
    async def test_nothing_there_is_an_empty_page(self, shim: Shim) -> None:
        assert (await shim.get("/api/jobs")).json() == {
            "jobs": [],
            "total": 0,
            "totalIsEstimate": False,
            "page": 1,
            "limit": 50,
            "nextCursor": None,
        }

    async def test_types_and_statuses_may_repeat(self, shim: Shim, sql: Connection) -> None:
        (pending,) = await insert(sql)
        (failed,) = await insert(sql, status="failed")
        (other,) = await insert(sql, job_type="another")
        assert set(ids(await shim.get("/api/jobs?type=crawl_pending"))) == {pending, failed}
        assert set(ids(await shim.get("/api/jobs?status=failed&status=pending"))) == {pending, failed, other}
        assert ids(await shim.get("/api/jobs?type=crawl_pending&status=completed&limit=50")) == []

    async def test_started_by_is_either_id_and_finds_both(self, shim: Shim, sql: Connection) -> None:
        await sql.execute("insert into users (id, clerk_user_id) values ($1, 'user_1')", INTERNAL)
        (by_internal,) = await insert(sql, started_by=INTERNAL)
        (by_clerk,) = await insert(sql, started_by="user_1")
        await insert(sql, started_by="user_2")
        for who in ("user_1", INTERNAL, INTERNAL.upper()):
            assert set(ids(await shim.get(f"/api/jobs?startedBy={who}"))) == {by_internal, by_clerk}, who
        # Somebody the site does not have is found by what the rows say.
        assert len(ids(await shim.get("/api/jobs?startedBy=user_2"))) == 1

    async def test_from_and_to_bound_created_at(self, shim: Shim, sql: Connection) -> None:
        newest, middle, oldest = await insert(sql, 3)
        assert ids(await shim.get("/api/jobs?from=2026-11-23T11:59:00Z")) == [newest, middle]
        assert ids(await shim.get("/api/jobs?to=2026-11-23T11:59:00Z")) == [middle, oldest]
        # Without a zone it is UTC; another zone is another time.
        assert ids(await shim.get("/api/jobs?from=2026-11-23T12:00:00")) == [newest]
        assert ids(await shim.get("/api/jobs", params={"from": "2026-11-23T13:00:00+01:00"})) == [newest]

    async def test_parent_gives_the_shards(self, shim: Shim, sql: Connection) -> None:
        parent = uuid4()
        (shard,) = await insert(sql, parent_id=parent)
        await insert(sql)
        assert ids(await shim.get(f"/api/jobs?parent={parent}")) == [shard]

    @pytest.mark.parametrize(
        ("query", "sentence"),
        [
            ("type=nope", "type.0: unknown value: valid are 'crawl_pending'"),
            (
                "status=done",
                "status.0: unknown value: valid are 'pending', 'running', 'completed', 'failed' or 'cancelled'",
            ),
            ("stauts=failed", "stauts: unknown field"),
            ("limit=0", "limit: "),
            ("limit=201", "limit: "),
            ("limit=x", "limit: "),
            ("limit=", "limit: must be a whole number"),
            ("limit=1e3", "limit: must be a whole number"),
            ("limit=1_0", "limit: must be a whole number"),
            ("limit=5.0", "limit: must be a whole number"),
            ("limit=%205", "limit: must be a whole number"),
            ("limit=٣", "limit: must be a whole number"),
            ("page=9" + "9" * 200, "page: must be a whole number"),
            ("page=0", "page: "),
            ("from=yesterday", "from: "),
            ("from=", "from: "),
            ("from=1764000000", "from: must be a time as in 2026-11-23T14:05:00Z"),  # seconds, or milliseconds?
            ("from=-1.5", "from: must be a time as in 2026-11-23T14:05:00Z"),
            ("from=2026-12-01&to=2026-11-01", "query: from is later than to"),
            ("parent=1", "parent: "),
            ("startedBy=", "startedBy: "),
            ("startedBy=a%00b", "startedBy: "),
            (
                "page=101&limit=100",
                "query: page times limit is over 10000: follow nextCursor with the cursor parameter",
            ),
            ("page=" + "9" * 40, "query: page times limit"),
            ("page=1&cursor=x", "query: page and cursor exclude each other"),
            ("cursor=x", "cursor: not a cursor of this API"),
            ("cursor=", "cursor: not a cursor of this API"),
            ("cursor=%00", "cursor: not a cursor of this API"),
            ("cursor=é.é", "cursor: not a cursor of this API"),
            ("cursor=" + "x" * 5000, "cursor: not a cursor of this API"),
        ],
    )
    async def test_a_wrong_query_is_400_and_says_what_is_valid(self, shim: Shim, query: str, sentence: str) -> None:
        answer = await shim.get(f"/api/jobs?{query}")
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"].startswith(sentence), answer.json()["error"]

    @pytest.mark.parametrize(
        "time", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "2026-01-01T00:00:00+18:00"]
    )
    async def test_the_ends_of_time_are_times(self, shim: Shim, time: str) -> None:
        assert (await shim.get("/api/jobs", params={"from": time, "to": time})).status_code == 200


class TestPages:
    async def test_numbered_pages_cover_everything_once(self, shim: Shim, sql: Connection) -> None:
        expected = await insert(sql, 7)
        pages = [await shim.get(f"/api/jobs?limit=3&page={number}") for number in (1, 2, 3, 4)]
        assert [ids(page) for page in pages] == [expected[:3], expected[3:6], expected[6:], []]
        assert {page.json()["total"] for page in pages} == {7}
        assert [page.json()["page"] for page in pages] == [1, 2, 3, 4]

    async def test_cursors_are_not_shifted_by_newer_rows(self, shim: Shim, sql: Connection) -> None:
        expected = await insert(sql, 7)
        seen: list[str] = []
        query = "limit=3"
        for number in (1, 2, 3):
            page = await shim.get(f"/api/jobs?{query}")
            seen += ids(page)
            assert page.json()["page"] == number
            await sql.execute("insert into scheduled_jobs (job_type) values ('crawl_pending')")
            query = f"limit=3&cursor={page.json()['nextCursor']}"
        assert seen == expected
        assert page.json()["nextCursor"] is None

    async def test_rows_of_the_same_instant_are_paged_by_id(self, shim: Shim, sql: Connection) -> None:
        await sql.execute(
            "insert into scheduled_jobs (job_type, created_at)"
            " select 'crawl_pending', '2026-11-23 12:00:00.123456Z' from generate_series(1, 9)"
        )
        seen: list[str] = []
        query = "limit=2"
        while query:
            page = await shim.get(f"/api/jobs?{query}")
            seen += ids(page)
            cursor = page.json()["nextCursor"]
            query = f"limit=2&cursor={cursor}" if cursor else ""
        assert seen == sorted(seen, reverse=True)
        assert len(set(seen)) == 9

    async def test_a_page_that_ends_with_the_last_row_has_no_next(self, shim: Shim, sql: Connection) -> None:
        await insert(sql, 3)
        assert (await shim.get("/api/jobs?limit=3")).json()["nextCursor"] is None

    async def test_a_cursor_is_bound_to_its_filters_and_signed(self, shim: Shim, sql: Connection) -> None:
        await insert(sql, 5)
        cursor = (await shim.get("/api/jobs?limit=2&status=pending")).json()["nextCursor"]
        assert (await shim.get(f"/api/jobs?limit=1&status=pending&cursor={cursor}")).status_code == 200
        for query in ("", "&status=failed", "&status=pending&type=crawl_pending"):
            answer = await shim.get(f"/api/jobs?limit=2{query}&cursor={cursor}")
            assert answer.status_code == 400
            assert "other filters" in answer.json()["error"]
        forged = cursor[:5] + ("A" if cursor[5] != "A" else "B") + cursor[6:]
        assert (await shim.get(f"/api/jobs?limit=2&status=pending&cursor={forged}")).status_code == 400

    async def test_the_last_page_by_number_is_allowed(self, shim: Shim) -> None:
        assert (await shim.get("/api/jobs?limit=100&page=100")).status_code == 200
