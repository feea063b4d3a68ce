"""Errands: what goes on beside an answer may fail, may pile up, and must not keep the process."""

from __future__ import annotations

import asyncio

import pytest

from api.background import MOST_ERRANDS, Errands
from flows.core.errors import Unavailable


async def failing(error: Exception) -> None:
    raise error


async def test_a_failure_is_logged_and_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    errands = Errands()
    errands.start("A call", failing(Unavailable("nobody there", "prefect")))
    errands.start("A mistake", failing(ZeroDivisionError("x")))
    await errands.settled()
    told = [(record.levelname, record.message) for record in caplog.records if record.name == "api.background"]
    assert told == [("WARNING", "A call: nobody there"), ("ERROR", "A mistake failed")]


async def test_too_many_at_once_are_left_to_the_sweep(caplog: pytest.LogCaptureFixture) -> None:
    errands = Errands()
    done: list[int] = []

    async def work(number: int) -> None:
        await asyncio.sleep(0.01)
        done.append(number)

    for number in range(MOST_ERRANDS + 3):
        errands.start(f"Errand {number}", work(number))
    await errands.settled()
    assert len(done) == MOST_ERRANDS
    assert caplog.records[-1].message == f"Errand {MOST_ERRANDS + 2} is left to the sweep: too much is under way"


async def test_an_end_does_not_wait_for_what_hangs() -> None:
    errands = Errands()
    errands.start("Hanging", asyncio.sleep(60))
    await asyncio.wait_for(errands.settled(0.05), 1)
    await asyncio.wait_for(errands.settled(), 1)
