"""The image at work, as the cluster's restricted pods are, beside real Postgres, PostgREST and Prefect."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from uuid import uuid4

import httpx
import pytest

from sandbox.errors import SandboxError
from sandbox.ports import HOST, free_ports
from sandbox.stack import Stack
from sandbox.state import REPOSITORY
from tests.e2e.harness import Admin, Job, until
from tests.image.conftest import RELEASE, Start
from tests.image.containers import KILLED, Container, Image

CLIENTS = 16
GRACE_SECONDS = 10
# What a flow pod runs: the job template's command, and Prefect's own.
COMMANDS = (("python", "-m", "worker.pod"), ("prefect", "flow-run", "execute"))
PROBE = ("python", "-m", "api.probe")


async def shim(admin: Admin, start: Start) -> Container:
    """The image's own command, listening."""
    container = await start()
    await answers(f"{admin.stack.wiring.url('shim')}/health", container)
    return container


async def answers(url: str, container: Container, seconds: float = 90) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:

        async def ok() -> bool:
            state = await container.state()
            assert state["Status"] == "running", await container.call("logs")
            with suppress(httpx.TransportError):
                return (await http.get(url)).is_success
            return False

        await until(ok, seconds=seconds, what=f"{url} answers")


async def test_the_shim_answers_its_probes_as_any_user_on_a_read_only_root(admin: Admin, start: Start) -> None:
    container = await shim(admin, start)
    assert (await admin.http.get("/health")).json()["status"] == "healthy"
    await until(lambda: is_ready(admin), seconds=30, what="every neighbour is reached")
    assert (await admin.http.get("/api/config")).json()["version"] == RELEASE
    await container.execute(*PROBE)
    with pytest.raises(SandboxError, match="The shim does not answer"):
        await container.execute("env", f"PORT={free_ports(['nobody'])['nobody']}", *PROBE)
    with pytest.raises(SandboxError, match="Read-only file system"):
        await container.execute("touch", "/app/api/new.py")
    assert await container.stop(GRACE_SECONDS) != KILLED


async def is_ready(admin: Admin) -> bool:
    return (await admin.http.get("/ready")).is_success


class Triggers:
    """Sixteen clients that trigger again and again until nobody answers; the jobs they were promised."""

    def __init__(self, admin: Admin) -> None:
        self.accepted: list[str] = []
        self.refused = 0
        self._admin = admin

    async def client(self) -> None:
        headers = {"Authorization": self._admin.http.headers["authorization"]}
        base = self._admin.stack.wiring.url("shim")
        async with httpx.AsyncClient(base_url=base, headers=headers, trust_env=False, timeout=20) as http:
            with suppress(httpx.TransportError):
                while True:
                    body = {"jobType": "update_metrics", "priority": "LOW"}
                    answer = await http.post("/api/jobs/trigger", json=body, headers={"Idempotency-Key": str(uuid4())})
                    if answer.status_code == httpx.codes.ACCEPTED:
                        self.accepted.append(answer.json()["id"])
                    else:
                        assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE, answer.text
                        self.refused += 1


async def test_sigterm_under_sixteen_triggering_clients_loses_no_job(
    admin: Admin, start: Start, figures: dict[str, str]
) -> None:
    container = await shim(admin, start)
    await admin.trigger(jobType="update_metrics")  # the shim knows the job types
    triggers = Triggers(admin)
    clients = [asyncio.create_task(triggers.client()) for _ in range(CLIENTS)]

    async def under_way() -> bool:
        return len(triggers.accepted) > CLIENTS * 4

    await until(under_way, seconds=60, what="triggers are accepted")
    began = asyncio.get_running_loop().time()
    code = await container.stop(GRACE_SECONDS)
    figures["shim's end after SIGTERM"] = f"{asyncio.get_running_loop().time() - began:.1f} s under {CLIENTS} clients"
    assert code != KILLED, f"it was still running {GRACE_SECONDS} s after SIGTERM"
    await asyncio.gather(*clients)
    known = {str(row[0]) for row in await admin.sql.fetch("select id from public.scheduled_jobs")}
    assert set(triggers.accepted) <= known, "a job that was answered for has no row"
    # What was accepted and not dispatched is, by the next shim; without the gate of its type, all at once.
    await admin.sql.execute("update scheduled_jobs set exclusive_key = null where not coalesce(slot_held, false)")
    await shim(admin, start)
    waiting = "select count(*) from scheduled_jobs where flow_run_id is null and id = any($1::uuid[])"

    async def all_dispatched() -> bool:
        return bool(await admin.sql.fetchval(waiting, triggers.accepted) == 0)

    await until(all_dispatched, seconds=240, what=f"each of {len(triggers.accepted)} accepted jobs has its flow run")
    runs = await admin.runs_by_key()
    assert {job: runs[job] for job in triggers.accepted} == dict.fromkeys(triggers.accepted, 1)


async def dispatched(admin: Admin) -> tuple[Job, str]:
    """A new crawl and its flow run, which the cluster's worker has taken on."""
    job = await admin.trigger()

    async def run_of_it() -> Any:
        return await admin.sql.fetchval("select flow_run_id::text from scheduled_jobs where id = $1", job["id"])

    flow_run: str = await until(run_of_it, seconds=30, what="the job is dispatched")
    taken = {"state": {"type": "PENDING"}}
    async with httpx.AsyncClient(trust_env=False, headers=admin.stack.wiring.prefect_headers) as http:
        address = f"{admin.stack.wiring.url('prefect')}/flow_runs/{flow_run}/set_state"
        (await http.post(address, json=taken)).raise_for_status()
    return job, flow_run


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
async def test_a_flow_run_in_a_pod_completes_its_job(admin: Admin, start: Start, command: tuple[str, ...]) -> None:
    await shim(admin, start)
    await admin.seed_bulk(20)
    job, flow_run = await dispatched(admin)
    pod = await start(*command, PREFECT__FLOW_RUN_ID=flow_run)
    ended = await admin.wait(job["id"], seconds=120)
    assert (ended["status"], ended["result"]["itemsProcessed"]) == ("completed", 20)
    assert await pod.exit_code() == 0
    assert await state_of(admin, flow_run) == "Completed"


async def test_a_pod_that_is_evicted_leaves_its_run_to_another(admin: Admin, start: Start) -> None:
    await shim(admin, start)
    await admin.seed_bulk(20)
    await admin.fault("crawler", "slow", seconds=30, times=1)
    job, flow_run = await dispatched(admin)
    pod = await start(*COMMANDS[0], PREFECT__FLOW_RUN_ID=flow_run)
    await admin.wait(job["id"], "running")
    await asyncio.sleep(1)
    assert await pod.stop(30) == 0
    assert await state_of(admin, flow_run) == "AwaitingRetry"
    await start(*COMMANDS[0], PREFECT__FLOW_RUN_ID=flow_run)
    assert (await admin.wait(job["id"], seconds=120))["status"] == "completed"
    assert await admin.crawl_statuses() == {"completed": 20}


async def state_of(admin: Admin, flow_run: str) -> str:
    async with httpx.AsyncClient(trust_env=False, headers=admin.stack.wiring.prefect_headers) as http:
        answer = await http.get(f"{admin.stack.wiring.url('prefect')}/flow_runs/{flow_run}")
        name: str = answer.raise_for_status().json()["state"]["name"]
        return name


async def test_prefects_server_runs_from_it_with_its_pages(admin: Admin, start: Start) -> None:
    wiring, port = admin.stack.wiring, free_ports(["server"])["server"]
    container = await start(
        *("prefect", "server", "start", "--host", HOST, "--port", str(port), "--no-services"),
        PREFECT_SERVER_DATABASE_CONNECTION_URL=wiring.prefect_database_url,
        PREFECT_SERVER_API_AUTH_STRING=wiring.prefect_auth_string,
        PREFECT_SERVER_ANALYTICS_ENABLED="false",
    )
    await answers(f"http://{HOST}:{port}/api/ready", container, seconds=180)
    async with httpx.AsyncClient(trust_env=False, follow_redirects=True) as http:
        page = await http.get(f"http://{HOST}:{port}/")
    assert "<title>Prefect" in page.text
    assert await container.stop(30) != KILLED


async def test_deployments_applied_from_it_twice_change_nothing(image: Any, environment: Any, deployed: str) -> None:
    assert "created work pool stumbleable (kubernetes)" in deployed
    again = await asyncio.to_thread(image.run, "python", "-m", "deployments", "apply", environment=environment)
    assert [line for line in again.splitlines() if not line.startswith("deployed ")] == []


async def test_a_database_is_migrated_from_it(image: Image, stack: Stack) -> None:
    environment = {"DATABASE_URL": stack.wiring.database_url}
    told = await asyncio.to_thread(image.run, "python", "-m", "deployments.migrate", environment=environment)
    assert stack.wiring.database_url not in told
    status = await asyncio.to_thread(
        image.run, "python", "-m", "deployments.migrate", "--status", environment=environment
    )
    newest = max(path.stem for path in (REPOSITORY / "supabase/migrations").glob("*.sql"))
    assert newest.partition("_")[0] in status


async def test_the_warm_worker_forks_runs_from_it(
    image: Image, environment: Mapping[str, str], admin: Admin, start: Start
) -> None:
    warm = {**environment, "WARM_JOB_TYPES": "crawl_pending"}
    try:
        await asyncio.to_thread(image.run, "python", "-m", "deployments", "apply", environment=warm)
        await a_warm_run_completes(admin, start)
    finally:
        await asyncio.to_thread(image.run, "python", "-m", "deployments", "apply", environment=environment)


async def a_warm_run_completes(admin: Admin, start: Start) -> None:
    await shim(admin, start)
    port = str(free_ports(["health"])["health"])
    worker = await start(
        *("python", "-m", "worker", "--pool", "stumbleable-warm", "--name", "warm", "--limit", "2"),
        WORKER_HEALTH_PORT=port,
        PREFECT_WORKER_QUERY_SECONDS="1",
    )
    await answers(f"http://{HOST}:{port}/health", worker)
    await admin.seed_bulk(3)
    job = await admin.trigger()
    ended = await admin.wait(job["id"], seconds=120)
    assert (ended["status"], ended["result"]["itemsProcessed"]) == ("completed", 3)
    assert await worker.stop(40) != KILLED
