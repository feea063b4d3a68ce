"""What must hold of one job that died, was cancelled or was tried again; each returns its time or raises."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from tests.chaos.ground import Ground
from tests.chaos.rows import LASTING, End

RECOVERED = "dead jobs are done by a recovery job"
SILENT = "nothing after fencing, no call repeated"
# A lease of 90 s, a sweep every 2 s, and what 2 slow cores add.
LEASE_SECONDS = 110.0
# What the harness waits beyond a limit, so that it can tell how late it was.
_LATER_SECONDS = 60.0
# 30 s after the death, then a start and the work itself on a busy machine.
_RECOVERY_SECONDS = 150.0
# Between the row's clock and the recorder's: they are the same machine's, and a call takes a moment to arrive.
_ARRIVAL_SECONDS = 0.05

_LIVE_CLAIMS = """
select count(*) from public.crawl_claims c where c.job_id = $1 and public.crawl_claim_lives(c.job_id, c.fence)
"""
_LATER_EVENTS = """
select kind from public.job_events where job_id = $1
  and id > (select max(id) from public.job_events where job_id = $1 and kind = 'status')
"""
_LATER_STEPS = "select step from public.chaos_steps where job = $1 and settled_at > $2"
_STEPS_OPEN_AT_THE_END = "select step from public.chaos_steps where root = $1 and claimed_at <= $2"


async def died(ground: Ground, job: str, *, since: float, within: float, reasons: tuple[str, ...]) -> float:
    """A dead job: failed in time and for the right reason, Prefect's run ended, slot and claims free."""
    end = await ground.rows.ended(job, seconds=since + within + _LATER_SECONDS - time.monotonic())
    row, took = end.row, end.at - since
    assert row["status"] == "failed", f"it is {row['status']}"
    assert row["died"], f"it failed as if by itself: {row['error']}"
    assert row["error"].startswith(reasons), f"the reason is {row['error']!r}, not {reasons}"
    assert took <= within, f"failed {took:.1f} s after the kill, not within {within:g} s"
    assert row["slot_held"] is None, "it holds its slot"
    assert await ground.value(_LIVE_CLAIMS, job) == 0, "it holds claims"
    await ground.agreed(end)
    return took


async def recovered(ground: Ground, job: str) -> float:
    """A job that died was tried again by itself, and done; the seconds from its death."""
    end = ground.rows.ends[job]
    again = await ground.rows.retry_of(job, seconds=_RECOVERY_SECONDS)
    done = await ground.rows.ended(again, seconds=_RECOVERY_SECONDS)
    assert done.row["origin"] == "recovery", f"job {again} has origin {done.row['origin']}"
    assert done.row["started_by"] is None
    assert done.row["status"] == "completed", f"job {again} is {done.row['status']}: {done.row['error']}"
    assert done.row["parameters"] == end.row["parameters"]
    await ground.agreed(done)
    return done.at - end.at


async def silent(ground: Ground, job: str, *, on_the_wire: int = 1) -> None:
    """After its end the job wrote nothing and called nobody, but for what was on the wire; nothing was sent twice."""
    end = ground.rows.ends[job]
    (row,) = await ground.query("select * from public.scheduled_jobs where id = $1", job)
    changed = {name: (end.row[name], row[name]) for name in LASTING if row[name] != end.row[name]}
    assert not changed, f"the ended row has changed: {changed}"
    later = await ground.query(_LATER_EVENTS, job)
    assert not later, f"events after the end: {later}"
    settled = await ground.query(_LATER_STEPS, job, row["completed_at"])
    assert not settled, f"steps settled after the end: {settled}"
    await _no_late_call(ground, job, end, on_the_wire)
    root = str(await ground.value("select public.chaos_root($1)", job))
    assert not (repeated := await ground.calls.repeated_steps(root)), f"steps received twice: {repeated}"


async def _no_late_call(ground: Ground, job: str, end: End, on_the_wire: int) -> None:
    ended_at: datetime = end.row["completed_at"]
    late = [call for call in await ground.calls.of(job) if call["at"] > ended_at.timestamp() + _ARRIVAL_SECONDS]
    assert len(late) <= on_the_wire, f"{len(late)} calls after the end: {late}"
    for call in late:
        at = datetime.fromtimestamp(call["at"], UTC)
        claimed = await ground.query(_STEPS_OPEN_AT_THE_END, call.get("root"), ended_at)
        is_known = call["kind"] == "crawl" or call["step"] in {one["step"] for one in claimed}
        assert is_known, f"a call at {at} for a step that was not on its way at the end: {call}"


async def follow(
    ground: Ground, scenario: str, job: str, *, since: float, within: float, reasons: tuple[str, ...]
) -> None:
    """Counts a death, its recovery and its silence."""
    await ground.attempt(scenario, job, died(ground, job, since=since, within=within, reasons=reasons))
    if job in ground.rows.ends:
        await ground.attempt(RECOVERED, job, recovered(ground, job))
        await ground.attempt(SILENT, job, silent(ground, job))


async def undisturbed(ground: Ground, job: str, *, seconds: float) -> float | None:
    """A job in no danger was done, by itself and in one run."""
    end = await ground.rows.ended(job, seconds=seconds)
    assert end.row["status"] == "completed", f"it is {end.row['status']}: {end.row['error']}"
    assert job not in ground.rows.retries
    await ground.agreed(end)
    await silent(ground, job, on_the_wire=0)
    return None
