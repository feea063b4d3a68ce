"""Says whether a shim that was just rolled out works, from outside: `python -m api.smoke <base url>`.

Health and readiness need no key. With a script's key in SMOKE_KEY the job types are read too, and `--trigger <type>`
has one of them do everything but its work (`dry_run`): through the shim, the database, Prefect, a worker and a flow
run's pod. Nothing is changed by it but the job's own row.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import httpx
from rich.console import Console
from rich.text import Text

from flows.core.domain import JobType
from flows.core.redaction import redact

_ANSWER_SECONDS = 10.0
_INTERRUPTED = 130
_ENDED = ("completed", "failed", "cancelled")


class SmokeError(Exception):
    """What does not work, in one sentence."""


class Smoke:
    """The questions, in the order in which their answers matter; `say` hears of each that was answered well.

    `waiting` hears, again and again, of what is waited for.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        *,
        wait_seconds: float = 60,
        job_seconds: float = 300,
        pause_seconds: float = 1,
        say: Callable[[str], None] = print,
        waiting: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._http = http
        self._wait_seconds = wait_seconds
        self._job_seconds = job_seconds
        self._pause_seconds = pause_seconds
        self._say = say
        self._waiting = waiting

    async def run(self, *, with_key: bool = False, trigger: JobType | None = None) -> None:
        """Returns when all is well. Raises SmokeError at the first thing that is not."""
        await self._patiently(self._health)
        await self._patiently(self._ready)
        if not with_key:
            self._say("skipped: reading and triggering, SMOKE_KEY is not set")
            return
        schema = await self._patiently(lambda: self._parameters(trigger))
        if trigger is not None:
            await self._job(trigger, schema)

    async def _patiently(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        """What is asked, again and again for a while: whatever a roll-out has just started may not answer yet."""
        deadline = time.monotonic() + self._wait_seconds
        while True:
            try:
                return await ask()
            except SmokeError as error:
                if time.monotonic() >= deadline:
                    raise
                self._waiting(str(error).partition(". ")[0])
            await asyncio.sleep(self._pause_seconds)

    async def _health(self) -> None:
        body = await self._answer("GET", "/health")
        if (body.get("status"), body.get("service")) != ("healthy", "scheduler-service"):
            raise SmokeError("GET /health answers, but not as the scheduler does: is the address another service's?")
        self._say("ok: health")

    async def _ready(self) -> None:
        body = await self._answer("GET", "/ready")
        self._say(f"ok: ready ({', '.join(body['checks'])})")

    async def _parameters(self, wanted: JobType | None) -> dict[str, Any]:
        """The parameter schema of the wanted type; every type has to be deployed."""
        types = (await self._answer("GET", "/api/job-types"))["jobTypes"]
        schemas = {known["jobType"]: known["parameterSchema"] for known in types}
        if missing := [job_type.value for job_type in JobType if not schemas.get(job_type)]:
            raise SmokeError(f"Not deployed: {', '.join(missing)}. Run `python -m deployments apply`.")
        self._say(f"ok: {len(schemas)} job types are deployed")
        return dict(schemas[wanted]) if wanted else {}

    async def _job(self, job_type: JobType, schema: dict[str, Any]) -> None:
        if "dry_run" not in schema.get("properties", {}):
            raise SmokeError(f"{job_type} has no parameter dry_run: triggering it would do its work.")
        if (await self._answer("GET", "/api/maintenance"))["paused"]:
            self._say(f"skipped: {job_type}, all jobs are paused")
            return
        accepted = await self._answer(
            "POST",
            "/api/jobs/trigger",
            json={"jobType": job_type, "priority": "HIGH", "parameters": {"dry_run": True}},
            headers={"Idempotency-Key": str(uuid4())},
        )
        job = await self._ended(accepted["id"])
        if job["status"] == "completed":
            self._say(f"ok: {job_type} ran without effect (job {job['id']})")
        elif job["status"] in _ENDED:
            raise SmokeError(f"Job {job['id']} ({job_type}, dry run) is {job['status']}: {job['error']}")
        elif (job["pendingReason"] or "").startswith("waiting for job "):
            # A cleanup can take hours, and that it runs is as good a sign.
            self._say(f"skipped: job {job['id']} is {job['pendingReason']}")
        else:
            explained = (await self._answer("GET", f"/api/jobs/{job['id']}/explain"))["sentence"]
            raise SmokeError(
                f"Job {job['id']} ({job_type}, dry run) is {job['status']} after {self._job_seconds:g} s: {explained}"
            )

    async def _ended(self, job_id: str) -> dict[str, Any]:
        """The job once it has ended, or as it is when the patience has."""
        deadline = time.monotonic() + self._job_seconds
        while True:
            job = await self._answer("GET", f"/api/jobs/{job_id}")
            if job["status"] in _ENDED or time.monotonic() >= deadline:
                return job
            self._waiting(f"job {job_id} is {job['status']}")
            await asyncio.sleep(self._pause_seconds)

    async def _answer(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        try:
            answer = await self._http.request(method, path, **more)
        except httpx.HTTPError as error:
            reason = redact(str(error)) or type(error).__name__
            raise SmokeError(
                f"{method} {path}: no answer ({reason}). Is the scheduler running, and is it at this address?"
            ) from error
        if not answer.is_success:
            raise SmokeError(f"{method} {path}: HTTP {answer.status_code}{_told(answer)}")
        try:
            body: dict[str, Any] = answer.json()
        except ValueError as error:
            raise SmokeError(f"{method} {path}: the answer is not JSON.") from error
        return body


def _told(answer: httpx.Response) -> str:
    """What an error's answer says of itself, where it is one of the shim's."""
    try:
        body = answer.json()
        details = body.get("details") or {}
        lines = [f"{name}: {line}" for name, line in details.items()] if isinstance(details, dict) else []
        return redact(f", {body['error']}{' (' + '; '.join(lines) + ')' if lines else ''}")
    except (ValueError, KeyError, AttributeError):
        return "."


def _arguments(given: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m api.smoke", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("url", type=_address, help="where the shim is, like http://scheduler-service:7005")
    parser.add_argument("--trigger", type=_job_type, metavar="TYPE", help="a job type to run with dry_run")
    parser.add_argument("--wait", type=float, default=60, metavar="SECONDS", help="how long an answer may take (60)")
    parser.add_argument(
        "--job-wait", type=float, default=300, metavar="SECONDS", help="how long the job may take (300)"
    )
    return parser.parse_args(given)


def _address(given: str) -> str:
    """A word that no request could be sent to would look like a shim that is slow to come."""
    try:
        url = httpx.URL(given)
    except httpx.InvalidURL as error:
        raise argparse.ArgumentTypeError(f"{given!r} is no address: {error}") from error
    if url.scheme not in {"http", "https"} or not url.host:
        raise argparse.ArgumentTypeError(f"{given!r} is no address like http://scheduler-service:7005")
    return given


def _job_type(given: str) -> JobType:
    try:
        return JobType(given)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{given!r} is no job type; valid are {', '.join(JobType)}") from error


@contextmanager
def _live_line() -> Iterator[Callable[[str], None]]:
    """Shows what is waited for where somebody watches: not in a pod, whose log keeps every line."""
    is_watched = sys.stdout.isatty() and os.environ.get("TERM") != "dumb" and not os.environ.get("CI")
    if not is_watched:
        yield lambda _: None
        return
    console, began = Console(), time.monotonic()
    with console.status("waiting for the scheduler", spinner="line") as status:
        # It stays one line: what is longer than the terminal is wide is cut.
        yield lambda text: status.update(Text(f"{time.monotonic() - began:3.0f} s  {text}"[: console.width - 4]))


async def _main(arguments: argparse.Namespace, key: str) -> None:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    # No redirect is followed: the key is for this address.
    async with httpx.AsyncClient(
        base_url=arguments.url, headers=headers, timeout=_ANSWER_SECONDS, trust_env=False
    ) as http:
        with _live_line() as waiting:
            smoke = Smoke(http, wait_seconds=arguments.wait, job_seconds=arguments.job_wait, waiting=waiting)
            await smoke.run(with_key=bool(key), trigger=arguments.trigger)


def main(given: list[str]) -> int:
    """0 when all is well, 1 with a sentence on stderr otherwise."""
    arguments = _arguments(given)
    key = os.environ.get("SMOKE_KEY", "").strip()
    try:
        asyncio.run(_main(arguments, key))
    except SmokeError as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    print("the scheduler works")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
