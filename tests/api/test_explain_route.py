"""GET /api/jobs/{id}/explain: what is asked of the database and of Prefect, also while Prefect is away."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest

from flows.core import scheduled_jobs
from flows.core.domain import JobType
from tests.api.conftest import MakeShim, Shim
from tests.api.fakes import PLAIN
from tests.api.test_reading import insert
from tests.conftest import Connection

RUN = UUID("0a7be001-52d7-4c1e-9b60-3d1f6f1c9a34")


def runs_on(shim: Shim, pool_type: str | None) -> None:
    """As if Prefect had told what the pool is, or, with None, had not yet."""
    orchestrator = shim.runtime.orchestrator
    orchestrator.pools = dict.fromkeys(JobType, "stumbleable")
    orchestrator.pool_types = {"stumbleable": pool_type} if pool_type else {}


async def explained(shim: Shim, job_id: str) -> Any:
    """The answer, with its checks by name."""
    answer = await shim.get(f"/api/jobs/{job_id}/explain")
    assert answer.status_code == 200, answer.text
    body = answer.json()
    return {**body, "checks": {check["name"]: check for check in body["checks"]}}


async def dispatched(sql: Connection) -> str:
    (job_id,) = await insert(sql, origin="dashboard", flow_run_id=RUN, exclusive_key="crawl_pending", slot_held=True)
    return job_id


class TestWho:
    async def test_anonymous(self, shim: Shim, sql: Connection) -> None:
        (job_id,) = await insert(sql)
        assert (await shim.http.get(f"/api/jobs/{job_id}/explain")).status_code == 401

    async def test_not_admin(self, shim: Shim, sql: Connection) -> None:
        (job_id,) = await insert(sql)
        plain = {"Authorization": f"Bearer {shim.tokens.sign(sub=PLAIN)}"}
        assert (await shim.http.get(f"/api/jobs/{job_id}/explain", headers=plain)).status_code == 403

    @pytest.mark.parametrize(
        "job_id", ["5f0c2b1e-0000-4000-8000-000000000001", "nope", "%00", "5f0c2b1e000040008000000000000001"]
    )
    async def test_unknown(self, shim: Shim, job_id: str) -> None:
        answer = await shim.get(f"/api/jobs/{job_id}/explain")
        assert (answer.status_code, answer.json()["error"]) == (404, "Job not found")
        assert [path for path, _ in shim.prefect.asked if path != "/deployments/filter"] in ([], ["/csrf-token"])


class TestSituations:
    async def test_it_waits_for_its_dispatch(self, shim: Shim) -> None:
        shim.prefect.add_worker(5)
        job_id = (await shim.trigger()).json()["id"]
        said = await explained(shim, job_id)
        assert (said["jobId"], said["status"]) == (job_id, "pending")
        assert said["sentence"] == "It is being dispatched: its flow run is created within seconds."
        assert list(said["checks"]) == ["paused", "gate", "dispatch", "prefect", "worker"]
        assert said["checks"]["worker"]["ok"] is True
        assert set(said["checks"]["worker"]) == {"name", "ok", "detail", "since"}

    async def test_it_is_paused(self, shim: Shim) -> None:
        job_id = (await shim.trigger()).json()["id"]
        await shim.put("/api/maintenance", {"paused": True, "reason": "a move", "until": "2999-01-01T00:00:00Z"})
        said = await explained(shim, job_id)
        assert said["sentence"] == "It waits because all starts are paused until 2999-01-01T00:00:00Z (a move)."
        assert said["checks"]["paused"]["since"].endswith("Z")

    async def test_it_waits_for_another_jobs_slot(self, shim: Shim, sql: Connection) -> None:
        first, second, third = [(await shim.trigger()).json()["id"] for _ in range(3)]
        await shim.claimed()
        said = await explained(shim, third)
        held_since = await sql.fetchval("select slot_since from scheduled_jobs where slot_held")
        assert said["sentence"] == (
            f"It waits for the end of job {first}, which has the slot of crawl_pending since"
            f" {held_since:%Y-%m-%dT%H:%M:%SZ}; 1 more job is ahead of it."
        )
        assert said["checks"]["gate"]["since"].startswith(f"{held_since:%Y-%m-%dT%H:%M:%S}")
        assert "ahead" not in (await explained(shim, second))["sentence"]

    async def test_prefect_is_down_and_since_when(self, shim: Shim) -> None:
        job_id = (await shim.trigger()).json()["id"]
        shim.prefect.down = True
        await shim.runtime.dispatcher.dispatch_due()
        await shim.runtime.dispatcher.settled()
        down_since = shim.runtime.orchestrator.down_since
        assert down_since is not None
        await asyncio.sleep(0.01)
        said = await explained(shim, job_id)
        assert said["sentence"] == (
            f"It has no flow run yet, because Prefect has not answered since {down_since:%Y-%m-%dT%H:%M:%SZ};"
            " it gets one as soon as Prefect answers."
        )
        assert said["checks"]["prefect"]["ok"] is False
        assert said["checks"]["worker"]["ok"] is None
        assert shim.runtime.orchestrator.down_since == down_since
        shim.prefect.down = False
        assert (await explained(shim, job_id))["checks"]["prefect"] == {
            "name": "prefect",
            "ok": True,
            "detail": "Prefect answers.",
            "since": None,
        }
        assert shim.runtime.orchestrator.down_since is None

    @pytest.mark.parametrize("status", ["pending", "running", "failed"])
    async def test_a_hanging_prefect_costs_little_time(self, make_shim: MakeShim, sql: Connection, status: str) -> None:
        (job_id,) = await insert(sql, origin="dashboard", flow_run_id=RUN, status=status, error="x")
        async with make_shim() as shim:
            await shim.get(f"/api/jobs/{job_id}")
            shim.prefect.hanging = True
            began = asyncio.get_running_loop().time()
            said = await explained(shim, job_id)
            assert asyncio.get_running_loop().time() - began < 3
        unknown = {name for name, check in said["checks"].items() if check["ok"] is None}
        assert {"run", "neighbour"} <= unknown <= {"run", "neighbour", "worker"}
        assert "TimeoutError" in said["checks"]["prefect"]["detail"]

    async def test_no_worker_takes_it(self, shim: Shim, sql: Connection) -> None:
        job_id = await dispatched(sql)
        shim.prefect.set_run(RUN, "SCHEDULED")
        assert (await explained(shim, job_id))["sentence"].startswith("No worker of pool stumbleable has ever been")
        shim.prefect.workers = None  # nor is there such a pool
        assert (await explained(shim, job_id))["sentence"].startswith("No worker of pool stumbleable has ever been")
        shim.prefect.add_worker(3600, "worker-old")
        shim.prefect.add_worker(600, "worker-new")
        said = await explained(shim, job_id)
        assert "heard of for 10 min (the last was worker-new)" in said["sentence"]
        shim.prefect.add_worker(4)
        said = await explained(shim, job_id)
        assert said["sentence"].endswith("; no worker has taken it on yet.")
        assert said["checks"]["run"]["ok"] is True

    async def test_its_pod_finds_no_node(self, shim: Shim, sql: Connection) -> None:
        job_id = await dispatched(sql)
        shim.prefect.add_worker(4)
        shim.prefect.set_run(RUN, "PENDING")
        shim.prefect.add_pod_event(RUN, "pending")
        shim.prefect.add_pod_event(RUN, "pending", **{"kubernetes.diagnosis": "Unschedulable.Taint"})
        for known in (None, "kubernetes"):
            runs_on(shim, known)
            said = await explained(shim, job_id)
            assert said["sentence"].startswith("Its pod crawl-pending-x7 is pending since ")
            assert said["sentence"].endswith(" (Unschedulable.Taint).")
        (asked, _) = [body["filter"] for path, body in shim.prefect.asked if path == "/events/filter"]
        assert asked["event"]["prefix"] == ["prefect.kubernetes.pod."]
        assert asked["related"]["id"] == [f"prefect.flow-run.{RUN}"]

    async def test_other_pools_have_no_pods(self, shim: Shim, sql: Connection) -> None:
        job_id = await dispatched(sql)
        shim.prefect.set_run(RUN, "PENDING")
        assert "pod" not in (await explained(shim, job_id))["checks"]  # the type is not known, and nothing was told
        runs_on(shim, "process")
        shim.prefect.asked.clear()
        assert "pod" not in (await explained(shim, job_id))["checks"]
        assert "/events/filter" not in [path for path, _ in shim.prefect.asked]
        runs_on(shim, "kubernetes")
        assert (await explained(shim, job_id))["checks"]["pod"]["detail"] == "Kubernetes has told of no pod for it yet."

    async def test_it_runs_and_a_neighbour_refuses(self, shim: Shim, sql: Connection) -> None:
        job_id = await dispatched(sql)
        await scheduled_jobs.take(UUID(job_id), flow_run_id=RUN, attempt=1, worker="host/1")
        shim.prefect.set_run(RUN, "RUNNING")
        shim.prefect.add_log_line(RUN, "crawler answered 503 to ada@example.com?token=1")
        said = await explained(shim, job_id)
        assert said["sentence"].startswith("It runs on host/1 since ")
        neighbour = said["checks"]["neighbour"]
        assert (neighbour["ok"], "<address>" in neighbour["detail"], "ada" in neighbour["detail"]) == (
            False,
            True,
            False,
        )
        (asked,) = [body for path, body in shim.prefect.asked if path == "/logs/filter"]
        assert (asked["logs"]["level"]["ge_"], asked["limit"], asked["sort"]) == (30, 1, "TIMESTAMP_DESC")
        assert asked["logs"]["flow_run_id"]["any_"] == [str(RUN)]

    async def test_it_is_being_cancelled(self, shim: Shim, sql: Connection) -> None:
        job_id = await dispatched(sql)
        await scheduled_jobs.take(UUID(job_id), flow_run_id=RUN, attempt=1, worker="host/1")
        await shim.post(f"/api/jobs/{job_id}/cancel")
        said = await explained(shim, job_id)
        assert said["sentence"].startswith("user_admin asked to cancel it at ")
        assert said["sentence"].endswith("; its process hears of it with its next beat, within 2 s.")

    async def test_it_died_and_is_tried_again(self, shim: Shim, sql: Connection) -> None:
        job_id = await dispatched(sql)
        await scheduled_jobs.take(UUID(job_id), flow_run_id=RUN, attempt=1, worker="host/1")
        await scheduled_jobs.bury(RUN, "host/1", "killed by signal 9", by_itself=False, cancelled=False)
        recover_at = await sql.fetchval("select recover_at from scheduled_jobs")
        said = await explained(shim, job_id)
        assert "(killed by signal 9); it is tried again at" in said["sentence"]
        assert f"{recover_at:%Y-%m-%dT%H:%M:%SZ}" in said["sentence"]
        await sql.execute("update scheduled_jobs set recover_at = now()")
        (recovery,) = await scheduled_jobs.recover_dead(10)
        assert (await explained(shim, job_id))["sentence"].endswith(f"job {recovery.id} tries it again.")

    async def test_it_was_started_by_the_published_scheduler(self, shim: Shim, sql: Connection) -> None:
        job_id = await sql.fetchval(
            "insert into scheduled_jobs (job_type, status, created_at, updated_at, result)"
            " values ('an_old_type', 'completed', null, null, '[]') returning id::text"
        )
        assert (await explained(shim, job_id))["sentence"] == "It completed."

    async def test_something_else_at_prefects_address_is_its_absence(self, shim: Shim, sql: Connection) -> None:
        job_id = await dispatched(sql)
        shim.prefect.workers = [{"nonsense": True}]
        shim.prefect.runs[str(RUN)] = {"nonsense": True}
        shim.prefect.log_lines = [{"nonsense": True}]
        runs_on(shim, "process")
        said = await explained(shim, job_id)
        assert said["checks"]["prefect"]["ok"] is False
        assert said["checks"]["run"]["ok"] is None
