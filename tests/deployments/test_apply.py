"""`python -m deployments apply` against a real Prefect, on a pool of the cluster's type: the second changes nothing."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import httpx

from deployments.pool import QUEUES
from sandbox.stack import Stack

ROOT = Path(__file__).resolve().parents[2]
POOL = "cluster"
# What Prefect writes of itself: when it was written, who, and how the pool looks at this moment.
_MOVES = {"updated", "status", "last_polled", "version_id", "version_info"}


async def apply(stack: Stack, status: int = 0, /, **more: str) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "deployments", "apply"),
        cwd=ROOT,
        env=stack.wiring.base_environment()
        | stack.wiring.prefect_client_environment()
        | stack.wiring.deployment_environment()
        | more,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == status, output.decode()
    return output.decode()


def without_moving(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_moving(inner) for name, inner in value.items() if name not in _MOVES}
    return [without_moving(inner) for inner in value] if isinstance(value, list) else value


async def registered(stack: Stack) -> dict[str, Any]:
    """The pool, its queues and every deployment, as Prefect has them."""
    async with httpx.AsyncClient(
        base_url=stack.wiring.url("prefect"), headers=stack.wiring.prefect_headers, trust_env=False
    ) as http:
        pool = (await http.get(f"/work_pools/{POOL}")).raise_for_status().json()
        queues = (await http.post(f"/work_pools/{POOL}/queues/filter", json={})).raise_for_status().json()
        deployments = (await http.post("/deployments/filter", json={"sort": "NAME_ASC"})).raise_for_status().json()
    queues.sort(key=lambda queue: str(queue["name"]))
    found: dict[str, Any] = without_moving({"pool": pool, "queues": queues, "deployments": deployments})
    return found


async def test_the_second_apply_on_a_kubernetes_pool_changes_nothing(stack: Stack) -> None:
    cluster = {"WORK_POOL": POOL, "WORK_POOL_TYPE": "kubernetes", "IMAGE": "registry.test/scheduler-service:0a1b2c"}
    try:
        first = await apply(stack, **cluster)
        assert "created work pool cluster (kubernetes)" in first
        before = await registered(stack)
        second = await apply(stack, **cluster)
        assert "work pool" not in second
        assert "work queue" not in second
        assert await registered(stack) == before
        third = await apply(stack, **cluster | {"IMAGE": "registry.test/scheduler-service:3d4e5f"})
        assert "updated the job template of work pool cluster" in third
        after = await registered(stack)
    finally:
        await apply(stack)
    assert before["pool"]["type"] == "kubernetes"
    assert QUEUES.items() <= {queue["name"]: queue["priority"] for queue in before["queues"]}.items()
    assert {d["work_pool_name"] for d in before["deployments"]} == {POOL}
    digest = next(d for d in before["deployments"] if d["name"] == "weekly_digest")
    assert digest["job_variables"]["active_deadline_seconds"] == 21_900
    assert "3d4e5f" in json.dumps(after["pool"]["base_job_template"])


async def test_short_jobs_go_to_a_warm_pool_beside_the_other(stack: Stack) -> None:
    warm = {"WARM_JOB_TYPES": "recalculate_trending, moderation_updates"}
    try:
        first = await apply(stack, **warm)
        assert "created work pool stumbleable-warm (forkserver)" in first
        assert "work pool" not in await apply(stack, **warm)
        pools = await pools_of_types(stack)
    finally:
        await apply(stack)
    assert {name for name, pool in pools.items() if pool == "stumbleable-warm"} == {
        "recalculate_trending",
        "moderation_updates",
    }
    assert set((await pools_of_types(stack)).values()) == {"stumbleable"}


async def test_a_warm_type_that_there_is_not_is_refused(stack: Stack) -> None:
    before = await pools_of_types(stack)
    refused = await apply(stack, 1, WARM_JOB_TYPES="recalculate_trending,send_mails")
    assert refused == "WARM_JOB_TYPES names send_mails, which prefect.yaml does not have\n"
    assert await pools_of_types(stack) == before


async def pools_of_types(stack: Stack) -> dict[str, str]:
    async with httpx.AsyncClient(
        base_url=stack.wiring.url("prefect"), headers=stack.wiring.prefect_headers, trust_env=False
    ) as http:
        found = (await http.post("/deployments/filter", json={})).raise_for_status().json()
    return {deployment["name"]: deployment["work_pool_name"] for deployment in found}


async def test_the_sandbox_pool_takes_the_cluster_job_variables(stack: Stack) -> None:
    async with httpx.AsyncClient(
        base_url=stack.wiring.url("prefect"), headers=stack.wiring.prefect_headers, trust_env=False
    ) as http:
        pool = (await http.get("/work_pools/stumbleable")).raise_for_status().json()
        deployments = (await http.post("/deployments/filter", json={})).raise_for_status().json()
        assert pool["type"] == "forkserver"
        assert deployments
        for deployment in deployments:
            # Prefect checks them whenever a run is created, also one that is over already.
            over = {"state": {"type": "CANCELLED"}}
            created = await http.post(f"/deployments/{deployment['id']}/create_flow_run", json=over)
            assert created.status_code == 201, (deployment["name"], created.text)
            (await http.delete(f"/flow_runs/{created.json()['id']}")).raise_for_status()
