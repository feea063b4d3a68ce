"""What the row tells about why a job is where it is: pure functions, None where one does not bear on the job.

Details are sentences: the explanation of a job is the detail of the check that matters most.
"""

from __future__ import annotations

from datetime import datetime

from api.facts import Facts
from api.schemas import Check
from api.wording import duration, moment, said
from flows.core.domain import JobStatus, Origin
from flows.core.lease import BEAT_SECONDS, KILL_AFTER_SECONDS, TERM_AFTER_SECONDS

LEASE_SECONDS = 90  # lease_length() of the database
SILENCE_SECONDS = 15  # five beats: no hiccup any more
STOP_SECONDS = 45  # within which a cancel has stopped the work
MOST_RECOVERIES = 3

# How a process that is to stop is made to, and until how many seconds after the cancel each step is the latest.
_RUNGS = (
    (BEAT_SECONDS, f"its process hears of it with its next beat, within {BEAT_SECONDS:.0f} s"),
    (BEAT_SECONDS + TERM_AFTER_SECONDS, "its flow has been told to stop"),
    (
        BEAT_SECONDS + KILL_AFTER_SECONDS,
        f"it did not stop within {TERM_AFTER_SECONDS:.0f} s, so its process group was sent SIGTERM",
    ),
)
_LAST_RUNG = "it did not stop on SIGTERM either, so its process is killed"


def paused(facts: Facts) -> Check:
    pause = facts.maintenance
    if not pause.holds_at(facts.now):
        return Check(name="paused", ok=True, detail="Starts are not paused.")
    until = f" until {moment(pause.until)}" if pause.until else ""
    detail = f"all starts are paused{until} ({said(pause.reason) or 'no reason given'})"
    if facts.job.status is JobStatus.PENDING:
        return Check(name="paused", ok=False, detail=f"It waits because {detail}.", since=pause.set_at)
    return Check(name="paused", ok=True, detail=f"It has started, but {detail}.", since=pause.set_at)


def gate(facts: Facts) -> Check | None:
    job, holder = facts.job, facts.holder
    if job.exclusive_key is None or job.status.has_ended:
        return None
    slot = f"the slot of {said(job.exclusive_key)}"
    if job.slot_held:
        return Check(name="gate", ok=True, detail=f"It holds {slot}.", since=job.slot_since)
    before = f"{facts.ahead} more {'job is' if facts.ahead == 1 else 'jobs are'} ahead of it" if facts.ahead else ""
    if holder is None:
        detail = f"It waits for {slot}: {before}." if before else f"{slot[0].upper()}{slot[1:]} is free."
        return Check(name="gate", ok=not before, detail=detail)
    since = holder.slot_since or holder.started_at
    held = f"job {holder.id}, which has {slot}{f' since {moment(since)}' if since else ''}"
    if job.origin is Origin.SCHEDULE and job.flow_run_id is not None:
        detail = f"It is skipped if it begins before the end of {held}."
    else:
        detail = f"It waits for the end of {held}{f'; {before}' if before else ''}."
    return Check(name="gate", ok=False, detail=detail, since=since)


def dispatch(facts: Facts) -> Check | None:
    job = facts.job
    if job.status is not JobStatus.PENDING:
        return None
    if job.flow_run_id is not None:
        return Check(name="dispatch", ok=True, detail="Its flow run has been created.")
    detail, since = _undispatched(facts)
    return Check(name="dispatch", ok=False, detail=detail, since=since)


def _undispatched(facts: Facts) -> tuple[str, datetime | None]:
    """Why a pending job has no flow run yet, and since when."""
    job = facts.job
    if job.origin is None:
        left = "An earlier scheduler accepted it for a run of its own: nobody starts it, and after 6 h it is failed."
        return left, job.created_at
    if facts.prefect_problem:
        down = f"It has no flow run yet, because {facts.absence}; it gets one as soon as Prefect answers."
        return down, facts.down_since
    if facts.maintenance.holds_at(facts.now) or (facts.holder and not job.slot_held):
        return "It has no flow run yet: it gets one when it may start.", None
    if job.pending_reason:
        return f"It has no flow run yet ({said(job.pending_reason)}); creating one is tried every few seconds.", None
    return "It is being dispatched: its flow run is created within seconds.", None


def process(facts: Facts) -> Check | None:
    job = facts.job
    if job.status is not JobStatus.RUNNING:
        return None
    if job.fence is None or job.locked_at is None:
        left = "An earlier scheduler left it running: no process holds it, and 6 h after its start it is failed."
        return Check(name="process", ok=False, detail=left, since=job.started_at)
    if job.lease_note is not None:
        return _given_up(facts, job.lease_note)
    who = said(job.locked_by) or "its process"
    silence = facts.seconds_since(job.locked_at)
    if silence > SILENCE_SECONDS:
        silent = (
            f"Nothing has been heard of {who} for {duration(silence)}: without a sign of life for {LEASE_SECONDS} s"
            " the job is dead and ends."
        )
        return Check(name="process", ok=False, detail=silent, since=job.locked_at)
    over = facts.seconds_since(job.started_at) - job.max_run_seconds if job.started_at and job.max_run_seconds else -1
    if over > 0:
        late = f"It has run {duration(over)} longer than it may: {who} is being ended."
        return Check(name="process", ok=False, detail=late, since=job.locked_at)
    since = f" since {moment(job.started_at)}" if job.started_at else ""
    runs = f"It runs on {who}{since}{_progress(facts)}; its last beat was {duration(silence)} ago."
    return Check(name="process", ok=True, detail=runs, since=job.locked_at)


def _given_up(facts: Facts, note: str) -> Check:
    job = facts.job
    detail = f"Its process has given its lease up ({said(note)}) and is ending"
    if job.lease_ends_at is not None:
        detail += f"; the job ends with it, at {moment(job.lease_ends_at)} at the latest"
    else:
        detail += "; the job ends with it, unless another attempt of the same run takes it over first"
    return Check(name="process", ok=False, detail=f"{detail}.", since=job.locked_at)


def _progress(facts: Facts) -> str:
    progress = facts.job.progress or {}
    done, total, phase = (progress.get(name) for name in ("itemsProcessed", "itemsTotal", "phase"))
    if done is None:
        return ""
    items = f"{said(str(done))} of {said(str(total))} items" if total is not None else f"{said(str(done))} items"
    return f" ({said(str(phase))}, {items})" if phase else f" ({items})"


def cancel(facts: Facts) -> Check | None:
    job = facts.job
    if job.cancel_requested_at is None:
        return None
    asked = f"{said(job.cancel_requested_by) or 'Somebody'} asked to cancel it at {moment(job.cancel_requested_at)}"
    if job.status is JobStatus.RUNNING:
        elapsed = facts.seconds_since(job.cancel_requested_at)
        detail = f"{asked}; {_rung(facts, elapsed)}."
        return Check(name="cancel", ok=elapsed < STOP_SECONDS, detail=detail, since=job.cancel_requested_at)
    if job.status is not JobStatus.CANCELLED:
        late = f"{asked}, and it ended as {job.status} before it could stop."
        return Check(name="cancel", ok=False, detail=late, since=job.cancel_requested_at)
    stopped = f"had stopped at {moment(job.cancel_stopped_at)}" if job.cancel_stopped_at else "has stopped"
    items = f" with {job.cancel_items_done} items done" if job.cancel_items_done is not None else ""
    safe = ", and a retry repeats nothing" if job.cancel_safe_to_retry else ""
    detail = f"{asked}; it {stopped}{items}{safe}."
    return Check(name="cancel", ok=True, detail=detail, since=job.cancel_requested_at)


def _rung(facts: Facts, elapsed: float) -> str:
    """Where a running job that is to stop stands on the way from a word to SIGKILL."""
    job = facts.job
    if job.lease_note is not None:
        return "it has stopped working, and its process is ending"
    if job.fence is None:
        return "an earlier scheduler left it, and no process hears of it"
    if job.locked_at is None or facts.seconds_since(job.locked_at) > SILENCE_SECONDS:
        return f"its process does not answer, and is taken for gone {LEASE_SECONDS} s after its last beat"
    return next((rung for seconds, rung in _RUNGS if elapsed < seconds), _LAST_RUNG)


def recovery(facts: Facts) -> Check | None:
    job = facts.job
    if facts.retry is not None:
        return Check(name="recovery", ok=True, detail=f"Job {facts.retry} tries it again.")
    if job.status is not JobStatus.FAILED:
        return None
    if job.recover_at is not None:
        due = facts.seconds_since(job.recover_at) >= 0
        when = "now" if due else f"at {moment(job.recover_at)}"
        return Check(
            name="recovery", ok=True, detail=f"It is tried again {when}, as a new job.", since=job.completed_at
        )
    if not job.died:
        why = "it failed by its own error"
    elif job.parent_id is not None:
        why = "a shard is its parent's business"
    elif job.origin is Origin.PREFECT and job.retry_of is not None:
        why = "somebody had set it going by hand"
    elif (job.recoveries or 0) >= MOST_RECOVERIES:
        why = f"it was try number {MOST_RECOVERIES + 1}"
    else:
        why = "recovery is off for it"
    return Check(name="recovery", ok=False, detail=f"It is not tried again by itself, because {why}.")
