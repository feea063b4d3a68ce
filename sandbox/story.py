"""What `make up` shows when everything is ready: pages are seeded, crawled by a job, and told about."""

import asyncio
import json
import os
import time
from datetime import datetime
from typing import Any

import asyncpg
import httpx

from sandbox import seed
from sandbox.errors import SandboxError
from sandbox.stack import Stack
from sandbox.terminal import Terminal

_TERMINAL_STATUSES = {"completed", "failed", "cancelled"}
_TOKEN_SECONDS = 12 * 3600
_COMMAND = ".venv/bin/python -m sandbox"
_SHOWN_PAGES = 5
_LONGEST_SECONDS = 45 * 60  # a crawl may run for 30 minutes
_CRAWLED = """
select title, url from discoveries
where crawl_status = 'completed' and title is not null and last_crawled_at >= $1 order by last_crawled_at, url limit $2
"""


async def run_story(stack: Stack, terminal: Terminal, *, urls: list[str] | None, began: float) -> bool:
    """Whether the job completed. Where no admin's token can be had, nothing is triggered and all is well."""
    seeded = await _seed(stack, urls)
    terminal.line(f"{seeded} pages wait to be crawled.")
    token = _admin_token(stack)
    if token is None:
        terminal.line("CLERK_API_URL is not ours: set TOKEN to an admin's session token to see a job run.")
        return True
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=stack.wiring.url("shim"), headers=headers, trust_env=False) as shim:
        job_id = await _trigger(shim, terminal)
        job = await _follow(shim, job_id, terminal)
    terminal.line(json.dumps(job, indent=2))
    terminal.line()
    await _show_pages(stack, terminal, since=datetime.fromisoformat(job["createdAt"]))
    _show_addresses(stack, terminal, token, job_id)
    terminal.line(f"The job {job['status']} {time.monotonic() - began:.1f} s after the start.")
    return bool(job["status"] == "completed")


async def _seed(stack: Stack, urls: list[str] | None) -> int:
    connection = await asyncpg.connect(stack.wiring.database_url)
    try:
        await seed.seed_people(connection)
        if urls is not None:
            return await seed.seed_urls(connection, urls)
        return await seed.seed_pages(connection, stack.wiring.url("site"))
    except ValueError as error:
        raise SandboxError(f"The file of URLs: {error}.") from error
    finally:
        await connection.close()


def _admin_token(stack: Stack) -> str | None:
    if "clerk" in stack.wiring.replaced:
        return os.environ.get("TOKEN")
    return stack.token(expires_seconds=_TOKEN_SECONDS)


async def _trigger(shim: httpx.AsyncClient, terminal: Terminal) -> str:
    answer = await shim.post("/api/jobs/trigger", json={"jobType": "crawl_pending", "triggeredBy": "test_user"})
    if answer.status_code != httpx.codes.ACCEPTED:
        raise SandboxError(f"The trigger was answered {answer.status_code}: {answer.text[:500]}")
    job_id: str = answer.json()["jobId"]
    terminal.line(f"crawl_pending is triggered: job {job_id}")
    return job_id


async def _follow(shim: httpx.AsyncClient, job_id: str, terminal: Terminal) -> dict[str, Any]:
    """The job, when it has ended. A shim that does not answer meanwhile is waited for."""
    began = time.monotonic()
    while time.monotonic() - began < _LONGEST_SECONDS:
        try:
            answer = await shim.get(f"/api/jobs/{job_id}")
            job: dict[str, Any] = answer.raise_for_status().json()
        except httpx.HTTPError as error:
            terminal.progress(f"  the shim does not answer ({type(error).__name__})")
        else:
            if job["status"] in _TERMINAL_STATUSES:
                return job
            terminal.progress(f"  {_describe(job)}, {time.monotonic() - began:.0f} s")
        await asyncio.sleep(0.3)
    raise SandboxError(f"Job {job_id} did not end within {_LONGEST_SECONDS // 60} minutes.")


def _describe(job: dict[str, Any]) -> str:
    progress = job.get("progress")
    if not progress:
        return f"{job['status']} {job.get('pendingReason') or ''}".strip()
    total = progress.get("itemsTotal")
    return (
        f"{job['status']}: {progress['itemsProcessed']}{f' of {total}' if total else ''} {progress.get('phase') or ''}"
    )


async def _show_pages(stack: Stack, terminal: Terminal, *, since: datetime) -> None:
    connection = await asyncpg.connect(stack.wiring.database_url)
    try:
        for row in await connection.fetch(_CRAWLED, since, _SHOWN_PAGES):
            terminal.line(f"  {row['title']}  <- {row['url']}")
    finally:
        await connection.close()
    terminal.line()


def _show_addresses(stack: Stack, terminal: Terminal, token: str, job_id: str) -> None:
    shim = f"http://localhost:{stack.wiring.ports['shim']}"
    terminal.line(f"API docs    {stack.wiring.url('shim')}/docs")
    terminal.line(f"Prefect UI  {stack.wiring.prefect_ui_url}")
    terminal.line(f"            its password: {_COMMAND} env PREFECT_API_AUTH_STRING")
    terminal.line(f"Tokens      {_COMMAND} token [--user] [--expires SECONDS]; this one is an admin's, for 12 hours:")
    bearer = '-H "Authorization: Bearer $TOKEN"'
    for line in (
        "",
        f"export TOKEN={token}",
        f"export JOB_ID={job_id}",
        f"curl {shim}/health",
        f'curl -X POST {shim}/api/jobs/trigger -H "Content-Type: application/json" \\',
        f"""  {bearer} -d '{{"jobType":"crawl_pending","triggeredBy":"test_user"}}'""",
        f"curl {shim}/api/jobs/$JOB_ID {bearer}",
        f'curl "{shim}/api/jobs?type=crawl_pending&status=completed&limit=50" {bearer}',
        "",
    ):
        terminal.line(line)
