"""What a call of the shim costs, against the bare call of PostgREST under it and against Prefect's own.

`python -m bench.api` (`calls=300 at_once=16 rounds=5`). The shim is the sandbox's one process, dispatch on and rate
limit off; the job type is gated, and no worker takes the one that holds the slot. Every kind of call has one pooled
httpx client of its own in this process; the kinds take turns, round by round, and the medians count.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias
from uuid import uuid4

import httpx

from bench.figures import exit_status, figure, peak_mb
from bench.sizes import sizes_of
from flows.core.domain import JobType
from sandbox.stack import ALL_PARTS, Stack

Call: TypeAlias = Callable[[], Awaitable[httpx.Response]]

SIZES = {"calls": 300, "at_once": 16, "rounds": 5}
PAGE = 50
WARM_UP_CALLS = 30
TYPE = JobType.CRAWL_PENDING


class Bench:
    def __init__(self, stack: Stack, sizes: dict[str, int]) -> None:
        self.stack = stack
        self.sizes = sizes
        self.clients: list[httpx.AsyncClient] = []
        self.shim = self._client(stack.wiring.url("shim"), {"Authorization": f"Bearer {stack.token()}"})
        key = stack.wiring.service_key
        self.bare = self._client(
            f"{stack.wiring.supabase_url}/rest/v1", {"apikey": key, "Authorization": f"Bearer {key}"}
        )
        login = stack.wiring.prefect_auth_string
        self.prefect = self._client(stack.wiring.url("prefect"), {}, tuple(login.split(":", 1)) if login else None)

    def _client(self, url: str, headers: dict[str, str], auth: Any = None) -> httpx.AsyncClient:
        limits = httpx.Limits(max_connections=self.sizes["at_once"], max_keepalive_connections=self.sizes["at_once"])
        client = httpx.AsyncClient(base_url=url, headers=headers, auth=auth, limits=limits, timeout=30, trust_env=False)
        self.clients.append(client)
        return client

    async def aclose(self) -> None:
        for client in self.clients:
            await client.aclose()

    async def seconds(self, call: Call, at_once: int, calls: int) -> list[float]:
        """How long each of so many calls took, so many of them under way at any time."""
        left = iter(range(calls))
        taken: list[float] = []

        async def one_after_the_other() -> None:
            for _ in left:
                began = time.perf_counter()
                (await call()).raise_for_status()
                taken.append(time.perf_counter() - began)

        await asyncio.gather(*(one_after_the_other() for _ in range(at_once)))
        return taken

    async def compare(
        self, calls: dict[str, Call], at_once: int, *, counts: dict[str, int] | None = None
    ) -> dict[str, list[float]]:
        """All that each kind took, in milliseconds: the kinds take turns."""
        found: dict[str, list[float]] = {name: [] for name in calls}
        for call in calls.values():
            await self.seconds(call, at_once, WARM_UP_CALLS)
        for _ in range(self.sizes["rounds"]):
            for name, call in calls.items():
                count = (counts or {}).get(name, self.sizes["calls"])
                found[name] += await self.seconds(call, at_once, max(count // self.sizes["rounds"], at_once))
        return {name: [value * 1000 for value in values] for name, values in found.items()}


async def measure(bench: Bench) -> bool:
    shim = _pid(bench.stack)
    deployment = await bench.prefect.get(f"/deployments/name/{TYPE}/{TYPE}")
    deployment_id = deployment.raise_for_status().json()["id"]

    async def trigger() -> httpx.Response:
        return await bench.shim.post("/api/jobs/trigger", json={"jobType": TYPE})

    first = (await trigger()).raise_for_status().json()
    row = (await bench.bare.get("/scheduled_jobs", params={"id": f"eq.{first['id']}"})).json()[0]
    names = ("job_type", "status", "started_by", "origin", "parameters", "priority", "exclusive_key", "attempt")
    same = {name: row[name] for name in names} | {"status": "pending"}

    async def insert() -> httpx.Response:
        return await bench.bare.post(
            "/scheduled_jobs", json={"id": str(uuid4()), **same}, headers={"Prefer": "return=representation"}
        )

    async def create_run() -> httpx.Response:
        body = {"parameters": row["parameters"], "idempotency_key": str(uuid4()), "state": {"type": "SCHEDULED"}}
        return await bench.prefect.post(f"/deployments/{deployment_id}/create_flow_run", json=body)

    async def get() -> httpx.Response:
        return await bench.shim.get(f"/api/jobs/{first['id']}")

    async def bare_get() -> httpx.Response:
        return await bench.bare.get("/scheduled_jobs", params={"select": "*", "id": f"eq.{first['id']}"})

    async def page() -> httpx.Response:
        return await bench.shim.get("/api/jobs", params={"limit": PAGE})

    async def bare_page() -> httpx.Response:
        order = {"select": "*", "order": "created_at.desc,id.desc", "limit": str(PAGE)}
        return await bench.bare.get("/scheduled_jobs", params=order)

    met = []
    for words, at_once in (("alone", 1), (f"{bench.sizes['at_once']} at once", bench.sizes["at_once"])):
        writes: dict[str, Call] = {"insert": insert, "trigger": trigger, "run": create_run}
        found = await bench.compare(writes, at_once, counts={"run": bench.sizes["calls"] // 5})
        met += [
            _told(f"trigger {words}, p50, bare insert", found["trigger"], found["insert"], "<=2", shim),
            _told(f"trigger {words}, p50, creating a flow run", found["trigger"], found["run"], "<=1", shim),
        ]
        for name, ours, bare in (("get", get, bare_get), (f"list of {PAGE}", page, bare_page)):
            found = await bench.compare({"ours": ours, "bare": bare}, at_once)
            goal = "<=1.5" if at_once == 1 else ""
            met.append(_told(f"{name} {words}, p50, bare read", found["ours"], found["bare"], goal, shim))
    return all(met)


def _told(name: str, ours: list[float], limit: list[float], goal: str, pid: int) -> bool:
    return figure(name, ours=ours, limit=limit, unit="ms", goal=goal, peak_mb=peak_mb(pid))


def _pid(stack: Stack) -> int:
    pid = stack.pid("shim")
    if pid is None:
        raise SystemExit("the shim is not running")
    return pid


async def main(sizes: dict[str, int]) -> bool:
    with tempfile.TemporaryDirectory(prefix="bench-api-") as folder:
        settings = {"RATE_LIMIT_PER_MINUTE": "0", "LOG_LEVEL": os.environ.get("LOG_LEVEL", "INFO")}
        async with Stack(Path(folder) / "stack", ports="free", parts=ALL_PARTS, settings=settings) as stack:
            await stack.stop("worker")
            bench = Bench(stack, sizes)
            try:
                return await measure(bench)
            finally:
                await bench.aclose()


if __name__ == "__main__":
    sys.exit(exit_status(met=asyncio.run(main(sizes_of(sys.argv[1:], SIZES)))))
