"""What happens once at every start, between the parts: roles, tables, deployments."""

import asyncio
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Mapping
from pathlib import Path

import asyncpg
import httpx

from deployments.database import connect
from deployments.migrate import apply_migrations
from deployments.migrations import MigrationError
from deployments.reach import reaching_prefect
from sandbox import postgres
from sandbox.errors import SandboxError
from sandbox.parts import Step, dying_with_us
from sandbox.process import end_all
from sandbox.state import REPOSITORY
from sandbox.wiring import WORK_POOL, Wiring

SITE_SCHEMA = Path(__file__).with_name("site_schema.sql")

_APPLY_SECONDS = 120
_ASKED_A_SECOND = 5
# Whoever held a lease died with the last sandbox. Without this its jobs would block their type for a whole lease.
_VOID_LEASES = """
update public.scheduled_jobs set status = 'failed', error = v.reason,
    result = jsonb_build_object('success', false, 'itemsProcessed', coalesce((progress ->> 'itemsProcessed')::int, 0),
                                'errors', jsonb_build_array(v.reason), 'details', jsonb_build_object('died', true))
  from (values ('lease lost: the sandbox was stopped under it')) v (reason) where status = 'running'
"""


def build_steps(wiring: Wiring, *, wanted: frozenset[str], started: frozenset[str]) -> dict[str, Step]:
    """The steps that the wanted parts ask for; `started` are those of them that are ours."""
    steps = []
    if "postgres" in wanted:
        ours_alone = {"postgres", "worker"} <= started
        steps += [
            Step("roles", lambda: _roles(wiring), needs=("postgres",)),
            Step("tables", lambda: _tables(wiring, void_leases=ours_alone), needs=("roles",)),
        ]
    if "worker" in wanted:
        steps += [
            Step("deployments", lambda: _deployments(wiring), needs=("prefect",)),
            # The worker need not wait for the deployments, only for the pool that they are made in.
            Step("work pool", lambda: _work_pool(wiring), needs=("prefect", "old runs")),
        ]
    if {"postgres", "prefect", "worker"} <= started:
        steps.append(Step("old runs", lambda: _crash_old_runs(wiring), needs=("prefect",)))
    return {step.name: step for step in steps}


async def _roles(wiring: Wiring) -> str:
    if "postgres" not in wiring.replaced:
        await postgres.bootstrap(wiring.owner_url, wiring.secrets)
        return "like a hosted project's"
    await _reach_database(wiring.database_url)
    if "gateway" not in wiring.replaced:
        await postgres.bootstrap_preset(wiring.database_url, wiring.api_database_url, wiring.secrets)
    return "like a hosted project's"


async def _tables(wiring: Wiring, *, void_leases: bool) -> str:
    connection = await asyncpg.connect(wiring.database_url)
    try:
        await connection.execute(SITE_SCHEMA.read_text())
    finally:
        await connection.close()
    try:
        applied = await apply_migrations(wiring.database_url)
    except MigrationError as error:
        raise SandboxError(
            f"{error} If nobody else has these migrations yet, `python -m sandbox reset` begins anew."
        ) from error
    if void_leases:
        connection = await asyncpg.connect(wiring.database_url)
        try:
            await connection.execute(_VOID_LEASES)
        finally:
            await connection.close()
    return f"{len(applied)} migrations applied" if applied else "up to date"


async def _deployments(wiring: Wiring) -> str:
    environment = wiring.base_environment() | wiring.prefect_client_environment()
    environment |= wiring.deployment_environment()
    if "prefect" not in wiring.replaced:
        await _drop_pool_of_another_type(wiring)
    output = await _run([sys.executable, "-m", "deployments", "apply"], environment)
    wiring.state.log("deployments").write_text(output)
    return "applied, schedules on" if wiring.schedules else "applied, schedules paused"


async def _drop_pool_of_another_type(wiring: Wiring) -> None:
    """Make room where the last start had another worker: Prefect cannot change a pool's type."""
    address = f"{wiring.url('prefect')}/work_pools/{WORK_POOL}"
    async with httpx.AsyncClient(trust_env=False, headers=wiring.prefect_headers) as http:
        answer = await http.get(address)
        if answer.is_success and answer.json()["type"] != wiring.worker_type:
            (await http.delete(address)).raise_for_status()


async def _work_pool(wiring: Wiring) -> str:
    address = f"{wiring.url('prefect')}/work_pools/{WORK_POOL}"
    with reaching_prefect(wiring.url("prefect")):
        return await _pool_at(address, wiring)


async def _pool_at(address: str, wiring: Wiring) -> str:
    async with httpx.AsyncClient(trust_env=False, headers=wiring.prefect_headers) as http:
        for _ in range(_APPLY_SECONDS * _ASKED_A_SECOND):
            answer = await http.get(address)
            if answer.is_success and answer.json()["type"] == wiring.worker_type:
                return f"{WORK_POOL} ({answer.json()['type']})"
            await asyncio.sleep(1 / _ASKED_A_SECOND)
    raise SandboxError(f"Prefect has no work pool {WORK_POOL} after {_APPLY_SECONDS} s (HTTP {answer.status_code}).")


async def _crash_old_runs(wiring: Wiring) -> str:
    """End the flow runs that a worker had taken on when the last sandbox was stopped: nobody else ever would."""
    wanted = {"flow_runs": {"state": {"type": {"any_": ["PENDING", "RUNNING", "CANCELLING"]}}}}
    crashed = {"state": {"type": "CRASHED", "message": "the sandbox was stopped under it"}, "force": True}
    ended = 0
    async with httpx.AsyncClient(
        base_url=f"{wiring.url('prefect')}/", trust_env=False, headers=wiring.prefect_headers, timeout=30
    ) as http:
        while runs := (await http.post("flow_runs/filter", json=wanted)).raise_for_status().json():
            for run in runs:
                (await http.post(f"flow_runs/{run['id']}/set_state", json=crashed)).raise_for_status()
            ended += len(runs)
    return f"{ended} crashed" if ended else "none"


async def _run(command: list[str], environment: Mapping[str, str]) -> str:
    process = await asyncio.create_subprocess_exec(
        *dying_with_us(command),
        env=dict(environment),
        cwd=REPOSITORY,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=PIPE,
        stderr=STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), _APPLY_SECONDS)
    except TimeoutError as error:
        raise SandboxError(f"`{' '.join(command[1:])}` did not end within {_APPLY_SECONDS} s.") from error
    finally:
        if process.returncode is None:
            await end_all({process.pid})
            await process.wait()
    text = output.decode(errors="replace")
    if process.returncode != 0:
        raise SandboxError(f"`{' '.join(command[1:])}` failed (exit status {process.returncode}):\n{text[-3000:]}")
    return text


async def _reach_database(url: str) -> None:
    """Raises SandboxError in words where the database that DATABASE_URL names cannot be used."""
    try:
        async with connect(url):
            pass
    except MigrationError as error:
        raise SandboxError(str(error)) from error
