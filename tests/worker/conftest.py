"""One Prefect server for both worker types; `trials` is a worker of either type with all trial flows in its pool."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prefect.client.orchestration import PrefectClient

from sandbox.stack import Stack
from tests.worker import trial_flows as flows
from tests.worker.harness import ALL_FLOWS, Trials, Worker, deploy

# What the process worker ignores is no harm to it; the memory is enough for a flow, not for one that eats.
LIMITS = {"memory_mb": 200, "max_processes": 60, "max_open_files": 400, "cpu_seconds": 4, "grace_seconds": 2}
# Without this the process worker starts two interpreters for each run.
TUNED = {"command": "python -m prefect.engine"}


@pytest.fixture(scope="session")
async def prefect(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """Postgres and a Prefect server, without a worker."""
    folder = tmp_path_factory.mktemp("worker-stack")
    async with Stack(folder, ports="free", parts=("postgres", "prefect")) as stack:
        yield stack
    shutil.rmtree(folder / "pgdata", ignore_errors=True)


@pytest.fixture(scope="session")
async def client(prefect: Stack) -> AsyncIterator[PrefectClient]:
    async with PrefectClient(prefect.wiring.url("prefect"), auth_string=prefect.wiring.prefect_auth_string) as client:
        for kind, variables in (("process", TUNED), ("forkserver", LIMITS)):
            await deploy(client, kind, kind, variables, ALL_FLOWS)
        yield client


@pytest.fixture(scope="session", params=["forkserver", "process"])
async def trials(
    request: pytest.FixtureRequest, prefect: Stack, client: PrefectClient, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Trials]:
    """A worker of each type, one after the other."""
    async for running in _running(prefect, client, request.param, tmp_path_factory):
        yield running


@pytest.fixture(scope="session")
async def shared(
    prefect: Stack, client: PrefectClient, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Trials]:
    """A worker of our type that no test ends."""
    async for running in _running(prefect, client, "forkserver", tmp_path_factory):
        yield running


async def _running(
    prefect: Stack, client: PrefectClient, kind: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Trials]:
    worker = Worker(prefect, kind, tmp_path_factory.mktemp(kind), PREFECT_WORKER_HEARTBEAT_SECONDS="2")
    await worker.ready()
    yield Trials(client, kind, worker)
    worker.kill()


@pytest.fixture
async def ours(prefect: Stack, client: PrefectClient, tmp_path: Path) -> AsyncIterator[Trials]:
    """A worker of our type for one test alone, in a pool of its own."""
    pool = f"own-{tmp_path.name}"
    await deploy(
        client, pool, "forkserver", LIMITS, [flows.succeed, flows.wait, flows.wait_async, flows.ignore_sigterm]
    )
    worker = Worker(
        prefect, "forkserver", tmp_path, pool=pool, WORKER_DRAIN_SECONDS="8", PREFECT_WORKER_HEARTBEAT_SECONDS="2"
    )
    await worker.ready()
    yield Trials(client, pool, worker)
    worker.kill()
