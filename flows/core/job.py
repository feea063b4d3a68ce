"""`@job`: turns the body of a job into a Prefect flow that keeps its row truthful.

The wrapper finds or makes the row, takes the lease, beats, writes progress and the end; the body takes its parameters
and returns a `JobResult`. A body that raises makes the job failed. One that is told to stop writes no end: the process
gives its lease up, and the job is cancelled, or dead, once the process is gone. Prefect's state follows the row.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import platform
import time
import traceback
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeVar
from uuid import UUID

from prefect import Flow, flow, get_run_logger
from prefect.client.schemas.objects import FlowRun, State
from prefect.context import FlowRunContext
from prefect.states import Cancelled, Completed, Failed
from pydantic import BaseModel

from flows.clients import database, http
from flows.clients.database import PATIENCE_SECONDS
from flows.core import lease as leases
from flows.core import scheduled_jobs
from flows.core.domain import Job, JobResult, JobStatus, JobType, Origin
from flows.core.errors import LeaseLost, SchedulerError, TransientError
from flows.core.fires import later_fire_of
from flows.core.heartbeat import Heartbeat
from flows.core.names import named
from flows.core.redaction import redact
from flows.core.settings import settings

P = TypeVar("P", bound=BaseModel)
Body = Callable[[P], Awaitable[JobResult]]


@dataclass(frozen=True)
class _Kind:
    """What `@job` was told about a job type."""

    job_type: JobType
    body: Callable[[Any], Awaitable[JobResult]]
    parameters: type[BaseModel]
    max_run_time: timedelta
    exclusive_key: Callable[[Any], str | None]
    resolve: Callable[[Any, datetime], Any]
    label: Callable[[Any], str] | None


@dataclass(frozen=True)
class _End:
    status: JobStatus
    result: JobResult


def job(
    job_type: JobType,
    *,
    max_run_time: timedelta,
    exclusive_key: Callable[[P], str | None] | None = None,
    resolve: Callable[[P, datetime], P] | None = None,
    label: Callable[[P], str] | None = None,
) -> Callable[[Body[P]], Flow[..., Any]]:
    """Makes the flow of a job type from `async def body(parameters: Parameters) -> JobResult`.

    The flow's parameters are the fields of `Parameters`, so that the Prefect UI and CLI offer them one by one.
    `exclusive_key` names the gate a run must hold (default: the type; None: no gate). `resolve` fills in parameters
    that depend on when the job was scheduled, else asked for: the row keeps them, and a retry copies them. `label` is
    what its runs are called by, instead of their time.
    """

    def decorate(body: Body[P]) -> Flow[..., Any]:
        (parameter,) = inspect.signature(body, eval_str=True).parameters.values()
        kind = _Kind(
            job_type,
            body,
            parameter.annotation,
            max_run_time,
            exclusive_key or (lambda _: job_type.value),
            resolve or (lambda parameters, _: parameters),
            label,
        )

        async def run(**given: Any) -> State[Any]:
            return await _run(kind, given)

        run.__name__ = run.__qualname__ = body.__name__
        run.__module__ = body.__module__
        run.__doc__ = _document(body, kind.parameters)
        run.__signature__ = _signature(kind.parameters)  # type: ignore[attr-defined]
        run.max_run_time = max_run_time  # type: ignore[attr-defined]  # for `deployments check`
        return flow(
            name=job_type.value,
            description=inspect.getdoc(body),
            retries=0,
            persist_result=False,
            validate_parameters=True,
        )(run)

    return decorate


def _signature(parameters: type[BaseModel]) -> inspect.Signature:
    """One keyword for each field, with its bounds, so that Prefect's own schema and check know them."""
    return inspect.Signature(
        [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if info.is_required() else info.get_default(call_default_factory=True),
                annotation=Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation,
            )
            for name, info in parameters.model_fields.items()
        ]
    )


def _document(body: Callable[..., Any], parameters: type[BaseModel]) -> str:
    """The body's docstring with the fields' descriptions, where Prefect looks for them."""
    lines = [f"    {name}: {info.description}" for name, info in parameters.model_fields.items() if info.description]
    text = inspect.getdoc(body) or ""
    return text + "\n\nArgs:\n" + "\n".join(lines) if lines else text


def _run_name(kind: _Kind, run: FlowRun, parameters: BaseModel) -> str:
    at = (run.expected_start_time or datetime.now(UTC)).astimezone(UTC)
    label = f"{at:%Y-%m-%d %H:%M}" if kind.label is None else kind.label(kind.resolve(parameters, at))
    return f"{kind.job_type.value} {label}"


def _flow_run() -> FlowRun:
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        raise RuntimeError("a job runs as a Prefect flow run; call its body for anything else")
    return context.flow_run


async def _run(kind: _Kind, given: dict[str, Any]) -> State[Any]:
    parameters = kind.parameters.model_validate(given)
    run = _flow_run()
    async with named(run, _run_name(kind, run, parameters)):
        state = await _decided(kind, run, parameters)
    # An interpreter that ends in its own way would call what is left open an error, in the log of the run.
    await database.close()
    await http.close()
    return state


async def _decided(kind: _Kind, run: FlowRun, parameters: BaseModel) -> State[Any]:
    """Takes the lease and does the work, or says why not."""
    logger = get_run_logger()
    run_seconds = settings().max_run_seconds or kind.max_run_time.total_seconds()
    record = await _persist(lambda: _adopt(kind, run, parameters))
    parameters = await _resolved(kind, parameters, record)
    by_schedule = record.origin is Origin.SCHEDULE and record.parent_id is None
    later_fire_at = await later_fire_of(run) if by_schedule else None
    taken = await _persist(
        lambda: scheduled_jobs.take(
            record.id,
            flow_run_id=run.id,
            attempt=_attempt(run),
            worker=f"{platform.node()}/{os.getpid()}",
            parameters=parameters.model_dump(mode="json"),
            max_run_seconds=round(run_seconds),
            later_fire_at=later_fire_at,
        )
    )
    if taken.fence is None:
        logger.info("Job %s: nothing done, %s", record.id, taken.reason)
        return Cancelled(message=taken.reason)
    logger.info("Job %s starts under fence %s", record.id, taken.fence)
    lease = leases.Lease(record.id, taken.fence, record.parent_id)
    leases.enter(lease)
    return await _under_lease(kind, parameters, lease, run_seconds)


async def _resolved(kind: _Kind, parameters: BaseModel, record: Job) -> BaseModel:
    """The parameters with what depends on when the job was asked for; a retry means what the first try meant."""
    resolved: BaseModel = kind.resolve(parameters, record.created_at)
    if record.retry_of is None or resolved == parameters:
        return resolved
    asked_at = await _persist(lambda: scheduled_jobs.first_asked_at(record.id))
    first: BaseModel = kind.resolve(parameters, asked_at)
    return first


def _attempt(run: FlowRun) -> int:
    """How often Prefect has begun this run, this time included."""
    return max(run.run_count, 1)


async def _adopt(kind: _Kind, run: FlowRun, parameters: BaseModel) -> Job:
    return await scheduled_jobs.adopt(
        run.id,
        idempotency_key=run.idempotency_key,
        job_type=kind.job_type,
        parameters=parameters.model_dump(mode="json"),
        origin=Origin.SCHEDULE if run.auto_scheduled else Origin.PREFECT,
        exclusive_key=kind.exclusive_key(parameters),
        scheduled_at=run.expected_start_time,
        attempt=_attempt(run),
    )


_T = TypeVar("_T")


async def _persist(call: Callable[[], Awaitable[_T]]) -> _T:
    """Waits through an outage of the database: a run that cannot take its lease must not begin."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    delay = 0.5
    while True:
        try:
            return await call()
        except TransientError:
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(delay)
        delay = min(delay * 2, 10.0)


async def _under_lease(kind: _Kind, parameters: BaseModel, lease: leases.Lease, run_seconds: float) -> State[Any]:
    logger = get_run_logger()
    task = asyncio.current_task()
    assert task is not None  # noqa: S101  # a coroutine always runs in a task
    heartbeat = Heartbeat(lease, task, run_seconds=run_seconds)
    heartbeat.start()
    try:
        end = await _body_end(kind, parameters, lease, run_seconds)
    except BaseException as death:
        # Told to stop, a signal, or the engine going down around us. What is to be said is said without the loop.
        state = _stopped(heartbeat, lease, death, run_seconds)
        if state is None:
            raise
        while task.cancelling():
            task.uncancel()
        return state
    written = await asyncio.to_thread(heartbeat.end, end.status, end.result.to_json(), end.result.error)
    if not written:
        logger.error("Job %s: its end was not recorded, the lease had been lost", lease.job_id)
        return Failed(message="the lease had been lost; the row tells how the job ended")
    return _state(end, lease)


async def _body_end(kind: _Kind, parameters: BaseModel, lease: leases.Lease, run_seconds: float) -> _End:
    logger = get_run_logger()
    limit: AbstractAsyncContextManager[asyncio.Timeout] = asyncio.timeout(run_seconds)
    try:
        async with limit as running:
            result = await kind.body(parameters)
    except LeaseLost:
        raise
    except TimeoutError as error:
        message = _overtime(run_seconds) if running.expired() else _message_of(error)
        return _End(JobStatus.FAILED, _partial(lease, message))
    except Exception as error:
        if lease.verdict is not None:
            # What a body makes of being told to stop is no failure of its own.
            raise LeaseLost(lease.verdict) from error
        logger.error("Job %s failed:\n%s", lease.job_id, redact(traceback.format_exc(), limit=8000))  # noqa: TRY400
        return _End(JobStatus.FAILED, _partial(lease, _message_of(error)))
    return _End(JobStatus.COMPLETED if result.error is None else JobStatus.FAILED, result)


def _stopped(heartbeat: Heartbeat, lease: leases.Lease, death: BaseException, run_seconds: float) -> State[Any] | None:
    """Gives the lease up and returns what Prefect is to be told; None where whoever sent the signal tells it."""
    logger = get_run_logger()
    if lease.verdict == "lost" or (lease.verdict is None and isinstance(death, LeaseLost)):
        lease.stop("lost")
        logger.error("Job %s: the lease was lost, nothing more is done or recorded", lease.job_id)
        return Failed(message="the lease was lost; the row tells how the job ended")
    if lease.verdict is None:
        lease.stop("lost")
        heartbeat.give_up("stopped: its process was told to end", leaving=False)
        return None
    cancelled = lease.verdict == "stop"
    note = "cancelled while running" if cancelled else _overtime(run_seconds)
    logger.warning("Job %s: %s", lease.job_id, note)
    heartbeat.give_up(note, leaving=True)
    return Cancelled(message=note) if cancelled else Failed(message=note)


def _overtime(run_seconds: float) -> str:
    minutes, seconds = divmod(round(run_seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"ran longer than {hours:02}:{minutes:02}:{seconds:02}"


def _partial(lease: leases.Lease, message: str) -> JobResult:
    return JobResult(items_processed=lease.progress.items_processed if lease.progress else 0, error=message)


def _message_of(error: BaseException) -> str:
    text = redact(str(error))
    return text if isinstance(error, SchedulerError) and text else f"{type(error).__name__}: {text}".rstrip(": ")


def _state(end: _End, lease: leases.Lease) -> State[Any]:
    logger = get_run_logger()
    if end.status is JobStatus.COMPLETED:
        logger.info("Job %s completed: %s items, %s", lease.job_id, end.result.items_processed, end.result.details)
        return Completed(message=f"{end.result.items_processed} items processed")
    if end.status is JobStatus.CANCELLED:
        return Cancelled(message=end.result.error)
    logger.error("Job %s failed: %s", lease.job_id, end.result.error)
    return Failed(message=end.result.error)


def job_id_of_run() -> UUID:
    """The id of the job this code runs for. Raises RuntimeError outside a job."""
    lease = leases.current_lease()
    if lease is None:
        raise RuntimeError("no job is running here")
    return lease.job_id
