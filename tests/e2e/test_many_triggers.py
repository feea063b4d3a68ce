"""A thousand triggers under two hundred keys, while the shim is killed again and again: two hundred jobs, no more."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from uuid import uuid4

import httpx
import pytest

from tests.e2e.harness import Admin, forget_everything, until

CLIENTS = 16
KEYS = 200
TRIGGERS = 1000
KILLS = 3
# Every type waits for its gate, so that of these few run at once and the rest cost nothing but a row and a flow run.
TYPES = ("crawl_pending", "update_metrics", "recalculate_trending", "submission_notifications", "moderation_updates")


@dataclass
class Answers:
    """What came back: the job ids by key, how often it was a repeat, and what else happened."""

    jobs: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    first: Counter[str] = field(default_factory=Counter)
    trouble: Counter[str] = field(default_factory=Counter)

    def given(self) -> int:
        """How many triggers have their answer."""
        return sum(seen.total() for seen in self.jobs.values())


class Client:
    """One of many that trigger at once, each under the keys it is given; it tries again until it has an answer."""

    def __init__(self, admin: Admin, answers: Answers) -> None:
        self._admin = admin
        self._answers = answers

    async def work(self, keys: Iterator[tuple[str, str]]) -> None:
        headers = {"Authorization": self._admin.http.headers["authorization"]}
        base = self._admin.stack.wiring.url("shim")
        async with httpx.AsyncClient(base_url=base, headers=headers, trust_env=False, timeout=20) as http:
            for key, job_type in keys:
                await self._trigger(http, key, job_type)

    async def _trigger(self, http: httpx.AsyncClient, key: str, job_type: str) -> None:
        while True:
            try:
                answer = await http.post(
                    "/api/jobs/trigger", json={"jobType": job_type}, headers={"Idempotency-Key": key}
                )
            except httpx.TransportError as error:
                self._answers.trouble[type(error).__name__] += 1
            else:
                if answer.status_code == 202:
                    self._answers.jobs[key][answer.json()["id"]] += 1
                    self._answers.first[key] += "idempotent-replayed" not in answer.headers
                    return
                assert answer.status_code == 503, answer.text
                assert answer.headers["retry-after"]
                self._answers.trouble["503"] += 1
            await asyncio.sleep(random.uniform(0.05, 0.2))


async def kill_often(admin: Admin, done: Callable[[], int]) -> None:
    """SIGKILL at each quarter of the way; and a start, for which the clients wait."""
    for kill in range(1, KILLS + 1):
        until_then = TRIGGERS * kill // (KILLS + 1)

        async def far_enough(least: int = until_then) -> bool:
            return done() >= least

        await until(far_enough, seconds=60, what=f"{until_then} triggers are answered")
        await admin.stack.kill("shim")
        await admin.stack.start("shim")


@pytest.fixture
async def paused(admin: Admin) -> AsyncIterator[Admin]:
    """Nothing starts, no worker takes what is dispatched, and afterwards none of it is left."""
    await admin.stack.stop("worker")
    await admin.trigger()  # the shim knows the job types
    (await admin.http.put("/api/maintenance", json={"paused": True, "reason": "a test"})).raise_for_status()
    yield admin
    await admin.stack.stop("shim")
    await forget_everything(admin.stack)


async def trigger_often(admin: Admin) -> Answers:
    """All the triggers in a shuffled order, from clients that share them; the shim dies meanwhile."""
    keys = [(str(uuid4()), TYPES[number % len(TYPES)]) for number in range(KEYS)]
    order = keys * (TRIGGERS // KEYS)
    random.Random(6).shuffle(order)
    work, answers = iter(order), Answers()
    async with asyncio.TaskGroup() as group:
        for _ in range(CLIENTS):
            group.create_task(Client(admin, answers).work(work))
        group.create_task(kill_often(admin, answers.given))
    assert set(answers.jobs) == {key for key, _ in keys}
    return answers


async def test_a_thousand_triggers_under_two_hundred_keys_are_two_hundred_jobs(paused: Admin) -> None:
    admin = paused
    before = {str(row[0]) for row in await admin.sql.fetch("select id from scheduled_jobs")}
    answers = await trigger_often(admin)
    assert answers.trouble.total() >= KILLS, "nobody noticed the kills"
    assert answers.given() == TRIGGERS
    # Whoever asks under a key sees one job; as the first at most once, and never where the first answer was lost.
    assert {key: len(seen) for key, seen in answers.jobs.items()} == dict.fromkeys(answers.jobs, 1)
    assert max(answers.first.values()) == 1
    ids = {job_id for seen in answers.jobs.values() for job_id in seen}
    assert len(ids) == KEYS
    rows = {str(row[0]) for row in await admin.sql.fetch("select id from scheduled_jobs")} - before
    assert rows == ids
    audit = await admin.sql.fetch(
        "select job_id::text, count(*) from scheduler_audit where action = 'trigger' group by 1"
    )
    assert {row[0]: row[1] for row in audit} == dict.fromkeys(rows | before, 1)
    await another_payload_is_refused(admin, next(iter(answers.jobs)))
    await each_is_dispatched_once(admin, ids)


async def another_payload_is_refused(admin: Admin, key: str) -> None:
    """422 for other parameters under the key, and nothing is written."""
    body = {"jobType": "crawl_pending", "parameters": {"max_items": 7}}
    answer = await admin.http.post("/api/jobs/trigger", json=body, headers={"Idempotency-Key": key})
    assert (answer.status_code, answer.json()["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert await admin.sql.fetchval("select count(*) from scheduled_jobs") == KEYS + 1


async def each_is_dispatched_once(admin: Admin, ids: set[str]) -> None:
    """Through another death in the middle of it."""
    # As for jobs whose parameters are disjoint: without a gate to wait at, all are due at once.
    await admin.sql.execute("update scheduled_jobs set exclusive_key = null where not coalesce(slot_held, false)")
    (await admin.http.put("/api/maintenance", json={"paused": False})).raise_for_status()

    async def dispatched(least: int) -> bool:
        count = "select count(*) from scheduled_jobs where flow_run_id is not null"
        return bool(await admin.sql.fetchval(count) >= least)

    await until(lambda: dispatched(KEYS // 3), seconds=60, what="a third is dispatched")
    await admin.stack.kill("shim")
    await admin.stack.start("shim")
    await until(lambda: dispatched(KEYS + 1), seconds=90, what="all are dispatched")
    runs = await admin.runs_by_key()
    assert {job_id: runs[job_id] for job_id in ids} == dict.fromkeys(ids, 1)
    recorded = await admin.sql.fetch("select count(distinct flow_run_id) from scheduled_jobs")
    assert recorded[0][0] == KEYS + 1
