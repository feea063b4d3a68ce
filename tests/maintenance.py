"""What the tests of the maintenance jobs share: interactions to count, and what the counts must be, by plain Python."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from typing import Any, Protocol, TypeAlias
from uuid import UUID

import asyncpg

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Counts: TypeAlias = dict[UUID, dict[str, int]]

COUNTED = ("views", "total_views", "likes", "saves", "shares", "skips")


async def make_discoveries(sql: Connection, count: int, *, age: str = "1 hour") -> list[UUID]:
    rows = await sql.fetch(
        "insert into public.discoveries (url, title, created_at)"
        " select 'http://site.test/' || gen_random_uuid(), '', now() - $2::text::interval"
        " from generate_series(1, $1::int) returning id",
        count,
        age,
    )
    return [row["id"] for row in rows]


async def make_users(sql: Connection, count: int) -> list[UUID]:
    rows = await sql.fetch(
        "insert into public.users (clerk_user_id) select 'user_' || gen_random_uuid()"
        " from generate_series(1, $1::int) returning id",
        count,
    )
    return [row["id"] for row in rows]


async def interact(
    sql: Connection,
    discovery: UUID,
    count: int,
    *,
    type: str = "view",  # noqa: A002  # the column's name
    users: list[UUID] | None = None,
    at: datetime | str = "1 hour",
) -> None:
    """So many interactions of one type, without a user each or with these; `at` is a time, or an age."""
    await sql.execute(
        "insert into public.user_interactions (user_id, discovery_id, type, created_at)"
        " select u, $1, $2, coalesce($3::timestamptz, now() - $4::text::interval) from unnest($5::uuid[]) u",
        discovery,
        type,
        None if isinstance(at, str) else at,
        at if isinstance(at, str) else None,
        users if users is not None else [None] * count,
    )


async def scatter(sql: Connection, seed: float, *, oldest: str = "3 years") -> None:
    """An interaction of a random kind and age for many pairs of a user and a discovery; some share one instant."""
    await sql.execute("select setseed($1)", seed)
    await sql.execute(
        "insert into public.user_interactions (user_id, discovery_id, type, created_at)"
        " select case when random() < 0.7 then u.id end, d.id, t,"
        "   case when random() < 0.3 then now() - interval '800 days'"
        "        when random() < 0.3 then now() - interval '9 days'"
        "        else now() - $1::text::interval * random() end"
        " from public.users u, public.discoveries d, unnest(array['view', 'like', 'save', 'share', 'skip']) t"
        " where random() < 0.3",
        oldest,
    )


async def lifetime_counts(sql: Connection) -> Counts:
    """What every discovery's counts must be, counted one by one from the rows present. Take it before a purge."""
    counts: Counts = defaultdict(lambda: dict.fromkeys(COUNTED, 0))
    names = {"view": "total_views", "like": "likes", "save": "saves", "share": "shares", "skip": "skips"}
    for row in await sql.fetch("select discovery_id, type, user_id from public.user_interactions"):
        of = counts[row["discovery_id"]]
        of[names[row["type"]]] += 1
        of["views"] += row["type"] == "view" and row["user_id"] is not None
    return dict(counts)


async def written_counts(sql: Connection) -> Counts:
    """What content_metrics says. Fails where the discovery, or the engagement rate, says something else."""
    counts: Counts = {}
    for row in await sql.fetch(
        "select m.*, d.view_count, d.like_count, d.save_count, d.share_count from public.content_metrics m"
        " join public.discoveries d on d.id = m.discovery_id"
    ):
        of = dict(
            zip(
                COUNTED,
                (row[f"{name}_count"] for name in ("views", "total_views", "likes", "saves", "shares", "skip")),
                strict=True,
            )
        )
        shown = [row[f"{name}_count"] for name in ("view", "like", "save", "share")]
        assert shown == [of["total_views"], of["likes"], of["saves"], of["shares"]]
        rate = (of["likes"] + of["saves"]) / of["views"] if of["views"] else 0
        assert abs(float(row["engagement_rate"]) - rate) < 1e-9
        counts[row["discovery_id"]] = of
    return counts


async def snapshot(sql: Connection, *, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """Every row of every table, without what the run of a job writes about itself."""
    found = {}
    for row in await sql.fetch("select tablename from pg_tables where schemaname = 'public' order by 1"):
        name = row["tablename"]
        if name not in (*without, "job_events", "maintenance_counts", "trending_moves"):
            rows = await sql.fetch(f"select to_jsonb(t)::text as row from public.{name} t")
            found[name] = sorted(each["row"] for each in rows)
    return found


async def running_job(sql: Connection, job_type: str) -> UUID:
    """A job whose lease is held, under fence 1."""
    found: UUID = await sql.fetchval(
        "insert into public.scheduled_jobs (job_type, status, fence, locked_at, started_at)"
        " values ($1, 'running', 1, now() + interval '1 hour', now()) returning id",
        job_type,
    )
    return found


class Caller(Protocol):
    """The SQL functions as calls (tests/database/conftest.py)."""

    connection: Connection

    async def call(self, function: str, **parameters: Any) -> Any: ...


class Maintenance:
    """A running job that calls the functions."""

    def __init__(self, scheduler: Caller, job: UUID) -> None:
        self.scheduler = scheduler
        self.job = job

    @classmethod
    async def begin(cls, scheduler: Caller) -> Maintenance:
        return cls(scheduler, await running_job(scheduler.connection, "cleanup_old_data"))

    async def call(self, function: str, **parameters: Any) -> Any:
        return await self.scheduler.call(function, job=self.job, fence=1, **parameters)

    async def walk(self, function: str, limit: int, **parameters: Any) -> int:
        """How many rows all batches together had."""
        rows, answer = 0, {"more": True, "after": None}
        while answer["more"]:
            answer = await self.call(function, limit=limit, after=answer["after"], **parameters)
            rows += answer["rows"]
        return rows

    async def recount(self, limit: int = 7, *, full: bool = True) -> int:
        opened = await self.call("open_metrics", full=full)
        assert not opened["wait"]
        if not opened["full"]:
            await self.walk("mark_changed", limit, since=datetime.fromisoformat(opened["since"]))
        if opened["count"]:
            await self.walk("count_interactions", limit)
        changed = await self.walk("apply_metrics", limit)
        await self.call("close_metrics")
        return changed


MAINTAINED = (
    "users, discoveries, content_metrics, trending_content, purged_interactions, maintenance_counts, metrics_pass,"
    " metrics_counts, metrics_state, trending_moves, scheduled_jobs_archive"
)
