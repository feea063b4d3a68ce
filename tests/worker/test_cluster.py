"""The cluster's worker outlasts an outage of Prefect, logs nothing but JSON lines and ends on SIGTERM."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from sandbox.ports import free_ports
from worker import cluster

ROOT = Path(__file__).resolve().parents[2]


class Trial:
    """A worker whose first starts fail and whose last one works on until it is cancelled."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.started = 0
        self.working = asyncio.Event()

    async def start(self) -> None:
        self.started += 1
        if self.started <= self.failures:
            raise ExceptionGroup("in a group", [RuntimeError("Prefect is away")])
        self.working.set()
        await asyncio.Event().wait()


@pytest.fixture(autouse=True)
def own_port(monkeypatch: pytest.MonkeyPatch) -> int:
    port = free_ports({"health": 0})["health"]
    monkeypatch.setenv("PREFECT_WORKER_WEBSERVER_PORT", str(port))
    monkeypatch.setenv("PREFECT_WORKER_WEBSERVER_HOST", "127.0.0.1")
    return port


async def test_the_observer_is_configured_before_prefect_has_registered_its_own() -> None:
    script = "import sys, worker.cluster; sys.exit('prefect_kubernetes.observer' in sys.modules)"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, cwd=ROOT)
    assert await process.wait() == 0


async def answers() -> None:
    """Prefect does."""


async def test_a_worker_that_ends_is_started_again_until_somebody_tells_it_to_end() -> None:
    trial = Trial(failures=3)
    make: Callable[[], Any] = lambda: trial  # noqa: E731
    serving = asyncio.create_task(cluster.serve(make, answers, pause_seconds=0.01))
    await asyncio.wait_for(trial.working.wait(), 20)
    assert trial.started == 4
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(serving, 20)


async def test_while_prefect_is_away_the_process_lives_and_every_line_is_json(own_port: int, tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "worker.cluster", "--pool", "nowhere"),
        cwd=ROOT,
        env=os.environ
        | {
            "PREFECT_HOME": str(tmp_path),
            "PREFECT_API_URL": "http://127.0.0.1:9/api",
            "PREFECT_API_AUTH_STRING": "admin:not-to-be-seen",
            "PREFECT_CLIENT_MAX_RETRIES": "0",
            "PREFECT_LOGGING_SETTINGS_PATH": str(ROOT / "flows" / "core" / "logging.yml"),
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        messages: list[str] = []
        async with asyncio.timeout(90):
            while not any("Prefect is asked again" in message for message in messages):
                line = json.loads(await process.stdout.readline())
                messages.append(line["message"])
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.get(f"http://127.0.0.1:{own_port}/health")
        assert answer.status_code == 200
        process.send_signal(signal.SIGTERM)
        output, errors = await asyncio.wait_for(process.communicate(), 60)
    finally:
        if process.returncode is None:
            process.kill()
    lines = [json.loads(line) for line in output.splitlines()]
    assert "Told to end: nothing more is taken on" in [line["message"] for line in lines]
    assert process.returncode == 0
    assert b"Traceback" not in errors
    assert "not-to-be-seen" not in output.decode() + errors.decode() + str(messages)
