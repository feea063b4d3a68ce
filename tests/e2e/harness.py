"""What a person does with the whole stack, in words: trigger, poll, break a part, read the rows."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeAlias

import asyncpg
import httpx

from sandbox import seed
from sandbox.parts import dying_with_us
from sandbox.ports import HOST, free_ports
from sandbox.process import Process
from sandbox.stack import Stack
from sandbox.state import REPOSITORY
from tests.conftest import empty_tables

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Job: TypeAlias = dict[str, Any]

ENDED = {"completed", "failed", "cancelled"}


async def until(question: Callable[[], Awaitable[Any]], *, seconds: float, what: str) -> Any:
    """The first true answer of `question`. Fails with `what` when there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        answer = await question()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        await asyncio.sleep(0.2)


class Admin:
    """An admin with a token, and the operator's view of database and stand-ins."""

    def __init__(self, stack: Stack, http: httpx.AsyncClient, connection: Connection) -> None:
        self.stack = stack
        self.http = http
        self.sql = connection

    async def trigger(self, **body: Any) -> Job:
        answer = await self.http.post("/api/jobs/trigger", json={"jobType": "crawl_pending", **body})
        for _ in range(20):
            # A shim that has just started does not know the parameters of the job types yet.
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE or answer.json()["code"] != "NOT_READY":
                break
            await asyncio.sleep(1)
            answer = await self.http.post("/api/jobs/trigger", json={"jobType": "crawl_pending", **body})
        assert answer.status_code == httpx.codes.ACCEPTED, answer.text
        job: Job = answer.json()
        return job

    async def job(self, job_id: str) -> Job:
        answer = await self.http.get(f"/api/jobs/{job_id}")
        answer.raise_for_status()
        job: Job = answer.json()
        return job

    async def wait(self, job_id: str, *statuses: str, seconds: float = 60) -> Job:
        """The job once it has one of the statuses (default: once it has ended)."""
        wanted = set(statuses) or ENDED

        async def reached() -> Job | None:
            job = await self.job(job_id)
            return job if job["status"] in wanted else None

        found: Job = await until(reached, seconds=seconds, what=f"job {job_id} in {sorted(wanted)}")
        return found

    async def seed_pages(self) -> int:
        await seed.seed_people(self.sql)
        return await seed.seed_pages(self.sql, self.stack.wiring.url("site"))

    async def seed_bulk(self, count: int) -> None:
        await seed.seed_people(self.sql)
        await seed.seed_bulk(self.sql, self.stack.wiring.url("site"), count)

    async def crawl_statuses(self) -> dict[str, int]:
        rows = await self.sql.fetch("select crawl_status, count(*) from public.discoveries group by 1")
        return {row[0]: row[1] for row in rows}

    async def fault(self, service: str, fault: str | None, **more: Any) -> None:
        async with httpx.AsyncClient(trust_env=False) as http:
            url = f"{self.stack.wiring.url(service)}/__faults"
            (await http.put(url, json={"fault": fault, **more})).raise_for_status()

    async def received(self, service: str) -> list[str]:
        """The ids of all items a stand-in was ever sent, in order."""
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.get(f"{self.stack.wiring.url(service)}/__calls")
            found: list[str] = answer.raise_for_status().json()["received"]
            return found

    async def prefect(self, *arguments: str) -> str:
        """What the `prefect` command line prints. Fails when it fails."""
        process = await asyncio.create_subprocess_exec(
            "prefect",
            *arguments,
            env={
                **os.environ,
                **self.stack.wiring.base_environment(),
                **self.stack.wiring.prefect_client_environment(),
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()
        return output.decode()

    async def runs_of(self, job_id: str) -> list[dict[str, Any]]:
        """The flow runs Prefect has for a job, found by the job id in their idempotency keys."""
        async with httpx.AsyncClient(trust_env=False, headers=self.stack.wiring.prefect_headers) as http:
            answer = await http.post(f"{self.stack.wiring.url('prefect')}/flow_runs/filter", json={"limit": 200})
            runs: list[dict[str, Any]] = answer.raise_for_status().json()
            return [run for run in runs if job_id in (run["idempotency_key"] or "") or run["id"] == job_id]

    async def runs_by_key(self) -> Counter[str]:
        """How many flow runs Prefect has for each idempotency key; a run without one counts under its id."""
        found: Counter[str] = Counter()
        async with httpx.AsyncClient(trust_env=False, headers=self.stack.wiring.prefect_headers) as http:
            while True:
                page: dict[str, Any] = {"limit": 200, "offset": found.total(), "sort": "ID_DESC"}
                answer = await http.post(f"{self.stack.wiring.url('prefect')}/flow_runs/filter", json=page)
                runs: list[dict[str, Any]] = answer.raise_for_status().json()
                found.update(run["idempotency_key"] or run["id"] for run in runs)
                if len(runs) < page["limit"]:
                    return found

    async def row(self, job_id: str) -> dict[str, Any]:
        found = await self.sql.fetchrow("select * from public.scheduled_jobs where id = $1", job_id)
        assert found is not None
        return dict(found)


async def forget_everything(stack: Stack) -> None:
    """No job, and no flow run that a worker could take later. No shim may run: it would dispatch and repair."""
    await empty_tables(stack)
    async with httpx.AsyncClient(trust_env=False, headers=stack.wiring.prefect_headers, timeout=30) as http:
        while True:
            answer = await http.post(f"{stack.wiring.url('prefect')}/flow_runs/bulk_delete", json={"limit": 50})
            if not answer.raise_for_status().json()["deleted"]:
                return


@asynccontextmanager
async def another_shim(stack: Stack, **settings: str) -> AsyncIterator[tuple[str, Process]]:
    """The address of a second shim with the settings of the first, but for those given, and its process."""
    port = free_ports(["shim"])["shim"]
    process = Process(
        dying_with_us([sys.executable, "-m", "api"]),
        env={**stack.wiring.base_environment(), **stack.wiring.shim_environment(), **settings, "PORT": str(port)},
        log=stack.state.log("shim-2"),
        cwd=REPOSITORY,
    )
    address = f"http://{HOST}:{port}"
    try:
        async with httpx.AsyncClient(trust_env=False) as http:

            async def listens() -> bool:
                with suppress(httpx.TransportError):
                    return (await http.get(f"{address}/health")).is_success
                return False

            await until(listens, seconds=30, what="the second shim listens")
        yield address, process
    finally:
        process.send(signal.SIGTERM)
        if not await process.wait(10):
            process.send(signal.SIGKILL)
            await process.exited.wait()


async def connect(stack: Stack) -> Connection:
    """A connection to the stack's database that speaks JSON."""
    connection = await asyncpg.connect(stack.wiring.database_url)
    await connection.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
    return connection
