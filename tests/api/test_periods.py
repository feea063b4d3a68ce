"""How far apart a schedule's fires are: what "no success in two periods" is counted in."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from api import crons

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.mark.parametrize(
    ("cron", "period"),
    [
        ("*/15 * * * *", HOUR / 4),
        ("5 * * * *", HOUR),
        ("0 9 * * MON", 7 * DAY),
        ("0 2 * * *", DAY),
        ("*/10 8-18 * * MON-FRI", 2 * DAY + 13 * HOUR + HOUR / 6),  # over the weekend
        ("0 6,18 * * *", 12 * HOUR),
        ("0 0 1 * *", 31 * DAY),
    ],
)
async def test_a_period_is_the_longest_time_between_two_fires(cron: str, period: timedelta) -> None:
    days = [date(2026, 11, 27) + timedelta(days=count) for count in range(7)]
    assert {await crons.period(cron, "UTC", day) for day in days} == {period}, "the same on every day of the week"


async def test_a_schedule_that_never_fires_has_none() -> None:
    with pytest.raises(ValueError, match="never fires"):
        await crons.period("0 0 30 2 *", "UTC", date(2026, 11, 27))
