"""The table of states: what each pair of row and flow run asks for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import State, StateType

from api.agreement import Act, act_on
from flows.core.domain import Job, JobStatus

NOW = datetime(2026, 11, 26, tzinfo=UTC)
SCHEDULED, PENDING, RUNNING, PAUSED, CANCELLING = (
    State(type=one)
    for one in (StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.PAUSED, StateType.CANCELLING)
)
COMPLETED, FAILED, CRASHED, CANCELLED = (
    State(type=one) for one in (StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED)
)
LATE = State(type=StateType.SCHEDULED, name="Late")
AWAITING_RETRY = State(type=StateType.SCHEDULED, name="AwaitingRetry")
TIMED_OUT = State(type=StateType.FAILED, name="TimedOut")
GONE = None


def job(status: str, **more: Any) -> Job:
    return Job(uuid4(), "crawl_pending", JobStatus(status), NOW, NOW, flow_run_id=uuid4(), **{"run_open": True, **more})


CANCELLING_JOB = {"cancel_requested_at": NOW}
GIVEN_UP = {"lease_note": "stopped: its process was told to end"}


@pytest.mark.parametrize(
    ("status", "more", "state", "act"),
    [
        # Before the first lease Prefect's terminal states move the row.
        ("pending", {}, GONE, Act.DISPATCH_AGAIN),
        ("pending", {}, SCHEDULED, Act.NOTHING),
        ("pending", {}, LATE, Act.NOTHING),
        ("pending", {}, PENDING, Act.GIVE_UP_UNSTARTED),
        ("pending", {}, RUNNING, Act.GIVE_UP_UNSTARTED),
        ("pending", {}, CANCELLING, Act.CANCEL_ROW),
        ("pending", {}, CANCELLED, Act.CLOSE_ROW),
        ("pending", {}, CRASHED, Act.CLOSE_ROW),
        ("pending", {}, FAILED, Act.CLOSE_ROW),
        # From the first lease on the row is the truth.
        ("running", {}, GONE, Act.NOTHING),
        ("running", {}, RUNNING, Act.NOTHING),
        ("running", {}, AWAITING_RETRY, Act.NOTHING),
        ("running", {}, PENDING, Act.NOTHING),
        ("running", {}, SCHEDULED, Act.PUT_RIGHT),
        ("running", {}, PAUSED, Act.PUT_RIGHT),
        ("running", {}, COMPLETED, Act.PUT_RIGHT),
        ("running", {}, TIMED_OUT, Act.PUT_RIGHT),
        ("running", {}, CRASHED, Act.DOUBT),
        ("running", {}, CANCELLED, Act.DOUBT),
        ("running", {}, CANCELLING, Act.CANCEL_ROW),
        ("running", CANCELLING_JOB, CANCELLING, Act.NOTHING),
        ("running", CANCELLING_JOB, RUNNING, Act.CANCEL_RUN),
        # The process has said its last word; whoever waits for it, or else this, ends the job.
        ("running", GIVEN_UP, CRASHED, Act.BURY),
        ("running", GIVEN_UP, CANCELLED, Act.BURY),
        ("running", {**GIVEN_UP, "lease_ends_at": NOW}, CANCELLED, Act.NOTHING),
        ("running", GIVEN_UP, AWAITING_RETRY, Act.NOTHING),
        # After the end Prefect follows.
        ("completed", {}, COMPLETED, Act.NOTE_AGREEMENT),
        ("completed", {"run_open": False}, COMPLETED, Act.NOTHING),
        ("completed", {}, GONE, Act.NOTE_AGREEMENT),
        ("completed", {}, RUNNING, Act.END_RUN),
        ("completed", {"run_open": False}, CRASHED, Act.END_RUN),
        ("failed", {}, CRASHED, Act.NOTE_AGREEMENT),
        ("failed", {}, TIMED_OUT, Act.NOTE_AGREEMENT),
        ("failed", {}, COMPLETED, Act.END_RUN),
        ("cancelled", {}, CANCELLED, Act.NOTE_AGREEMENT),
        ("cancelled", {}, SCHEDULED, Act.END_RUN),
        # Set going again after the two had agreed: a job of its own.
        ("failed", {"run_open": False}, AWAITING_RETRY, Act.RETRY),
        ("completed", {"run_open": False}, PENDING, Act.RETRY),
        ("failed", {}, AWAITING_RETRY, Act.END_RUN),
    ],
)
def test_each_pair_asks_for_one_thing(status: str, more: dict[str, Any], state: State | None, act: Act) -> None:
    assert act_on(job(status, **more), state, is_known=state is not GONE) is act
