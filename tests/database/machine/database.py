"""The real database for a machine that is no coroutine: calls, the passing of time, and one look at everything."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from datetime import datetime
from typing import Any, Self, TypeVar

import asyncpg

from tests.database.conftest import Scheduler

T = TypeVar("T")

_EMPTY = """
delete from public.scheduled_jobs; delete from public.job_events; delete from public.crawl_claims;
delete from public.scheduler_audit; delete from public.idempotency_keys; delete from public.sweep_state;
delete from public.maintenance; delete from public.schedule_overrides; delete from public.discoveries;
"""
# Every time that a function compares with the clock; ended rows keep theirs, but for the hour of their recovery.
_PASS = """
with passed as (select make_interval(secs => {seconds}) as time),
jobs as (
  update public.scheduled_jobs set
      locked_at = locked_at - time, started_at = started_at - time, lease_ends_at = lease_ends_at - time,
      dispatch_after = dispatch_after - time, cancel_requested_at = cancel_requested_at - time,
      recover_at = recover_at - time
    from passed where not public.job_has_ended(status) or recover_at is not null),
sweeps as (update public.sweep_state set swept_at = swept_at - time, grace_until = grace_until - time from passed),
pauses as (update public.maintenance set until = until - time, set_at = set_at - time from passed),
keys as (update public.idempotency_keys set created_at = created_at - time from passed)
update public.crawl_claims set claimed_at = claimed_at - time, lost_at = lost_at - time from passed
"""
_LOOK = """
select jsonb_build_object(
  'jobs', (select coalesce(jsonb_agg(to_jsonb(j)), '[]') from public.scheduled_jobs j),
  'claims', (select coalesce(jsonb_agg(jsonb_build_array(discovery_id, job_id, fence)), '[]') from public.crawl_claims
     where public.crawl_claim_lives(job_id, fence)),
  'pages', (select coalesce(jsonb_object_agg(id, crawl_status), '{}') from public.discoveries),
  'events', (select coalesce(jsonb_object_agg(job_id, statuses), '{}') from (
     select job_id, jsonb_agg(data ->> 'status' order by id) as statuses from public.job_events
       where kind in ('accepted', 'status') group by job_id) e),
  'audit', (select coalesce(jsonb_agg(jsonb_build_array(actor, action, job_id, outcome, entries)), '[]') from (
     select actor, action, job_id, outcome, count(*) as entries from public.scheduler_audit
       where job_id is not null group by 1, 2, 3, 4) a))
"""


class Database:
    """One connection on a loop of its own."""

    def __init__(self, url: str) -> None:
        self._runner = asyncio.Runner()
        self._connection: asyncpg.Connection[asyncpg.Record] = self._wait(asyncpg.connect(url))
        self._scheduler = Scheduler(self._connection)
        self._wait(
            self._connection.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
        )
        # Nothing here outlives a crash of the server, and a test that waits for the disk makes fewer steps.
        self.execute("set synchronous_commit = off")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._wait(self._connection.close())
        self._runner.close()

    def _wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(coroutine)

    def execute(self, statement: str) -> None:
        self._wait(self._connection.execute(statement))

    def value(self, question: str) -> Any:
        return self._wait(self._connection.fetchval(question))

    def call(self, function: str, **parameters: Any) -> Any:
        return self._wait(self._scheduler.call(function, **parameters))

    def rows(self, function: str, **parameters: Any) -> list[dict[str, Any]]:
        return self._wait(self._scheduler.rows(function, **parameters))

    def empty(self) -> None:
        self.execute(_EMPTY)

    def now(self) -> datetime:
        at: datetime = self.value("select clock_timestamp()")
        return at

    def let_pass(self, seconds: int) -> None:
        """Makes everything that is compared with the clock that much older."""
        self.execute(_PASS.format(seconds=seconds))

    def look(self) -> dict[str, Any]:
        """Every row that matters, in one answer."""
        seen: dict[str, Any] = self.value(_LOOK)
        return seen
