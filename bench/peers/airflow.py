"""Airflow 3 on PostgreSQL: API server, scheduler with LocalExecutor, DAG processor. No triggerer: nothing defers."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import httpx

from bench.peers.environment import version_of
from bench.peers.libraries import INSIDE, free_port
from bench.peers.multiply import multiply, older
from bench.peers.on_postgres import OnPostgres
from bench.peers.system import Triggered, asked, client, owner_of

_RUNS = "/api/v2/dags/trivial/dagRuns"
_TIMES = ("queued_at", "start_date", "end_date", "run_after", "updated_at", "created_at")


class Airflow(OnPostgres):
    title = f"Airflow {version_of('airflow', 'apache-airflow')}, LocalExecutor"
    name = "airflow"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._port, self._log_port = free_port(), free_port()
        self._secrets = [secrets.token_hex(32) for _ in range(2)]
        self._http: httpx.AsyncClient

    def environment(self) -> dict[str, str]:
        url = f"http://127.0.0.1:{self._port}"
        settings = {
            "CORE__EXECUTOR": "LocalExecutor",
            "CORE__DAGS_FOLDER": str(self.folder / "dags"),
            "CORE__LOAD_EXAMPLES": "False",
            "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
            "DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://{self.address}",
            "API__BASE_URL": url,
            "API__SECRET_KEY": self._secrets[0],
            "API_AUTH__JWT_SECRET": self._secrets[1],
            "LOGGING__WORKER_LOG_SERVER_PORT": str(self._log_port),
            "USAGE_DATA_COLLECTION__ENABLED": "False",
        }
        return {"AIRFLOW_HOME": str(self.folder), **{f"AIRFLOW__{name}": value for name, value in settings.items()}}

    async def prepare(self) -> None:
        await super().prepare()
        (self.folder / "dags").mkdir()
        shutil.copy(INSIDE / "airflow_dag.py", self.folder / "dags")
        async with self.services() as made:
            await made.run("migrate", "airflow", "db", "migrate")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with self.services() as self.now, client(f"http://127.0.0.1:{self._port}") as self._http:
            address = ("--host", "127.0.0.1", "--port", str(self._port))
            self.now.start("api server", "airflow", "api-server", *address, "--workers", "1")
            self.now.start("scheduler", "airflow", "scheduler")
            self.now.start("dag processor", "airflow", "dag-processor")
            await self.now.until(self._is_ready, "its scheduler is healthy and the DAG known")
            yield

    async def _is_ready(self) -> bool:
        health = (await self._http.get("/api/v2/monitor/health")).raise_for_status().json()
        if {health[part]["status"] for part in ("metadatabase", "scheduler", "dag_processor")} != {"healthy"}:
            return False
        token = (await self._http.get("/auth/token")).raise_for_status().json()["access_token"]
        self._http.headers["authorization"] = f"Bearer {token}"
        return (await self._http.get("/api/v2/dags/trivial")).is_success

    async def trigger(self) -> Triggered:
        file = self.folder / str(uuid4())
        return (await asked(self._http, _RUNS, {"logical_date": None, "conf": {"file": str(file)}}, file))[0]

    async def fill(self, rows: int) -> None:
        sql = await owner_of(self.stack, self.name)
        changed = {"id": "nextval(pg_get_serial_sequence('dag_run', 'id'))", "run_id": "'filled ' || n"}
        changed |= {name: older(name) for name in _TIMES}
        await multiply(sql, "dag_run", rows, where="state = 'success'", changed=changed)
        await sql.close()

    async def newest(self) -> int:
        answer = await self._http.get("/api/v2/dags/~/dagRuns", params={"limit": 50, "order_by": "-run_after"})
        return len(answer.raise_for_status().json()["dag_runs"])
