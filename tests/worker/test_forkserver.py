"""What only our worker does: fork servers come and go, the worker ends or dies, and no run is lost."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
import time
from pathlib import Path

import httpx
import pytest
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import WorkPoolUpdate
from prefect.client.schemas.objects import FlowRun

from sandbox.stack import Stack
from tests.worker import trial_flows as flows
from tests.worker.conftest import LIMITS
from tests.worker.harness import Trials, Worker, children, deploy, is_alive, told, until
from worker.reach import out_of_reach


async def test_a_killed_fork_server_is_replaced_and_its_runs_are_reported(shared: Trials, tmp_path: Path) -> None:
    assert shared.worker is not None
    lasting = await shared.trigger(flows.wait, folder=_folder(tmp_path, "a"), seconds=2)
    dying = await shared.trigger(flows.wait, folder=_folder(tmp_path, "b"))
    pid = (await told(tmp_path / "b", "started"))["pid"]
    await told(tmp_path / "a", "started")
    server = shared.worker.fork_server()
    os.kill(server, signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)
    state = await shared.end(dying)
    assert state.is_crashed()
    assert "SIGKILL" in (state.message or "")
    assert (await shared.end(await shared.trigger(flows.succeed, folder=tmp_path))).is_completed()
    assert (await shared.end(lasting)).is_completed()
    assert shared.worker.fork_server() != server


async def test_new_code_is_what_the_next_run_runs(prefect: Stack, client: PrefectClient, tmp_path: Path) -> None:
    module = tmp_path / "changing.py"
    text = "from prefect import flow\n\n@flow\ndef tell(folder: str) -> None:\n    open(folder + '/{0}', 'w').close()\n"
    module.write_text(text.format("old"))
    pool = f"code-{tmp_path.name}"
    await deploy(client, pool, "forkserver", LIMITS, [flows.succeed])
    flow = await client.read_flow_by_name("succeed")
    await client.create_deployment(
        flow_id=flow.id, name=f"{pool}-x", entrypoint="changing.tell", work_pool_name=pool, pull_steps=[]
    )
    worker = Worker(prefect, "forkserver", tmp_path, pool=pool, PYTHONPATH=f"{tmp_path}:{Path(__file__).parents[2]}")
    try:
        await worker.ready()
        deployment = await client.read_deployment_by_name(f"succeed/{pool}-x")
        for version in ("old", "new"):
            module.write_text(text.format(version))
            run = await client.create_flow_run_from_deployment(deployment.id, parameters={"folder": str(tmp_path)})
            assert (await Trials(client, pool).end(run)).is_completed()
            assert (tmp_path / version).exists()
        assert "the code or the environment has changed" in worker.text()
    finally:
        worker.kill()


async def test_a_pool_environment_that_changes_reaches_the_next_run(shared: Trials, tmp_path: Path) -> None:
    pool = await shared.client.read_work_pool(shared.pool)
    pool.base_job_template["variables"]["properties"]["env"]["default"] = {"OF_THE_POOL": "yes"}
    await shared.client.update_work_pool(shared.pool, WorkPoolUpdate(base_job_template=pool.base_job_template))

    async def has_arrived() -> bool:
        assert (await shared.end(await shared.trigger(flows.succeed, folder=tmp_path))).is_completed()
        environment: dict[str, str] = (await told(tmp_path, "seen"))["environment"]
        return environment.get("OF_THE_POOL") == "yes"

    await until(has_arrived, 20, "the worker has heard of the pool's new environment")


async def test_a_run_starts_clean(shared: Trials, tmp_path: Path) -> None:
    assert (await shared.end(await shared.trigger(flows.succeed, folder=tmp_path))).is_completed()
    found = await told(tmp_path, "seen")
    assert found["pid"] == found["group"]
    assert found["files"][0] == "/dev/null"
    assert all(file.startswith("pipe:") for file in found["files"][1:])
    assert Path(found["cwd"]).name.startswith("run-")
    assert found["threads"][0] == "MainThread"


async def test_sigterm_lets_runs_finish_stops_those_that_do_not_and_reports_both(ours: Trials, tmp_path: Path) -> None:
    assert ours.worker is not None
    runs = [
        await ours.trigger(flows.wait, folder=_folder(tmp_path, "short"), seconds=2),
        await ours.trigger(flows.wait_async, folder=_folder(tmp_path, "long")),
        await ours.trigger(flows.ignore_sigterm, folder=_folder(tmp_path, "deaf")),
    ]
    for name in ("short", "long", "deaf"):
        await told(tmp_path / name, "started")
    ours.worker.send(signal.SIGTERM)
    assert await ours.worker.ended(20) == 0
    short, long, deaf = [await ours.state(run) for run in runs]
    assert short.is_completed()
    for state in (long, deaf):
        assert state.is_crashed()
        assert state.message == "stopped: the worker was told to end"
    pids = [(await told(tmp_path / name, "started"))["pid"] for name in ("short", "long", "deaf")]
    assert not any(is_alive(pid) for pid in pids)


async def test_sigterm_hands_back_what_has_not_begun(ours: Trials, tmp_path: Path) -> None:
    assert ours.worker is not None
    # While the fork server is frozen, a run is taken on and cannot begin.
    server = ours.worker.fork_server()
    os.kill(server, signal.SIGSTOP)
    try:
        run = await ours.trigger(flows.succeed, folder=tmp_path)

        async def is_pending() -> bool:
            return (await ours.state(run)).is_pending()

        await until(is_pending, 5, "the worker has taken the run")
        await asyncio.sleep(0.3)
        ours.worker.send(signal.SIGTERM)
        await ours.worker.ended(20)
    finally:
        os.kill(server, signal.SIGCONT) if is_alive(server) else None
    assert (await ours.state(run)).is_scheduled()


async def test_a_run_outlives_its_worker(ours: Trials, tmp_path: Path) -> None:
    assert ours.worker is not None
    run = await ours.trigger(flows.wait, folder=tmp_path, seconds=2)
    await told(tmp_path, "started")
    server = ours.worker.fork_server()
    ours.worker.kill()
    assert (await ours.end(run)).is_completed()
    await until(lambda: not is_alive(server), 3, "the fork server is gone")


async def test_a_worker_under_nohup_hears_pokes_answers_probes_and_ends_on_sigterm(
    prefect: Stack, client: PrefectClient, tmp_path: Path
) -> None:
    pool = f"nohup-{tmp_path.name}"
    await deploy(client, pool, "forkserver", LIMITS, [flows.succeed])
    patient = {"PREFECT_WORKER_QUERY_SECONDS": "30", "WORKER_HEALTH_PORT": "0"}
    nohup = "nohup env --ignore-signal=TERM,INT"
    worker = Worker(prefect, "forkserver", tmp_path, pool=pool, shell=nohup, **patient)
    try:
        await worker.ready()
        began = time.time()
        trials = Trials(client, pool, worker)
        assert (await trials.end(await trials.trigger(flows.succeed, folder=tmp_path), 5)).is_completed()
        assert (await told(tmp_path, "seen"))["at"] - began < 2
        port = worker.text().partition("answered at port ")[2].split()[0]
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.get(f"http://127.0.0.1:{port}/health")
        assert answer.status_code == httpx.codes.OK
        assert answer.json()["healthy"]
        assert (tmp_path / "healthy").exists()
        worker.send(signal.SIGTERM)
        assert await worker.ended(10) == 0
        assert not (tmp_path / "healthy").exists()
    finally:
        worker.kill()


async def test_limits_are_described_at_the_start(shared: Trials) -> None:
    assert shared.worker is not None
    for what in (
        "Memory of a run is limited by",
        "Processes of a run are limited by",
        "CPU time of a run is limited by",
    ):
        assert what in shared.worker.text()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
async def test_runs_become_the_user_they_should(prefect: Stack, client: PrefectClient, tmp_path: Path) -> None:
    if folder := out_of_reach("nobody"):
        pytest.skip(f"nobody may not enter {folder}, where the code is; test_reach has what the worker says then")
    pool = f"user-{tmp_path.name}"
    await deploy(client, pool, "forkserver", LIMITS, [flows.succeed])
    # pytest's own folders are root's alone.
    open_to_all = Path(tempfile.mkdtemp())
    open_to_all.chmod(0o777)  # noqa: ASYNC240
    worker = Worker(prefect, "forkserver", tmp_path, pool=pool, WORKER_RUN_AS="nobody", TMPDIR=str(open_to_all))
    try:
        await worker.ready()
        trials = Trials(client, pool, worker)
        assert (await trials.end(await trials.trigger(flows.succeed, folder=open_to_all))).is_completed()
        assert (await told(open_to_all, "seen"))["user"] != 0
    finally:
        worker.kill()
        shutil.rmtree(open_to_all)


async def test_without_control_groups_a_cancel_still_ends_everything_and_the_worker_says_what_holds(
    prefect: Stack, client: PrefectClient, tmp_path: Path
) -> None:
    pool = f"bare-{tmp_path.name}"
    await deploy(client, pool, "forkserver", LIMITS, [flows.start_everything, flows.eat_memory])
    without = "from worker import cgroups, __main__ as m; cgroups.Controllers.find = cgroups.Controllers; m.main()"
    worker = Worker(prefect, "forkserver", tmp_path, pool=pool, code=without)
    try:
        await worker.ready()
        assert "Memory of a run is limited by RLIMIT_DATA (no control group can be made)" in worker.text()
        assert "Processes of a run are limited by nothing" in worker.text()
        trials = Trials(client, pool, worker)
        run = await trials.trigger(flows.start_everything, folder=tmp_path)
        pids = (await told(tmp_path, "started"))["pids"]
        await trials.cancel(run)
        assert (await trials.end(run)).is_cancelled()
        await until(lambda: not any(is_alive(pid) for pid in pids), 4, f"none of {pids} lives")
        state = await trials.end(await trials.trigger(flows.eat_memory, folder=tmp_path, megabytes=400))
        assert "memory" in (state.message or "").lower()
        assert not (tmp_path / "ate.json").exists()
    finally:
        worker.kill()


async def test_orphans_are_reaped(shared: Trials, tmp_path: Path) -> None:
    assert shared.worker is not None
    run = await shared.trigger(flows.start_everything, folder=tmp_path)
    await told(tmp_path, "started")
    await shared.cancel(run)
    await shared.end(run)
    server = shared.worker.fork_server()
    await until(lambda: list(children(shared.worker.pid)) == [server], 5, "the fork server is its only child")  # type: ignore[union-attr]


async def test_runs_wait_for_the_limit_and_the_higher_queue_goes_first_and_fork_servers_wear_out(
    prefect: Stack, client: PrefectClient, tmp_path: Path
) -> None:
    pool = f"queue-{tmp_path.name}"
    await deploy(client, pool, "forkserver", LIMITS, [flows.succeed])
    for name, priority in (("high", 1), ("low", 3)):
        await client.create_work_queue(name=name, work_pool_name=pool, priority=priority)
    deployment = await client.read_deployment_by_name(f"succeed/{pool}")
    runs: list[FlowRun] = []
    for name in ("low", "low", "high", "high"):
        run = await client.create_flow_run_from_deployment(
            deployment.id, parameters={"folder": str(tmp_path), "name": f"{name}{len(runs)}"}, work_queue_name=name
        )
        runs.append(run)
    worker = Worker(prefect, "forkserver", tmp_path, pool=pool, arguments="--limit 1", WORKER_FORKS="2")
    try:
        await worker.ready()
        server = worker.fork_server()
        assert all([(await Trials(client, pool).end(run)).is_completed() for run in runs])
        at = {name: (await told(tmp_path, name))["at"] for name in ("low0", "low1", "high2", "high3")}
        assert max(at["high2"], at["high3"]) < min(at["low0"], at["low1"])
        await until(lambda: not is_alive(server), 10, "the first fork server is gone")
    finally:
        worker.kill()


def _folder(parent: Path, name: str) -> Path:
    folder = parent / name
    folder.mkdir()
    return folder
