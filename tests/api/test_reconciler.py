"""Rows and flow runs agree again, on a real Prefect: the sandbox's, without its worker, and our own shim."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.states import Cancelled, Failed, Scheduled

from api.runtime import Runtime, build_runtime
from api.settings import ShimSettings
from flows.clients import database as database_client
from flows.core import scheduled_jobs
from flows.core.domain import Job, JobStatus, Origin, Priority
from flows.core.errors import Conflict, NotFound
from flows.core.settings import settings as flow_settings
from sandbox.stack import Stack
from tests.api.conftest import Shim
from tests.conftest import Connection, empty_tables


@pytest.fixture(scope="module")
async def quiet_stack(stack: Stack) -> AsyncIterator[Stack]:
    """The stack without what would move a test's rows and runs."""
    stopped = [part for part in ("worker", "shim") if stack.is_running(part)]
    for part in stopped:
        await stack.stop(part)
    yield stack
    for part in stopped:
        await stack.start(part)


@pytest.fixture
async def db(quiet_stack: Stack) -> AsyncIterator[Connection]:
    """The emptied database, as it is right after its migrations."""
    await empty_tables(quiet_stack)
    connection = await asyncpg.connect(quiet_stack.wiring.database_url)
    await connection.execute("insert into sweep_state default values on conflict do nothing")
    yield connection
    await connection.close()


@pytest.fixture
async def runtime(quiet_stack: Stack, db: Connection, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Runtime]:
    """A shim of this process on that stack."""
    for name, value in quiet_stack.wiring.shim_environment().items():
        monkeypatch.setenv(name, value)
    flow_settings.cache_clear()
    await database_client.close()
    made = build_runtime(ShimSettings())
    async with made.connected():
        await made.catalogue.refresh(made.orchestrator)
        yield made
    flow_settings.cache_clear()


@pytest.fixture
async def prefect(quiet_stack: Stack) -> AsyncIterator[PrefectClient]:
    wiring = quiet_stack.wiring
    async with PrefectClient(wiring.url("prefect"), auth_string=wiring.prefect_auth_string) as client:
        yield client


async def accepted(parameters: dict[str, Any] | None = None, job_type: str = "crawl_pending") -> Job:
    acceptance = await scheduled_jobs.accept(
        job_type,
        parameters=parameters or {},
        priority=Priority.HIGH,
        origin=Origin.DASHBOARD,
        started_by=None,
        exclusive_key=job_type,
        actor="test",
    )
    return acceptance.job


async def dispatched(runtime: Runtime) -> tuple[Job, UUID]:
    """A job with its flow run, long enough ago for a sweep to look at it."""
    job = await accepted()
    await runtime.dispatcher.dispatch_due()
    await runtime.dispatcher.settled()
    return job, await run_id(job)


async def run_id(job: Job) -> UUID:
    now = await scheduled_jobs.get(job.id)
    assert now is not None
    assert now.flow_run_id is not None
    return now.flow_run_id


async def age(db: Connection, **columns: str) -> None:
    """Rows as if nothing had changed for a while, past the guard that keeps updated_at true."""
    await db.execute("alter table scheduled_jobs disable trigger guard_scheduled_jobs")
    changes = ", ".join(f"{name} = {value}" for name, value in columns.items())
    await db.execute(f"update scheduled_jobs set {changes}")
    await db.execute("alter table scheduled_jobs enable trigger guard_scheduled_jobs")


async def settled(runtime: Runtime, db: Connection) -> None:
    """Lets rows and runs be compared until what has ended agrees, for 8 s at most."""
    for _ in range(16):
        await runtime.reconciler.compare_open()
        if not await db.fetchval("select exists (select from scheduled_jobs where run_open)"):
            return
        await asyncio.sleep(0.5)


async def status_of(job: Job) -> tuple[JobStatus, str | None]:
    now = await scheduled_jobs.get(job.id)
    assert now is not None
    return now.status, now.error


class TestCreation:
    async def test_a_run_is_made_once_as_the_contract_says(self, runtime: Runtime, prefect: PrefectClient) -> None:
        job = await accepted({"max_items": 5})
        first = await runtime.orchestrator.create_run(job)
        assert await runtime.orchestrator.create_run(job) == first
        run = await prefect.read_flow_run(first)
        assert (run.idempotency_key, run.work_queue_name, run.parameters) == (str(job.id), "high", {"max_items": 5})
        assert {"crawl_pending", "dashboard"} <= set(run.tags)

    async def test_a_parameter_that_prefect_refuses_is_a_conflict(self, runtime: Runtime) -> None:
        with pytest.raises(Conflict, match="Prefect refused to create a run"):
            await runtime.orchestrator.create_run(await accepted({"max_items": "many"}))

    async def test_a_type_without_a_deployment_is_not_found(self, runtime: Runtime) -> None:
        with pytest.raises(NotFound):
            await runtime.orchestrator.create_run(await accepted(job_type="no_such_type"))

    @pytest.mark.usefixtures("runtime")
    async def test_the_catalogue_is_kept_in_the_table(self, db: Connection) -> None:
        kept = await db.fetchval(
            "select parameter_schema -> 'properties' -> 'max_items' ->> 'maximum' from job_types"
            " where job_type = 'crawl_pending'"
        )
        assert kept == "10000"


class TestBeforeTheFirstLease:
    @pytest.mark.parametrize(
        ("state", "status"),
        [(Cancelled(message="by hand"), JobStatus.CANCELLED), (Failed(message="no such image"), JobStatus.FAILED)],
    )
    async def test_the_row_follows_the_end_of_its_run(
        self, runtime: Runtime, prefect: PrefectClient, db: Connection, state: Any, status: JobStatus
    ) -> None:
        job, flow_run_id = await dispatched(runtime)
        await prefect.set_flow_run_state(flow_run_id, state, force=True)
        await age(db, updated_at="now() - interval '6 seconds'")
        await runtime.reconciler.compare_open()
        assert await status_of(job) == (status, state.message)

    async def test_a_run_that_waits_is_left_alone(self, runtime: Runtime, db: Connection) -> None:
        job, flow_run_id = await dispatched(runtime)
        await age(db, updated_at="now() - interval '6 seconds'")
        await runtime.reconciler.compare_open()
        assert await status_of(job) == (JobStatus.PENDING, None)
        assert await run_id(job) == flow_run_id

    async def test_a_deleted_run_is_dispatched_again(
        self, runtime: Runtime, prefect: PrefectClient, db: Connection
    ) -> None:
        job, flow_run_id = await dispatched(runtime)
        await prefect.delete_flow_run(flow_run_id)
        await age(db, updated_at="now() - interval '6 seconds'")
        await runtime.reconciler.compare_open()
        await runtime.dispatcher.dispatch_due()
        await runtime.dispatcher.settled()
        assert await run_id(job) != flow_run_id
        assert (await prefect.read_flow_run(await run_id(job))).idempotency_key == str(job.id)


class TestDeadLease:
    async def test_the_job_fails_and_its_run_is_crashed(
        self, runtime: Runtime, prefect: PrefectClient, db: Connection
    ) -> None:
        job, flow_run_id = await dispatched(runtime)
        await scheduled_jobs.take(job.id, flow_run_id=flow_run_id, attempt=1, worker="host/1")
        await age(db, locked_at="now() - interval '91 seconds'")
        await db.execute("update sweep_state set swept_at = now(), grace_until = now() - interval '1 second'")
        await runtime.reconciler.reap()
        status, error = await status_of(job)
        assert status is JobStatus.FAILED
        assert error is not None
        assert error.startswith("lease lost: no sign of life from host/1")
        await settled(runtime, db)
        run = await prefect.read_flow_run(flow_run_id)
        assert run.state is not None
        assert (run.state.name, run.state.message) == ("Crashed", error)
        assert not await db.fetchval("select run_open from scheduled_jobs")

    async def test_a_run_that_is_gone_does_not_matter(self, runtime: Runtime) -> None:
        await runtime.orchestrator.force_state(uuid4(), Failed())
        await runtime.orchestrator.cancel_run(uuid4())


class TestRunsThatWereNotDispatched:
    async def started(self, prefect: PrefectClient, at: datetime | None = None, **more: Any) -> FlowRun:
        deployment = await prefect.read_deployment_by_name("crawl_pending/crawl_pending")
        state: Any = Scheduled(scheduled_time=at) if at else None
        return await prefect.create_flow_run_from_deployment(deployment.id, state=state, **more)

    async def test_a_due_run_gets_its_row(self, runtime: Runtime, prefect: PrefectClient) -> None:
        run = await self.started(prefect, parameters={"max_items": 3})
        later = await self.started(prefect, datetime.now(UTC) + timedelta(hours=1))
        await runtime.reconciler.adopt_due_runs()
        await runtime.reconciler.adopt_due_runs()
        job = await scheduled_jobs.get(run.id)
        assert job is not None
        assert (job.flow_run_id, job.origin, job.status) == (run.id, Origin.PREFECT, JobStatus.PENDING)
        assert (job.parameters, job.exclusive_key) == ({"max_items": 3}, "crawl_pending")
        assert run.expected_start_time is not None
        assert abs((job.created_at - run.expected_start_time).total_seconds()) < 1
        assert await scheduled_jobs.get(later.id) is None

    async def test_a_run_of_ours_that_is_not_noted_yet_gets_no_second_row(self, runtime: Runtime) -> None:
        job = await accepted()
        flow_run_id = await runtime.orchestrator.create_run(job)
        await runtime.reconciler.adopt_due_runs()
        assert await scheduled_jobs.get(flow_run_id) is None


async def test_one_row_that_cannot_be_written_does_not_stop_the_others(shim: Shim) -> None:
    # Postgres refuses a NUL character.
    bad, good = (shim.prefect.add_due_run({"note": note}) for note in ("a\0b", "fine"))
    await shim.runtime.reconciler.adopt_due_runs()
    assert await scheduled_jobs.get(bad) is None
    assert await scheduled_jobs.get(good) is not None
