"""Acceptance: row, audit entry and idempotency key are one transaction, and nobody but the service role may ask."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from tests.database.conftest import Scheduler

JOB = {
    "job_type": "crawl_pending",
    "origin": "dashboard",
    "exclusive_key": "crawl_pending",
    "parameters": {"max_items": 5},
}
AUDIT = {"actor": "user_1", "action": "trigger", "details": {"claimed": "test_user"}}


def key(fingerprint: str = "f", **other: str) -> dict[str, str]:
    return {"actor": "user_1", "route": "trigger", "key": "k", "fingerprint": fingerprint, **other}


async def accept(scheduler: Scheduler, idempotency: dict[str, str] | None) -> dict[str, Any]:
    answer: dict[str, Any] = await scheduler.call("accept_job", job=JOB, audit=AUDIT, idempotency=idempotency)
    return answer


async def test_an_accepted_job_has_a_row_and_an_audit_entry(scheduler: Scheduler) -> None:
    answer = await accept(scheduler, None)
    row = await scheduler.connection.fetchrow("select * from public.scheduler_audit")
    assert row is not None
    assert (row["actor"], row["action"], str(row["job_id"]), row["outcome"]) == (
        "user_1",
        "trigger",
        answer["job"]["id"],
        "accepted",
    )
    assert row["parameters"] == {"max_items": 5}
    assert answer["job"]["status"] == "pending"


async def test_the_same_key_gets_the_first_answer_again(scheduler: Scheduler) -> None:
    first = await accept(scheduler, key())
    again = await accept(scheduler, key())
    assert (first["outcome"], again["outcome"]) == ("accepted", "replayed")
    assert again["job"] == first["job"]
    assert await scheduler.connection.fetchval("select count(*) from public.scheduled_jobs") == 1


async def test_another_payload_under_the_same_key_is_a_mismatch(scheduler: Scheduler) -> None:
    await accept(scheduler, key())
    assert (await accept(scheduler, key("g")))["outcome"] == "mismatch"


@pytest.mark.parametrize("other", [{"actor": "user_2"}, {"route": "retry"}, {"key": "l"}])
async def test_a_key_is_scoped_by_actor_route_and_key(scheduler: Scheduler, other: dict[str, str]) -> None:
    await accept(scheduler, key())
    assert (await accept(scheduler, key(**other)))["outcome"] == "accepted"


async def test_a_key_is_forgotten_after_a_day(scheduler: Scheduler) -> None:
    await accept(scheduler, key())
    await scheduler.connection.execute("update public.idempotency_keys set created_at = now() - interval '25 hours'")
    assert (await accept(scheduler, key("g")))["outcome"] == "accepted"


async def test_a_call_that_arrives_while_the_first_is_under_way_gets_its_answer(
    scheduler: Scheduler, another: Scheduler
) -> None:
    transaction = scheduler.connection.transaction()
    await transaction.start()
    first = await accept(scheduler, key())
    second = asyncio.create_task(accept(another, key()))
    await asyncio.sleep(0.2)
    assert not second.done()
    await transaction.commit()
    assert (await second)["job"] == first["job"]


async def test_nothing_stays_of_a_job_that_could_not_be_written(scheduler: Scheduler) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await scheduler.call("accept_job", job={**JOB, "priority": "URGENT"}, audit=AUDIT, idempotency=key())
    for table in ("scheduled_jobs", "scheduler_audit", "idempotency_keys", "job_events"):
        assert await scheduler.connection.fetchval(f"select count(*) from public.{table}") == 0


@pytest.mark.parametrize("role", ["anon", "authenticated"])
async def test_strangers_may_call_and_read_nothing_of_ours(scheduler: Scheduler, role: str) -> None:
    functions = [
        "accept_job", "adopt_run", "take_job", "beat_job", "finish_job", "require_lease", "claim_dispatch",
        "record_dispatch", "postpone_dispatch", "forget_flow_run", "close_unstarted_job", "open_runs",
        "reap_dead_leases", "open_crawl", "claim_crawl_batch", "rescue_crawling", "settle_crawl_batch",
        "release_crawl_batch", "give_up_unstarted", "close_run", "jobs_of_runs", "cancel_job", "give_up_lease",
        "bury_job", "bury_silent_job", "recover_dead_jobs", "runs_to_end", "explain_job", "set_maintenance",
        "crawl_claim_lives", "list_jobs",
    ]  # fmt: skip
    allowed = await scheduler.connection.fetch(
        "select p.proname from pg_proc p where p.pronamespace = 'public'::regnamespace and p.proname = any($1)"
        " and has_function_privilege($2, p.oid, 'execute')", functions, role,
    )  # fmt: skip
    assert [row["proname"] for row in allowed] == []
    known = await scheduler.connection.fetchval(
        "select count(distinct proname) from pg_proc where pronamespace = 'public'::regnamespace and proname = any($1)",
        functions,
    )
    assert known == len(functions)
    tables = [
        "scheduled_jobs",
        "job_events",
        "scheduler_audit",
        "idempotency_keys",
        "crawl_claims",
        "sweep_state",
        "job_types",
        "maintenance",
        "schedule_overrides",
    ]
    for table in tables:
        secured = await scheduler.connection.fetchval(
            "select relrowsecurity from pg_class where oid = $1::regclass", f"public.{table}"
        )
        assert secured, f"{table} has no row-level security"
        for right in ("select", "insert", "update", "delete"):
            assert not await scheduler.connection.fetchval(
                "select has_table_privilege($1, $2, $3)", role, f"public.{table}", right
            ), f"{role} may {right} {table}"


async def test_every_function_of_ours_is_closed_to_strangers(scheduler: Scheduler) -> None:
    """Also the ones added after the list above was written: whatever our migrations define."""
    mine = await scheduler.connection.fetch(
        "select distinct (regexp_match(s, 'create (?:or replace )?function public\\.(\\w+)'))[1] as name"
        " from supabase_migrations.schema_migrations m, unnest(m.statements) s"
        " where s ~ 'create (or replace )?function public'"
    )
    names = [row["name"] for row in mine]
    assert "accept_job" in names
    open_ones = await scheduler.connection.fetch(
        "select p.proname, r.rolname from pg_proc p, pg_roles r where p.pronamespace = 'public'::regnamespace"
        " and p.proname = any($1) and r.rolname in ('anon', 'authenticated')"
        " and has_function_privilege(r.rolname, p.oid, 'execute')",
        names,
    )
    assert [tuple(row) for row in open_ones] == []
