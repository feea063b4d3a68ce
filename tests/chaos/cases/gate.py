"""Two hundred triggers of one type, and holders of its slot that are killed: one at a time, in the right order."""

from __future__ import annotations

import asyncio
import itertools
import random
import signal
from datetime import datetime, timedelta

from tests.chaos.ground import TYPE, Ground
from tests.chaos.registry import case
from tests.chaos.rows import Row
from tests.chaos.table import say

TRIGGERS = 200
KILLED = 0.12
_RANK = {"HIGH": 1, "MEDIUM": 2, "LOW": 3}
# A job that is accepted while a slot is being granted may be seen by that grant or not.
_MARGIN = timedelta(seconds=0.3)
_INTERVALS = """
select r.job_id::text as job, r.at as began, e.at as ended
  from public.job_events r join public.scheduled_jobs j on j.id = r.job_id
  left join lateral (select min(at) as at from public.job_events t where t.job_id = r.job_id and t.kind = 'status'
                       and t.data ->> 'status' in ('completed', 'failed', 'cancelled')) e on true
  where j.exclusive_key = $1 and r.kind = 'status' and r.data ->> 'status' = 'running'
  order by r.at
"""
_ONE = "gate: never two leases at once"
_ORDER = "gate: by priority, then age"
_DONE = "gate: every trigger is done"


@case(
    "gate",
    ground="kills",
    seconds=1200,
    lanes=("high", "low"),
    after=(
        "worker-killed",
        "fork-server-killed",
        "killed-before-beat",
        "killed-while-pending",
        "frozen",
        "overtime",
        "by-hand",
    ),
)
async def gate(ground: Ground) -> None:
    """200 triggers of one gated type with mixed priorities, holders of the slot killed at random."""
    chance = ground.chance("gate")
    watch = Watch(ground, chance)
    workers = [await ground.workers.start(queue) for queue in ("high", "low")]
    watching = asyncio.create_task(watch.forever())
    try:
        wanted = [chance.choices(("HIGH", "MEDIUM", "LOW"), (2, 5, 3))[0] for _ in range(TRIGGERS)]
        jobs = [
            await ground.trigger("steps", priority=priority, key=TYPE, steps=2, step_seconds=0.1, hold_seconds=0.1)
            for priority in wanted
        ]
        say(f"gate: {TRIGGERS} triggers accepted")
        await asyncio.gather(*(ground.attempt(_DONE, job, _done(ground, job)) for job in jobs))
    finally:
        watching.cancel()
        await asyncio.gather(*(worker.stop() for worker in workers))
    say(f"gate: {watch.kills} holders were killed")
    ground.table.scenario(_ONE)
    await _count_overlaps(ground, watch)
    _count_order(ground, watch)


async def _done(ground: Ground, job: str) -> float | None:
    end = await ground.rows.ended(job, seconds=1100)
    if end.row["died"]:
        again = await ground.rows.retry_of(job, seconds=60)
        end = await ground.rows.ended(again, seconds=1100)
    assert end.row["status"] == "completed", f"it is {end.row['status']}: {end.row['error']}"
    return None


class Watch:
    """Sees who holds the slot since when, and kills some holders."""

    def __init__(self, ground: Ground, chance: random.Random) -> None:
        self.granted: dict[str, datetime] = {}
        self.together: list[list[str]] = []
        self.kills = 0
        self._ground = ground
        self._chance = chance
        self._judged: set[str] = set()

    async def forever(self) -> None:
        while True:
            rows = [row for row in self._ground.rows.now.values() if row["exclusive_key"] == TYPE]
            running = [str(row["id"]) for row in rows if row["status"] == "running"]
            if len(running) > 1:
                self.together.append(running)
            for row in rows:
                if row["slot_held"] and row["slot_since"] is not None:
                    self.granted.setdefault(str(row["id"]), row["slot_since"])
            for job in running:
                self._maybe_kill(job)
            await asyncio.sleep(0.03)

    def _maybe_kill(self, job: str) -> None:
        if job in self._judged:
            return
        self._judged.add(job)
        process = self._ground.rows.processes.get(job)
        is_first = self._ground.rows.now[job]["retry_of"] is None
        if process is not None and is_first and self._chance.random() < KILLED:
            self.kills += 1
            asyncio.get_running_loop().call_later(self._chance.uniform(0, 0.5), process.send, signal.SIGKILL)


async def _count_overlaps(ground: Ground, watch: Watch) -> None:
    """From the samples and from the history: an interval a lease, none of which may touch the next."""
    for running in watch.together:
        ground.table.failed(_ONE, f"seen running together: {running}")
    found = await ground.query(_INTERVALS, TYPE)
    for one, following in itertools.pairwise(found):
        if one["ended"] is None or one["ended"] > following["began"]:
            ground.table.failed(_ONE, f"{one['job']} had not ended when {following['job']} began")
        else:
            ground.table.passed(_ONE)


def _count_order(ground: Ground, watch: Watch) -> None:
    """Whoever got the slot stood first among all that waited for it then."""
    rows = {job: row for job, row in ground.rows.now.items() if row["exclusive_key"] == TYPE}
    for job, at in sorted(watch.granted.items(), key=lambda one: one[1]):
        if job not in rows:
            continue
        waiting = [
            other
            for other, row in rows.items()
            if row["created_at"] < at - _MARGIN
            and (other not in watch.granted or watch.granted[other] > at)
            and not (other in ground.rows.ends and row["completed_at"] < at)
        ]
        before = [other for other in waiting if _place(rows[other]) < _place(rows[job])]
        if before:
            first = min(before, key=lambda other: _place(rows[other]))
            ground.table.failed(_ORDER, f"{job} {_place(rows[job])} was granted before {first} {_place(rows[first])}")
        else:
            ground.table.passed(_ORDER)


def _place(row: Row) -> tuple[int, datetime, str]:
    return (_RANK[row["priority"]], row["created_at"], str(row["id"]))
