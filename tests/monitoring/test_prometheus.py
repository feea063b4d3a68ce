"""A real Prometheus scrapes the sandbox's shim: what alerts and dashboard ask for is there, and one alert fires."""

from __future__ import annotations

import asyncio
import copy
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.metrics import sample_names
from checks import rules
from sandbox import prometheus
from sandbox.ports import free_ports
from tests.e2e.conftest import admin
from tests.e2e.harness import Admin, until
from tests.monitoring.test_dashboard import PANELS
from tests.test_layering import ROOT

__all__ = ["admin"]
# They look for what a healthy stack does not have, or not yet.
MAY_BE_EMPTY = {"annotation Alerts", "annotation Shim restarts"}


class Asked:
    """A Prometheus, as a person at its page uses it."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def query(self, expression: str) -> list[dict[str, Any]]:
        answer = await self.http.get("/api/v1/query", params={"query": expression})
        body = answer.json()
        assert body["status"] == "success", f"{expression}: {body}"
        assert not body.get("warnings"), f"{expression}: {body}"
        found: list[dict[str, Any]] = body["data"]["result"]
        return found

    async def series(self) -> set[str]:
        return set((await self.http.get("/api/v1/label/__name__/values")).json()["data"])

    async def firing(self) -> set[str]:
        alerts = (await self.http.get("/api/v1/alerts")).json()["data"]["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}


def impatient(spec: dict[str, Any], alert: str) -> dict[str, Any]:
    """The rules, of which one waits for a second only before it fires."""
    changed = copy.deepcopy(spec)
    (rule,) = [rule for group in changed["groups"] for rule in group["rules"] if rule["alert"] == alert]
    assert rule["for"] == "2m"
    rule["for"] = "1s"
    return changed


@pytest.fixture
async def asked(admin: Admin, tmp_path: Path) -> AsyncIterator[Asked]:
    """Prometheus beside a stack that has run a job of a type that is scheduled, and answered some requests."""
    await admin.seed_pages()
    # In the sandbox every schedule is off. This one does not fire while anybody looks.
    edit = {"enabled": True, "cron": "0 3 1 1 *"}
    (await admin.http.patch("/api/job-types/crawl_pending/schedule", json=edit)).raise_for_status()
    shim = admin.stack.wiring.url("shim")
    async with prometheus.scraping(
        shim,
        tmp_path,
        port=free_ports(["prometheus"])["prometheus"],
        marker=admin.stack.state.marker,
        spec=impatient(prometheus.rule_spec(), "SchedulerWorkerGone"),
        seconds=1,
    ) as url:
        job = await admin.trigger()
        assert (await admin.wait(job["jobId"]))["status"] == "completed"
        async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
            asked = Asked(http)

            async def scraped() -> bool:
                ended = 'scheduler_jobs_ended_total{job_type="crawl_pending",outcome="completed"} > 0'
                return bool(await asked.query(ended) and await asked.query("rate(scheduler_uptime_seconds[5m])"))

            await until(scraped, seconds=30, what="the job is in Prometheus")
            yield asked


async def test_alerts_and_dashboard_ask_for_what_is_there(asked: Asked) -> None:
    assert await asked.series() >= sample_names() | {"up"}
    for alert in rules.alerts(ROOT):
        await asked.query(alert.expr)
        for name in rules.metric_names(alert.expr):
            assert await asked.query(name), f"{alert.name} asks for {name}"
    expressions = rules.dashboard_expressions(ROOT)
    assert len(expressions) > len(PANELS) // 2
    empty = {title for title, expression in expressions if not await asked.query(expression)}
    assert empty == MAY_BE_EMPTY


async def test_an_alert_fires_when_the_worker_is_stopped_and_ends_with_its_return(asked: Asked, admin: Admin) -> None:
    assert await asked.firing() == set()
    await admin.stack.stop("worker")

    async def fires() -> bool:
        return "SchedulerWorkerGone" in await asked.firing()

    await until(fires, seconds=90, what="the alert fires")
    alerts = (await asked.http.get("/api/v1/alerts")).json()["data"]["alerts"]
    (alert,) = [alert for alert in alerts if alert["state"] == "firing"]
    assert alert["labels"] == {"alertname": "SchedulerWorkerGone", "severity": "critical"}
    assert alert["annotations"]["summary"] == "No worker takes jobs"
    await admin.stack.start("worker")

    async def is_silent() -> bool:
        return not await asked.firing()

    await until(is_silent, seconds=60, what="the alert ends")


async def test_a_person_gets_one_beside_a_running_sandbox(admin: Admin) -> None:
    port = free_ports(["prometheus"])["prometheus"]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sandbox", "--state", str(admin.stack.state.path)),
        *("prometheus", "--port", str(port)),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "SANDBOX_ID": admin.stack.state.marker},
    )
    try:
        assert process.stdout is not None
        said = (await process.stdout.readline()).decode()
        assert f"http://127.0.0.1:{port}/alerts" in said
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
            groups = (await http.get("/api/v1/rules")).json()["data"]["groups"]
            assert {rule["name"] for group in groups for rule in group["rules"]} == {
                alert.name for alert in rules.alerts(ROOT)
            }
    finally:
        process.terminate()
        assert await process.wait() == 0
