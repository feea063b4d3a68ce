"""Every step twice: in the database and in the model. An answer that differs is a failure on the spot."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from tests.database.machine.crawl import DOUBT_SECONDS, MAX_ATTEMPTS, Crawl
from tests.database.machine.database import Database
from tests.database.machine.outside import Outside, Process, Run
from tests.database.machine.rows import TICK, Job, Rows

LEASE_NOT_HELD = "SJ001"
PAGES = 4


class Driver:
    def __init__(self, database: Database) -> None:
        self.db = database
        self.rows = Rows()
        self.crawl = Crawl(self.rows)
        self.outside = Outside()
        self.finished: dict[UUID, tuple[int, str]] = {}
        self.asked_to_stop: set[Job] = set()
        self.doubts: dict[Job, tuple[datetime, int]] = {}
        self.unrecorded: list[tuple[Job, int, Run]] = []
        self.keys: dict[str, tuple[Job, str]] = {}
        database.empty()
        for _ in range(PAGES):
            page = self.outside.new_id()
            database.execute(f"insert into public.discoveries (id, url) values ('{page}', 'http://{page}.test')")
            self.crawl.pages[page] = "pending"

    # Acceptance and dispatch

    def trigger(self, priority: str, gate: str | None, key: str | None, fingerprint: str) -> None:
        wanted = {"id": str(self.outside.new_id()), "job_type": "crawl", "origin": "dashboard", "priority": priority}
        earlier = self.keys.get(key) if key else None
        answer = self.db.call(
            "accept_job",
            job={**wanted, "exclusive_key": gate},
            audit={"actor": "admin", "action": "trigger"},
            idempotency={"actor": "admin", "route": "trigger", "key": key, "fingerprint": fingerprint} if key else None,
        )
        if earlier is not None:
            job, first_fingerprint = earlier
            assert answer["outcome"] == ("replayed" if fingerprint == first_fingerprint else "mismatch")
            assert answer["job"]["id"] == str(job.id), "a key was answered with another job"
            return
        assert answer["outcome"] == "accepted"
        created_at = datetime.fromisoformat(answer["job"]["created_at"])
        job = Job(UUID(wanted["id"]), self.rows.next_name(), "dashboard", gate, created_at, priority)
        self.rows.add(job, "admin", "trigger")
        if key:
            self.keys[key] = job, fingerprint

    def retry(self, first: Job) -> None:
        answer = self.db.call(
            "accept_job",
            job={"retry_of": str(first.id), "origin": "dashboard"},
            audit={"actor": "admin", "action": "retry"},
        )
        refusal = self.rows.refuse_retry(first, "admin", "retry")
        assert answer["outcome"] == ("accepted" if refusal is None else "conflict"), (first, answer)
        if refusal is None:
            self._tried_again(first, answer["job"], "dashboard")
        else:
            assert refusal in answer["reason"]

    def recover(self) -> None:
        made = {row["retry_of"]: row for row in self.db.rows("recover_dead_jobs", limit=100)}
        due = self.rows.due_for_recovery()
        fit = [job for job in due if self.rows.refuse_retry(job, "scheduler", "recover") is None]
        for job in due:
            job.recover_at = None
        assert made.keys() == {job.id for job in fit}, f"not these are due for recovery: {fit}"
        for job in fit:
            self._tried_again(job, made[job.id], "recovery")

    def _tried_again(self, first: Job, row: dict[str, Any], origin: str) -> None:
        new, at = UUID(str(row["id"])), row["created_at"]
        self.rows.retry(first, new, at if isinstance(at, datetime) else datetime.fromisoformat(at), origin=origin)

    def claim_dispatch(self, limit: int) -> list[Job]:
        expected = self.rows.claim_dispatch(limit)
        handed_out = [row["id"] for row in self.db.rows("claim_dispatch", limit=limit)]
        assert handed_out == [job.id for job in expected], f"due, in this order: {expected}; handed out: {handed_out}"
        return expected

    def create_run(self, job: Job) -> Run:
        return self.outside.create_run("dispatch", job.idempotency_key)

    def record_dispatch(self, job: Job, dispatches: int, run: Run) -> None:
        status = self.db.call("record_dispatch", id=job.id, flow_run_id=run.id, dispatches=dispatches)
        assert status == self.rows.record_dispatch(job, run.id, dispatches)
        if job.has_ended:
            run.set("cancelled")

    def postpone_dispatch(self, job: Job) -> None:
        self.db.call("postpone_dispatch", id=job.id, reason="Prefect is down", seconds=TICK)
        self.rows.postpone_dispatch(job, TICK)

    # A process

    def adopt(self, run: Run, attempt: int, *, retry: bool = True) -> Job:
        (row,) = self.db.rows(
            "adopt_run",
            flow_run_id=run.id,
            idempotency_key=run.key,
            job_type="crawl",
            parameters={},
            origin="schedule" if run.origin == "schedule" else "prefect",
            exclusive_key="crawl",
            scheduled_at=run.due_at,
            attempt=attempt,
            retry=retry,
        )
        origin = "schedule" if run.origin == "schedule" else "prefect"
        made = (row["id"], row["created_at"])
        job = self.rows.adopt(run.id, run.key, origin, attempt, made, retry=retry)
        assert job.id == row["id"], f"{run} is of {job}, and the database says of {row['id']}"
        return job

    def take(self, process: Process, *, max_run: int | None, later_fire: bool, heard: bool) -> None:
        job = process.job
        assert job is not None
        answer = self.db.call(
            "take_job",
            id=job.id,
            flow_run_id=process.run.id,
            attempt=process.attempt,
            worker=process.name,
            parameters={"max_items": 5},
            max_run_seconds=max_run,
            later_fire_at=self.db.now() if later_fire else None,
        )
        decision, fence = self.rows.take(
            job, process.run.id, process.attempt, process.name, max_run=max_run, later_fire=later_fire
        )
        assert (answer["decision"], answer["fence"]) == (decision, fence), (process, job, answer)
        process.last_alive_at = self.rows.now
        if not heard:
            return
        if decision == "go":
            process.fence, process.renewed_at, process.verdict = fence, self.rows.now, None
            process.held.clear()
        else:
            process.verdict = decision

    def is_fenced(self, process: Process) -> bool:
        """Whether the process has no right to anything any more, whatever it believes."""
        return process.job is None or not self.rows.fence_holds(process.job, process.fence)

    def acts(self, process: Process) -> bool:
        """Whether the process is a living one with a living lease."""
        if not process.is_alive or process.job is None or self.is_fenced(process):
            return False
        return self.rows.lease_lives(process.job)

    def hands(self) -> list[UUID]:
        """Every discovery as often as a living process believes to hold it."""
        return [page for process in self.outside.processes if self.acts(process) for page in process.held]

    def beat(self, process: Process) -> None:
        job, fence = _lease(process)
        answer = self.db.call("beat_job", id=job.id, fence=fence, progress={"itemsProcessed": self.rows.now})
        assert answer == self.rows.beat(job, fence), (process, job)
        if answer == "go" and process.verdict is None:
            process.renewed_at = self.rows.now
        elif answer != "go":
            process.verdict = answer

    def finish(self, process: Process, status: str, *, heard: bool) -> None:
        job, fence = _lease(process)
        process.ending = status
        answer = self.db.call(
            "finish_job",
            id=job.id,
            fence=fence,
            status=status,
            result={"success": status == "completed", "itemsProcessed": 1, "errors": [], "details": {"by": fence}},
            error=None if status == "completed" else "its own error",
        )
        if self.rows.finish(job, fence, status):
            assert job.id not in self.finished, f"{job} was finished twice"
            self.finished[job.id] = fence, status
        assert answer is (self.finished.get(job.id) == (fence, status)), (process, job, answer)
        if heard:
            process.verdict = "ended" if answer else "lost"

    def give_up(self, process: Process, seconds: int | None, *, heard: bool) -> None:
        job, fence = _lease(process)
        answer = self.db.call("give_up_lease", id=job.id, fence=fence, note=f"given up by {process.name}",
                              seconds=seconds)  # fmt: skip
        expected = self.rows.give_up_lease(job, fence, seconds)
        repeated = process.ending == "given up" and job.given_up and job.fence == fence + 1
        assert answer is (expected or repeated), (process, job)
        if expected or process.ending is None:
            process.ending = "given up"
        if heard:
            process.verdict = "given up"

    # The effect

    def _refused(self, function: str, process: Process, **parameters: Any) -> list[dict[str, Any]] | None:
        """The answer of a call that needs a living lease; None where it was refused, as it had to be."""
        job, fence = _lease(process)
        allowed = self.crawl.may_act(job, fence)
        try:
            answer = self.db.rows(function, job=job.id, fence=fence, **parameters)
        except asyncpg.PostgresError as error:
            if error.sqlstate != LEASE_NOT_HELD or allowed:
                raise AssertionError(f"{process} has the lease of {job} and was refused: {error}") from error
            return None
        assert allowed, f"{process} has lost the lease of {job} and was let through"
        return answer

    def open_crawl(self, process: Process) -> None:
        answer = self._refused("open_crawl", process, limit=100)
        if answer is not None:
            assert answer[0]["open_crawl"] == self.crawl.open()

    def claim(self, process: Process, limit: int, *, again: bool, heard: bool) -> None:
        job, fence = _lease(process)
        process.round += not again
        answer = self._refused("claim_crawl_batch", process, limit=limit, round=process.round)
        if answer is None:
            return
        claimed = self.crawl.claim(job, fence, limit, process.round)
        assert [row["id"] for row in answer] == claimed, "other discoveries are free"
        if heard:
            process.held.update(dict.fromkeys(claimed, "claimed"))

    def call_crawler(self, process: Process, *, does_it: bool) -> None:
        """The effect: whatever the process believes to hold is crawled."""
        pages = [page for page, state in process.held.items() if state == "claimed"]
        for page in pages:
            if not self.is_fenced(process):
                assert self.crawl.pages[page] == "pending", f"{process} has a page crawled that was crawled before"
            process.held[page] = "asked"
        if does_it and pages:
            self.db.execute(
                "update public.discoveries set crawl_status = 'completed' where crawl_status = 'pending' and id in"
                f" ({', '.join(repr(str(page)) for page in pages)})"
            )
            self.crawl.pages.update({page: "completed" for page in pages if self.crawl.pages[page] == "pending"})

    def settle(self, process: Process, *, answered: bool, again: bool) -> None:
        job, fence = _lease(process)
        process.round += not again
        pages = [page for page, state in process.held.items() if state == "asked"]
        answer = self._refused(
            "settle_crawl_batch",
            process,
            ids=pages,
            answered=answered,
            wait_seconds=DOUBT_SECONDS,
            max_attempts=MAX_ATTEMPTS,
            round=process.round,
        )
        if answer is None:
            return
        outcomes = {row["id"]: row["outcome"] for row in answer}
        assert outcomes == self.crawl.settle(job, fence, pages, process.round, answered=answered)
        for page, outcome in outcomes.items():
            if outcome == "retry":
                process.held[page] = "claimed"
            elif outcome != "in_doubt":
                del process.held[page]

    # Ends

    def cancel(self, job: Job, actor: str) -> None:
        self.asked_to_stop.add(job)
        answer = self.db.call("cancel_job", id=job.id, by=actor, actor=actor)
        assert answer["outcome"] == self.rows.cancel(job, actor), job

    def bury(self, process: Process, worker: str, *, by_itself: bool, cancelled: bool = False) -> None:
        run = process.run.id
        if cancelled and (job := self.rows.latest_of(run)) is not None:
            self.asked_to_stop.add(job)
        answer = self.db.call(
            "bury_job", flow_run_id=run, worker=worker, reason="killed", by_itself=by_itself, cancelled=cancelled
        )
        assert answer == self.rows.bury(run, worker, by_itself=by_itself, cancelled=cancelled), process

    def doubt(self, job: Job) -> None:
        """Remembers the last beat of a job's process, to see later whether there was another."""
        locked_at = self.db.value(f"select locked_at from public.scheduled_jobs where id = '{job.id}'")
        self.doubts[job] = locked_at, job.renewals

    def bury_silent(self, job: Job, run: Run) -> None:
        locked_at, renewals = self.doubts.pop(job)
        answer = self.db.call("bury_silent_job", id=job.id, flow_run_id=run.id, locked_at=locked_at, reason="crashed")
        assert answer is self.rows.bury_silent(job, run.id, renewals), job

    def sweep(self) -> None:
        ended = {row["id"] for row in self.db.rows("reap_dead_leases")}
        expected = self.rows.reap()
        assert ended == {job.id for job in expected}, f"a sweep ends {expected}"

    def pause(self, *, paused: bool, ticks: int | None) -> None:
        until = None if ticks is None else ticks * TICK
        self.db.execute(
            f"select public.set_maintenance({paused}, 'a new index', clock_timestamp() + make_interval(secs => "
            f"{'null' if until is None else until}), 'admin', 'admin')"
        )
        self.rows.is_paused = paused
        self.rows.paused_until = None if until is None else self.rows.now + until

    def switch_schedule(self, *, enabled: bool) -> None:
        self.db.execute(
            f"insert into public.schedule_overrides (job_type, enabled) values ('crawl', {enabled})"
            " on conflict (job_type) do update set enabled = excluded.enabled"
        )
        self.rows.is_disabled = not enabled

    def let_pass(self, seconds: int) -> None:
        self.db.let_pass(seconds)
        self.rows.now += seconds
        self.doubts = {job: (at - timedelta(seconds=seconds), renewals) for job, (at, renewals) in self.doubts.items()}
        for process in self.outside.processes:
            if process.is_alive:
                process.last_alive_at = self.rows.now

    def tick(self) -> None:
        """Ten seconds in which everybody who can beats, and the sweep runs."""
        self.let_pass(TICK)
        for process in self.outside.processes:
            if process.can_move and process.has_lease and process.ending is None:
                self.beat(process)
        self.sweep()


def _lease(process: Process) -> tuple[Job, int]:
    assert process.job is not None
    assert process.fence is not None
    return process.job, process.fence
