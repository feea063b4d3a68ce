"""Recounting: numbers are what is there and what was purged, whoever does what meanwhile; a second run changes none."""

from __future__ import annotations

from datetime import timedelta

import asyncpg
import pytest

from tests.database.conftest import Scheduler
from tests.maintenance import (
    Connection,
    Maintenance,
    interact,
    lifetime_counts,
    make_discoveries,
    make_users,
    scatter,
    snapshot,
    written_counts,
)

BY_DISCOVERY = "create index proposed on public.user_interactions (discovery_id)"


@pytest.fixture
async def people(site: Connection) -> None:
    """Interactions of all kinds and ages."""
    await make_discoveries(site, 12)
    await make_users(site, 15)
    await scatter(site, 0.4)


@pytest.mark.usefixtures("people")
class TestFull:
    @pytest.mark.parametrize("limit", [1, 10, 10_000])
    async def test_numbers_are_what_is_there(self, maintenance: Maintenance, site: Connection, limit: int) -> None:
        await make_discoveries(site, 3)  # without an interaction: no row
        assert await maintenance.recount(limit) == 12
        assert await written_counts(site) == await lifetime_counts(site)

    async def test_a_second_run_changes_nothing(self, maintenance: Maintenance, site: Connection) -> None:
        await maintenance.recount()
        before = await snapshot(site, without=("metrics_state",))
        assert await maintenance.recount() == 0
        assert await snapshot(site, without=("metrics_state",)) == before

    async def test_wrong_numbers_are_put_right_wherever_they_stand(
        self, maintenance: Maintenance, site: Connection
    ) -> None:
        (idle,) = await make_discoveries(site, 1)
        await maintenance.recount()
        await site.execute("insert into public.content_metrics (discovery_id, likes_count) values ($1, 7)", idle)
        await site.execute(
            "update public.content_metrics set skip_count = 99 where discovery_id = (select id from"
            " public.discoveries where id <> $1 limit 1)",
            idle,
        )
        await site.execute(
            "update public.discoveries set save_count = 99 where id = (select id from"
            " public.discoveries where id <> $1 order by id desc limit 1)",
            idle,
        )
        assert await maintenance.recount() == 3
        expected = await lifetime_counts(site) | {idle: dict.fromkeys((await written_counts(site))[idle], 0)}
        assert await written_counts(site) == expected

    async def test_a_like_that_was_taken_back_is_taken_off(self, maintenance: Maintenance, site: Connection) -> None:
        await maintenance.recount()
        taken = await site.fetchval(
            "with gone as (delete from public.user_interactions where type in ('like', 'save')"
            " and created_at > now() - interval '1 year' returning discovery_id)"
            " select count(distinct discovery_id) from gone"
        )
        assert await maintenance.recount() == taken > 0
        assert await written_counts(site) == await lifetime_counts(site)

    async def test_the_index_that_is_proposed_is_used_and_gives_the_same(
        self, maintenance: Maintenance, site: Connection
    ) -> None:
        expected = await lifetime_counts(site)
        await maintenance.walk("purge_interactions", 50)
        await site.execute(BY_DISCOVERY)
        try:
            assert not (await maintenance.call("open_metrics", full=True))["count"]
            assert await maintenance.recount() == 12
            assert await written_counts(site) == expected
            (discovery,) = await make_discoveries(site, 1)
            await interact(site, discovery, 3)
            assert await maintenance.recount(full=False) == 1
            assert await written_counts(site) == await lifetime_and_purged(site)
        finally:
            await site.execute("drop index public.proposed")

    async def test_a_dry_run_says_the_same_number_and_changes_no_row(
        self, maintenance: Maintenance, site: Connection
    ) -> None:
        before = await snapshot(site)
        opened = await maintenance.call("open_metrics", full=True, dry_run=True)
        assert opened["count"]
        await maintenance.walk("count_interactions", 10)
        assert await maintenance.walk("apply_metrics", 5, dry_run=True) == 12
        await maintenance.call("close_metrics", dry_run=True)
        assert await snapshot(site) == before


async def lifetime_and_purged(site: Connection) -> object:
    """The lifetime counts after a purge: from a copy of the interactions as if it had not been."""
    async with _undone(site):
        await site.execute(
            "insert into public.user_interactions (discovery_id, type, user_id)"
            " select discovery_id, type, null from public.purged_interactions, generate_series(1, total - with_user)"
        )
        await site.execute(
            "with somebody as (insert into public.users (clerk_user_id) select gen_random_uuid()::text"
            "   from generate_series(1, (select max(with_user) from public.purged_interactions)) returning id),"
            " numbered as (select id, row_number() over () n from somebody)"
            " insert into public.user_interactions (discovery_id, type, user_id)"
            " select discovery_id, type, id from public.purged_interactions join numbered on n <= with_user"
        )
        return await lifetime_counts(site)


class _undone:  # noqa: N801  # reads as a word
    def __init__(self, connection: Connection) -> None:
        self._transaction = connection.transaction()

    async def __aenter__(self) -> None:
        await self._transaction.start()

    async def __aexit__(self, *_: object) -> None:
        await self._transaction.rollback()


@pytest.mark.usefixtures("people")
class TestChanged:
    async def test_the_first_counting_is_a_full_one(self, maintenance: Maintenance) -> None:
        opened = await maintenance.call("open_metrics", full=False)
        assert (opened["full"], opened["since"]) == (True, None)

    async def test_a_small_table_is_always_counted_in_full(self, maintenance: Maintenance) -> None:
        await maintenance.recount()
        assert (await maintenance.call("open_metrics"))["full"]

    async def test_only_what_has_new_interactions_is_looked_at(
        self, maintenance: Maintenance, site: Connection
    ) -> None:
        await maintenance.recount()
        await site.execute("delete from public.user_interactions where created_at > now() - interval '3 hours'")
        changed, other = (
            row["discovery_id"]
            for row in await site.fetch(
                "select discovery_id from public.content_metrics where likes_count > 0 order by discovery_id limit 2"
            )
        )
        await site.execute(
            "update public.content_metrics set likes_count = 0 where discovery_id = any($1)", [changed, other]
        )
        await interact(site, changed, 1100)
        assert await maintenance.recount(limit=100, full=False) == 1
        expected = await lifetime_counts(site)
        written = await site.fetch("select discovery_id, likes_count from public.content_metrics")
        assert {row["discovery_id"]: row["likes_count"] for row in written} == {
            one: (0 if one == other else of["likes"]) for one, of in expected.items()
        }

    async def test_what_was_written_late_is_found_an_hour_later(
        self, maintenance: Maintenance, site: Connection
    ) -> None:
        await maintenance.recount()
        (discovery,) = await make_discoveries(site, 1)
        at = await site.fetchval("select counted_at from public.metrics_state")
        await interact(site, discovery, 2, at=at - timedelta(minutes=59))
        assert await maintenance.recount(full=False) >= 1
        assert (await written_counts(site))[discovery]["total_views"] == 2

    async def test_what_was_purged_still_counts(self, maintenance: Maintenance, site: Connection) -> None:
        expected = await lifetime_counts(site)
        await maintenance.recount()
        await maintenance.walk("purge_interactions", 50)
        for discovery in expected:
            await interact(site, discovery, 1)
            expected[discovery]["total_views"] += 1
        assert await maintenance.recount(full=False) == len(expected)
        assert await written_counts(site) == expected


@pytest.mark.usefixtures("people")
class TestOneAtATime:
    async def test_another_jobs_counting_is_waited_for_while_its_lease_lives(
        self, maintenance: Maintenance, another: Scheduler, site: Connection
    ) -> None:
        other = await Maintenance.begin(another)
        await other.call("open_metrics", full=True)
        await other.call("count_interactions", limit=10)
        assert await maintenance.call("open_metrics", full=True) == {"wait": True}
        await site.execute("update public.scheduled_jobs set status = 'failed' where id = $1", other.job)
        assert await maintenance.recount() == 12
        assert await written_counts(site) == await lifetime_counts(site)

    async def test_a_counting_that_was_killed_begins_anew(self, maintenance: Maintenance, site: Connection) -> None:
        await maintenance.call("open_metrics", full=True)
        await maintenance.call("count_interactions", limit=10)
        await make_discoveries(site, 1)
        assert await maintenance.recount() == 12
        assert await written_counts(site) == await lifetime_counts(site)

    async def test_counts_that_a_crash_of_the_database_has_emptied_are_never_written(
        self, maintenance: Maintenance, site: Connection
    ) -> None:
        await maintenance.call("open_metrics", full=True)
        await maintenance.walk("count_interactions", 1000)
        await site.execute("truncate public.metrics_counts")  # as recovery does with a table that is not logged
        for function in ("count_interactions", "apply_metrics"):
            with pytest.raises(asyncpg.PostgresError) as refused:
                await maintenance.call(function, limit=10)
            assert refused.value.sqlstate == "SJ002"

    async def test_its_end_may_be_said_twice(self, maintenance: Maintenance, site: Connection) -> None:
        await maintenance.recount()
        counted_at = await site.fetchval("select counted_at from public.metrics_state")
        await maintenance.call("close_metrics")
        assert await site.fetchval("select counted_at from public.metrics_state") == counted_at
        assert await site.fetchval("select count(*) from public.metrics_counts") == 0
