"""GET /api/audit: who did what, newest first, filtered and paged."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.api.conftest import Shim
from tests.api.fakes import ADMIN, PLAIN
from tests.api.test_reading import INTERNAL
from tests.conftest import Connection

PATH = "/api/audit"
JOB = UUID("0a7be001-52d7-4c1e-9b60-3d1f6f1c9a34")


async def insert(sql: Connection, count: int = 1, **columns: Any) -> list[int]:
    """Ids of new entries, newest first: each a minute older than the one before, starting at noon."""
    given = {"actor": ADMIN, "action": "trigger", "outcome": "accepted"} | columns
    names = ", ".join(given)
    places = ", ".join(f"${number}" for number in range(1, len(given) + 1))
    rows = await sql.fetch(
        f"insert into scheduler_audit ({names}, at)"
        f" select {places}, timestamptz '2026-11-23 12:00Z' - n * interval '1 minute'"
        f" from generate_series(0, {count - 1}) n returning id, at",
        *given.values(),
    )
    return [row["id"] for row in sorted(rows, key=lambda row: row["at"], reverse=True)]


async def ids(shim: Shim, query: str = "") -> list[int]:
    answer = await shim.get(f"{PATH}{query}")
    assert answer.status_code == 200, answer.text
    return [entry["id"] for entry in answer.json()["entries"]]


async def test_anonymous(shim: Shim) -> None:
    assert (await shim.http.get(PATH)).status_code == 401


async def test_not_admin(shim: Shim) -> None:
    plain = {"Authorization": f"Bearer {shim.tokens.sign(sub=PLAIN)}"}
    assert (await shim.http.get(PATH, headers=plain)).status_code == 403


async def test_empty(shim: Shim) -> None:
    assert (await shim.get(PATH)).json() == {
        "entries": [], "total": 0, "totalIsEstimate": False, "page": 1, "limit": 50, "nextCursor": None,
    }  # fmt: skip


async def test_what_an_admin_does_is_there(shim: Shim) -> None:
    job_id = (await shim.trigger({"jobType": "crawl_pending", "parameters": {"max_items": 5}})).json()["id"]
    await shim.patch("/api/job-types/weekly_digest/schedule", {"enabled": False}, If_Match='"7"')
    refused, accepted = (await shim.get(PATH)).json()["entries"]
    assert accepted.pop("at").endswith("Z")
    assert accepted == {
        "id": refused["id"] - 1,
        "actor": ADMIN,
        "action": "trigger",
        "jobId": job_id,
        "jobType": "crawl_pending",
        "parameters": {"max_items": 5, "mode": "stale"},
        "outcome": "accepted",
        "details": None,
    }
    assert (refused["action"], refused["jobType"], refused["outcome"]) == ("edit_schedule", "weekly_digest", "refused")
    assert (refused["parameters"], refused["details"]) == ({"enabled": False}, {"version": 0, "expected": [7]})


@pytest.mark.parametrize("parameters", ["[1]", '"text"', "7", "null", '{"jobType": {}}'])
async def test_a_refused_call_may_have_brought_any_json(shim: Shim, sql: Connection, parameters: str) -> None:
    await insert(sql, outcome="refused", parameters=parameters)
    (entry,) = (await shim.get(PATH)).json()["entries"]
    assert entry["parameters"] == json.loads(parameters)


async def test_a_trigger_of_no_job_type_is_refused_and_there(shim: Shim) -> None:
    wrongs: tuple[Any, ...] = ({}, [], ["crawl_pending"])
    for wrong in wrongs:
        answer = await shim.trigger({"jobType": wrong})
        assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_REQUEST")
    await shim.runtime.refusals.settled()
    entries = (await shim.get(PATH)).json()["entries"]
    assert [(entry["jobType"], entry["outcome"]) for entry in entries] == [(None, "refused")] * 3


class TestFilters:
    async def test_each_and_all_together(self, shim: Shim, sql: Connection) -> None:
        await sql.execute("insert into users (id, clerk_user_id) values ($1, 'user_other')", INTERNAL)
        (other,) = await insert(sql, actor="user_other", job_type="crawl_pending")
        (cancel,) = await insert(sql, action="cancel", job_id=JOB, job_type="weekly_digest")
        (script,) = await insert(sql, actor="service:nightly")
        assert await ids(shim, "?actor=user_other") == [other]
        assert await ids(shim, f"?actor={INTERNAL}") == [other], "the internal id finds what the Clerk id has done"
        assert await ids(shim, f"?actor={uuid4()}") == []
        assert await ids(shim, "?actor=service:nightly") == [script]
        assert await ids(shim, "?action=cancel") == [cancel]
        assert await ids(shim, f"?jobId={JOB}") == [cancel]
        assert await ids(shim, "?type=weekly_digest") == [cancel]
        assert await ids(shim, f"?actor={ADMIN}&action=cancel&jobId={JOB}&type=weekly_digest") == [cancel]
        assert await ids(shim, "?actor=user_other&action=cancel") == []

    async def test_from_and_to_are_inclusive(self, shim: Shim, sql: Connection) -> None:
        newest, middle, oldest = await insert(sql, 3)
        assert await ids(shim, "?from=2026-11-23T11:59:00Z") == [newest, middle]
        assert await ids(shim, "?to=2026-11-23T11:59:00") == [middle, oldest]
        assert await ids(shim, "?from=2026-11-23T11:59:00Z&to=2026-11-23T11:59:00Z") == [middle]

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ("actor=a%20b", "actor"),
            ("actor=", "actor"),
            ("action=Trigger!", "action"),
            ("jobId=1", "jobId"),
            ("type=dig_holes", "type"),
            ("from=yesterday", "from"),
            ("limit=0", "limit"),
            ("limit=201", "limit"),
            ("page=0", "page"),
            ("page=201", "query"),
            ("page=1&cursor=x", "query"),
            ("outcome=done", "outcome"),
        ],
    )
    async def test_what_is_wrong_is_named(self, shim: Shim, query: str, field: str) -> None:
        answer = await shim.get(f"{PATH}?{query}")
        assert (answer.status_code, answer.json()["details"][0]["field"]) == (400, field)


class TestPages:
    async def test_by_cursor_every_entry_once_whatever_is_written_meanwhile(self, shim: Shim, sql: Connection) -> None:
        expected = await insert(sql, 25)
        seen, query, number = [], "?limit=10", 1
        while query:
            page = (await shim.get(f"{PATH}{query}")).json()
            assert (page["page"], page["limit"]) == (number, 10)
            seen += [entry["id"] for entry in page["entries"]]
            await sql.execute(
                "insert into scheduler_audit (actor, action, outcome) values ('x', 'trigger', 'accepted')"
            )
            query = f"?limit=10&cursor={page['nextCursor']}" if page["nextCursor"] else ""
            number += 1
        assert seen == expected

    async def test_by_number(self, shim: Shim, sql: Connection) -> None:
        expected = await insert(sql, 25)
        assert await ids(shim, "?limit=10&page=3") == expected[20:]

    async def test_entries_of_one_instant_are_in_the_order_of_their_ids(self, shim: Shim, sql: Connection) -> None:
        await sql.execute(
            "insert into scheduler_audit (actor, action, outcome, at)"
            " select 'x', 'trigger', 'accepted', timestamptz '2026-11-23 12:00Z' from generate_series(1, 5)"
        )
        first = (await shim.get(f"{PATH}?limit=2")).json()
        rest = await ids(shim, f"?limit=3&cursor={first['nextCursor']}")
        found = [entry["id"] for entry in first["entries"]] + rest
        assert (len(found), found) == (5, sorted(found, reverse=True))

    async def test_a_cursor_is_bound_to_its_list_and_its_filters(self, shim: Shim, sql: Connection) -> None:
        await insert(sql, 3)
        await shim.trigger()
        await shim.trigger()
        of_audit = (await shim.get(f"{PATH}?limit=1")).json()["nextCursor"]
        of_jobs = (await shim.get("/api/jobs?limit=1")).json()["nextCursor"]
        assert (await shim.get(f"{PATH}?limit=1&cursor={of_audit}")).status_code == 200
        assert (await shim.get(f"{PATH}?limit=1&cursor={of_audit}&action=trigger")).status_code == 400
        assert (await shim.get(f"{PATH}?limit=1&cursor={of_jobs}")).status_code == 400
        assert (await shim.get(f"/api/jobs?limit=1&cursor={of_audit}")).status_code == 400
        assert (await shim.get(f"{PATH}?cursor=nonsense")).status_code == 400

    async def test_the_total_is_exact_to_ten_thousand_and_estimated_beyond(self, shim: Shim, sql: Connection) -> None:
        await insert(sql, 10_000)
        page = (await shim.get(f"{PATH}?limit=1")).json()
        assert (page["total"], page["totalIsEstimate"]) == (10_000, False)
        await insert(sql, 5_000)
        await sql.execute("analyze scheduler_audit")
        page = (await shim.get(f"{PATH}?limit=1")).json()
        assert page["totalIsEstimate"] is True
        assert page["total"] == pytest.approx(15_000, rel=0.2)
