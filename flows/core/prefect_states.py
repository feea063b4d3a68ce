"""What a Prefect state means for a row that no process has taken yet. From the first lease on the row is the truth."""

from __future__ import annotations

from prefect.client.schemas.objects import State, StateType

from flows.core.domain import JobStatus

_ENDED: dict[StateType, JobStatus] = {
    StateType.COMPLETED: JobStatus.COMPLETED,
    StateType.FAILED: JobStatus.FAILED,
    StateType.CRASHED: JobStatus.FAILED,
    StateType.CANCELLED: JobStatus.CANCELLED,
}


def ended_status(state: State | None) -> JobStatus | None:
    """The status a terminal Prefect state stands for (TimedOut is a FAILED one), None for every other state."""
    return None if state is None else _ENDED.get(state.type)
