"""What the shim asks a real Prefect for to explain a job: the sandbox's, with its worker."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import LogCreate
from prefect.client.schemas.objects import State
from prefect.states import Scheduled

from api.orchestrator import Orchestrator, PodSign
from sandbox.stack import Stack


@pytest.fixture
async def orchestrator(stack: Stack) -> AsyncIterator[Orchestrator]:
    async with Orchestrator(stack.wiring.url("prefect"), stack.wiring.prefect_auth_string).opened() as made:
        yield made


@pytest.fixture
async def prefect(stack: Stack) -> AsyncIterator[PrefectClient]:
    wiring = stack.wiring
    async with PrefectClient(wiring.url("prefect"), auth_string=wiring.prefect_auth_string) as client:
        yield client


async def a_run(prefect: PrefectClient) -> UUID:
    """A run that no worker takes, because it is due tomorrow."""
    deployment = await prefect.read_deployment_by_name("crawl_pending/crawl_pending")
    later: State[Any] = Scheduled(scheduled_time=datetime.now(UTC) + timedelta(days=1))
    return (await prefect.create_flow_run_from_deployment(deployment.id, state=later)).id


async def emit(stack: Stack, run: UUID, phase: str, occurred: datetime, **labels: str) -> None:
    """An event as the observer of Prefect's Kubernetes worker sends it."""
    pod = {"prefect.resource.id": "prefect.kubernetes.pod.1f", "prefect.resource.name": "crawl-x7"}
    related = {"prefect.resource.id": f"prefect.flow-run.{run}", "prefect.resource.role": "flow-run"}
    event = {
        "id": str(uuid4()),
        "occurred": occurred.isoformat(),
        "event": f"prefect.kubernetes.pod.{phase}",
        "resource": pod | labels,
        "related": [related],
        "payload": {},
    }
    async with httpx.AsyncClient(headers=stack.wiring.prefect_headers, trust_env=False) as http:
        (await http.post(f"{stack.wiring.url('prefect')}/events", json=[event])).raise_for_status()


async def test_the_worker_was_heard_of(orchestrator: Orchestrator) -> None:
    sign = await orchestrator.newest_worker("stumbleable")
    assert sign is not None
    assert datetime.now(UTC) - sign.heard_at < timedelta(minutes=2)
    assert sign.interval_seconds > 0
    assert await orchestrator.newest_worker("no such pool") is None


async def test_a_run_is_read_with_its_state(orchestrator: Orchestrator, prefect: PrefectClient) -> None:
    run = await a_run(prefect)
    read = await orchestrator.run_now(run)
    assert read is not None
    assert read.state is not None
    assert (read.state.name, read.state.timestamp.tzinfo is not None) == ("Scheduled", True)
    assert await orchestrator.run_now(uuid4()) is None


async def test_the_newest_complaint_is_a_warning_or_worse(orchestrator: Orchestrator, prefect: PrefectClient) -> None:
    run, another = await a_run(prefect), await a_run(prefect)
    assert await orchestrator.newest_complaint(run) is None
    now = datetime.now(UTC)
    lines = [(0, logging.WARNING, "old"), (1, logging.ERROR, "503 from the crawler"), (2, logging.INFO, "goes on")]
    await prefect.create_logs(
        [
            LogCreate(name="flow", level=level, message=said, timestamp=now + timedelta(seconds=at), flow_run_id=run)
            for at, level, said in lines
        ]
    )
    read = await orchestrator.newest_complaint(run)
    assert read is not None
    assert (read.message, read.at) == ("503 from the crawler", now + timedelta(seconds=1))
    assert await orchestrator.newest_complaint(another) is None


async def test_the_newest_event_of_a_pod_is_found_by_its_run(
    stack: Stack, orchestrator: Orchestrator, prefect: PrefectClient
) -> None:
    run, another = await a_run(prefect), await a_run(prefect)
    assert await orchestrator.newest_pod_event(run) is None
    made_at = datetime.now(UTC) - timedelta(minutes=1)
    await emit(stack, run, "pending", made_at)
    assert await told(orchestrator, run, "pending", None)
    # As old as the pod, both of them: what was received last counts.
    await emit(stack, run, "pending", made_at, **{"kubernetes.diagnosis": "Unschedulable.InsufficientResources"})
    assert await told(orchestrator, run, "pending", "Unschedulable.InsufficientResources")
    await emit(stack, run, "evicted", datetime.now(UTC), **{"kubernetes.reason": "OOMKilled"})
    assert await told(orchestrator, run, "evicted", "OOMKilled")
    assert await orchestrator.newest_pod_event(another) is None


async def told(orchestrator: Orchestrator, run: UUID, phase: str, diagnosis: str | None) -> PodSign:
    """The event, once Prefect has written it down."""
    async with asyncio.timeout(15):
        while True:
            sign = await orchestrator.newest_pod_event(run)
            if sign is not None and (sign.phase, sign.diagnosis) == (phase, diagnosis):
                assert sign.pod == "crawl-x7"
                return sign
            await asyncio.sleep(0.2)


async def test_of_two_pools_the_one_without_a_worker_is_told(orchestrator: Orchestrator) -> None:
    orchestrator.pools = {"crawl_pending": "stumbleable", "weekly_digest": "stumbleable-warm"}
    assert await orchestrator.quietest_pool("stumbleable") == ("stumbleable-warm", None)
    orchestrator.pools = {}
    pool, sign = await orchestrator.quietest_pool("stumbleable")
    assert (pool, sign is not None) == ("stumbleable", True)
