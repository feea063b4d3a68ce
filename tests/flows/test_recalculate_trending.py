"""The formula of trending, the best of each window, and a run of it through PostgREST."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from flows.core.domain import JobResult
from flows.core.trending import BEST_OF_A_WINDOW, WINDOWS, Best, scored_as_of
from flows.recalculate_trending import Parameters, is_admitted, recalculate, trending_score
from tests.database.test_maintenance_trending import VECTORS
from tests.maintenance import Connection, make_discoveries, snapshot

TakeLease = Callable[[], Awaitable[None]]


@pytest.mark.parametrize(("given", "expected"), VECTORS)
def test_the_formula_gives_the_known_scores(given: tuple[float, ...], expected: tuple[float, ...]) -> None:
    likes, saves, shares, views, age = given
    for window, score in zip(WINDOWS, expected, strict=True):
        found = trending_score(
            likes=int(likes), saves=int(saves), shares=int(shares), views=int(views), age_days=age, window=window
        )
        assert found == pytest.approx(score, abs=5e-7)


@pytest.mark.parametrize(("likes", "score", "admitted"), [(0, 1.0, False), (1, 0.01, False), (1, 0.011, True)])
def test_what_may_trend(likes: int, score: float, *, admitted: bool) -> None:
    assert is_admitted(likes=likes, saves=0, shares=0, score=score) is admitted


@pytest.mark.parametrize(
    ("now", "as_of"),
    [
        ("2026-11-25 12:00:00", "2026-11-25 12:00:00"),
        ("2026-11-25 12:14:59.999", "2026-11-25 12:14:00"),
        ("2026-11-25 12:15:00", "2026-11-25 12:15:00"),
        ("2026-03-01 00:00:01", "2026-03-01 00:00:00"),
    ],
)
def test_scores_are_as_of_the_minute(now: str, as_of: str) -> None:
    times = [datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (now, as_of)]
    assert scored_as_of(times[0]) == times[1]


def entry(id: str, score: float, minute: int = 0) -> dict[str, Any]:  # noqa: A002
    return {"id": id, "score": score, "createdAt": f"2026-11-25T12:{minute:02}:00+00:00"}


def nothing_but(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"1h": None, "24h": list(entries), "7d": None}


class TestBest:
    def test_the_highest_come_first_then_the_newest_then_by_id(self) -> None:
        best = Best()
        best.add(nothing_but(entry("b", 0.5), entry("a", 0.5)))
        best.add(nothing_but(entry("c", 0.5, minute=1), entry("d", 0.9)))
        assert [one["id"] for one in best.windows["24h"]] == ["d", "c", "a", "b"]
        assert best.windows["1h"] == best.windows["7d"] == []

    def test_a_row_that_is_seen_twice_counts_once(self) -> None:
        best = Best()
        best.add(nothing_but(entry("a", 0.5)))
        best.add(nothing_but(entry("a", 0.5)))
        assert len(best.windows["24h"]) == 1

    def test_a_full_window_asks_for_no_less_than_its_last(self) -> None:
        best = Best()
        best.add(nothing_but(*(entry(f"{n:03}", 1 - n / 1000) for n in range(BEST_OF_A_WINDOW - 1))))
        assert best.floors == {}
        best.add(nothing_but(*(entry(f"x{n:03}", 0.95) for n in range(50))))
        assert best.floors == {"24h": {"score": 0.95, "createdAt": "2026-11-25T12:00:00+00:00"}}
        assert len(best.windows["24h"]) == BEST_OF_A_WINDOW


async def test_a_run_scores_more_than_a_thousand_discoveries(take_lease: TakeLease, sql: Connection) -> None:
    ids = await make_discoveries(sql, 1100, age="2 hours")
    await sql.execute(
        "insert into content_metrics (discovery_id, likes_count, views_count) select id, 1 + n % 7, 20 + n % 90"
        " from unnest($1::uuid[]) with ordinality u (id, n)",
        ids,
    )
    await take_lease()
    before = await snapshot(sql)
    assert (await recalculate(Parameters(dry_run=True))).items_processed == 1100
    assert await snapshot(sql) == before
    result = await recalculate(Parameters(max_batch=10))
    assert result.items_processed == 1100
    assert result.details["windowsChanged"] == 3
    as_of = datetime.fromisoformat(result.details["asOf"])
    best = {window: [] for window in WINDOWS}  # type: dict[str, list[float]]
    rows = await sql.fetch(
        "select d.created_at, d.trending_score, m.likes_count, m.views_count from discoveries d"
        " join content_metrics m on m.discovery_id = d.id"
    )
    for row in rows:
        age = (as_of - row["created_at"]).total_seconds() / 86400
        for window in WINDOWS:
            score = trending_score(
                likes=row["likes_count"], saves=0, shares=0, views=row["views_count"], age_days=age, window=window
            )
            best[window].append(score)
            if window == "24h":
                assert row["trending_score"] == pytest.approx(score, abs=1e-12)
    for window in WINDOWS:
        listed = await sql.fetch("select trending_score from trending_content where time_window = $1", window)
        assert sorted(float(row[0]) for row in listed) == pytest.approx(sorted(best[window])[-100:], abs=1e-12)


async def test_a_second_run_changes_nothing(take_lease: TakeLease, sql: Connection) -> None:
    """Also in the next minute: what a score falls by in it is not worth a new row."""
    ids = await make_discoveries(sql, 10, age="2 hours")
    await sql.execute("insert into content_metrics (discovery_id, likes_count) select unnest($1::uuid[]), 1", ids)
    runs: list[JobResult] = []
    for _ in range(2):
        await take_lease()
        runs.append(await recalculate(Parameters()))
    assert (runs[0].items_processed, runs[0].details["windowsChanged"]) == (10, 3)
    assert (runs[1].items_processed, runs[1].details["windowsChanged"]) == (0, 0)


@pytest.mark.parametrize("given", [{"max_batch": 0}, {"window": "1h"}])
def test_parameters_are_bounded_and_known(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Parameters.model_validate(given)
