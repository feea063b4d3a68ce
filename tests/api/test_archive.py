"""Archived jobs over HTTP: they can be read, listed, explained and retried as all others."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.api.conftest import Shim
from tests.conftest import Connection


async def archive(sql: Connection, count: int = 1, status: str = "failed") -> list[str]:
    """Ids of archived jobs, newest first."""
    rows = await sql.fetch(
        "insert into scheduled_jobs_archive"
        " (job_type, status, origin, created_at, updated_at, completed_at, parameters)"
        " select 'crawl_pending', $1, 'dashboard', at, at, at, '{\"max_items\": 5}' from"
        " (select timestamptz '2026-01-01 12:00Z' - n * interval '1 minute' as at"
        f"  from generate_series(1, {count}) n) t returning id, created_at",
        status,
    )
    return [str(row["id"]) for row in sorted(rows, key=lambda row: row["created_at"], reverse=True)]


async def test_an_archived_job_is_shown(shim: Shim, sql: Connection) -> None:
    (job_id,) = await archive(sql)
    answer = await shim.get(f"/api/jobs/{job_id}")
    assert answer.status_code == 200
    assert (answer.json()["id"], answer.json()["parameters"]) == (job_id, {"max_items": 5})
    assert (await shim.get(f"/api/jobs/{uuid4()}")).status_code == 404


async def test_the_archive_is_listed_where_it_is_asked_for(shim: Shim, sql: Connection) -> None:
    old = await archive(sql, 3)
    new = str(await sql.fetchval("insert into scheduled_jobs (job_type) values ('crawl_pending') returning id"))
    for query, expected in (("archived=true", old), ("archived=false", [new]), ("", [new])):
        body = (await shim.get(f"/api/jobs?{query}")).json()
        assert [job["id"] for job in body["jobs"]] == expected, query
        assert body["total"] == len(expected)
    assert (await shim.get("/api/jobs?archived=perhaps")).status_code == 400


async def test_pages_of_the_archive_are_not_cut_at_a_thousand(shim: Shim, sql: Connection) -> None:
    expected = await archive(sql, 1100)
    seen: list[str] = []
    query = "archived=true&limit=200"
    while query:
        page = (await shim.get(f"/api/jobs?{query}")).json()
        assert page["total"] == 1100
        seen += [job["id"] for job in page["jobs"]]
        query = f"archived=true&limit=200&cursor={page['nextCursor']}" if page["nextCursor"] else ""
    assert seen == expected


async def test_a_cursor_of_the_archive_is_none_of_the_list(shim: Shim, sql: Connection) -> None:
    await archive(sql, 3)
    cursor = (await shim.get("/api/jobs?archived=true&limit=1")).json()["nextCursor"]
    assert (await shim.get(f"/api/jobs?limit=1&cursor={cursor}")).status_code == 400


async def test_an_archived_job_is_explained(shim: Shim, sql: Connection) -> None:
    (job_id,) = await archive(sql)
    answer = await shim.get(f"/api/jobs/{job_id}/explain")
    assert (answer.status_code, answer.json()["status"]) == (200, "failed")


async def test_an_archived_job_is_retried_once(shim: Shim, sql: Connection) -> None:
    (job_id,) = await archive(sql)
    answer = await shim.post(f"/api/jobs/{job_id}/retry")
    assert answer.status_code == 202, answer.text
    retry = (await shim.get(f"/api/jobs/{answer.json()['id']}")).json()
    assert (retry["retryOf"], retry["parameters"]) == (job_id, {"max_items": 5})
    again = await shim.post(f"/api/jobs/{job_id}/retry")
    assert again.status_code == 409
    assert retry["id"] in again.json()["error"]
    assert (await shim.get(f"/api/jobs/{job_id}")).json()["status"] == "failed"


@pytest.mark.parametrize(("status", "code"), [("cancelled", 200), ("completed", 409)])
async def test_an_archived_job_has_ended(shim: Shim, sql: Connection, status: str, code: int) -> None:
    (job_id,) = await archive(sql, status=status)
    assert (await shim.post(f"/api/jobs/{job_id}/cancel")).status_code == code
