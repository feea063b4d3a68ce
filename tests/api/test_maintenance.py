"""GET and PUT /api/maintenance: pause every start, and let it go on."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.api.conftest import MakeShim, Shim
from tests.api.fakes import ADMIN, PLAIN
from tests.api.test_trigger import INTERNAL, insert_admin
from tests.conftest import Connection

REFUSED = [
    ({}, "paused: required"),
    ([], "body: must be a JSON object"),
    ({"paused": "yes", "reason": "x"}, "paused: Input should be a valid boolean"),
    ({"paused": None, "reason": "x"}, "paused: Input should be a valid boolean"),
    ({"paused": False, "setBy": "me"}, "setBy: unknown field"),
    # why, in words that can be stored and shown
    ({"paused": True}, "reason: required for a pause"),
    ({"paused": True, "reason": None}, "reason: required for a pause"),
    ({"paused": True, "reason": "  "}, "reason: String should have at least 1 character"),
    ({"paused": True, "reason": "x" * 501}, "reason: String should have at most 500 characters"),
    ({"paused": True, "reason": "a\0b"}, "reason: String should match pattern"),
    ({"paused": True, "reason": "a\nb"}, "reason: String should match pattern"),
    ({"paused": True, "reason": 7}, "reason: Input should be a valid string"),
    # until when
    ({"paused": True, "reason": "x", "until": "2020-01-01T00:00:00Z"}, "until: must be in the future"),
    ({"paused": True, "reason": "x", "until": "2020-01-01T00:00:00"}, "until: must be in the future"),
    ({"paused": True, "reason": "x", "until": "0001-01-01T00:00:00+14:00"}, "until: must be in the future"),
    ({"paused": True, "reason": "x", "until": "soon"}, "until: Input should be a valid datetime"),
    ({"paused": True, "reason": "x", "until": 32503680000}, "until: must be a time as in 2026"),
    ({"paused": False, "until": "2999-01-01T00:00:00Z"}, "until: only for a pause"),
]

NEVER = {"paused": False, "reason": None, "until": None, "setBy": None, "setAt": None}


def later(**more: float) -> str:
    return (datetime.now(UTC) + timedelta(**more)).isoformat()


async def audit(sql: Connection) -> list[tuple[str, str, str]]:
    entries = await sql.fetch("select actor, action, outcome from scheduler_audit order by id")
    return [(entry["actor"], entry["action"], entry["outcome"]) for entry in entries]


class TestGet:
    async def test_anonymous(self, shim: Shim) -> None:
        assert (await shim.http.get("/api/maintenance")).status_code == 401

    async def test_not_admin(self, shim: Shim) -> None:
        plain = {"Authorization": f"Bearer {shim.tokens.sign(sub=PLAIN)}"}
        assert (await shim.http.get("/api/maintenance", headers=plain)).status_code == 403

    async def test_nobody_ever_paused(self, shim: Shim) -> None:
        answer = await shim.get("/api/maintenance")
        assert (answer.status_code, answer.json()) == (200, NEVER)

    async def test_a_pause_is_over_when_its_time_is(self, shim: Shim, sql: Connection) -> None:
        await sql.execute(
            "insert into maintenance (paused, reason, until, set_by)"
            " values (true, 'a move', now() - interval '1 s', 'u')"
        )
        body = (await shim.get("/api/maintenance")).json()
        assert (body["paused"], body["reason"], body["setBy"]) == (False, "a move", "u")
        assert datetime.fromisoformat(body["until"]) < datetime.now(UTC)


class TestPut:
    async def test_anonymous(self, shim: Shim, sql: Connection) -> None:
        answer = await shim.http.put("/api/maintenance", json={"paused": True, "reason": "x"})
        assert answer.status_code == 401
        assert await audit(sql) == []

    async def test_not_admin(self, shim: Shim, sql: Connection) -> None:
        plain = {"Authorization": f"Bearer {shim.tokens.sign(sub=PLAIN)}"}
        answer = await shim.http.put("/api/maintenance", json={"paused": True, "reason": "x"}, headers=plain)
        assert answer.status_code == 403
        assert await audit(sql) == []

    @pytest.mark.parametrize(("body", "sentence"), REFUSED)
    async def test_a_wrong_body_is_refused(self, shim: Shim, sql: Connection, body: Any, sentence: str) -> None:
        answer = await shim.put("/api/maintenance", body)
        assert answer.status_code == 400
        assert answer.json()["error"].startswith(sentence), answer.json()["error"]
        await shim.runtime.refusals.settled()
        assert [outcome for *_, outcome in await audit(sql)] == ["refused"]

    async def test_no_body_is_refused(self, shim: Shim) -> None:
        answer = await shim.http.put("/api/maintenance", headers=shim.tokens.admin_headers())
        assert (answer.status_code, answer.json()["error"]) == (400, "body: required")

    async def test_a_pause_holds_every_start_back(self, shim: Shim, sql: Connection) -> None:
        await insert_admin(sql)
        answer = await shim.put("/api/maintenance", {"paused": True, "reason": " database moves "})
        body = answer.json()
        assert (answer.status_code, body["paused"], body["reason"]) == (200, True, "database moves")
        assert (body["until"], body["setBy"]) == (None, INTERNAL)
        assert body["setAt"].endswith("Z")
        assert (await shim.get("/api/maintenance")).json() == body
        assert await audit(sql) == [(ADMIN, "pause", "done")]
        job_id = (await shim.trigger()).json()["id"]
        assert await shim.claimed() == []
        assert (await shim.get(f"/api/jobs/{job_id}")).json()["pendingReason"] == "paused: database moves"

    async def test_a_resume_lets_starts_go_on(self, make_shim: MakeShim, sql: Connection) -> None:
        async with make_shim(sweep_seconds=10) as shim, shim.runtime.running_loops():
            await shim.put("/api/maintenance", {"paused": True, "reason": "x"})
            job_id = (await shim.trigger()).json()["id"]
            await asyncio.sleep(0.3)
            assert not shim.prefect.created
            answer = await shim.put("/api/maintenance", {"paused": False, "reason": "done"})
            assert (answer.json()["paused"], answer.json()["reason"]) == (False, "done")
            async with asyncio.timeout(3):
                await shim.prefect.creation.wait()
            assert list(shim.prefect.created) == [job_id]
        assert [action for _, action, _ in await audit(sql)] == ["pause", "trigger", "resume"]

    async def test_a_pause_ends_by_itself(self, shim: Shim) -> None:
        body = (await shim.put("/api/maintenance", {"paused": True, "reason": "x", "until": later(seconds=1)})).json()
        assert body["paused"] is True
        await shim.trigger()
        assert await shim.claimed() == []
        await asyncio.sleep(1.1)
        after = (await shim.get("/api/maintenance")).json()
        assert after == {**body, "paused": False}
        assert len(await shim.claimed()) == 1

    async def test_a_time_without_a_zone_is_utc(self, shim: Shim) -> None:
        body = {"paused": True, "reason": "x", "until": "2999-01-01T12:00:00"}
        assert (await shim.put("/api/maintenance", body)).json()["until"] == "2999-01-01T12:00:00Z"
        body["until"] = "2999-01-01T12:00:00+02:00"
        assert (await shim.put("/api/maintenance", body)).json()["until"] == "2999-01-01T10:00:00Z"

    async def test_a_running_job_goes_on(self, shim: Shim, sql: Connection) -> None:
        await sql.execute(
            "insert into scheduled_jobs (job_type, status, locked_at, fence)"
            " values ('crawl_pending', 'running', now(), 1)"
        )
        await shim.put("/api/maintenance", {"paused": True, "reason": "x"})
        assert await sql.fetchval("select beat_job(id, fence) from scheduled_jobs") == "go"

    async def test_what_must_not_be_shown_is_taken_out_of_the_reason(self, shim: Shim) -> None:
        body = {"paused": True, "reason": "ask ada@example.com, password=hunter2"}
        assert (await shim.put("/api/maintenance", body)).json()["reason"] == "ask <address>, password=<secret>"

    async def test_pauses_at_the_same_time_leave_one_of_them(self, shim: Shim, sql: Connection) -> None:
        pauses = ({"paused": True, "reason": f"number {number}"} for number in range(8))
        answers = await asyncio.gather(*(shim.put("/api/maintenance", pause) for pause in pauses))
        assert {answer.status_code for answer in answers} == {200}
        now = (await shim.get("/api/maintenance")).json()
        assert now in [answer.json() for answer in answers]
        assert len(await audit(sql)) == 8
