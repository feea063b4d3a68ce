"""What a smoke test makes of a shim that does not work, and what it leaves alone."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from api.smoke import Smoke, SmokeError, main
from flows.core.domain import JobType
from sandbox.ports import free_ports
from tests.api.conftest import MakeShim, Shim
from tests.api.credentials import MACHINE_KEY, MACHINE_KEYS
from tests.api.fakes import SCHEMA
from tests.conftest import Connection
from tests.terminals import COLOUR, LIVE, piped, python, watched


@asynccontextmanager
async def smoking(shim: Shim, key: str = MACHINE_KEY) -> AsyncIterator[tuple[Smoke, list[str]]]:
    """A smoke test with hardly any patience, and what it says."""
    said: list[str] = []
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(shim.app), base_url="http://shim", headers=headers
    ) as http:
        yield Smoke(http, wait_seconds=0, job_seconds=0, pause_seconds=0, say=said.append), said


@pytest.fixture
async def shim(make_shim: MakeShim) -> AsyncIterator[Shim]:
    async with make_shim(machine_keys=MACHINE_KEYS) as made:
        made.prefect.job_types = [job_type.value for job_type in JobType]
        dry_run = {"dry_run": {"type": "boolean", "default": False}}
        made.prefect.schemas["cleanup_old_data"] = {"type": "object", "properties": SCHEMA["properties"] | dry_run}
        await made.runtime.catalogue.refresh(made.runtime.orchestrator)
        yield made


async def test_a_job_that_nobody_takes_is_a_failure_with_its_explanation(shim: Shim) -> None:
    async with smoking(shim) as (smoke, _):
        with pytest.raises(
            SmokeError, match=r"^Job [-0-9a-f]+ \(cleanup_old_data, dry run\) is pending after 0 s: \w+"
        ):
            await smoke.run(with_key=True, trigger=JobType.CLEANUP_OLD_DATA)


async def test_a_job_behind_a_running_one_of_its_type_proves_nothing_wrong(shim: Shim, sql: Connection) -> None:
    await shim.trigger({"jobType": "cleanup_old_data"})
    assert len(await shim.claimed()) == 1
    async with smoking(shim) as (smoke, said):
        await smoke.run(with_key=True, trigger=JobType.CLEANUP_OLD_DATA)
    assert "is waiting for job " in said[-1]
    assert [row[0] for row in await sql.fetch("select parameters ->> 'dry_run' from scheduled_jobs order by 1")] == [
        "false",
        "true",
    ]


async def test_nothing_is_triggered_during_a_pause(shim: Shim, sql: Connection) -> None:
    await shim.put("/api/maintenance", {"paused": True, "reason": "the database moves"})
    async with smoking(shim) as (smoke, said):
        await smoke.run(with_key=True, trigger=JobType.CLEANUP_OLD_DATA)
    assert said[-1] == "skipped: cleanup_old_data, all jobs are paused"
    assert await sql.fetchval("select count(*) from scheduled_jobs") == 0


async def test_a_type_that_would_do_its_work_is_not_triggered(shim: Shim, sql: Connection) -> None:
    async with smoking(shim) as (smoke, _):
        with pytest.raises(SmokeError, match="crawl_pending has no parameter dry_run"):
            await smoke.run(with_key=True, trigger=JobType.CRAWL_PENDING)
    assert await sql.fetchval("select count(*) from scheduled_jobs") == 0


async def test_a_key_that_is_nobodys_is_a_failure(shim: Shim) -> None:
    async with smoking(shim, "sched_" + "x" * 43) as (smoke, _):
        with pytest.raises(SmokeError, match=r"^GET /api/job-types: HTTP 401, Invalid or expired token$"):
            await smoke.run(with_key=True)


# What stands at the address instead, and what is said of it.
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            httpx.Response(200, json={"status": "healthy", "service": "email-service"}),
            "is the address another service's",
        ),
        (httpx.Response(200, text="<html>"), "GET /health: the answer is not JSON"),
        (httpx.Response(502, text="bad gateway"), "GET /health: HTTP 502."),
        (httpx.Response(302, headers={"location": "https://elsewhere"}), "GET /health: HTTP 302."),
    ],
)
async def test_another_answer_than_the_shims_is_a_failure(answer: httpx.Response, message: str) -> None:
    transport = httpx.MockTransport(lambda _: answer)
    async with httpx.AsyncClient(transport=transport, base_url="http://shim") as http:
        with pytest.raises(SmokeError, match=message):
            await Smoke(http, wait_seconds=0).run()


async def test_a_type_that_is_not_deployed_is_named() -> None:
    answers: dict[str, Any] = {
        "/health": {"status": "healthy", "service": "scheduler-service"},
        "/ready": {"checks": {"supabase": "ok"}},
        "/api/job-types": {"jobTypes": [{"jobType": t, "parameterSchema": {}} for t in JobType]},
    }
    transport = httpx.MockTransport(lambda request: httpx.Response(200, text=json.dumps(answers[request.url.path])))
    async with httpx.AsyncClient(transport=transport, base_url="http://shim") as http:
        with pytest.raises(SmokeError, match=r"^Not deployed: crawl_pending, weekly_digest, "):
            await Smoke(http, wait_seconds=0, say=lambda _: None).run(with_key=True)


def test_the_command_says_in_words_that_nobody_answers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SMOKE_KEY", MACHINE_KEY)
    port = free_ports(["nobody"])["nobody"]
    assert main([f"http://127.0.0.1:{port}", "--wait", "0"]) == 1
    said = capsys.readouterr()
    assert said.err.startswith("failed: GET /health: no answer (")
    assert MACHINE_KEY not in said.err + said.out


# What is given in the place of an address or a job type, and what is said of it.
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("scheduler-service:7005",), "'scheduler-service:7005' is no address like http://scheduler-service:7005"),
        (("ftp://shim",), "'ftp://shim' is no address like http://scheduler-service:7005"),
        (("http://",), "'http://' is no address like http://scheduler-service:7005"),
        (("http://shim:port",), "'http://shim:port' is no address"),
        (("http://shim", "--trigger", "crawl"), "'crawl' is no job type; valid are crawl_pending, weekly_digest, "),
        ((), "the following arguments are required: url"),
    ],
)
def test_a_word_that_is_none_is_told_at_once(words: tuple[str, ...], sentence: str) -> None:
    seen = piped(python("-m", "api.smoke", *words))
    assert (seen.status, seen.output) == (2, "")
    assert sentence in seen.errors
    assert "Traceback" not in seen.errors


def test_a_terminal_shows_what_is_waited_for_and_a_pipe_does_not() -> None:
    command = python("-m", "api.smoke", f"http://127.0.0.1:{free_ports(['nobody'])['nobody']}", "--wait", "1")
    last = re.compile(r"failed: GET /health: no answer \(.*\)\. Is the scheduler running, and is it at this address\?")
    seen = watched(command)
    assert seen.status == 1
    assert re.search(r" \d s  GET /health: no answer \(", seen.text)
    assert LIVE.search(seen.text)
    assert last.fullmatch(seen.lines[-1])
    seen = piped(command)
    assert (seen.status, seen.output) == (1, "")
    assert last.fullmatch(seen.errors.rstrip())
    assert not COLOUR.search(watched(command, {"NO_COLOR": "1"}).text)
