"""The quick view of a row says what the model of the API says, of every kind of row."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from api.schemas import JobView
from api.views import job_view
from flows.core import scheduled_jobs
from tests.api.conftest import Shim
from tests.conftest import Connection

UI = "http://prefect-ui"

ROWS: list[dict[str, Any]] = [
    {},  # what a row of the published scheduler may be at least
    {"status": "running", "started_at": datetime.now(UTC), "progress": '{"itemsProcessed": 1}'},
    {"status": "completed", "result": '{"success": true, "itemsProcessed": 3, "errors": [], "details": {"rate": 0.1}}'},
    {
        "status": "failed",
        "error": "none of 3 items succeeded: é☃",
        "completed_at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    },
    {"flow_run_id": uuid4(), "parent_id": uuid4(), "retry_of": uuid4(), "origin": "recovery", "priority": "LOW"},
    {
        "status": "cancelled",
        "cancel_requested_by": "user_1",
        "cancel_requested_at": datetime(2026, 1, 2, 3, 4, 5, 120_000, tzinfo=UTC),
        "cancel_items_done": 4,
        "cancel_safe_to_retry": True,
    },
    # The digits that PostgreSQL leaves out, and JSON that the published scheduler may have written.
    {"created_at": datetime(2026, 1, 2, 3, 4, 5, 500_000, tzinfo=UTC), "result": '"text"', "parameters": "[1]"},
    {"created_at": None, "updated_at": None, "started_at": datetime(2024, 2, 29, tzinfo=UTC)},
    {"created_at": None, "updated_at": None},
    {"parameters": '{"nested": {"list": [1, 2.5, null, true], "text": "\\u00e9"}}'},
]


@pytest.mark.parametrize("columns", ROWS, ids=lambda columns: " ".join(columns) or "least")
async def test_the_view_of_a_row_is_that_of_the_model(shim: Shim, sql: Connection, columns: dict[str, Any]) -> None:
    given = {"job_type": "crawl_pending"} | columns
    names, places = ", ".join(given), ", ".join(f"${number}" for number in range(1, len(given) + 1))
    job_id = await sql.fetchval(f"insert into scheduled_jobs ({names}) values ({places}) returning id", *given.values())
    row = await scheduled_jobs.get_row(job_id)
    assert row is not None
    expected = JobView.of(scheduled_jobs.parse(row), UI).model_dump(mode="json", by_alias=True)
    assert job_view(row, UI) == expected
    # A page of history is one call, and shows the same.
    (listed,) = (await scheduled_jobs.list_jobs({}, limit=10)).rows
    assert job_view(listed, UI) == expected


@pytest.mark.parametrize("zone", ["America/St_Johns", "Asia/Kathmandu"])
async def test_times_are_utc_whatever_the_databases_zone_is(shim: Shim, sql: Connection, zone: str) -> None:
    at = datetime(2026, 7, 1, 12, 30, 15, 120, tzinfo=UTC)
    job_id = await sql.fetchval("insert into scheduled_jobs (job_type, created_at) values ('x', $1) returning id", at)
    await sql.execute(f"set time zone '{zone}'")
    row = json.loads(await sql.fetchval("select to_jsonb(j)::text from scheduled_jobs j where id = $1", job_id))
    assert not row["created_at"].endswith("+00:00")
    assert job_view(row, UI)["createdAt"] == "2026-07-01T12:30:15.000120Z"


async def test_a_job_reads_the_same_by_itself_and_in_the_list(shim: Shim) -> None:
    accepted = (await shim.trigger()).json()
    by_itself = (await shim.get(f"/api/jobs/{accepted['id']}")).json()
    (listed,) = (await shim.get("/api/jobs")).json()["jobs"]
    assert by_itself == listed
    assert by_itself["createdAt"] == accepted["createdAt"]
