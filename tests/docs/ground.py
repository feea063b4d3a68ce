"""The stack that the docs' commands are tried on: what each needs is there before it, and nothing of it after it."""

from __future__ import annotations

import re
from collections.abc import Iterable

import httpx

from sandbox.stack import ALL_PARTS, Stack
from sandbox.wiring import SERVICES, WORK_POOL
from tests.docs.commands import Command
from tests.docs.shell import Shell
from tests.e2e.harness import Admin, until

_OPEN = "select count(*) from scheduled_jobs where status in ('pending', 'running')"
_INDEXES = "select indexname from pg_indexes where schemaname = 'public'"


class Ground:
    def __init__(self, admin: Admin, shell: Shell, operator: httpx.AsyncClient) -> None:
        self.admin = admin
        self.shell = shell
        self._operator = operator
        self._completed = ""
        self._indexes: set[str] = set()

    @property
    def stack(self) -> Stack:
        return self.admin.stack

    async def prepare(self) -> None:
        """A job that has run and logged, and the indexes as they are to be found again."""
        await self.admin.seed_pages()
        job = await self.admin.trigger()
        self._completed = (await self.admin.wait(job["id"], "completed"))["id"]
        self._indexes = await self._now_indexed()

    async def job_for(self, commands: Iterable[Command]) -> str:
        """The id of a job with which the commands can do what they say: it waits, was cancelled, or has completed."""
        text = " ".join(command.text for command in commands)
        if not re.search(r"JOB_ID/(?:cancel|retry)", text):
            return self._completed
        await self._pause(on=True)
        job: str = (await self.admin.trigger())["id"]
        if "JOB_ID/cancel" not in text:
            (await self.admin.http.post(f"/api/jobs/{job}/cancel")).raise_for_status()
        return job

    async def put_back(self) -> None:
        """Starts what was stopped, takes back faults, pause, limit, edits and indexes, and waits for the jobs."""
        for part in ALL_PARTS:
            if not self.stack.is_running(part):
                await self.stack.start(part)
        for service in ("clerk", "site", *SERVICES):
            url = f"{self.stack.wiring.url(service)}/__faults"
            (await self._operator.put(url, json={"fault": None})).raise_for_status()
        await self._pause(on=False)
        await self._unlimit_the_pool()
        for row in await self.admin.sql.fetch("select job_type from schedule_overrides"):
            (await self.admin.http.delete(f"/api/job-types/{row[0]}/schedule")).raise_for_status()
        await self.admin.sql.execute("delete from schedule_overrides")
        await self.drop_indexes()
        await until(self._none_is_open, seconds=60, what="the jobs that the commands have started end")

    async def drop_indexes(self) -> None:
        """Drops the indexes that were not there at first."""
        for name in await self._now_indexed() - self._indexes:
            await self.admin.sql.execute(f'drop index public."{name}"')

    async def _unlimit_the_pool(self) -> None:
        wiring = self.stack.wiring
        url, headers = f"{wiring.url('prefect')}/work_pools/{WORK_POOL}", wiring.prefect_headers
        if (await self._operator.get(url, headers=headers)).raise_for_status().json()["concurrency_limit"] is not None:
            (await self._operator.patch(url, headers=headers, json={"concurrency_limit": None})).raise_for_status()

    async def _pause(self, *, on: bool) -> None:
        said: dict[str, object] = {"paused": on}
        if on:
            said["reason"] = "a command needs a job that waits"
        answer = await self.admin.http.put("/api/maintenance", json=said)
        if answer.status_code != httpx.codes.OK:
            # A part that was started anew may not have all it needs yet.
            await until(lambda: self._answers(said), seconds=30, what="the shim answers again")

    async def _answers(self, said: dict[str, object]) -> bool:
        return (await self.admin.http.put("/api/maintenance", json=said)).is_success

    async def _none_is_open(self) -> bool:
        return bool(await self.admin.sql.fetchval(_OPEN) == 0)

    async def _now_indexed(self) -> set[str]:
        return {row[0] for row in await self.admin.sql.fetch(_INDEXES)}
