"""How often and when a task is tried again.

Both presets wait about 2, 5 and 15 seconds between tries, each stretched by up to a half at random so that many runs
do not come back together. A try that would end the same way is not repeated.
"""

from __future__ import annotations

from typing import Any

from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task

from flows.core.errors import AnswerLost, TransientError

_DELAYS_SECONDS = [2.0, 5.0, 15.0]


async def _failure_of(state: State[Any]) -> BaseException | None:
    result = await state.aresult(raise_on_failure=False)
    return result if isinstance(result, BaseException) else None


async def worth_repeating(_task: Task[..., Any], _task_run: TaskRun, state: State[Any]) -> bool:
    """True when the task failed for a passing reason. For calls without an effect."""
    return isinstance(await _failure_of(state), TransientError)


async def surely_not_done(_task: Task[..., Any], _task_run: TaskRun, state: State[Any]) -> bool:
    """True when it failed for a passing reason and cannot have had its effect. For calls that have one."""
    failure = await _failure_of(state)
    return isinstance(failure, TransientError) and not isinstance(failure, AnswerLost)


HTTP_READ: dict[str, Any] = {
    "retries": len(_DELAYS_SECONDS),
    "retry_delay_seconds": _DELAYS_SECONDS,
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": worth_repeating,
    "timeout_seconds": 45,
    "persist_result": False,
}
HTTP_SEND: dict[str, Any] = {**HTTP_READ, "retry_condition_fn": surely_not_done, "timeout_seconds": 90}
# A task that sends many mails under the ledger: what it has not done is still planned, so that any passing failure is
# worth another try. It stops claiming after a minute and waits for what is under way; the rest of its time is for an
# outage of the database, which is waited out for 15 minutes.
MAIL_SEND: dict[str, Any] = {**HTTP_READ, "timeout_seconds": 1200}
# A stretch of maintenance: it waits through an outage by itself, and goes on where it was when it is tried again.
DATABASE_STRETCH: dict[str, Any] = {**HTTP_READ, "timeout_seconds": 1200}
