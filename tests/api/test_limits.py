"""429: how many changes an admin may make, on one shim and on two, and what a limited call does: nothing."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import httpx
import pytest

from api.limits import changes_something
from flows.clients import database
from tests.api.conftest import MakeShim, Shim
from tests.api.fakes import PLAIN
from tests.api.routes import JOB
from tests.conftest import Connection

SMALL = {"rate_limit_per_minute": 6, "rate_limit_burst": 3}


def assert_limited(answer: httpx.Response, most_seconds: int) -> None:
    assert answer.status_code == 429
    seconds = int(answer.headers["retry-after"])
    assert 1 <= seconds <= most_seconds
    assert answer.json() == {
        "error": f"Too many changes: try again in {seconds} s",
        "code": "RATE_LIMITED",
        "status": 429,
        "requestId": answer.headers["x-request-id"],
    }


class Listening(httpx.AsyncBaseTransport):
    """The process's transport to the database, with a note of every call that goes through it."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.paths: list[str] = []

    @classmethod
    def to_the_database(cls) -> Listening:
        connection: Any = database._connected()
        connection.transport = cls(connection.transport)
        listening: Listening = connection.transport
        return listening

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.paths.append(request.url.path)
        answer: httpx.Response = await self._inner.handle_async_request(request)
        return answer

    async def exchange(self, method: str, url: str, *more: Any) -> Any:
        self.paths.append(httpx.URL(url).path)
        return await self._inner.exchange(method, url, *more)

    async def aclose(self) -> None:
        await self._inner.aclose()


async def count(sql: Connection, table: str) -> Any:
    return await sql.fetchval(f"select count(*) from {table}")


async def test_after_its_burst_a_trigger_is_429_before_any_effect(make_shim: MakeShim, sql: Connection) -> None:
    async with make_shim(**SMALL) as shim:
        assert [(await shim.trigger()).status_code for _ in range(3)] == [202] * 3
        for _ in range(3):
            assert_limited(await shim.trigger(Idempotency_Key="k"), 10)
        assert (await shim.get("/api/jobs")).json()["total"] == 3  # reading costs nothing
        await shim.runtime.refusals.settled()
    assert await count(sql, "scheduled_jobs") == 3
    assert await count(sql, "scheduler_audit") == 3
    assert await count(sql, "idempotency_keys") == 0


async def test_the_default_is_sixty_at_once(shim: Shim) -> None:
    answers = await asyncio.gather(*(shim.trigger() for _ in range(80)))
    told = Counter(answer.status_code for answer in answers)
    assert set(told) == {202, 429}
    assert 60 <= told[202] <= 70  # two more a second


async def test_every_change_draws_on_the_same_turns(make_shim: MakeShim) -> None:
    async with make_shim(**SMALL) as shim:
        assert (await shim.post(f"/api/jobs/{JOB}/cancel")).status_code == 404
        assert (await shim.put("/api/maintenance", {"paused": False})).status_code == 200
        assert (await shim.post(f"/api/jobs/{JOB}/retry")).status_code == 404
        await shim.runtime.refusals.settled()
        for answer in (
            await shim.trigger(),
            await shim.post(f"/api/jobs/{JOB}/cancel"),
            await shim.post(f"/api/jobs/{JOB}/retry"),
            await shim.put("/api/maintenance", {"paused": True, "reason": "x"}),
        ):
            assert_limited(answer, 10)
        assert not (await shim.get("/api/maintenance")).json()["paused"]


async def test_turns_come_back(make_shim: MakeShim) -> None:
    async with make_shim(rate_limit_per_minute=300, rate_limit_burst=1) as shim:
        assert [(await shim.trigger()).status_code for _ in range(2)] == [202, 429]
        await asyncio.sleep(0.25)
        assert (await shim.trigger()).status_code == 202


async def test_two_shims_share_the_turns(make_shim: MakeShim, sql: Connection) -> None:
    async with make_shim(**SMALL) as one, make_shim(**SMALL) as other:
        answers = [await shim.trigger() for _ in range(4) for shim in (one, other)]
    assert Counter(answer.status_code for answer in answers) == {202: 3, 429: 5}
    assert await count(sql, "scheduled_jobs") == 3


async def test_another_admin_is_not_held_up(make_shim: MakeShim) -> None:
    async with make_shim(**SMALL) as shim:
        for _ in range(4):
            await shim.trigger()
        other = {"Authorization": f"Bearer {shim.tokens.sign(sub='user_other', metadata={'role': 'admin'})}"}
        answer = await shim.http.post("/api/jobs/trigger", json={"jobType": "crawl_pending"}, headers=other)
        assert answer.status_code == 202


async def test_zero_switches_it_off(make_shim: MakeShim, sql: Connection) -> None:
    async with make_shim(rate_limit_per_minute=0, rate_limit_burst=1) as shim:
        assert {(await shim.trigger()).status_code for _ in range(5)} == {202}
        assert (await shim.put("/api/maintenance", {"paused": False})).status_code == 200
    assert await count(sql, "rate_limits") == 0


async def test_who_may_not_call_is_never_counted(shim: Shim, sql: Connection) -> None:
    plain = {"Authorization": f"Bearer {shim.tokens.sign(sub=PLAIN)}"}
    for headers in ({}, {"Authorization": "Bearer x"}, plain):
        answers = [await shim.http.post("/api/jobs/trigger", headers=headers) for _ in range(70)]
        assert 429 not in {answer.status_code for answer in answers}
    assert await count(sql, "rate_limits") == 0
    assert await count(sql, "scheduler_audit") == 0


async def test_a_trigger_is_one_call_of_the_database(shim: Shim) -> None:
    await shim.trigger()  # finds out whose the token is
    asked = Listening.to_the_database()
    assert (await shim.trigger()).status_code == 202
    assert asked.paths == ["/rest/v1/rpc/accept_job"]


async def test_who_was_told_to_wait_is_answered_without_the_database(make_shim: MakeShim) -> None:
    async with make_shim(**SMALL) as shim:
        for _ in range(4):
            await shim.trigger()
        asked = Listening.to_the_database()
        assert {(await shim.trigger()).status_code for _ in range(10)} == {429}
        assert asked.paths == []


async def test_without_a_database_a_change_is_503(make_shim: MakeShim, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPABASE_URL", "http://127.0.0.1:9")
    async with make_shim(catalogue=False, **SMALL) as shim:
        answers = [await shim.put("/api/maintenance", {"paused": False}) for _ in range(5)]
    assert {answer.status_code for answer in answers} == {503}


@pytest.mark.parametrize(
    ("method", "path", "changes"),
    [
        ("GET", "/api/jobs", False),
        ("HEAD", "/api/jobs", False),
        ("POST", "/api/schedules/preview", False),
        ("POST", "/api/jobs/trigger", True),
        ("PATCH", "/api/job-types/{job_type}/schedule", True),
        ("DELETE", "/api/job-types/{job_type}/schedule", True),
    ],
)
def test_what_changes_something(method: str, path: str, changes: bool) -> None:  # noqa: FBT001
    assert changes_something(method, path) == changes
