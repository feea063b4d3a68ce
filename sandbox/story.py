"""What `make up` shows when everything is ready: pages are seeded, crawled by a job, and told about."""

import asyncio
import json
import os
import shlex
import time
from datetime import datetime
from typing import Any

import asyncpg
import httpx

from sandbox import seed
from sandbox.errors import SandboxError
from sandbox.stack import Stack
from sandbox.state import REPOSITORY
from sandbox.terminal import Terminal
from sandbox.wiring import Wiring

_TERMINAL_STATUSES = {"completed", "failed", "cancelled"}
_TOKEN_SECONDS = 12 * 3600
_COMMAND = ".venv/bin/python -m sandbox"
_SHOWN_PAGES = 5
_LONGEST_SECONDS = 45 * 60  # a crawl may run for 30 minutes
_CRAWLED = """
select title, url from discoveries
where crawl_status = 'completed' and title is not null and last_crawled_at >= $1 order by last_crawled_at, url limit $2
"""


async def run_story(stack: Stack, terminal: Terminal, *, urls: list[str] | None, began: float, stays: bool) -> bool:
    """Whether the job completed. Where no admin's token can be had, nothing is triggered and all is well.

    Where the stack stays, it ends with what to do next: addresses, and calls to paste.
    """
    terminal.line(f"{await _seed(stack, urls)} pages wait to be crawled.")
    token, job = _admin_token(stack), None
    if token is None:
        terminal.line("CLERK_API_URL is not ours: set TOKEN to an admin's session token to see a job run.")
    else:
        job = await _run_job(stack, terminal, token)
    if stays:
        for line in next_steps(stack.wiring, job["id"] if job else None):
            terminal.line(line)
    if job is None:
        return True
    terminal.line(f"The job {job['status']} {time.monotonic() - began:.1f} s after the start.")
    return bool(job["status"] == "completed")


async def _run_job(stack: Stack, terminal: Terminal, token: str) -> dict[str, Any]:
    """Has the pages crawled by a job, and shows its row and some of the pages."""
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=stack.wiring.url("shim"), headers=headers, trust_env=False) as shim:
        job_id = await _trigger(shim, terminal)
        job = await _follow(shim, job_id, terminal)
    terminal.line(json.dumps(job, indent=2))
    terminal.line()
    await _show_pages(stack, terminal, since=datetime.fromisoformat(job["createdAt"]))
    return job


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
        raise SandboxError(
            f"The trigger was answered {answer.status_code}: {answer.text[:500]}"
            f" Its log says more: {_COMMAND} logs shim"
        )
    job_id: str = answer.json()["jobId"]
    terminal.line(f"crawl_pending is triggered: job {job_id}")
    return job_id


async def _follow(shim: httpx.AsyncClient, job_id: str, terminal: Terminal) -> dict[str, Any]:
    """The job, when it has ended. A shim that does not answer meanwhile is waited for."""
    deadline = time.monotonic() + _LONGEST_SECONDS
    try:
        while time.monotonic() < deadline:
            try:
                answer = await shim.get(f"/api/jobs/{job_id}")
                job: dict[str, Any] = answer.raise_for_status().json()
            except httpx.HTTPError as error:
                terminal.progress(f"the shim does not answer ({type(error).__name__})")
            else:
                if job["status"] in _TERMINAL_STATUSES:
                    return job
                terminal.progress(_describe(job))
            await asyncio.sleep(0.3)
    finally:
        terminal.settle()
    raise SandboxError(
        f"Job {job_id} did not end within {_LONGEST_SECONDS // 60} minutes. Its worker says why: {_COMMAND} logs worker"
    )


def _describe(job: dict[str, Any]) -> str:
    progress = job.get("progress")
    if not progress:
        return f"{job['jobType']} is {job['status']} {job.get('pendingReason') or ''}".strip()
    total = progress.get("itemsTotal")
    return (
        f"{job['jobType']} is {job['status']}: {progress['itemsProcessed']}{f' of {total}' if total else ''}"
        f" {progress.get('phase') or ''}"
    )


async def _show_pages(stack: Stack, terminal: Terminal, *, since: datetime) -> None:
    connection = await asyncpg.connect(stack.wiring.database_url)
    try:
        for row in await connection.fetch(_CRAWLED, since, _SHOWN_PAGES):
            terminal.line(f"  {row['title']}  <- {row['url']}")
    finally:
        await connection.close()
    terminal.line()


def next_steps(wiring: Wiring, job_id: str | None) -> list[str]:
    """Where everything is and what to do with it, in lines of at most 80 characters; `job_id` is a job to watch."""
    shim, bearer = f"http://localhost:{wiring.ports['shim']}", '-H "Authorization: Bearer $TOKEN"'
    command = _command(wiring)
    is_built = (REPOSITORY / "dashboard" / "dist" / "index.html").exists()
    token = "'<a session token of an admin>'" if "clerk" in wiring.replaced else None
    return [
        f"Dashboard   {wiring.dashboard_url}",
        *([] if is_built else ["            which was not built: make dashboard/dist/.ready"]),
        f"API docs    {wiring.url('shim')}/docs",
        f"Prefect UI  {wiring.prefect_ui_url}",
        f"            password: {command} env PREFECT_API_AUTH_STRING",
        "",
        "To trigger a job, with an admin's token for 12 hours:",
        f"export TOKEN={token or f'$({command} token --expires {_TOKEN_SECONDS})'}",
        f"curl -X POST {shim}/api/jobs/trigger \\",
        f'  {bearer} -H "Content-Type: application/json" \\',
        """  -d '{"jobType":"crawl_pending","triggeredBy":"test_user"}'""",
        "",
        "To watch a job, every job, and what the worker says:",
        f"export JOB_ID={job_id or '<its id>'}",
        f"curl {shim}/api/jobs/$JOB_ID {bearer}",
        f"curl -N {shim}/api/jobs/stream {bearer}",
        f"{command} logs worker -f",
        "",
        f"To stop or break a part of it: {command} --help",
        "",
    ]


def _command(wiring: Wiring) -> str:
    return _COMMAND if _is_default(wiring) else f"{_COMMAND} --state {shlex.quote(str(wiring.state.path))}"


def down_command(wiring: Wiring) -> str:
    """What stops everything from another terminal."""
    return "`make down`" if _is_default(wiring) else f"`{_command(wiring)} down`"


def _is_default(wiring: Wiring) -> bool:
    """Whether the commands find the sandbox without being told where: also in a shell without SANDBOX_STATE."""
    return wiring.state.path == REPOSITORY / ".sandbox"
