"""What is to be done about a row and its flow run: the table of states, as one pure function.

| Prefect                                                                  | row       |
|--------------------------------------------------------------------------|-----------|
| no run yet, Scheduled, Late, Pending before the first lease              | pending   |
| Running, Cancelling, AwaitingRetry, Retrying, Pending of a later attempt | running   |
| Completed                                                                | completed |
| Failed, TimedOut, Crashed                                                | failed    |
| Cancelled                                                                | cancelled |

Until a process has taken the lease Prefect's terminal states move the row. From then on the row is the truth: what a
person, or a worker that is mistaken, sets in Prefect is put right. One thing only Prefect may know: that the process is
dead. A living one shows it within seconds, by its next beat.
"""

from __future__ import annotations

from enum import Enum, auto

from prefect.client.schemas.objects import State, StateType

from flows.core.domain import Job, JobStatus
from flows.core.prefect_states import ended_status

_CONTINUES = "AwaitingRetry"  # what an evicted run waits in until its next attempt begins


class Act(Enum):
    NOTHING = auto()  # they agree, or the difference is on its way out
    NOTE_AGREEMENT = auto()  # the row has ended, Prefect's run as well, and the same way
    DISPATCH_AGAIN = auto()  # the run of a pending job is gone
    CLOSE_ROW = auto()  # the run ended before any process took the lease: the row follows
    GIVE_UP_UNSTARTED = auto()  # a worker took the run on; if nobody begins it in time the job is dead
    CANCEL_ROW = auto()  # somebody cancelled in Prefect: cancel there is cancel here
    CANCEL_RUN = auto()  # a cancel was asked for here and Prefect does not know
    DOUBT = auto()  # Prefect says the process is gone: the next beat, or its absence, decides
    BURY = auto()  # the process gave its lease up and its run has ended: the job can end
    PUT_RIGHT = auto()  # somebody changed the state of a living run: it is Running again
    END_RUN = auto()  # the row has ended, the run has not, or ended in another way
    RETRY = auto()  # an ended run was set going again by hand: a job of its own


def act_on(job: Job, state: State | None, *, is_known: bool) -> Act:
    """What a row and the state of its flow run ask for; `is_known` False when Prefect has no such run."""
    if job.status is JobStatus.PENDING:
        return _pending(state, is_known=is_known)
    if job.status is JobStatus.RUNNING:
        # Of a run that was deleted the lease decides.
        return _running(job, state) if is_known and state is not None else Act.NOTHING
    return _ended(job, state, is_known=is_known)


def _pending(state: State | None, *, is_known: bool) -> Act:
    if not is_known:
        return Act.DISPATCH_AGAIN
    if state is None:
        return Act.NOTHING
    if ended_status(state) is not None:
        return Act.CLOSE_ROW
    if state.type is StateType.CANCELLING:
        return Act.CANCEL_ROW
    return Act.GIVE_UP_UNSTARTED if state.type in (StateType.PENDING, StateType.RUNNING) else Act.NOTHING


def _running(job: Job, state: State) -> Act:
    if ended_status(state) is not None:
        return _running_but_ended(job, state)
    by_hand = state.type is StateType.SCHEDULED and state.name != _CONTINUES
    if by_hand or state.type is StateType.PAUSED:
        return Act.PUT_RIGHT
    if state.type is StateType.CANCELLING and job.cancel_requested_at is None:
        return Act.CANCEL_ROW
    if state.type is StateType.RUNNING and job.cancel_requested_at is not None:
        return Act.CANCEL_RUN
    return Act.NOTHING


def _running_but_ended(job: Job, state: State) -> Act:
    if job.lease_note is not None:
        # While lease_ends_at stands somebody, or the sweep, tells when the process is gone.
        return Act.NOTHING if job.lease_ends_at is not None else Act.BURY
    return Act.DOUBT if state.type in (StateType.CRASHED, StateType.CANCELLED) else Act.PUT_RIGHT


def _ended(job: Job, state: State | None, *, is_known: bool) -> Act:
    if not is_known or ended_status(state) is job.status:
        return Act.NOTE_AGREEMENT if job.run_open else Act.NOTHING
    begins_again = state is not None and state.type in (StateType.SCHEDULED, StateType.PENDING)
    if begins_again and not job.run_open:
        return Act.RETRY
    return Act.END_RUN
