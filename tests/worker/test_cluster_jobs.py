"""What the cluster's worker asks Kubernetes for, of a real Prefect's run: a stand-in writes down what it is sent."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from deployments.pool import base_job_template
from flows.core.prefect_yaml import stanzas
from sandbox.ports import free_ports
from sandbox.stack import Stack

ROOT = Path(__file__).resolve().parents[2]
POOL = "cluster-trial"


class ApiServer:
    """The one path of Kubernetes' API that starts a run."""

    def __init__(self) -> None:
        self.jobs: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue()
        self.port = 0

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(
            int(line.split(":")[1]) for line in head.splitlines() if line.lower().startswith("content-length")
        )
        job = json.loads(await reader.readexactly(length))
        self.jobs.put_nowait((head.split(" ", 2)[1], job))
        job["metadata"] |= {"name": f"{job['metadata']['generateName']}x7k2p", "uid": "1"}
        body = json.dumps(job).encode()
        writer.write(
            b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nConnection: close\r\n"
            b"Content-Length: " + str(len(body)).encode() + b"\r\n\r\n" + body
        )
        await writer.drain()
        writer.close()

    def kubeconfig(self, path: Path) -> Path:
        names = {"cluster": "c", "user": "u"}
        content = {
            "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{self.port}"}}],
            "users": [{"name": "u", "user": {"token": "of-nobody"}}],
            "contexts": [{"name": "x", "context": names}],
            "current-context": "x",
        }
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        return path


@asynccontextmanager
async def a_due_run(http: httpx.AsyncClient, variables: dict[str, Any]) -> AsyncIterator[str]:
    """A run of a deployment on a pool with our template; all three are gone afterwards."""

    async def post(path: str, **body: Any) -> Any:
        return (await http.post(path, json=body)).raise_for_status().json()

    template = await base_job_template("kubernetes")
    await post("/work_pools/", name=POOL, type="kubernetes", base_job_template=template)
    flow = await post("/flows/", name="cluster_trial")
    try:
        deployment = await post(
            "/deployments/",
            name="cluster_trial",
            flow_id=flow["id"],
            work_pool_name=POOL,
            job_variables=variables,
            entrypoint="flows.cluster_trial.cluster_trial",
        )
        run = await post(f"/deployments/{deployment['id']}/create_flow_run")
        yield run["id"]
    finally:
        await http.delete(f"/flows/{flow['id']}")
        await http.delete(f"/work_pools/{POOL}")


async def test_a_run_becomes_a_job_with_its_size_and_no_secret_in_it(stack: Stack, tmp_path: Path) -> None:
    api = ApiServer()
    variables = next(stanza for stanza in stanzas() if stanza.name == "weekly_digest").work_pool.job_variables
    wiring = stack.wiring
    prefect = httpx.AsyncClient(base_url=wiring.url("prefect"), headers=wiring.prefect_headers, trust_env=False)
    async with prefect as http, api.listening(), a_due_run(http, variables) as run:
        environment = wiring.base_environment() | wiring.prefect_client_environment()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "worker.cluster", "--pool", POOL, "--name", "trial"),
            cwd=ROOT,
            env=environment
            | {
                "KUBECONFIG": str(api.kubeconfig(tmp_path / "config")),
                "PREFECT_HOME": str(tmp_path),
                "PREFECT_INTEGRATIONS_KUBERNETES_OBSERVER_ENABLED": "false",
                "PREFECT_INTEGRATIONS_KUBERNETES_WORKER_API_AUTH_STRING_SECRET_NAME": "scheduler-secrets",
                "PREFECT_INTEGRATIONS_KUBERNETES_WORKER_API_AUTH_STRING_SECRET_KEY": "PREFECT_API_AUTH_STRING",
                "PREFECT_LOGGING_SETTINGS_PATH": str(ROOT / "flows" / "core" / "logging.yml"),
                "PREFECT_WORKER_QUERY_SECONDS": "1",
                "PREFECT_WORKER_WEBSERVER_HOST": "127.0.0.1",
                "PREFECT_WORKER_WEBSERVER_PORT": str(free_ports(["health"])["health"]),
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(60):
                path, job = await api.jobs.get()
        finally:
            process.terminate()
            output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert path == "/apis/batch/v1/namespaces/stumbleable/jobs"
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert job["spec"]["activeDeadlineSeconds"] == 21_900
    assert container["resources"]["limits"] == {"cpu": "2", "memory": "1Gi"}
    assert {"name": "PREFECT__FLOW_RUN_ID", "value": run} in container["env"]
    password = {"secretKeyRef": {"name": "scheduler-secrets", "key": "PREFECT_API_AUTH_STRING"}}
    assert [entry for entry in container["env"] if entry["name"] == "PREFECT_API_AUTH_STRING"] == [
        {"name": "PREFECT_API_AUTH_STRING", "valueFrom": password}
    ]
    secret = wiring.prefect_auth_string.partition(":")[2]
    assert secret not in json.dumps(job)
    assert secret not in output.decode()
    lines = [json.loads(line) for line in output.splitlines()]
    assert run in {line.get("flowRunId") for line in lines}, "the lines about a run carry its id"
    assert os.sep + "site-packages" not in output.decode(), "no traceback"
