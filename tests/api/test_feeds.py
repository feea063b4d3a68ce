"""One reader for many listeners: each gets everything once and in order, however slow it is and wherever it began."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator

import pytest

from api.feeds import MOST_KEPT, Entry, Feed, ForgottenError, Reading, Sign, Step
from flows.core.errors import Unavailable

PAGE = 300


class Numbers:
    """The numbers from 1 to `newest`; those up to `forgotten` are not kept."""

    def __init__(self) -> None:
        self.newest = 0
        self.forgotten = 0
        self.down = False
        self.ended = False
        self.readings = 0

    def start(self, _after: int | None) -> int | None:
        return None

    async def read(self, after: int | None, *, live: bool) -> Reading[int]:
        await asyncio.sleep(0)
        self.readings += 1
        if self.down:
            raise Unavailable("the numbers are away", "numbers")
        if after is None:
            return Reading([], self.newest)
        if after > self.newest or (after < self.forgotten and not live):
            raise ForgottenError(self.newest)
        last = min(self.newest, after + PAGE)
        entries = [Entry(number, b"%d" % number, ()) for number in range(after + 1, last + 1)]
        return Reading(entries, last, more=last < self.newest, ended=self.ended and last == self.newest)


@pytest.fixture
def numbers() -> Numbers:
    return Numbers()


@pytest.fixture
def feed(numbers: Numbers) -> Feed[int]:
    return Feed("numbers", numbers, interval_seconds=0.01)


async def signs(steps: AsyncGenerator[Step[int], None], wanted: Sign) -> list[int]:
    """The numbers told until a sign."""
    told: list[int] = []
    async with asyncio.timeout(5):
        async for step in steps:
            told += [entry.position for entry in step.entries]
            if step.sign is wanted:
                return told
    raise AssertionError("it has ended")


async def numbers_until(steps: AsyncGenerator[Step[int], None], last: int) -> list[int]:
    """The numbers told up to the last."""
    told: list[int] = []
    async with asyncio.timeout(5):
        while not told or told[-1] < last:
            told += [entry.position for entry in (await anext(steps)).entries]
    return told


async def test_whoever_begins_now_is_told_only_what_comes(feed: Feed[int], numbers: Numbers) -> None:
    numbers.newest = 5000
    steps = feed.listen(None)
    assert await signs(steps, Sign.READY) == []
    numbers.newest = 5002
    assert await numbers_until(steps, 5002) == [5001, 5002]
    await steps.aclose()


async def test_whoever_resumes_far_back_reads_up_to_the_others(feed: Feed[int], numbers: Numbers) -> None:
    numbers.newest = 5000
    present, resumed = feed.listen(None), feed.listen(10)
    await signs(present, Sign.READY)
    assert await signs(resumed, Sign.READY) == list(range(11, 5001))
    await present.aclose()
    await resumed.aclose()


async def test_whoever_is_slow_misses_nothing_and_nothing_is_kept_for_it(feed: Feed[int], numbers: Numbers) -> None:
    quick, slow = feed.listen(None), feed.listen(None)
    await signs(quick, Sign.READY)
    await signs(slow, Sign.READY)
    for _ in range(20):
        numbers.newest += 500
        await numbers_until(quick, numbers.newest)
    assert len(feed._kept) == MOST_KEPT
    assert await numbers_until(slow, numbers.newest) == list(range(1, numbers.newest + 1))
    await quick.aclose()
    await slow.aclose()


async def test_large_entries_are_kept_by_their_size(feed: Feed[int]) -> None:
    large = Reading([Entry(number, b"x" * 100_000, ()) for number in range(1, 101)], 100)
    feed._position = feed._before = 0
    feed._take(large)
    assert sum(len(entry.chunk) for entry in feed._kept) <= 4_000_000
    assert feed._before == feed._kept[0].position - 1
    told = feed._next(feed._before)
    assert told is not None
    assert len(told.entries) == 1


async def test_listeners_that_come_go_and_dawdle_are_all_told_the_same(feed: Feed[int], numbers: Numbers) -> None:
    chance = random.Random(7)

    async def listen(seed: int) -> None:
        dice = random.Random(seed)
        position, told = 0, []
        while position < 20_000:
            steps = feed.listen(position)
            for _ in range(dice.randint(1, 8)):
                step = await anext(steps)
                told += [entry.position for entry in step.entries]
                position = step.position if step.position is not None else position
                await asyncio.sleep(dice.random() * dice.choice([0, 0, 0.05]))
                if position == 20_000:
                    break
            await steps.aclose()
        assert told == list(range(1, 20_001))

    async def write() -> None:
        while numbers.newest < 20_000:
            numbers.newest = min(numbers.newest + chance.randint(1, 400), 20_000)
            await asyncio.sleep(0.005)

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        group.create_task(write())
        for seed in range(20):
            group.create_task(listen(seed))


async def test_an_outage_is_said_once_and_so_is_its_end(feed: Feed[int], numbers: Numbers) -> None:
    steps = feed.listen(None)
    await signs(steps, Sign.READY)
    numbers.down = True
    assert await signs(steps, Sign.UNAVAILABLE) == []
    numbers.newest = 3
    await asyncio.sleep(0.1)
    numbers.down = False
    assert await signs(steps, Sign.READY) == [1, 2, 3]
    await steps.aclose()


async def test_what_is_forgotten_is_reset_for_whoever_missed_it_alone(feed: Feed[int], numbers: Numbers) -> None:
    numbers.newest = 5000
    present = feed.listen(None)
    await signs(present, Sign.READY)
    numbers.forgotten = 5000
    old = feed.listen(4000)
    assert await signs(old, Sign.RESET) == []
    numbers.newest += 1
    assert await numbers_until(old, 5001) == await numbers_until(present, 5001) == [5001]
    await old.aclose()
    await present.aclose()


async def test_an_older_state_of_the_source_is_a_reset_for_all(feed: Feed[int], numbers: Numbers) -> None:
    numbers.newest = 50
    steps = feed.listen(None)
    await signs(steps, Sign.READY)
    numbers.newest = 10
    assert await signs(steps, Sign.RESET) == []
    numbers.newest = 12
    assert await numbers_until(steps, 12) == [11, 12]
    await steps.aclose()


async def test_the_end_is_told_after_the_last_entry(feed: Feed[int], numbers: Numbers) -> None:
    numbers.newest = 1000
    steps, late = feed.listen(None), feed.listen(0)
    await signs(steps, Sign.READY)
    numbers.newest, numbers.ended = 1010, True
    assert await signs(steps, Sign.END) == list(range(1001, 1011))
    assert await signs(late, Sign.END) == list(range(1, 1011))
    with pytest.raises(StopAsyncIteration):
        await anext(steps)


async def test_nothing_is_read_while_nobody_listens(feed: Feed[int], numbers: Numbers) -> None:
    for _ in range(2):
        steps = feed.listen(None)
        await signs(steps, Sign.READY)
        await steps.aclose()
        await asyncio.sleep(0.02)
        before = numbers.readings
        await asyncio.sleep(0.05)
        assert numbers.readings == before
