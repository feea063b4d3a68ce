"""No order of events, delays and deaths leads to a double effect or a stuck row: the real SQL against a model of it.

STATE_MACHINE_EXAMPLES runs longer, with new examples each time.
"""

from __future__ import annotations

import asyncio
import os

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from sandbox.stack import Stack
from tests.database.machine.database import Database
from tests.database.machine.rules import SchedulerMachine

EXAMPLES = int(os.environ.get("STATE_MACHINE_EXAMPLES", "0"))


def run_machine(url: str, asked: settings) -> None:
    """Plays examples against the database; raises what the first one that fails raised, in its shortest form."""
    with Database(url) as database:
        machine = type("Machine", (SchedulerMachine,), {"database": database})
        run_state_machine_as_test(machine, settings=asked)


MUTANTS = [
    # A run that has lost its lease records its end all the same.
    ("finish_job", "where id = p_id and fence = p_fence and", "where id = p_id and"),
    # Two processes share a fence.
    ("take_job", "fence = coalesce(fence, 0) + 1", "fence = coalesce(fence, 1)"),
    # A living lease is given away.
    ("take_job", "v_job.locked_at >= now() - public.lease_length()", "false"),
    # What died is never tried again.
    ("end_without_process", "public.recovery_time(v_job)", "null::timestamptz"),
    # A cancel is written while its process lives.
    ("cancel_job", "v_job.status = 'pending' or", "v_job.status in ('pending', 'running') or"),
    # After an outage the living are taken for dead.
    ("reap_dead_leases", "v_grace := now() < v_state.grace_until", "v_grace := false"),
    # A lease that was given up is never ended.
    ("reap_dead_leases", "j.lease_ends_at <= now()", "false"),
    # Anybody's claim may be taken.
    ("crawl_claim_lives", "and j.fence = p_fence and", "and false and"),
]


def wanted(examples: int, *, derandomize: bool, phases: tuple[Phase, ...]) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=40,
        deadline=None,
        derandomize=derandomize,
        database=None,
        print_blob=False,
        suppress_health_check=[
            HealthCheck.too_slow,  # a step is several calls of a real database
            HealthCheck.filter_too_much,  # an example that a slow machine stretches over a tick is dropped
        ],
        phases=phases,
    )


async def test_no_order_of_events_leads_to_a_double_effect_or_a_stuck_row(database: Stack) -> None:
    asked = wanted(EXAMPLES or 60, derandomize=not EXAMPLES, phases=(Phase.generate, Phase.shrink))
    # Hypothesis is no coroutine, and the machine waits for its calls on a loop of its own.
    await asyncio.to_thread(run_machine, database.wiring.database_url, asked)


# They take minutes, and need a machine that is not busy: an example that is stretched over a tick of the model's clock
# says nothing.
@pytest.mark.skipif(not EXAMPLES, reason="STATE_MACHINE_EXAMPLES is not set")
@pytest.mark.parametrize(("function", "found", "instead"), MUTANTS)
async def test_it_finds_what_it_is_there_to_find(database: Stack, function: str, found: str, instead: str) -> None:
    connection = await asyncpg.connect(database.wiring.database_url)
    try:
        right = await connection.fetchval("select pg_get_functiondef(('public.' || $1)::regproc)", function)
        assert found in right, f"{function} has changed: what this test spoils in it is not there any more"
        await connection.execute(right.replace(found, instead))
        try:
            asked = wanted(150, derandomize=True, phases=(Phase.generate,))
            with pytest.raises((AssertionError, BaseExceptionGroup)):
                await asyncio.to_thread(run_machine, database.wiring.database_url, asked)
        finally:
            await connection.execute(right)
    finally:
        await connection.close()
