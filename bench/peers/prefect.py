"""Prefect alone, as people run it without us: its server, and its process worker tuned as far as its settings go."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from uuid import uuid4

import httpx
from prefect.client.orchestration import PrefectClient

from bench.peers.multiply import multiply, older
from bench.peers.system import System, Triggered, asked, client, owner_of
from bench.start import LIMIT, Bench
from sandbox.stack import Stack

_RUN_TIMES = ("created", "updated", "expected_start_time", "next_scheduled_start_time", "start_time", "end_time")
_RUN, _STATE = "md5('run' || n)::uuid", "md5('state' || n)::uuid"


class Prefect(System):
    title = f"Prefect {version('prefect')}"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.stack: Stack
        self.http: httpx.AsyncClient
        self._deployment = ""
        self._worker = 0

    async def prepare(self) -> None:
        async with self._server() as bench:
            self._deployment = str(await bench.deploy(LIMIT))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with self._server() as bench, bench.worker(LIMIT) as self._worker:
            yield

    @asynccontextmanager
    async def _server(self) -> AsyncIterator[Bench]:
        async with AsyncExitStack() as open_parts:
            self.stack = await open_parts.enter_async_context(
                Stack(self.folder / "stack", ports="free", parts=("postgres", "prefect"))
            )
            wiring = self.stack.wiring
            url = wiring.url("prefect")
            self.http = await open_parts.enter_async_context(client(url, headers=wiring.prefect_headers))
            prefect = await open_parts.enter_async_context(PrefectClient(url, auth_string=wiring.prefect_auth_string))
            yield Bench(self.stack, prefect, self.folder)

    async def trigger(self) -> Triggered:
        file = self.folder / str(uuid4())
        body = {"parameters": {"file": str(file)}, "state": {"type": "SCHEDULED"}}
        return (await asked(self.http, f"/deployments/{self._deployment}/create_flow_run", body, file))[0]

    def pids(self) -> Iterable[int]:
        server = self.stack.pid("prefect")
        return [self._worker, *([server] if server is not None else [])]

    def database_pids(self) -> Iterable[int]:
        pid = self.stack.pid("postgres")
        return [pid] if pid is not None else []

    async def fill(self, rows: int) -> None:
        sql = await owner_of(self.stack, "prefect")
        run = {
            "id": _RUN,
            "state_id": _STATE,
            "name": "'run-' || n",
            "idempotency_key": "null",
            **{name: older(name) for name in _RUN_TIMES},
        }
        state = {"id": _STATE, "flow_run_id": _RUN, "created": older("created"), "timestamp": older("timestamp")}
        await multiply(sql, "flow_run_state", rows, where="type = 'COMPLETED'", changed=state)
        await multiply(sql, "flow_run", rows, where="state_type = 'COMPLETED'", changed=run)
        await sql.close()

    async def newest(self) -> int:
        answer = await self.http.post("/flow_runs/filter", json={"limit": 50, "sort": "START_TIME_DESC"})
        return len(answer.raise_for_status().json())
