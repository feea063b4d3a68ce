"""Scores every discovery, and puts the best of each window into trending_content; the formula is the database's."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from flows.clients import database
from flows.core.lease import under_lease
from flows.core.maintenance import Pace, Tally, Walk

WINDOWS = ("1h", "24h", "7d")
BEST_OF_A_WINDOW = 100
READING_SECONDS = 2.0
MOVED = "scores moved"
STEP = timedelta(minutes=1)


def scored_as_of(now: datetime) -> datetime:
    """The minute that `now` is in: the time as of which scores are calculated, so that two runs in it agree."""
    return now - (now - datetime(1970, 1, 1, tzinfo=UTC)) % STEP


@dataclass
class Best:
    """The best discoveries of every window so far: highest score first, ties newest first, then by id."""

    windows: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {window: [] for window in WINDOWS})

    def add(self, top: dict[str, list[dict[str, Any]] | None]) -> None:
        """Merges the best of another stretch of the table."""
        for window in WINDOWS:
            merged = self.windows[window] + (top[window] or [])
            merged.sort(key=_order)
            # A row that was moved while the table was read may be seen twice.
            unique = {one["id"]: one for one in reversed(merged)}
            self.windows[window] = sorted(unique.values(), key=_order)[:BEST_OF_A_WINDOW]

    @property
    def floors(self) -> dict[str, dict[str, Any]]:
        """Windows that are full, with score and time of their last: nothing below matters any more."""
        full = {window: best[-1] for window, best in self.windows.items() if len(best) == BEST_OF_A_WINDOW}
        return {window: {"score": last["score"], "createdAt": last["createdAt"]} for window, last in full.items()}


def _order(one: dict[str, Any]) -> tuple[float, float, str]:
    return -one["score"], -datetime.fromisoformat(one["createdAt"]).timestamp(), one["id"]


@dataclass(frozen=True)
class Rescore:
    """How many scores moved, and in how many windows another list of trending discoveries took the place of the old."""

    moved: int
    windows: int


async def rescore(tally: Tally, as_of: datetime, *, dry_run: bool = False, counted: bool = False) -> Rescore:
    """Calculates every score as of one time. `counted`: from the counts of the counting that is under way."""
    best = Best()

    def heed(answer: dict[str, Any]) -> dict[str, Any]:
        best.add(answer["top"])
        return {"floors": best.floors}

    await database.patient_rpc("open_scores", **under_lease())
    given = {"as_of": as_of.isoformat(), "floors": {}, "counted": counted, "dry_run": dry_run}
    # Reading locks no row: its batches may take longer, and are much faster for it.
    reading = Walk("score_discoveries", Pace(250_000, 500, 1_000_000, READING_SECONDS), given, heed)
    moving = await reading.to_the_end(tally if dry_run else Tally(tally.max_batch), MOVED if dry_run else "scores read")
    moved = moving if dry_run else await Walk("move_scores", Pace(2000, 100, 200_000)).to_the_end(tally, MOVED)
    windows = await database.patient_rpc(
        "swap_trending", **under_lease(), as_of=as_of.isoformat(), top=best.windows, dry_run=dry_run
    )
    return Rescore(moved, windows)
