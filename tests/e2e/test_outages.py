"""Each neighbour away in turn: what an admin still gets, what waits, and that all of it comes back by itself.

While a neighbour is away nothing is answered with 500, nothing is done by half, and /health stays quick.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import pytest

from sandbox.process import descendants
from sandbox.seed import seed_people
from sandbox.stack import Stack
from sandbox.standins.people import ADMIN
from tests.e2e.harness import Admin, until

# What a person waits at most: the database's own 10 s, and a machine that is busy with other things.
PATIENCE_SECONDS = 15.0
QUICK_SECONDS = 1.0
# "Within seconds", on a machine that has just started a server again.
RECOVERY_SECONDS = 20.0
USER_SERVICE_SECONDS = 2.0

READS = ("/api/jobs", "/api/jobs?startedBy=user_x&status=pending", "/api/maintenance")
OF_A_JOB = ("/api/jobs/{}", "/api/jobs/{}/explain")


@dataclass
class Scene:
    """Starts are paused, one job waits, one was cancelled: what can be read, cancelled, tried again and triggered."""

    admin: Admin
    waiting: str
    cancelled: str
    key: str
    described: list[str]

    @classmethod
    async def set(cls, admin: Admin) -> Scene:
        await admin.http.put("/api/maintenance", json={"paused": True, "reason": "a test"})
        waiting, cancelled = [(await admin.trigger())["id"] for _ in range(2)]
        (await admin.http.post(f"/api/jobs/{cancelled}/cancel")).raise_for_status()
        description = (await admin.http.get("/openapi.json")).raise_for_status().json()
        reads = [
            path
            for path, operations in description["paths"].items()
            if path.startswith("/api/") and "get" in operations and "text/event-stream" not in str(operations["get"])
        ]
        return cls(admin, waiting, cancelled, str(uuid4()), reads)

    async def read(self) -> dict[str, httpx.Response]:
        """Every read at once, by path."""
        paths = [path.format(self.waiting) for path in (*READS, *OF_A_JOB)]
        answers = await asyncio.gather(*(self.admin.http.get(path) for path in paths))
        return dict(zip(paths, answers, strict=True))

    async def read_rest(self) -> dict[str, httpx.Response]:
        """Every other read that the OpenAPI has, apart from streams."""
        paths = [path.format(job_id=self.waiting, job_type="crawl_pending") for path in self.described]
        rest = sorted(set(paths) - {path.format(self.waiting) for path in (*READS, *OF_A_JOB)})
        answers = await asyncio.gather(*(self.admin.http.get(path) for path in rest))
        return dict(zip(rest, answers, strict=True))

    async def change(self) -> dict[str, httpx.Response]:
        """A trigger and a retry under keys of their own, and a cancel; the same ones each time."""
        keys = {"Idempotency-Key": self.key}
        post = self.admin.http.post
        trigger, retry, cancel = await asyncio.gather(
            post("/api/jobs/trigger", json={"jobType": "crawl_pending"}, headers=keys),
            post(f"/api/jobs/{self.cancelled}/retry", headers=keys),
            post(f"/api/jobs/{self.waiting}/cancel"),
        )
        return {"trigger": trigger, "retry": retry, "cancel": cancel}

    async def all_is_well(self) -> None:
        """Everything answers as it should; the changes are done, and done once."""
        for path, answer in (await self.read()).items():
            assert answer.status_code == 200, (path, answer.text)
        assert_honest(await self.read_rest())
        first, second = await self.change(), await self.change()
        for answers in (first, second):
            assert {what: answer.status_code for what, answer in answers.items()} == {
                "trigger": 202,
                "retry": 202,
                "cancel": 200,
            }, {what: answer.text for what, answer in answers.items()}
        for what in ("trigger", "retry"):
            assert second[what].json() == first[what].json()
            assert second[what].headers["idempotent-replayed"] == "true"
        rows = await self.admin.sql.fetch("select id::text, status, retry_of::text from scheduled_jobs")
        ids = {what: first[what].json()["id"] for what in ("trigger", "retry")}
        assert sorted(tuple(row) for row in rows) == sorted(
            [
                (self.waiting, "cancelled", None),
                (self.cancelled, "cancelled", None),
                (ids["trigger"], "pending", None),
                (ids["retry"], "pending", self.cancelled),
            ]
        )
        asked = await self.admin.sql.fetch("select action from scheduler_audit where action in ('trigger', 'retry')")
        assert sorted(row[0] for row in asked) == ["retry", "trigger", "trigger", "trigger"]

    async def is_ready(self) -> bool:
        return (await self.admin.http.get("/ready")).status_code == 200

    async def run_all(self) -> None:
        """Starts go on, and what waits is dispatched once and runs."""
        (await self.admin.http.put("/api/maintenance", json={"paused": False})).raise_for_status()
        pending = await self.admin.sql.fetch("select id::text from scheduled_jobs where status <> 'cancelled'")
        for (job_id,) in pending:
            assert (await self.admin.wait(job_id))["status"] == "completed"
            assert len(await self.admin.runs_of(job_id)) == 1


@pytest.fixture
async def scene(admin: Admin) -> AsyncIterator[Scene]:
    """The scene on a shim that has just started; whatever happens then, no line it has logged holds a secret."""
    stack = admin.stack
    await stack.kill("shim")
    log = stack.state.log("shim")
    before = log.stat().st_size
    await stack.start("shim")
    yield await Scene.set(admin)
    with log.open() as file:
        file.seek(before)
        said = file.read()
    token = admin.http.headers["authorization"].removeprefix("Bearer ")
    for secret in (token, token.rsplit(".", 1)[1], stack.wiring.service_key, stack.wiring.clerk_secret_key):
        assert secret not in said
    lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    assert [line for line in lines if line.get("status") == 500 or "exception" in line] == []


@asynccontextmanager
async def healthy(admin: Admin) -> AsyncIterator[None]:
    """Asks /health all the while: it stays 200 and quick, whoever is away."""
    slowest = 0.0

    async def ask() -> None:
        nonlocal slowest
        while True:
            began = time.monotonic()
            assert (await admin.http.get("/health")).status_code == 200
            slowest = max(slowest, time.monotonic() - began)
            await asyncio.sleep(0.1)

    asking = asyncio.create_task(ask())
    try:
        yield
        assert not asking.done(), asking.exception()
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    assert slowest < QUICK_SECONDS


@contextmanager
def frozen(stack: Stack, part: str) -> Iterator[None]:
    """The part takes connections, and answers none."""
    pid = stack.pid(part)
    assert pid is not None
    pids = descendants([pid])
    for one in pids:
        os.kill(one, signal.SIGSTOP)
    try:
        yield
    finally:
        for one in pids:
            os.kill(one, signal.SIGCONT)


@asynccontextmanager
async def away(admin: Admin, *parts: str, how: str = "stopped") -> AsyncIterator[None]:
    """The parts are stopped, frozen, or (stand-ins) faulty; afterwards they are as before."""
    stack = admin.stack
    if how == "stopped":
        for part in parts:
            await stack.stop(part)
        try:
            yield
        finally:
            for part in reversed(parts):
                await stack.start(part)
    elif how == "frozen":
        with frozen(stack, parts[0]):
            yield
    else:
        await admin.fault(parts[0], how)
        try:
            yield
        finally:
            await admin.fault(parts[0], None)


def assert_unavailable(answers: dict[str, httpx.Response]) -> None:
    """503, in the shape of every error, with when to ask again."""
    for what, answer in answers.items():
        assert answer.status_code == 503, (what, answer.text)
        body = answer.json()
        assert (body["code"], body["status"]) == ("SERVICE_UNAVAILABLE", 503), (what, body)
        assert body["requestId"] == answer.headers["x-request-id"]
        assert 1 <= int(answer.headers["retry-after"]) <= 60


def assert_honest(answers: dict[str, httpx.Response]) -> None:
    """Each an answer, or 503 where what it is about is away."""
    assert_unavailable({what: answer for what, answer in answers.items() if answer.status_code != 200})


async def names_on_ready(admin: Admin, *names: str) -> None:
    """/ready says soon, and in a bounded time, which dependency does not answer."""

    async def said() -> Any:
        answer = await admin.http.get("/ready")
        return answer.status_code == 503 and answer.json()["error"] == f"Not ready: {', '.join(names)}"

    await until(said, seconds=15, what=f"/ready names {names}")


@pytest.mark.parametrize("how", ["stopped", "frozen"])
async def test_prefect_away(scene: Scene, how: str) -> None:
    admin = scene.admin
    async with away(admin, "prefect", how=how), healthy(admin):
        await names_on_ready(admin, "prefect")
        began = time.monotonic()
        await scene.all_is_well()
        # Four rounds; explain asks Prefect, and says after 2 s that it does not know.
        assert time.monotonic() - began < 4 * 3
        (await admin.http.put("/api/maintenance", json={"paused": False})).raise_for_status()

        async def reason() -> Any:
            return await admin.sql.fetchval("select id from scheduled_jobs where pending_reason like '%Prefect%'")

        await until(reason, seconds=15, what="a job says what it waits for")
    await until(scene.is_ready, seconds=RECOVERY_SECONDS, what="everything is ready")
    await scene.run_all()


@pytest.mark.parametrize(("part", "how"), [("postgrest", "stopped"), ("postgrest", "frozen"), ("gateway", "stopped")])
async def test_the_database_api_away(scene: Scene, part: str, how: str) -> None:
    admin = scene.admin
    async with away(admin, part, how=how), healthy(admin):
        began = time.monotonic()
        resume = admin.http.put("/api/maintenance", json={"paused": False})
        pause = admin.http.put("/api/maintenance", json={"paused": True, "reason": "a test"})
        reads, rest, changes, resumed, paused, _ = await asyncio.gather(
            scene.read(), scene.read_rest(), scene.change(), resume, pause, names_on_ready(admin, "supabase")
        )
        assert time.monotonic() - began < PATIENCE_SECONDS
        assert_unavailable(reads | changes | {"resume": resumed, "pause": paused})
        assert_honest(rest)
    await until(scene.is_ready, seconds=RECOVERY_SECONDS, what="everything is ready")
    # Which of the two a frozen database took last, nobody can know.
    await admin.http.put("/api/maintenance", json={"paused": True, "reason": "a test"})
    await scene.all_is_well()
    await scene.run_all()


async def test_the_database_itself_away(scene: Scene) -> None:
    admin = scene.admin
    await admin.sql.close()
    async with away(admin, "postgres"), healthy(admin):
        assert_unavailable(await scene.read())
        assert_unavailable(await scene.change())
        assert_honest(await scene.read_rest())
        await names_on_ready(admin, "supabase", "prefect")
    await until(scene.is_ready, seconds=RECOVERY_SECONDS, what="everything is ready")


@pytest.mark.parametrize("how", ["stopped", "hang"])
async def test_clerk_away(scene: Scene, how: str) -> None:
    """Keys are served stale and the role is known for a minute; of a stranger it cannot be known what he may."""
    admin = scene.admin
    stranger = {"Authorization": f"Bearer {admin.stack.token(user=True)}"}
    async with away(admin, "clerk", how=how), healthy(admin):
        await names_on_ready(admin, "jwks")
        began = time.monotonic()
        await scene.all_is_well()
        assert time.monotonic() - began < 4 * 1.5
        refused = await admin.http.get("/api/jobs", headers=stranger)
        assert_unavailable({"stranger": refused})
    await until(scene.is_ready, seconds=RECOVERY_SECONDS, what="everything is ready")
    assert (await admin.http.get("/api/jobs", headers=stranger)).status_code == 403


@pytest.mark.parametrize("how", ["stopped", "hang", "500", "429"])
async def test_clerk_away_while_the_shim_starts(scene: Scene, how: str) -> None:
    admin = scene.admin
    async with away(admin, "clerk", how=how):
        await admin.stack.kill("shim")
        await admin.stack.start("shim")
        async with healthy(admin):
            assert_unavailable(await scene.read())
            assert_unavailable(await scene.change())
            assert (await admin.http.get("/api/jobs", headers={"Authorization": ""})).status_code == 401
            assert (await admin.http.get("/api/jobs", headers={"Authorization": "Bearer x"})).status_code == 401

    async def let_in() -> bool:
        return (await admin.http.get("/api/jobs")).status_code == 200

    await until(let_in, seconds=RECOVERY_SECONDS, what="the admin is known")
    await scene.all_is_well()


@pytest.mark.parametrize(
    ("how", "known"),
    [("stopped", True), ("stopped", False), ("hang", True), ("hang", False), ("500", False), ("429", False)],
)
async def test_the_user_service_away(admin: Admin, scene: Scene, how: str, *, known: bool) -> None:
    """The database knows the internal id too; where neither does, the Clerk id is stored. Nobody waits over 2 s."""
    if known:
        await seed_people(admin.sql)
    await admin.stack.kill("shim")  # it has just learnt who the admin is, or that nobody knows
    await admin.stack.start("shim")
    async with away(admin, "user", how=how), healthy(admin):
        began = time.monotonic()
        job = await admin.job((await admin.trigger())["id"])
        assert time.monotonic() - began < USER_SERVICE_SECONDS + 1
        assert job["startedBy"] == (str(ADMIN.user_id) if known else ADMIN.clerk_user_id)
        assert await scene.is_ready()
        began = time.monotonic()
        await admin.trigger()
        assert time.monotonic() - began < 1


async def test_everything_away_while_the_shim_starts(scene: Scene) -> None:
    admin = scene.admin
    async with away(admin, "postgrest", "prefect", "clerk", "user"):
        await admin.stack.kill("shim")
        await admin.stack.start("shim")
        async with healthy(admin):
            await names_on_ready(admin, "supabase", "prefect", "jwks")
            assert_unavailable(await scene.read())
            assert_unavailable(await scene.change())
            assert_honest(await scene.read_rest())
    await until(scene.is_ready, seconds=RECOVERY_SECONDS, what="everything is ready")
    await scene.all_is_well()
    await scene.run_all()
