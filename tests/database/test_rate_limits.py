"""The token bucket of each actor: what it gives, that a limited call writes nothing, and that replicas share it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.database.conftest import Scheduler

JOB = {"job_type": "crawl_pending", "origin": "dashboard", "exclusive_key": "crawl_pending", "parameters": {}}


async def take(scheduler: Scheduler, per_minute: int = 60, burst: int = 3, actor: str = "user_1") -> float:
    seconds: float = await scheduler.call("take_turn", actor=actor, per_minute=per_minute, burst=burst)
    return seconds


async def accept(scheduler: Scheduler, *, rate: dict[str, int] | None, key: str | None = None) -> dict[str, Any]:
    idempotency = {"actor": "user_1", "route": "trigger", "key": key, "fingerprint": "f"} if key else None
    audit = {"actor": "user_1", "action": "trigger", "rate": rate}
    answer: dict[str, Any] = await scheduler.call("accept_job", job=JOB, audit=audit, idempotency=idempotency)
    return answer


@pytest.fixture(autouse=True)
async def fresh_buckets(scheduler: Scheduler) -> None:
    await scheduler.connection.execute("truncate public.rate_limits")


async def let_pass(scheduler: Scheduler, seconds: float) -> None:
    await scheduler.connection.execute("update public.rate_limits set at = at - make_interval(secs => $1)", seconds)


async def test_a_burst_is_taken_at_once_and_then_there_is_a_time_to_wait(scheduler: Scheduler) -> None:
    assert [await take(scheduler) for _ in range(3)] == [0, 0, 0]
    assert 0.9 < await take(scheduler) <= 1.0


async def test_turns_come_back_with_time_and_no_more_than_the_burst(scheduler: Scheduler) -> None:
    for _ in range(4):
        await take(scheduler)
    await let_pass(scheduler, 2)
    assert [await take(scheduler) > 0 for _ in range(3)] == [False, False, True]
    await let_pass(scheduler, 3600)
    assert [await take(scheduler) > 0 for _ in range(4)] == [False, False, False, True]


async def test_asking_in_vain_does_not_put_the_next_turn_off(scheduler: Scheduler) -> None:
    for _ in range(3):
        await take(scheduler)
    before = await scheduler.connection.fetchrow("select * from public.rate_limits")
    for _ in range(20):
        assert await take(scheduler) > 0
    assert await scheduler.connection.fetchrow("select * from public.rate_limits") == before


async def test_actors_have_buckets_of_their_own(scheduler: Scheduler) -> None:
    for _ in range(4):
        await take(scheduler)
    assert await take(scheduler, actor="service:report") == 0


async def test_a_clock_that_is_put_back_costs_nobody_a_turn(scheduler: Scheduler) -> None:
    await take(scheduler)
    await let_pass(scheduler, -3600)
    assert await take(scheduler) == 0
    assert await take(scheduler) == 0
    assert await take(scheduler) <= 1.0


async def test_a_smaller_burst_holds_at_once(scheduler: Scheduler) -> None:
    await take(scheduler, burst=100)
    assert [await take(scheduler, burst=1) > 0 for _ in range(2)] == [False, True]


async def test_callers_at_the_same_time_get_no_turn_twice(scheduler: Scheduler, another: Scheduler) -> None:
    async def several(one: Scheduler) -> list[float]:
        return [await take(one, per_minute=1, burst=10) for _ in range(10)]

    taken = await asyncio.gather(several(scheduler), several(another))
    assert sum(seconds == 0 for one in taken for seconds in one) == 10


async def test_an_acceptance_without_a_turn_changes_nothing(scheduler: Scheduler) -> None:
    rate = {"perMinute": 1, "burst": 1}
    assert (await accept(scheduler, rate=rate))["outcome"] == "accepted"
    limited = await accept(scheduler, rate=rate, key="k")
    assert (limited["outcome"], limited["job"]) == ("limited", None)
    assert 58 < limited["seconds"] <= 60
    for table in ("scheduled_jobs", "scheduler_audit"):
        assert await scheduler.connection.fetchval(f"select count(*) from public.{table}") == 1
    assert await scheduler.connection.fetchval("select count(*) from public.idempotency_keys") == 0


async def test_a_repeat_costs_a_turn_like_every_call(scheduler: Scheduler) -> None:
    rate = {"perMinute": 1, "burst": 2}
    outcomes = [(await accept(scheduler, rate=rate, key="k"))["outcome"] for _ in range(3)]
    assert outcomes == ["accepted", "replayed", "limited"]


async def test_who_is_not_limited_has_no_bucket(scheduler: Scheduler) -> None:
    for _ in range(3):
        assert (await accept(scheduler, rate=None))["outcome"] == "accepted"
    assert await scheduler.connection.fetchval("select count(*) from public.rate_limits") == 0


async def test_a_flood_of_refusals_fills_no_table(scheduler: Scheduler) -> None:
    rate = {"perMinute": 1, "burst": 5}
    told = [
        await scheduler.call("note_refusal", actor="user_1", action="trigger", outcome="refused", rate=rate)
        for _ in range(20)
    ]
    assert [seconds > 0 for seconds in told] == [False] * 5 + [True] * 15
    assert await scheduler.connection.fetchval("select count(*) from public.scheduler_audit") == 5
