"""How fast maintenance goes through large tables, against the fastest plain SQL for the same on the same server.

`python -m bench.maintenance` (`cleanup=1000000 trending=1000000 archive=500000 runs=3`; 0 leaves one out). Ours is
the jobs' own code through PostgREST, pauses and all; the limit is SQL on a connection of its own, and does the same
to the same rows. Both start from the same freshly filled tables each time, one after the other, and the medians count.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

import asyncpg

from bench.figures import Measured, exit_status, figure, middle, peak_mb
from bench.sizes import sizes_of
from flows.cleanup_old_data import Cleanup
from flows.clients import database
from flows.core import lease as leases
from flows.core.counting import recount
from flows.core.maintenance import Tally
from flows.core.trending import rescore
from sandbox.stack import DATABASE_PARTS, Stack

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Work: TypeAlias = Callable[[], Awaitable[int]]

AS_OF = datetime(2026, 11, 25, 12, tzinfo=UTC)
RAW_BATCHES = (10_000, 50_000)
DISCOVERIES, USERS = 41_000, 50_000
SIZES = {"cleanup": 1_000_000, "trending": 1_000_000, "archive": 500_000, "runs": 3}

RAW_PURGE = """
with gone as (
  delete from public.user_interactions where ctid = any (array(
      select ctid from public.user_interactions where created_at < now() - interval '2 years' limit $1))
    returning discovery_id, type, user_id),
noted as (
  insert into public.purged_interactions as p (discovery_id, type, with_user, total)
    select discovery_id, type, count(user_id), count(*) from gone group by 1, 2
    on conflict (discovery_id, type) do update
      set with_user = p.with_user + excluded.with_user, total = p.total + excluded.total)
select count(*) from gone
"""
RAW_DELETE = """
with gone as (
  delete from public.user_interactions where ctid = any (array(
      select ctid from public.user_interactions where created_at < now() - interval '2 years' limit $1)) returning 1)
select count(*) from gone
"""
RAW_ARCHIVE = """
with moved as (
  delete from public.scheduled_jobs where ctid = any (array(
      select ctid from public.scheduled_jobs
        where completed_at < now() - interval '90 days' and status in ('completed', 'failed', 'cancelled') limit $1))
    returning *),
kept as (insert into public.scheduled_jobs_archive select * from moved)
select count(*) from moved
"""
RAW_SCORES = """
update public.discoveries d set trending_score = s.score from (
  select d.id, least(1::float8, 5
      * ((m.likes_count + m.saves_count + m.shares_count)::float8 / greatest(1, m.views_count))
      * ((3 * m.likes_count + 4 * m.saves_count + 5 * m.shares_count + 0.1::float8 * greatest(1, m.views_count))
         / greatest(1::float8, 0.5::float8 * greatest(1, m.views_count)))
      * exp(greatest(0::float8, date_part('epoch', $1::timestamptz - d.created_at) / 86400) / -2)) as score
    from public.discoveries d join public.content_metrics m on m.discovery_id = d.id
    where d.is_active and d.deleted_at is null and d.created_at > $1::timestamptz - interval '7 days'
      and m.likes_count + m.saves_count + m.shares_count > 0) s
  where d.id = s.id and s.score > 0.01 and d.trending_score is distinct from s.score
"""


# Every function takes a share of its own job's row; what else is written in a transaction is locked until its end.
LONGEST = """
select max(seconds), max(seconds) filter (where writes) from (
  select extract(epoch from clock_timestamp() - a.xact_start)::float8 as seconds, exists (
      select from pg_locks l where l.pid = a.pid and l.mode = 'RowExclusiveLock' and l.relation in (
        'public.user_interactions'::regclass, 'public.discoveries'::regclass, 'public.content_metrics'::regclass,
        'public.trending_content'::regclass, 'public.scheduled_jobs'::regclass)) as writes
    from pg_stat_activity a where a.usename = 'authenticator' and a.state <> 'idle') running
"""


class Bench:
    def __init__(self, stack: Stack, sql: Connection, runs: int) -> None:
        self.stack = stack
        self.sql = sql
        self.runs = runs
        self.met: list[bool] = []
        self.longest_lock = self.longest = 0.0

    def figure(self, name: str, *, ours: Measured, limit: Measured, unit: str, goal: str) -> None:
        self.met.append(figure(name, ours=ours, limit=limit, unit=unit, goal=goal, peak_mb=peak_mb(os.getpid())))

    async def take_lease(self) -> None:
        # The run before has ended, as it would have outside a benchmark.
        await self.sql.execute("update public.scheduled_jobs set status = 'completed' where status = 'running'")
        job = await self.sql.fetchval(
            "insert into public.scheduled_jobs (job_type, status, fence, locked_at, started_at)"
            " values ('cleanup_old_data', 'running', 1, now() + interval '1 day', now()) returning id"
        )
        leases.enter(leases.Lease(job, 1))

    async def settle(self) -> None:
        """So that no measurement pays for the one before, or for filling the tables."""
        await self.sql.execute("vacuum (analyze)")
        owner = await asyncpg.connect(f"{self.stack.wiring.owner_url}/postgres")
        try:
            await owner.execute("checkpoint")
        finally:
            await owner.close()

    async def ours(self, work: Work) -> tuple[int, float]:
        """Rows and seconds of a piece of a job; notes its longest transaction."""
        await self.take_lease()
        leases.current_lease().renewed(leases.now() + 86_400)  # type: ignore[union-attr]  # there is no beat here
        async with self.watched():
            began = time.monotonic()
            rows = await work()
            return rows, time.monotonic() - began

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Looks all the time for how long PostgREST's transactions last, and those that may have locked a row."""
        watcher = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watcher.cancel()

    async def _watch(self) -> None:
        connection = await asyncpg.connect(self.stack.wiring.database_url)
        try:
            while True:
                (seen,) = await connection.fetch(LONGEST)
                self.longest = max(self.longest, seen[0] or 0)
                self.longest_lock = max(self.longest_lock, seen[1] or 0)
                await asyncio.sleep(0.02)
        finally:
            await connection.close()

    async def raw_batches(self, statement: str, size: int) -> tuple[int, float]:
        prepared = await self.sql.prepare(statement)
        began, rows = time.monotonic(), 0
        while found := await prepared.fetchval(size):
            rows += found
        return rows, time.monotonic() - began


async def cleanup(bench: Bench, count: int) -> None:
    await bench.sql.execute(f"select bench.make_interactions({DISCOVERIES}, {USERS}, {count})")
    ours: list[float] = []
    raw: dict[int, list[float]] = {size: [] for size in RAW_BATCHES}
    plain: list[float] = []

    async def fresh() -> None:
        await bench.sql.execute("select bench.place_interactions()")
        await bench.settle()

    async def purge() -> int:
        return await Cleanup(datetime.now(UTC), Tally(), dry_run=False).purge()

    for _ in range(bench.runs):
        await fresh()
        rows, seconds = await bench.ours(purge)
        ours.append(rows / seconds)
        for size in RAW_BATCHES:
            await fresh()
            same, seconds = await bench.raw_batches(RAW_PURGE, size)
            assert same == rows
            raw[size].append(rows / seconds)
        say(f"cleanup: {rows} rows, ours {ours[-1]:.0f}/s, raw {', '.join(f'{one[-1]:.0f}' for one in raw.values())}/s")
    await fresh()
    rows, seconds = await bench.raw_batches(RAW_DELETE, RAW_BATCHES[0])
    plain.append(rows / seconds)
    fastest = max(raw.values(), key=middle)
    bench.figure(f"cleanup of {rows} old interactions", ours=ours, limit=fastest, unit="rows/s", goal=">=0.8")
    bench.figure("cleanup, against deletes that keep no number", ours=ours, limit=plain, unit="rows/s", goal="")
    await bench.sql.execute("select bench.place_interactions()")
    await bench.settle()

    async def count_all() -> int:
        return (await recount(Tally(), full=True)).changed

    discoveries, seconds = await bench.ours(count_all)
    statement = "select discovery_id, type, count(user_id), count(*) from public.user_interactions group by 1, 2"
    began = time.monotonic()
    await bench.sql.execute(f"select count(*) from ({statement}) one")
    alone = time.monotonic() - began
    name = f"full recount of {rows} interactions, {discoveries} discoveries changed, against only counting them"
    bench.figure(name, ours=seconds, limit=alone, unit="s", goal="")


async def trending(bench: Bench, count: int) -> None:
    first: list[float] = []
    changed: list[float] = []
    raw: list[float] = []

    async def fresh() -> None:
        await bench.sql.execute(f"select bench.place_discoveries({count})")
        await bench.settle()

    async def score() -> int:
        return (await rescore(Tally(), AS_OF)).moved

    for _ in range(bench.runs):
        await fresh()
        began = time.monotonic()
        status = await _raw_scores(bench.sql)
        raw.append(time.monotonic() - began)
        await fresh()
        rows, seconds = await bench.ours(score)
        assert rows == int(status.split()[-1])
        first.append(seconds)
        await bench.sql.execute(
            "update public.content_metrics set likes_count = likes_count + 1"
            " where discovery_id in (select id from public.discoveries tablesample bernoulli (2) repeatable (1))"
        )
        await bench.settle()
        moved, seconds = await bench.ours(score)
        changed.append(seconds)
        say(f"trending: {rows} scores, ours {first[-1]:.1f} s, raw {raw[-1]:.1f} s; then {moved} in {seconds:.2f} s")
    rate = [[count / seconds for seconds in taken] for taken in (first, raw)]
    bench.figure(
        f"trending of {count} discoveries, first run", ours=rate[0], limit=rate[1], unit="rows/s", goal=">=0.8"
    )
    bench.figure("trending with 2 % changed", ours=changed, limit=raw, unit="s", goal="<=0.15")


async def _raw_scores(sql: Connection) -> str:
    prepared = await sql.prepare(RAW_SCORES)
    await prepared.fetch(AS_OF)
    return str(prepared.get_statusmsg())


async def archive(bench: Bench, count: int) -> None:
    ours: list[float] = []
    raw: dict[int, list[float]] = {size: [] for size in RAW_BATCHES}

    async def fresh() -> None:
        await bench.sql.execute(f"select bench.place_jobs({count})")
        await bench.settle()

    async def move() -> int:
        return await Cleanup(datetime.now(UTC), Tally(), dry_run=False).archive()

    for _ in range(bench.runs):
        await fresh()
        rows, seconds = await bench.ours(move)
        assert rows == count
        ours.append(rows / seconds)
        for size in RAW_BATCHES:
            await fresh()
            rows, seconds = await bench.raw_batches(RAW_ARCHIVE, size)
            raw[size].append(rows / seconds)
        say(f"archive: ours {ours[-1]:.0f}/s, raw {', '.join(f'{one[-1]:.0f}' for one in raw.values())}/s")
    fastest = max(raw.values(), key=middle)
    bench.figure(f"archive of {count} jobs", ours=ours, limit=fastest, unit="rows/s", goal=">=0.8")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


async def main(sizes: dict[str, int]) -> bool:
    with tempfile.TemporaryDirectory(prefix="bench-maintenance-") as folder:
        async with Stack(Path(folder) / "stack", ports="free", parts=DATABASE_PARTS) as stack:
            os.environ["SUPABASE_URL"] = stack.wiring.supabase_url
            os.environ["SUPABASE_SERVICE_KEY"] = stack.wiring.service_key
            sql = await asyncpg.connect(stack.wiring.database_url, command_timeout=600)
            try:
                await sql.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
                bench = Bench(stack, sql, sizes["runs"])
                for name, measure in (("cleanup", cleanup), ("trending", trending), ("archive", archive)):
                    if sizes[name]:
                        await measure(bench, sizes[name])
                words = "longest transaction of ours"
                bench.figure(f"{words} that writes", ours=bench.longest_lock, limit=1, unit="s", goal="<=1")
                # Scoring reads in longer stretches: it locks no row, and nobody waits for it.
                bench.figure(f"{words}, those that only read included", ours=bench.longest, limit=1, unit="s", goal="")
                return all(bench.met)
            finally:
                await sql.close()
                await database.close()


if __name__ == "__main__":
    sys.exit(exit_status(met=asyncio.run(main(sizes_of(sys.argv[1:], SIZES)))))
