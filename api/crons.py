"""Cron expressions as Prefect takes them, and when they fire: by Prefect's own code, so that a preview comes true.

Five fields, or one of `@hourly`, `@daily`, `@midnight`, `@weekly`, `@monthly`, `@yearly`, `@annually`; names of days
and months, steps, ranges, lists, `L` (last) and `MON#1` (first Monday). Day of month and day of week, both given, are
joined by "or".
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

from prefect.client.schemas.schedules import CronSchedule
from prefect.server.schemas.schedules import CronSchedule as FiringSchedule
from pydantic import ValidationError

LONGEST_CRON = 200
LONGEST_ZONE = 64
RUNS = 5

_FIELDS = ("minute (0-59)", "hour (0-23)", "day of month (1-31)", "month (1-12)", "day of week (0-7)")
# Where clocks are set back, Prefect counts the hour that comes twice from its first time: those fires are over.
_TWICE = 130
# By Prefect's dialect `h` and `r` are hashed and random; it refuses them only where they stand alone.
_RANDOM = re.compile(r"[hr]([(/]|$)", re.IGNORECASE)
# Prefect knows its zones from two lists, and these are on one of them only.
_NO_ZONES = frozenset({"Factory", "localtime"})
_KEPT_ANSWERS = 500
# Enough to see the weekend of a schedule that leaves it out; 25 ms of CPU, once a week.
_FIRES_OF_A_PERIOD = 200
_FRIDAY = 4

_answers: dict[tuple[str, str, datetime, int], tuple[datetime, ...]] = {}


@lru_cache(_KEPT_ANSWERS)
def normal(cron: str) -> str:
    """The expression with single spaces. Raises ValueError with what is wrong; the text itself is not repeated."""
    fields = cron.split()
    if len(fields) == 1 and fields[0].startswith("@"):
        if not _is_valid(fields[0]):
            raise ValueError("is no cron expression: the only words are @hourly, @daily, @weekly, @monthly and @yearly")
        return fields[0].lower()
    if len(fields) != len(_FIELDS):
        raise ValueError(
            f"has {len(fields)} fields, it must have 5: minute, hour, day of month, month, day of week (no seconds)"
        )
    for position, (field, meaning) in enumerate(zip(fields, _FIELDS, strict=True)):
        alone = ["*"] * len(_FIELDS)
        alone[position] = field
        if _RANDOM.match(field):
            raise ValueError(f"has a random or hashed value as its {meaning}: give a fixed one")
        if not _is_valid(" ".join(alone)):
            raise ValueError(f"has no valid {meaning}: it is field {position + 1}")
    if not _is_valid(" ".join(fields)):
        raise ValueError("is not valid: its fields do not go together")
    return " ".join(fields)


def _is_valid(cron: str) -> bool:
    try:
        CronSchedule(cron=cron)
    except ValidationError:
        return False
    return True


@lru_cache(1)
def _zones() -> frozenset[str]:
    # Read from the disk at every call, which takes some milliseconds.
    return frozenset(available_timezones()) - _NO_ZONES


def known_zone(timezone: str) -> str:
    """The time zone. Raises ValueError where it is none."""
    if timezone not in _zones():
        raise ValueError("is no time zone: give a name of the IANA list, such as UTC or Europe/Berlin")
    return timezone


async def next_runs(cron: str, timezone: str, after: datetime, count: int = RUNS) -> tuple[datetime, ...]:
    """The next times a schedule fires, in UTC; raises ValueError for one that never does.

    Clocks that are set forward or back are counted as Prefect counts them: what falls into the hour that is left out
    fires an hour early by the clock, what falls into the hour that comes twice fires the first time.
    """
    minute = after.astimezone(UTC).replace(second=0, microsecond=0)
    key = (cron, timezone, minute, count)
    if key not in _answers:
        found = await _fires(cron, timezone, minute, count)
        if len(_answers) >= _KEPT_ANSWERS:
            _answers.clear()
        _answers[key] = found
    return _answers[key]


async def period(cron: str, timezone: str, today: date) -> timedelta:
    """The longest time between two fires; raises ValueError for a schedule that never fires.

    Counted from the last Friday on: the same all week long, and with the weekend where a schedule leaves it out.
    """
    friday = today - timedelta(days=(today.weekday() - _FRIDAY) % 7)
    fires = await next_runs(cron, timezone, datetime.combine(friday, time(), UTC), _FIRES_OF_A_PERIOD)
    return max(later - earlier for earlier, later in pairwise(fires))


async def _fires(cron: str, timezone: str, minute: datetime, count: int) -> tuple[datetime, ...]:
    # Its checks were made by `normal` and `known_zone`; its own would read the list of zones again.
    schedule = FiringSchedule.model_construct(cron=cron, timezone=timezone, day_or=True)
    future: list[datetime] = []
    for most in (count, count + _TWICE):
        try:
            dates = await schedule.get_dates(n=most, start=minute + timedelta(minutes=1))
        except ValueError as error:
            raise ValueError("never fires: its months have no such day") from error
        future = sorted({date.astimezone(UTC) for date in dates if date > minute})
        if len(future) >= count:
            break
    return tuple(datetime.fromtimestamp(date.timestamp(), UTC) for date in future[:count])


def local_text(at: datetime, timezone: str) -> str:
    """The time by the clocks of a zone: "Mon 2026-11-30 10:00 CET"."""
    return f"{at.astimezone(ZoneInfo(timezone)):%a %Y-%m-%d %H:%M %Z}"
