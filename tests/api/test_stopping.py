"""POST /api/jobs/{id}/cancel and /retry: what is stopped or tried again, what is refused, what Prefect hears of it."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import UUID, uuid4

import pytest

from flows.core import scheduled_jobs
from tests.api.conftest import MakeShim, Shim
from tests.api.fakes import ADMIN, PLAIN
from tests.api.test_reading import insert
from tests.api.test_trigger import INTERNAL, insert_admin
from tests.conftest import Connection

RUN = UUID("0a7be001-52d7-4c1e-9b60-3d1f6f1c9a34")
NO_IDS = ["5f0c2b1e-0000-4000-8000-000000000001", "nope", "1", "%00", "5f0c2b1e000040008000000000000001", "é"]


async def row(sql: Connection, job_id: str) -> Any:
    return await sql.fetchrow("select * from scheduled_jobs where id = $1", UUID(job_id))


async def audit(sql: Connection) -> list[tuple[str, str, str]]:
    entries = await sql.fetch("select actor, action, outcome from scheduler_audit order by id")
    return [(entry["actor"], entry["action"], entry["outcome"]) for entry in entries]


async def running(sql: Connection, run: UUID = RUN) -> str:
    """Id of a job whose lease a process has."""
    (job_id,) = await insert(sql, origin="dashboard", exclusive_key="crawl_pending")
    await scheduled_jobs.take(UUID(job_id), flow_run_id=run, attempt=1, worker="host/1")
    return job_id


async def taken_after(seconds: float, job_id: str, run: UUID) -> str:
    """What a process is told that asks for the job's lease then."""
    await asyncio.sleep(seconds)
    return (await scheduled_jobs.take(UUID(job_id), flow_run_id=run, attempt=1, worker="host/1")).decision


async def called(shim: Shim, path: str, authorization: dict[str, str]) -> tuple[int, str]:
    answer = await shim.http.post(path, headers=authorization)
    return answer.status_code, answer.json()["code"]


class TestCancel:
    async def test_anonymous(self, shim: Shim, sql: Connection) -> None:
        (job_id,) = await insert(sql)
        assert await called(shim, f"/api/jobs/{job_id}/cancel", {}) == (401, "MISSING_AUTHORIZATION")
        assert (await row(sql, job_id))["status"] == "pending"

    async def test_not_admin(self, shim: Shim, sql: Connection) -> None:
        (job_id,) = await insert(sql)
        plain = {"Authorization": f"Bearer {shim.tokens.sign(sub=PLAIN)}"}
        assert await called(shim, f"/api/jobs/{job_id}/cancel", plain) == (403, "ADMIN_REQUIRED")
        assert (await row(sql, job_id))["status"] == "pending"

    @pytest.mark.parametrize("job_id", NO_IDS)
    async def test_unknown(self, shim: Shim, job_id: str) -> None:
        answer = await shim.post(f"/api/jobs/{job_id}/cancel")
        assert (answer.status_code, answer.json()["error"]) == (404, "Job not found")

    @pytest.mark.parametrize("status", ["completed", "failed"])
    async def test_conflict_says_how_it_ended(self, shim: Shim, sql: Connection, status: str) -> None:
        (job_id,) = await insert(sql, status=status)
        answer = await shim.post(f"/api/jobs/{job_id}/cancel")
        assert (answer.status_code, answer.json()["code"]) == (409, "CONFLICT")
        assert answer.json()["error"] == (
            f"Job {job_id} has ended as {status}: only a pending or a running job can be cancelled"
        )
        assert await audit(sql) == [(ADMIN, "cancel", "refused")]

    async def test_a_pending_job_is_cancelled_at_once(self, shim: Shim, sql: Connection) -> None:
        await insert_admin(sql)
        job_id = (await shim.trigger()).json()["id"]
        answer = await shim.post(f"/api/jobs/{job_id}/cancel")
        body = answer.json()
        assert (answer.status_code, body["status"], body["error"]) == (200, "cancelled", "cancelled before it started")
        receipt = body["cancel"]
        assert (receipt["requestedBy"], receipt["itemsDone"], receipt["safeToRetry"]) == (INTERNAL, 0, True)
        assert receipt["stoppedAt"].endswith("Z")
        assert body == (await shim.get(f"/api/jobs/{job_id}")).json()
        assert (await audit(sql))[1:] == [(ADMIN, "cancel", "cancelled")]
        assert await shim.claimed() == []

    async def test_a_running_job_is_told_to_stop(self, shim: Shim, sql: Connection) -> None:
        job_id = await running(sql)
        answer = await shim.post(f"/api/jobs/{job_id}/cancel")
        body = answer.json()
        assert (answer.status_code, body["status"]) == (202, "running")
        assert body["cancel"]["requestedBy"] == ADMIN
        assert body["cancel"]["requestedAt"].endswith("Z")
        assert body["cancel"]["stoppedAt"] is None
        again = await shim.post(f"/api/jobs/{job_id}/cancel")
        assert (again.status_code, again.json()["cancel"]) == (202, body["cancel"])
        await scheduled_jobs.bury(RUN, "host/1", "gone", by_itself=True, cancelled=False)
        done = await shim.post(f"/api/jobs/{job_id}/cancel")
        assert (done.status_code, done.json()["status"], done.json()["cancel"]["safeToRetry"]) == (
            200,
            "cancelled",
            True,
        )

    async def test_a_cancelled_job_is_left_as_it_is(self, shim: Shim, sql: Connection) -> None:
        (job_id,) = await insert(sql, status="cancelled", flow_run_id=RUN)
        before = await row(sql, job_id)
        answer = await shim.post(f"/api/jobs/{job_id}/cancel")
        assert (answer.status_code, answer.json()["status"], answer.json()["cancel"]) == (200, "cancelled", None)
        assert await row(sql, job_id) == before
        await shim.runtime.errands.settled()
        assert shim.prefect.cancelled == []

    async def test_the_id_may_be_in_capitals(self, shim: Shim, sql: Connection) -> None:
        (job_id,) = await insert(sql)
        assert (await shim.post(f"/api/jobs/{job_id.upper()}/cancel")).json()["id"] == job_id

    async def test_prefect_is_asked_to_cancel_the_run(self, shim: Shim, sql: Connection) -> None:
        await shim.post(f"/api/jobs/{await running(sql)}/cancel")
        (dispatched,) = await insert(sql, flow_run_id=uuid4())
        (alone,) = await insert(sql)
        view = (await shim.post(f"/api/jobs/{dispatched}/cancel")).json()
        await shim.post(f"/api/jobs/{alone}/cancel")
        await shim.runtime.errands.settled()
        assert sorted(shim.prefect.cancelled) == sorted([str(RUN), view["flowRunId"]])

    @pytest.mark.parametrize("trouble", ["down", "hanging"])
    async def test_prefect_is_not_waited_for(
        self, make_shim: MakeShim, sql: Connection, caplog: pytest.LogCaptureFixture, trouble: str
    ) -> None:
        async with make_shim() as shim:
            setattr(shim.prefect, trouble, True)
            job_id = await running(sql)
            async with asyncio.timeout(2):
                answer = await shim.post(f"/api/jobs/{job_id}/cancel")
            assert answer.status_code == 202
            if trouble == "down":
                await shim.runtime.errands.settled()
                told = [record.message for record in caplog.records if record.name == "api.background"]
                why = "Prefect cannot be reached (to cancel a run: ConnectError)"
                assert told == [f"Cancel of the flow run of job {job_id}: {why}"]
            began = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - began < 2  # nor does the process stay for it when it ends

    @pytest.mark.parametrize("content", [b"", b"{}", b"null"])
    async def test_a_body_without_fields_is_accepted(self, shim: Shim, sql: Connection, content: bytes) -> None:
        (job_id,) = await insert(sql)
        headers = shim.tokens.admin_headers() | {"Content-Type": "application/json"}
        assert (await shim.http.post(f"/api/jobs/{job_id}/cancel", content=content, headers=headers)).status_code == 200

    @pytest.mark.parametrize(
        ("content", "sentence"),
        [(b'{"force": true}', "force: unknown field"), (b"[]", "body: must be"), (b"{", "body: not valid JSON")],
    )
    @pytest.mark.parametrize("action", ["cancel", "retry"])
    async def test_any_other_body_is_refused(
        self, shim: Shim, sql: Connection, action: str, content: bytes, sentence: str
    ) -> None:
        (job_id,) = await insert(sql)
        headers = shim.tokens.admin_headers() | {"Content-Type": "application/json"}
        answer = await shim.http.post(f"/api/jobs/{job_id}/{action}", content=content, headers=headers)
        assert answer.status_code == 400
        assert answer.json()["error"].startswith(sentence)
        assert (await row(sql, job_id))["status"] == "pending"

    async def test_a_cancel_that_races_the_start_says_what_became_of_it(self, shim: Shim, sql: Connection) -> None:
        seen = set()
        for number in range(20):
            run = uuid4()
            (job_id,) = await insert(sql, origin="dashboard", flow_run_id=run)
            answer, decision = await asyncio.gather(
                shim.post(f"/api/jobs/{job_id}/cancel"), taken_after(number % 5 / 40, job_id, run)
            )
            seen.add((answer.status_code, answer.json()["status"], decision, (await row(sql, job_id))["status"]))
        assert seen == {(200, "cancelled", "closed", "cancelled"), (202, "running", "go", "running")}

    async def test_the_next_in_line_is_dispatched_when_a_slot_becomes_free(self, make_shim: MakeShim) -> None:
        async with make_shim(sweep_seconds=10) as shim, shim.runtime.running_loops():
            first = (await shim.trigger()).json()["id"]
            async with asyncio.timeout(3):
                await shim.prefect.creation.wait()
            second = (await shim.trigger()).json()["id"]
            await asyncio.sleep(0.3)
            shim.prefect.creation.clear()
            await shim.post(f"/api/jobs/{first}/cancel")
            async with asyncio.timeout(3):
                await shim.prefect.creation.wait()
            assert list(shim.prefect.created) == [first, second]


class TestRetry:
    async def test_anonymous(self, shim: Shim, sql: Connection) -> None:
        (job_id,) = await insert(sql, status="failed")
        assert await called(shim, f"/api/jobs/{job_id}/retry", {}) == (401, "MISSING_AUTHORIZATION")
        assert await sql.fetchval("select count(*) from scheduled_jobs") == 1

    async def test_not_admin(self, shim: Shim, sql: Connection) -> None:
        (job_id,) = await insert(sql, status="failed")
        plain = {"Authorization": f"Bearer {shim.tokens.sign(sub=PLAIN)}"}
        assert await called(shim, f"/api/jobs/{job_id}/retry", plain) == (403, "ADMIN_REQUIRED")
        assert await sql.fetchval("select count(*) from scheduled_jobs") == 1

    @pytest.mark.parametrize("job_id", NO_IDS)
    async def test_unknown(self, shim: Shim, job_id: str) -> None:
        answer = await shim.post(f"/api/jobs/{job_id}/retry", Idempotency_Key="k1")
        assert (answer.status_code, answer.json()["error"]) == (404, "Job not found")

    @pytest.mark.parametrize("status", ["pending", "running", "completed"])
    async def test_conflict_unless_failed_or_cancelled(self, shim: Shim, sql: Connection, status: str) -> None:
        (job_id,) = await insert(sql, status=status)
        answer = await shim.post(f"/api/jobs/{job_id}/retry")
        assert (answer.status_code, answer.json()["code"]) == (409, "CONFLICT")
        assert answer.json()["error"] == f"Job {job_id} is {status}: only a failed or cancelled job can be retried"
        assert await sql.fetchval("select count(*) from scheduled_jobs") == 1
        assert await audit(sql) == [(ADMIN, "retry", "refused")]

    @pytest.mark.parametrize("status", ["failed", "cancelled"])
    async def test_valid(self, shim: Shim, sql: Connection, status: str) -> None:
        await insert_admin(sql)
        parameters = '{"max_items": 5, "mode": "pending"}'
        (job_id,) = await insert(
            sql, status=status, parameters=parameters, priority="HIGH", exclusive_key="crawl_pending", origin="schedule"
        )
        answer = await shim.post(f"/api/jobs/{job_id}/retry")
        body = answer.json()
        assert answer.status_code == 202
        assert set(body) == {"jobId", "id", "jobType", "status", "startedAt", "createdAt"}
        assert answer.headers["location"] == f"/api/jobs/{body['id']}"
        view = (await shim.get(answer.headers["location"])).json()
        assert (view["retryOf"], view["origin"], view["startedBy"]) == (job_id, "dashboard", INTERNAL)
        assert (view["parameters"], view["priority"]) == (json.loads(parameters), "HIGH")
        assert (await row(sql, body["id"]))["exclusive_key"] == "crawl_pending"
        assert [str(job.id) for job in await shim.claimed()] == [body["id"]]
        assert await audit(sql) == [(ADMIN, "retry", "accepted")]

    async def test_a_job_has_one_retry(self, shim: Shim, sql: Connection) -> None:
        (job_id,) = await insert(sql, status="failed")
        first = (await shim.post(f"/api/jobs/{job_id}/retry")).json()["id"]
        second = await shim.post(f"/api/jobs/{job_id}/retry")
        assert second.status_code == 409
        assert second.json()["error"] == f"Job {job_id} has been retried already, as job {first}"

    async def test_a_recovery_is_its_retry(self, shim: Shim, sql: Connection) -> None:
        (job_id,) = await insert(sql, status="failed", died=True)
        await sql.execute("update scheduled_jobs set recover_at = now()")
        (recovery,) = await scheduled_jobs.recover_dead(10)
        answer = await shim.post(f"/api/jobs/{job_id}/retry")
        assert answer.status_code == 409
        assert answer.json()["error"].endswith(f"as job {recovery.id}")

    async def test_it_takes_the_place_of_a_recovery(self, shim: Shim, sql: Connection) -> None:
        (job_id,) = await insert(sql, status="failed", died=True)
        await sql.execute("update scheduled_jobs set recover_at = now()")
        assert (await shim.post(f"/api/jobs/{job_id}/retry")).status_code == 202
        assert await scheduled_jobs.recover_dead(10) == []

    async def test_a_retry_can_be_retried(self, shim: Shim, sql: Connection) -> None:
        (job_id,) = await insert(sql, status="failed")
        first = (await shim.post(f"/api/jobs/{job_id}/retry")).json()["id"]
        await shim.post(f"/api/jobs/{first}/cancel")
        answer = await shim.post(f"/api/jobs/{first}/retry")
        assert answer.status_code == 202
        assert (await shim.get(answer.headers["location"])).json()["retryOf"] == first

    async def test_several_at_once_give_one_job(self, shim: Shim, sql: Connection) -> None:
        (job_id,) = await insert(sql, status="failed")
        answers = await asyncio.gather(*(shim.post(f"/api/jobs/{job_id}/retry") for _ in range(5)))
        assert sorted(answer.status_code for answer in answers) == [202, 409, 409, 409, 409]
        (made,) = [answer.json()["id"] for answer in answers if answer.status_code == 202]
        assert all(made in answer.json()["error"] for answer in answers if answer.status_code == 409)

    async def test_it_is_dispatched_at_once(self, make_shim: MakeShim, sql: Connection) -> None:
        async with make_shim(sweep_seconds=10) as shim, shim.runtime.running_loops():
            await asyncio.sleep(0.3)  # the first sweep is over, the second is far away
            (job_id,) = await insert(sql, status="failed")
            made = (await shim.post(f"/api/jobs/{job_id}/retry")).json()["id"]
            async with asyncio.timeout(3):
                await shim.prefect.creation.wait()
            assert list(shim.prefect.created) == [made]

    async def test_a_repeat_with_its_key_gets_the_first_answer_again(self, shim: Shim, sql: Connection) -> None:
        (job_id,) = await insert(sql, status="failed")
        path = f"/api/jobs/{job_id}/retry"
        first = await shim.post(path, Idempotency_Key="k1")
        again = await shim.post(path.replace(job_id, job_id.upper()), Idempotency_Key="k1")
        assert (again.status_code, again.json()) == (202, first.json())
        assert again.headers["location"] == first.headers["location"]
        assert "idempotent-replayed" not in first.headers
        assert again.headers["idempotent-replayed"] == "true"
        assert (await shim.post(path, Idempotency_Key="k2")).status_code == 409

    async def test_repeats_at_the_same_time_get_the_same_answer(self, shim: Shim, sql: Connection) -> None:
        (job_id,) = await insert(sql, status="failed")
        calls = (shim.post(f"/api/jobs/{job_id}/retry", Idempotency_Key="k1") for _ in range(5))
        answers = await asyncio.gather(*calls)
        assert {(answer.status_code, answer.json()["id"]) for answer in answers} == {(202, answers[0].json()["id"])}

    async def test_the_same_key_for_another_job_is_another_call(self, shim: Shim, sql: Connection) -> None:
        jobs = await insert(sql, 2, status="failed")
        answers = [await shim.post(f"/api/jobs/{job}/retry", Idempotency_Key="k1") for job in jobs]
        assert [answer.status_code for answer in answers] == [202, 202]
        assert answers[0].json()["id"] != answers[1].json()["id"]

    async def test_a_key_of_another_payload_is_422(self, shim: Shim, sql: Connection) -> None:
        """The call has no payload today; a key that was kept for one, by another release, is still not replayed."""
        (job_id,) = await insert(sql, status="failed")
        await sql.execute(
            "insert into idempotency_keys (actor, route, key, fingerprint, job_id, answer)"
            " select $1, $2, 'k1', 'another', id, to_jsonb(j) from scheduled_jobs j",
            ADMIN,
            f"POST /api/jobs/{job_id}/retry",
        )
        answer = await shim.post(f"/api/jobs/{job_id}/retry", Idempotency_Key="k1")
        assert (answer.status_code, answer.json()["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")

    async def test_a_refusal_is_not_kept_under_its_key(self, shim: Shim, sql: Connection) -> None:
        (job_id,) = await insert(sql)
        path = f"/api/jobs/{job_id}/retry"
        assert (await shim.post(path, Idempotency_Key="k1")).status_code == 409
        await shim.post(f"/api/jobs/{job_id}/cancel")
        assert (await shim.post(path, Idempotency_Key="k1")).status_code == 202
