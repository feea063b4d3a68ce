"""Dagster: code server, web server and daemon on PostgreSQL; a run is a process, its only step in that process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import yaml

from bench.peers.environment import Unavailable, version_of
from bench.peers.libraries import INSIDE, free_port
from bench.peers.multiply import multiply, older
from bench.peers.on_postgres import OnPostgres
from bench.peers.system import Triggered, asked, client, owner_of

_LOCATION = "bench"
_LAUNCH = """
mutation Launch($run: ExecutionParams!) {
  launchRun(executionParams: $run) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } }
}
"""
_NEWEST = """
{ runsOrError(limit: 50) { ... on Runs { results { runId jobName status startTime endTime creationTime } } } }
"""
_HEALTH = """
{ repositoriesOrError { ... on RepositoryConnection { nodes { name } } }
  instance { daemonHealth { allDaemonStatuses { required healthy } } } }
"""
_TIMES = ("create_timestamp", "update_timestamp")


class Dagster(OnPostgres):
    title = f"Dagster {version_of('dagster', 'dagster')}"
    name = "dagster"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._port, self._code_port = free_port(), free_port()
        self._http: httpx.AsyncClient
        self._repository = ""

    def environment(self) -> dict[str, str]:
        return {"DAGSTER_HOME": str(self.folder), "PYTHONPATH": str(INSIDE)}

    async def prepare(self) -> None:
        await super().prepare()
        instance = {
            "storage": {"postgres": {"postgres_url": f"postgresql://{self.address}"}},
            "telemetry": {"enabled": False},
        }
        server = {"host": "127.0.0.1", "port": self._code_port, "location_name": _LOCATION}
        (self.folder / "dagster.yaml").write_text(yaml.safe_dump(instance))
        (self.folder / "workspace.yaml").write_text(yaml.safe_dump({"load_from": [{"grpc_server": server}]}))
        async with self.services() as made:
            await made.run("migrate", "dagster", "instance", "migrate")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with self.services() as self.now, client(f"http://127.0.0.1:{self._port}") as self._http:
            code = ("-m", "dagster_job", "--host", "127.0.0.1", "--port", str(self._code_port))
            self.now.start("code server", "dagster", "api", "grpc", *code)
            address = ("-h", "127.0.0.1", "-p", str(self._port), "-w", "workspace.yaml")
            await self.now.until(self._serves_code, "its code server listens")
            self.now.start("web server", "dagster-webserver", *address)
            self.now.start("daemon", "dagster-daemon", "run", "-w", "workspace.yaml")
            await self.now.until(self._is_ready, "its daemons are healthy and the job known")
            yield

    async def _serves_code(self) -> bool:
        return "Started Dagster code server" in self.now.log("code server")

    async def _is_ready(self) -> bool:
        found = await self._ask(_HEALTH)
        self._repository = found["repositoriesOrError"]["nodes"][0]["name"]
        daemons = [one for one in found["instance"]["daemonHealth"]["allDaemonStatuses"] if one["required"]]
        return bool(daemons) and all(daemon["healthy"] for daemon in daemons)

    async def _ask(self, query: str) -> Any:
        answer = (await self._http.post("/graphql", json={"query": query})).raise_for_status().json()
        return answer["data"]

    async def trigger(self) -> Triggered:
        file = self.folder / str(uuid4())
        selector = {
            "repositoryLocationName": _LOCATION,
            "repositoryName": self._repository,
            "jobName": "trivial",
        }
        config = {"ops": {"note": {"config": {"file": str(file)}}}}
        body = {"query": _LAUNCH, "variables": {"run": {"selector": selector, "runConfigData": config}}}
        found, answer = await asked(self._http, "/graphql", body, file)
        if answer.get("errors") or answer["data"]["launchRun"]["__typename"] != "LaunchRunSuccess":
            raise Unavailable(f"it does not launch a run: {answer}")
        return found

    async def fill(self, rows: int) -> None:
        sql = await owner_of(self.stack, self.name)
        changed = {
            "id": "nextval(pg_get_serial_sequence('runs', 'id'))",
            "run_id": "md5('run' || n)::uuid::text",
            "run_body": "replace(t.run_body, t.run_id, md5('run' || n)::uuid::text)",
            **{name: older(name) for name in _TIMES},
            **{name: f"t.{name} - n * 60" for name in ("start_time", "end_time")},
        }
        await multiply(sql, "runs", rows, where="status = 'SUCCESS'", changed=changed)
        await sql.close()

    async def newest(self) -> int:
        return len((await self._ask(_NEWEST))["runsOrError"]["results"])
