"""A recount as it really runs, through PostgREST, alone and beside everything that moves what it counts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from pydantic import ValidationError

from flows.cleanup_old_data import Parameters as CleanupParameters
from flows.cleanup_old_data import clean
from flows.core.errors import Conflict
from flows.update_metrics import Parameters, update
from sandbox.stack import Stack
from tests.e2e.harness import connect
from tests.maintenance import (
    Connection,
    interact,
    lifetime_counts,
    make_discoveries,
    make_users,
    scatter,
    snapshot,
    written_counts,
)

TakeLease = Callable[[], Awaitable[None]]


async def test_more_than_a_thousand_discoveries_are_counted(take_lease: TakeLease, sql: Connection) -> None:
    ids = await make_discoveries(sql, 1100)
    await sql.execute("insert into user_interactions (discovery_id, type) select unnest($1::uuid[]), 'like'", ids)
    await take_lease()
    result = await update(Parameters())
    assert (result.items_processed, result.details["full"]) == (1100, True)
    assert await written_counts(sql) == await lifetime_counts(sql)
    await take_lease()
    assert (await update(Parameters(full=True))).items_processed == 0


async def test_a_dry_run_says_how_many_are_wrong_and_changes_no_row(take_lease: TakeLease, sql: Connection) -> None:
    (discovery, *_) = await make_discoveries(sql, 3)
    await interact(sql, discovery, 2)
    await take_lease()
    before = await snapshot(sql)
    assert (await update(Parameters(dry_run=True))).items_processed == 1
    assert await snapshot(sql) == before


async def test_counts_are_exact_beside_a_cleanup_and_people(
    take_lease: TakeLease, sql: Connection, database: Stack
) -> None:
    await make_discoveries(sql, 60)
    await make_users(sql, 30)
    await scatter(sql, 0.6)
    expected = await lifetime_counts(sql)
    cleaned = asyncio.Event()

    async def clean_up() -> None:
        await take_lease()
        await clean(CleanupParameters(max_batch=50))
        cleaned.set()

    async def recount() -> None:
        while not cleaned.is_set():
            await take_lease()
            await update(Parameters(max_batch=200))
            await asyncio.sleep(0.3)  # the cleanup looks once a second whether it may count: it must find a gap

    async def look() -> None:
        """A number that is too small or too large is never to be seen, not for a moment."""
        mine = await connect(database)
        try:
            while not cleaned.is_set():
                for one, of in (await written_counts(mine)).items():
                    assert of == expected[one]
                await asyncio.sleep(0.01)
        finally:
            await mine.close()

    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        for each in (clean_up(), recount(), look()):
            group.create_task(each)
    assert await written_counts(sql) == expected


async def test_a_counting_whose_working_table_was_lost_begins_anew(
    take_lease: TakeLease, sql: Connection, database: Stack
) -> None:
    await make_discoveries(sql, 50)
    await make_users(sql, 30)
    await scatter(sql, 0.7)
    lost = 0

    async def lose() -> None:
        nonlocal lost
        mine = await connect(database)
        try:
            while lost < 2:
                # As a crash does to a table that is not logged; only while its counting is under way.
                async with mine.transaction():
                    if await mine.fetchval("select counted_before > '-infinity' from metrics_pass for update"):
                        await mine.execute("truncate metrics_counts")
                        lost += 1
                await asyncio.sleep(0.01)
        finally:
            await mine.close()

    await take_lease()
    async with asyncio.TaskGroup() as group:
        counting = group.create_task(update(Parameters(max_batch=20)))
        group.create_task(lose())
    assert counting.result().items_processed == 50
    assert await written_counts(sql) == await lifetime_counts(sql)


async def test_one_that_is_lost_again_and_again_fails(take_lease: TakeLease, sql: Connection) -> None:
    await make_discoveries(sql, 1)
    await sql.execute(
        "create function public.lose() returns trigger language plpgsql as"
        " $$ begin delete from public.metrics_counts; return null; end $$;"
        " create trigger lose after insert on public.metrics_counts execute function public.lose()"
    )
    try:
        await take_lease()
        with pytest.raises(Conflict, match="begins anew"):
            await update(Parameters())
    finally:
        await sql.execute("drop function public.lose cascade")


@pytest.mark.parametrize("given", [{"full": "yes, please"}, {"max_batch": 1}, {"since": "yesterday"}])
def test_parameters_are_bounded_and_known(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Parameters.model_validate(given)
