"""What a run's engine need not ask: the answers it gets are those that Prefect would have given."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from prefect import flow_engine, results
from prefect.client.orchestration import PrefectClient, SyncPrefectClient
from prefect.client.schemas.objects import FlowRun, FlowRunPolicy
from prefect.states import Pending, Running

from tests.worker import trial_flows as flows
from tests.worker.harness import Trials, told, until
from worker import answers, storage

_ASYNC, _SYNC = "_aread_server_default_result_storage_block_id", "_read_server_default_result_storage_block_id"


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The calls that went on to the clients' own methods; all is put back."""
    calls: list[str] = []
    for name in ("update_flow_run", "read_flow_run"):
        ask, ask_sync = _methods(name, calls)
        monkeypatch.setattr(PrefectClient, name, ask)
        monkeypatch.setattr(SyncPrefectClient, name, ask_sync)
    for name in (_ASYNC, _SYNC):
        monkeypatch.setattr(results, name, getattr(results, name))
    return calls


def _methods(called: str, calls: list[str]) -> tuple[Any, Any]:
    async def ask(*_: Any, **__: Any) -> str:
        calls.append(called)
        return "Prefect's"

    def ask_sync(*_: Any, **__: Any) -> str:
        calls.append(called)
        return "Prefect's"

    return ask, ask_sync


def run(**facts: Any) -> FlowRun:
    return FlowRun(id=uuid4(), flow_id=uuid4(), state=Pending(), **facts)


def take(flow_run: FlowRun, **known: bool) -> tuple[Any, Any]:
    answers.take_in_run(flow_run, **{"no_default_storage": True, "reports_version": False, **known})
    client: Any = PrefectClient.__new__(PrefectClient)
    sync: Any = SyncPrefectClient.__new__(SyncPrefectClient)
    return client, sync


async def test_a_running_run_is_read_from_memory_once(asked: list[str]) -> None:
    flow_run = run(next_scheduled_start_time=Running().timestamp)
    client, _ = take(flow_run)
    assert await client.read_flow_run(flow_run.id) == "Prefect's"  # not running yet
    flow_run.state = Running()
    found = await client.read_flow_run(flow_run.id)
    assert (found.id, found.run_count, found.start_time) == (flow_run.id, 1, flow_run.state.timestamp)
    assert (found.state_id, found.next_scheduled_start_time) == (flow_run.state.id, None)
    assert found.state is flow_run.state
    assert await client.read_flow_run(flow_run.id) == "Prefect's"
    assert len(asked) == 2


def test_a_run_that_began_before_is_read_from_prefect(asked: list[str]) -> None:
    """One that was suspended and goes on has the same count, one that is tried again a higher one."""
    flow_run = run(run_count=1, start_time=Running().timestamp)
    _, sync = take(flow_run)
    flow_run.state = Running()
    assert sync.read_flow_run(flow_run.id) == "Prefect's"
    assert asked == ["read_flow_run"]


async def test_another_run_is_asked_for(asked: list[str]) -> None:
    flow_run = run()
    client, sync = take(flow_run)
    flow_run.state = Running()
    assert await client.read_flow_run(uuid4()) == sync.read_flow_run(flow_run_id=uuid4()) == "Prefect's"
    assert asked == ["read_flow_run"] * 2


# The engine's note of a version, with what makes it one that has to be sent.
@pytest.mark.parametrize(
    ("policy", "reports_version", "more", "is_sent"),
    [
        (FlowRunPolicy(retries=0, retry_delay=0), False, {}, False),
        (FlowRunPolicy(), False, {}, False),
        (FlowRunPolicy(retries=2), False, {}, True),
        (FlowRunPolicy(retries=0, retry_delay=5), False, {}, True),
        (FlowRunPolicy(), True, {}, True),
        (FlowRunPolicy(), False, {"name": "new"}, True),
    ],
)
async def test_a_version_is_noted_by_the_worker(
    asked: list[str],
    policy: FlowRunPolicy,
    reports_version: bool,  # noqa: FBT001
    more: dict[str, str],
    is_sent: bool,  # noqa: FBT001
) -> None:
    flow_run = run()
    client, sync = take(flow_run, reports_version=reports_version)
    given = {"flow_run_id": flow_run.id, "flow_version": "x", "empirical_policy": policy, **more}
    await client.update_flow_run(**given)
    assert asked == ["update_flow_run"] * is_sent
    sync.update_flow_run(**given)  # whoever says it a second time means it
    assert len(asked) == is_sent + 1


async def test_no_default_storage_is_what_the_worker_has_heard() -> None:
    take(run())
    assert await getattr(results, _ASYNC)() is None
    assert getattr(results, _SYNC)() is None


async def test_a_storage_that_may_be_there_is_asked_for() -> None:
    before = (getattr(results, _ASYNC), getattr(results, _SYNC))
    take(run(), no_default_storage=False)
    assert (getattr(results, _ASYNC), getattr(results, _SYNC)) == before


def test_the_engine_still_asks_what_is_answered() -> None:
    for engine in (flow_engine.FlowRunEngine, flow_engine.AsyncFlowRunEngine):
        assert "client.read_flow_run(self.flow_run.id)" in inspect.getsource(engine.setup_run_context)
        assert "flow_version=self.flow.version,\n" in inspect.getsource(engine.initialize_run)
    for function in (results._aget_default_result_storage, results._get_default_result_storage):
        assert "read_server_default_result_storage_block_id()" in inspect.getsource(function)


def none(_: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json={"default_result_storage_block_id": None})


def one(_: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json={"default_result_storage_block_id": str(uuid4())})


def older(_: httpx.Request) -> httpx.Response:
    return httpx.Response(404, json={"detail": "Not Found"})


def away(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused", request=request)


@pytest.mark.parametrize(("server", "has"), [(none, False), (one, True), (older, True), (away, True)])
async def test_what_the_server_says_of_its_storage_is_known(
    server: Callable[[httpx.Request], httpx.Response],
    has: bool,  # noqa: FBT001
) -> None:
    client = PrefectClient("http://prefect.test/api", httpx_settings={"transport": httpx.MockTransport(server)})
    assert await storage.has_default(client, patience_seconds=0.5) is has


async def test_a_run_is_noted_in_prefect_as_ever(
    shared: Trials, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    begun = await shared.trigger(flows.succeed, folder=tmp_path)
    assert (await shared.end(begun)).is_completed()
    seen = await told(tmp_path, "seen")
    assert (seen["run_count"], seen["pool"]) == (1, shared.pool)

    async def is_noted() -> bool:
        found = await shared.client.read_flow_run(begun.id)
        return found.flow_version == flows.succeed.version and bool(found.infrastructure_pid)

    await until(is_noted, 10, "Prefect has the flow's version")


async def test_a_run_under_another_environment_tells_its_version_itself(
    shared: Trials, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    begun = await shared.trigger(flows.tell_version, {"env": {"OWN_VERSION": "mine"}}, folder=tmp_path)
    assert (await shared.end(begun)).is_completed()
    assert (await shared.client.read_flow_run(begun.id)).flow_version == "mine"
