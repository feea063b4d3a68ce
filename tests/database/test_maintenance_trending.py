"""Trending: the formula in SQL is the formula in Python, and the best hundred are swapped at once or not at all."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from flows.core.trending import WINDOWS, Best
from flows.recalculate_trending import is_admitted, trending_score
from tests.database.conftest import Scheduler
from tests.maintenance import Connection, Maintenance, make_discoveries, snapshot

AS_OF = datetime(2026, 11, 25, 12, tzinfo=UTC)

# Likes, saves, shares, views, age in days; the score in each window, to 6 places.
VECTORS = [
    ((2, 1, 0, 50, 0.5), (0.024360, 0.140184, 0.167591)),
    ((1, 0, 0, 10, 2.0), (0, 0.147152, 0.300591)),
    ((0, 0, 0, 100, 0.1), (0, 0, 0)),
    ((5, 3, 2, 8, 0.25), (1, 1, 1)),
    ((3, 2, 1, 200, 10), (0, 0, 0.015098)),
    ((1, 0, 0, 0, 0), (1, 1, 1)),
    ((1, 1, 1, 1000, 6.5), (0, 0.000130, 0.001328)),
    ((1, 0, 0, 0, -3), (1, 1, 1)),  # a clock that is ahead
    ((1, 0, 0, 10, 1.0), (0.007326, 0.242612, 0.346751)),  # the last moment of an hour's window
]


async def place(site: Connection, *, at: datetime = AS_OF, score: float = 0, **columns: Any) -> UUID:
    """A discovery of this time with these counts; without `likes` no row of metrics."""
    flags = {name: columns.pop(name) for name in ("is_active", "deleted_at") if name in columns}
    (one,) = await make_discoveries(site, 1)
    await site.execute(
        "update public.discoveries set created_at = $2, trending_score = $3, is_active = $4, deleted_at = $5"
        " where id = $1",
        one,
        at,
        score,
        flags.get("is_active", True),
        flags.get("deleted_at"),
    )
    if columns:
        await site.execute(
            "insert into public.content_metrics (discovery_id, likes_count, saves_count, shares_count, views_count)"
            " values ($1, $2, $3, $4, $5)",
            one,
            *(columns.get(name, 0) for name in ("likes", "saves", "shares", "views")),
        )
    return one


async def rescore(maintenance: Maintenance, limit: int = 1, *, as_of: datetime = AS_OF, **more: Any) -> tuple[int, int]:
    """How many scores moved, and in how many windows something did."""
    best, moving = Best(), 0
    await maintenance.call("open_scores")
    answer: dict[str, Any] = {"more": True, "after": None}
    while answer["more"]:
        answer = await maintenance.call(
            "score_discoveries", limit=limit, after=answer["after"], as_of=as_of, floors=best.floors, **more
        )
        best.add(answer["top"])
        moving += answer["rows"]
    moved = moving if more else await maintenance.walk("move_scores", limit)
    assert moved == moving
    windows = await maintenance.call("swap_trending", as_of=as_of, top=best.windows, **more)
    return moved, windows


async def score_of(site: Connection, one: UUID) -> Any:
    return await site.fetchval("select trending_score from public.discoveries where id = $1", one)


async def listed(site: Connection, window: str) -> list[UUID]:
    rows = await site.fetch(
        "select t.discovery_id from public.trending_content t join public.discoveries d on d.id = t.discovery_id"
        " where t.time_window = $1 order by t.trending_score desc, d.created_at desc, d.id",
        window,
    )
    return [row["discovery_id"] for row in rows]


@pytest.mark.parametrize(("given", "expected"), VECTORS)
async def test_the_formula_gives_the_known_scores(
    site: Connection, given: tuple[float, ...], expected: tuple[float, ...]
) -> None:
    for window, score in zip(WINDOWS, expected, strict=True):
        found = await site.fetchval("select public.trending_score($1, $2, $3, $4, $5, $6)", *given, window)
        assert found == pytest.approx(score, abs=5e-7)


async def test_scores_and_windows_are_those_of_the_formula_in_python(
    maintenance: Maintenance, site: Connection
) -> None:
    dice = random.Random(5)
    await site.execute(
        "insert into public.discoveries (url, created_at) select 'http://x/' || i, $1 from generate_series(1, 1100) i",
        AS_OF,
    )
    ids = [row["id"] for row in await site.fetch("select id from public.discoveries")]
    counts = {one: [dice.choice((0, 0, 1, 2, 5)) for _ in range(3)] + [dice.randrange(300)] for one in ids}
    ages = {one: dice.choice((-0.1, 0.0, 0.02, 0.9, 1.0, 1.1, 6.9, 7.1, 29.0, 31.0)) for one in ids}
    for one in ids:
        await site.execute(
            "update public.discoveries set created_at = $2, trending_score = $3 where id = $1",
            one,
            AS_OF - timedelta(days=ages[one]),
            dice.choice((0, 0.5)),
        )
        await site.execute(
            "insert into public.content_metrics (discovery_id, likes_count, saves_count, shares_count, views_count)"
            " values ($1, $2, $3, $4, $5)",
            one,
            *counts[one],
        )
    await rescore(maintenance, limit=30)

    def of(one: UUID, window: str) -> float:
        likes, saves, shares, views = counts[one]
        score = trending_score(likes=likes, saves=saves, shares=shares, views=views, age_days=ages[one], window=window)
        return score if is_admitted(likes=likes, saves=saves, shares=shares, score=score) else 0

    for row in await site.fetch("select id, trending_score from public.discoveries"):
        assert row["trending_score"] == pytest.approx(of(row["id"], "24h"), abs=1e-12)
    for window in WINDOWS:
        admitted = [one for one in ids if of(one, window) > 0]
        best = sorted(admitted, key=lambda one: (-round(of(one, window), 12), max(ages[one], -0.1), str(one)))[:100]
        assert len(best) == 100
        assert await listed(site, window) == best
        rows = await site.fetch("select * from public.trending_content where time_window = $1", window)
        for row in rows:
            likes, saves, shares, _ = counts[row["discovery_id"]]
            assert (row["like_count"], row["save_count"], row["share_count"]) == (likes, saves, shares)
            assert row["interaction_count"] == likes + saves + shares
            assert float(row["trending_score"]) == pytest.approx(of(row["discovery_id"], window), abs=1e-12)


class TestAdmission:
    @pytest.mark.parametrize(
        "of",
        [
            {"likes": 5, "is_active": False},
            {"likes": 5, "deleted_at": AS_OF},
            {},  # no row of metrics
            {"likes": 0, "views": 5},  # nobody liked, saved or shared it
            {"likes": 1, "views": 1000},  # not over 0.01
            {"likes": 5, "at": AS_OF - timedelta(days=40)},
        ],
    )
    async def test_what_is_not_admitted_has_no_score(
        self, maintenance: Maintenance, site: Connection, of: dict[str, Any]
    ) -> None:
        one = await place(site, score=0.7, **of)
        assert await rescore(maintenance) == (1, 0)
        assert await score_of(site, one) == 0
        assert [await listed(site, window) for window in WINDOWS] == [[], [], []]

    async def test_ties_go_to_the_newest_and_then_by_id(self, maintenance: Maintenance, site: Connection) -> None:
        same = sorted([await place(site, likes=1) for _ in range(3)], key=str)
        older = await place(site, likes=1, at=AS_OF - timedelta(minutes=1))
        newer = await place(site, likes=1, at=AS_OF + timedelta(minutes=1))
        await rescore(maintenance)
        assert await listed(site, "24h") == [newer, *same, older]
        calculated = await site.fetch("select distinct calculated_at from public.trending_content")
        assert [row[0] for row in calculated] == [AS_OF]


class TestSwap:
    async def test_a_window_for_which_nothing_qualifies_keeps_its_rows(
        self, maintenance: Maintenance, site: Connection
    ) -> None:
        one = await place(site, likes=1, views=20)
        await rescore(maintenance)
        await rescore(maintenance, as_of=AS_OF + timedelta(days=2))
        assert await listed(site, "1h") == [one]
        assert await site.fetchval("select count(*) from public.trending_content where calculated_at > $1", AS_OF) == 2

    async def test_a_second_run_changes_nothing(self, maintenance: Maintenance, site: Connection) -> None:
        for likes in range(1, 6):
            await place(site, likes=likes, views=40)
        assert await rescore(maintenance) == (5, 3)
        before = await snapshot(site)
        assert await rescore(maintenance) == (0, 0)
        assert await snapshot(site) == before

    async def test_only_scores_that_move_are_written(self, maintenance: Maintenance, site: Connection) -> None:
        one, other = [await place(site, likes=1, views=40) for _ in range(2)]
        await rescore(maintenance)
        version = await site.fetchval("select xmin::text from public.discoveries where id = $1", other)
        await site.execute("update public.content_metrics set likes_count = 2 where discovery_id = $1", one)
        assert await rescore(maintenance) == (1, 3)
        assert await site.fetchval("select xmin::text from public.discoveries where id = $1", other) == version

    async def test_a_score_moves_by_a_thousandth_or_not_at_all(
        self, maintenance: Maintenance, site: Connection
    ) -> None:
        one = await place(site, likes=1, views=40)
        await rescore(maintenance)
        before = await score_of(site, one)
        assert await rescore(maintenance, as_of=AS_OF + timedelta(seconds=90)) == (0, 0)
        assert await rescore(maintenance, as_of=AS_OF + timedelta(seconds=200)) == (1, 1)  # 0.12 % of it, 0.9 % in 1h
        assert await score_of(site, one) == pytest.approx(before * math.exp(-200 / 86400 / 2))

    async def test_a_dry_run_says_the_same_and_changes_no_row(self, maintenance: Maintenance, site: Connection) -> None:
        await place(site, likes=1)
        before = await snapshot(site)
        assert await rescore(maintenance, dry_run=True) == (1, 3)
        assert await snapshot(site) == before
        assert await rescore(maintenance) == (1, 3)


class TestBesideOthers:
    async def test_two_rescorings_beside_each_other_write_their_own(
        self, maintenance: Maintenance, another: Scheduler, site: Connection
    ) -> None:
        ids = [await place(site, likes=likes, views=40) for likes in range(1, 6)]
        other = await Maintenance.begin(another)
        assert await rescore(maintenance, as_of=AS_OF - timedelta(days=1)) == (5, 3)
        await other.call("open_scores")
        await other.walk("score_discoveries", 2, as_of=AS_OF)
        assert await rescore(maintenance, as_of=AS_OF + timedelta(days=1)) == (5, 3)
        # These rows have moved on since the other one has read them: it leaves them to the next run.
        assert await other.walk("move_scores", 2) == 0
        assert await rescore(other, as_of=AS_OF) == (5, 3)
        likes = [await score_of(site, one) for one in ids]
        assert likes == sorted(likes)
        assert likes[0] == pytest.approx(
            trending_score(likes=1, saves=0, shares=0, views=40, age_days=0, window="24h"), abs=1e-12
        )

    async def test_what_a_killed_rescoring_has_noted_is_forgotten(
        self, maintenance: Maintenance, another: Scheduler, site: Connection
    ) -> None:
        await place(site, likes=1)
        killed = await Maintenance.begin(another)
        await killed.call("open_scores")
        await killed.walk("score_discoveries", 2, as_of=AS_OF)
        await site.execute("update public.scheduled_jobs set status = 'failed' where id = $1", killed.job)
        await maintenance.call("open_scores")
        assert await site.fetchval("select count(*) from public.trending_moves") == 0
        assert await rescore(maintenance) == (1, 3)
