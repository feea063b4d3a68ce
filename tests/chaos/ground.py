"""One stack with the misbehaving flow in the place of the real one, everything that watches it, and words to use it."""

from __future__ import annotations

import asyncio
import itertools
import random
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Self
from uuid import UUID, uuid4

import asyncpg
import httpx
from prefect.client.orchestration import PrefectClient

from sandbox import seed
from sandbox.parts import dying_with_us
from sandbox.ports import free_ports
from sandbox.process import PART_MARKER, Process
from sandbox.stack import ALL_PARTS, Stack
from sandbox.state import REPOSITORY
from sandbox.steps import build_steps
from tests.chaos import flows
from tests.chaos.calls import Calls
from tests.chaos.comparer import Comparer
from tests.chaos.evidence import tell
from tests.chaos.rows import End, Row, Rows, speak_json
from tests.chaos.table import Table, say
from tests.chaos.workers import Worker, Workers

PARTS = tuple(part for part in ALL_PARTS if part not in ("worker", "discovery", "email"))
TYPE = "crawl_pending"
# What a run may use here: enough for a body that behaves, soon used up by one that does not.
MEMORY_MB = 256
# Starts come one after the other, so that two cores can follow: a fork, its imports, a dozen calls of Prefect.
PACE_SECONDS = 0.4
# Prefect's part of an end, after the row has told it.
AGREE_SECONDS = 5.0

_SQL = Path(__file__).with_name("chaos.sql")
_PAGES = 1500


class Ground:
    def __init__(self, name: str, folder: Path, table: Table, seed_number: int, queue: str | None) -> None:
        self.name = name
        self.table = table
        self.seed_number = seed_number
        self.keys = itertools.count(1)
        self.quiet: set[str] = set()
        """Parts whose absence is a case's doing; any other that dies is started again and told of."""
        self._queue = queue
        self._recorder_port = free_ports(["recorder"])["recorder"]
        recorder = f"http://127.0.0.1:{self._recorder_port}"
        self.stack = Stack(
            folder / name,
            ports="free",
            parts=PARTS,
            settings={flows.RECORDER_VARIABLE: recorder, "CRAWLER_SERVICE_URL": recorder},
        )
        self.calls = Calls(recorder)
        self.rows: Rows
        self.comparer: Comparer
        self.workers: Workers
        self.steady: Worker | None = None
        """The worker that no case kills, unless it says so."""
        self.http: httpx.AsyncClient
        self.pool: asyncpg.Pool[asyncpg.Record]
        self._lanes: dict[str, asyncio.Lock] = {}
        self._next_start = 0.0
        self._prefect: asyncpg.Connection[asyncpg.Record] | None = None
        self._asking_prefect = asyncio.Lock()
        self._resources = AsyncExitStack()

    # Its life

    async def __aenter__(self) -> Self:
        began = time.monotonic()
        try:
            await self._start()
        except BaseException:
            await self._resources.aclose()
            raise
        say(f"{self.name}: ready after {time.monotonic() - began:.0f} s, logs in {self.stack.state.path / 'logs'}")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._resources.aclose()

    async def _start(self) -> None:
        await self._resources.enter_async_context(self.stack)
        wiring = self.stack.wiring
        await self._start_recorder()
        await build_steps(wiring, wanted=frozenset(ALL_PARTS), started=frozenset())["deployments"].run()
        self.pool = await self._resources.enter_async_context(
            asyncpg.create_pool(wiring.database_url, min_size=1, max_size=6, init=speak_json)
        )
        await self.execute(_SQL.read_text())
        await self._seed()
        headers = {"Authorization": f"Bearer {self.stack.token(expires_seconds=7200)}"}
        self.http = await self._resources.enter_async_context(
            httpx.AsyncClient(base_url=wiring.url("shim"), headers=headers, trust_env=False, timeout=20)
        )
        await self._resources.enter_async_context(self.calls)
        self.rows, self.comparer, self.workers = Rows(wiring.database_url), Comparer(self.stack), Workers(self.stack)
        self._resources.push_async_callback(self.workers.stop)
        for watch in (
            self.rows.watch_forever(),
            self.comparer.watch_forever(),
            self.workers.reap_forever(),
            self._revive_forever(),
        ):
            self._in_background(watch)
        await self.deploy()
        self.steady = await self.workers.start(self._queue, wakes=True)

    async def _start_recorder(self) -> None:
        wiring = self.stack.wiring
        command = [sys.executable, "-m", "tests.chaos.recorder"]
        command += ["--port", str(self._recorder_port), "--crawler", wiring.url("crawler")]
        recorder = Process(
            dying_with_us(command),
            env={**wiring.base_environment(), PART_MARKER: "recorder"},
            log=self.stack.state.log("recorder"),
            cwd=REPOSITORY,
        )
        await self.calls.until_up()
        assert not recorder.exited.is_set()

    async def _seed(self) -> None:
        async with self.pool.acquire() as connection:
            plain: Any = connection
            await seed.seed_people(plain)
            await seed.seed_bulk(plain, self.stack.wiring.url("site"), _PAGES)

    async def deploy(self) -> None:
        """Puts the misbehaving flow in the place of the real one, and returns when the shim knows."""
        async with self.prefect() as client:
            deployment = await client.read_deployment_by_name(f"{TYPE}/{TYPE}")
            changes: dict[str, Any] = {
                "entrypoint": f"{flows.__name__}.{TYPE}",
                "parameter_openapi_schema": flows.crawl_pending.parameters.model_dump(),
                "job_variables": {"memory_mb": MEMORY_MB},
            }
            answer = await client._client.patch(f"/deployments/{deployment.id}", json=changes)
            answer.raise_for_status()
        deadline = time.monotonic() + 60
        known = "select parameter_schema -> 'properties' ? 'behaviour' from public.job_types where job_type = $1"
        while not await self.value(known, TYPE):
            assert time.monotonic() < deadline, "the shim has not heard of the deployment"
            await asyncio.sleep(0.3)

    @asynccontextmanager
    async def prefect(self) -> AsyncIterator[PrefectClient]:
        wiring = self.stack.wiring
        async with PrefectClient(wiring.url("prefect"), auth_string=wiring.prefect_auth_string) as client:
            yield client

    async def _revive_forever(self) -> None:
        """What Kubernetes would do: a part that dies by itself is started again."""
        while True:
            told = await self.stack.died.get()
            name = told.partition(" ")[0]
            if name in self.quiet:
                continue
            say(f"{self.name}: {told}")
            self._in_background(self._revive(name))

    async def _revive(self, name: str) -> None:
        for pause in (1, 5, 10, 20, 40):
            await asyncio.sleep(pause)
            if name in self.quiet or self.stack.is_running(name):
                return
            try:
                await self.stack.start(name)
            except Exception as error:  # noqa: BLE001  # its database may still be away
                say(f"{self.name}: {name} does not start again: {str(error)[:300]}")
            else:
                say(f"{self.name}: {name} was started again")
                return

    def _in_background(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._resources.callback(task.cancel)

    async def restore(self) -> None:
        """Everything runs again, whatever a case that failed has left."""
        self.quiet.clear()
        for part in PARTS:
            if not self.stack.is_running(part):
                say(f"{self.name}: {part} is started for the next case")
                await self.stack.start(part)
        if self.steady is None or not self.steady.is_running:
            self.steady = await self.workers.start(self._queue, wakes=True)
        await self.execute("delete from public.schedule_overrides")
        await self.deploy()

    # What cases share

    def chance(self, case: str) -> random.Random:
        """The random moments of a case: its own, whichever other cases run."""
        return random.Random(f"{self.seed_number} {case}")

    def lane(self, name: str) -> asyncio.Lock:
        """What one case at a time may use: a queue whose workers are killed, or everything."""
        return self._lanes.setdefault(name, asyncio.Lock())

    async def pace(self) -> None:
        """Returns when the next start may be made."""
        now = time.monotonic()
        self._next_start = max(self._next_start + PACE_SECONDS, now)
        await asyncio.sleep(self._next_start - now)

    async def execute(self, script: str) -> None:
        async with self.pool.acquire() as connection:
            await connection.execute(script)

    async def query(self, sql: str, *values: Any) -> list[Row]:
        async with self.pool.acquire() as connection:
            return [dict(row) for row in await connection.fetch(sql, *values)]

    async def value(self, sql: str, *values: Any) -> Any:
        async with self.pool.acquire() as connection:
            return await connection.fetchval(sql, *values)

    def new_key(self) -> str:
        """A gate of a job's own: it holds a slot, and waits for nobody."""
        return f"chaos {next(self.keys)}"

    # What people do

    async def trigger(
        self, behaviour: str, *, priority: str = "MEDIUM", patience: float = 60, **parameters: Any
    ) -> str:
        """A job's id. A client whose answer was lost, or who was told to come again, does, with the same key."""
        parameters.setdefault("key", self.new_key())
        body = {"jobType": TYPE, "priority": priority, "parameters": {"behaviour": behaviour, **parameters}}
        return await self.post_trigger(body, patience=patience)

    async def post_trigger(self, body: dict[str, Any], *, patience: float = 60) -> str:
        await self.pace()
        key = {"Idempotency-Key": str(uuid4())}
        deadline = time.monotonic() + patience
        while True:
            try:
                answer = await self.http.post("/api/jobs/trigger", json=body, headers=key)
            except httpx.TransportError as error:
                told = repr(error)
            else:
                if answer.status_code == httpx.codes.ACCEPTED:
                    return str(answer.json()["id"])
                told = f"{answer.status_code} {answer.text}"
                # An answer to a neighbour's outage, never a 500.
                assert answer.status_code in (429, 503), f"the trigger was answered {told}"
            assert time.monotonic() < deadline, f"the trigger was not accepted within {patience:g} s: {told}"
            await asyncio.sleep(1)

    async def launch(self, wanted: Sequence[tuple[str, dict[str, Any]]], *, priority: str = "MEDIUM") -> list[str]:
        """Jobs of these behaviours, with their parameters, in order."""
        return [await self.trigger(behaviour, priority=priority, **more) for behaviour, more in wanted]

    async def cancel(self, job: str) -> httpx.Response:
        return await self.http.post(f"/api/jobs/{job}/cancel")

    async def prefect_cli(self, *arguments: str) -> str:
        """What the `prefect` command prints. Fails when it fails."""
        wiring = self.stack.wiring
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("prefect")),
            *arguments,
            env={**wiring.base_environment(), **wiring.prefect_client_environment()},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            output, _ = await asyncio.wait_for(process.communicate(), 60)
        finally:
            with suppress(ProcessLookupError):
                process.kill()
        assert process.returncode == 0, f"prefect {' '.join(arguments)}: {output.decode()}"
        return output.decode()

    # What must hold

    async def prefect_state(self, run: UUID) -> tuple[str, str] | None:
        """Type and name of a run's state, from Prefect's own table."""
        states = await self.prefect_rows("select state_type::text, state_name from flow_run where id = $1", run)
        return (states[0]["state_type"], states[0]["state_name"]) if states else None

    async def prefect_rows(self, sql: str, *values: Any) -> list[Row]:
        async with self._asking_prefect:
            if self._prefect is None or self._prefect.is_closed():
                address = self.stack.wiring.prefect_database_url.replace("postgresql+asyncpg", "postgresql")
                self._prefect = await asyncpg.connect(address, timeout=5)
                self._resources.callback(self._prefect.terminate)
            return [dict(row) for row in await self._prefect.fetch(sql, *values, timeout=10)]

    async def until(self, question: Any, *, seconds: float, what: str, every: float = 0.1) -> Any:
        """The first true answer of an async question. Fails when there is none in time."""
        deadline = time.monotonic() + seconds
        while True:
            answer = await question()
            if answer:
                return answer
            assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
            await asyncio.sleep(every)

    async def attempt(self, scenario: str, job: str | None, run: Awaitable[float | None]) -> bool:
        """Counts one run of a scenario; a failure is printed with all there is about the job."""

        async def evidence() -> str:
            return await tell(self, job) if job else ""

        return await self.table.attempt(scenario, run, evidence=evidence)

    async def agreed(self, end: End) -> None:
        """Returns when Prefect's run of an ended job has ended the same way. Fails when it has not in time."""
        run = end.row["flow_run_id"]
        if run is None:
            return
        wanted = {"completed": ("COMPLETED",), "failed": ("FAILED", "CRASHED"), "cancelled": ("CANCELLED",)}

        async def follows() -> Any:
            state = await self.prefect_state(run)
            return state is None or state[0] in wanted[end.row["status"]]

        await self.until(
            follows, seconds=AGREE_SECONDS, what=f"Prefect's run of the {end.row['status']} job has ended so"
        )
