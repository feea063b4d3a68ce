"""A flow that misbehaves as its parameters say, deployed in the place of crawl_pending: all around it is real.

What it does well it does as job types do: it claims steps under its lease, calls a neighbour once a claimed step
through the clients' rules, settles, and leaves to the ledger what was in doubt. A job that tries a dead one again
behaves: it only does the steps that are left.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from flows.clients import database, http
from flows.core.domain import JobResult, JobType
from flows.core.errors import AnswerLost, NotSent, Refused
from flows.core.job import job
from flows.core.lease import Lease, current_lease, report_progress
from flows.crawl_pending import Parameters as CrawlParameters
from flows.crawl_pending import crawl_all

RECORDER_VARIABLE = "CHAOS_RECORDER_URL"

_CALL_SECONDS = 5.0
_FOREVER_SECONDS = 600
_BLOCK = 16 << 20
# Ignores SIGTERM as its parent does: only what ends the whole group ends it.
_DEAF_CHILD = ("sh", "-c", 'trap "" TERM; sleep 600 & wait; wait')


class Parameters(BaseModel):
    model_config = ConfigDict(extra="forbid")

    behaviour: Literal["steps", "crawl", "fail", "sleep", "deaf", "stubborn", "c_sleep", "c_hold", "memory"] = Field(
        "steps", description="What the body does after its steps."
    )
    key: str = Field("crawl_pending", description="Gate that the job must hold; empty: none.")
    steps: int = Field(1, ge=0, le=1000, description="How many steps, each with one outbound call.")
    step_seconds: float = Field(0.4, ge=0, le=60, description="Pause after each step.")
    hold_seconds: float = Field(0.1, ge=0, le=60, description="How long the neighbour takes to answer.")
    max_items: int = Field(5, ge=1, le=10_000, description="How many pages to crawl at most.")


class _Noted(BaseModel):
    noted: bool


class _Claim(BaseModel):
    root: UUID
    step: int | None
    doubtful: bool
    age: float


def _gate_of(parameters: Parameters) -> str | None:
    return parameters.key or None


@job(JobType.CRAWL_PENDING, max_run_time=timedelta(minutes=30), exclusive_key=_gate_of)
async def crawl_pending(parameters: Parameters) -> JobResult:
    """Misbehave.

    Takes some steps, then does what the parameters say.
    """
    lease = _lease()
    root = UUID(await database.patient_rpc("chaos_root", job=str(lease.job_id)))
    if parameters.behaviour == "crawl":
        return await _crawl(parameters)
    done, unknown = await _take_steps(lease, parameters)
    if root == lease.job_id and parameters.behaviour in _MISBEHAVIOURS:
        await _MISBEHAVIOURS[parameters.behaviour]()
    return JobResult(done + unknown, details={"unknown": unknown})


def _lease() -> Lease:
    lease = current_lease()
    if lease is None:
        raise RuntimeError("this flow needs a lease")
    return lease


async def _take_steps(lease: Lease, parameters: Parameters) -> tuple[int, int]:
    """How many steps are known to be done, and of how many nobody can know."""
    holder: dict[str, Any] = {"job": str(lease.job_id), "fence": lease.fence}
    done = unknown = 0
    while True:
        answer = await database.patient_rpc("chaos_claim_step", **holder, steps=parameters.steps)
        claim = _Claim.model_validate(answer)
        if claim.step is None:
            return done, unknown
        sent = await (_was_received(claim) if claim.doubtful else _send(lease, claim, parameters.hold_seconds))
        state = "sent" if sent else "unknown"
        await database.patient_rpc("chaos_settle_step", **holder, root=str(claim.root), step=claim.step, state=state)
        done, unknown = done + sent, unknown + (not sent)
        report_progress(done + unknown, parameters.steps, "stepping")
        await asyncio.sleep(parameters.step_seconds)


async def _send(lease: Lease, claim: _Claim, hold_seconds: float) -> bool:
    """Calls the neighbour once. An answer that is lost leaves the step in doubt, which is settled by asking."""
    body = {
        "root": str(claim.root),
        "step": claim.step,
        "fence": lease.fence,
        "pid": os.getpid(),
        "hold_seconds": hold_seconds,
    }
    while True:
        try:
            await http.post("recorder", f"{_recorder()}/step", body, answer=_Noted, timeout_seconds=_CALL_SECONDS)
        except NotSent:
            await asyncio.sleep(0.5)
        except AnswerLost:
            return await _was_received(claim)
        else:
            return True


async def _was_received(claim: _Claim) -> bool:
    """Whether the neighbour knows the step, asked no sooner than twice a call's time after it was claimed."""
    await asyncio.sleep(max(0.0, 2 * _CALL_SECONDS - claim.age))
    address = f"{_recorder()}/step/{claim.root}/{claim.step}"
    while True:
        try:
            return (await http.get("recorder", address, answer=_Noted, timeout_seconds=_CALL_SECONDS)).noted
        except (NotSent, AnswerLost):
            await asyncio.sleep(0.5)


def _recorder() -> str:
    return os.environ[RECORDER_VARIABLE]


async def _crawl(parameters: Parameters) -> JobResult:
    """The body of the real crawl_pending."""
    return await crawl_all(CrawlParameters.model_validate({"max_items": parameters.max_items}))


async def _sleep() -> None:
    await asyncio.sleep(_FOREVER_SECONDS)


async def _deaf() -> None:
    """Ignores SIGTERM, blocks its loop, and has a child that does the same."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    subprocess.Popen(_DEAF_CHILD)  # noqa: ASYNC220  # blocking is what this one does
    time.sleep(_FOREVER_SECONDS)  # noqa: ASYNC251


async def _stubborn() -> None:
    """Takes being cancelled for something to go on after."""
    while True:
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            continue


async def _c_sleep() -> None:
    """Sleeps in C, without the interpreter's lock: threads go on, the loop does not."""
    ctypes.CDLL(None).sleep(_FOREVER_SECONDS)


async def _c_hold() -> None:
    """Sleeps in C and keeps the interpreter's lock: no thread of the process does anything."""
    ctypes.PyDLL(None).sleep(_FOREVER_SECONDS)


async def _memory() -> None:
    blocks = []
    while True:
        blocks.append(b"x" * _BLOCK)
        await asyncio.sleep(0.02)


async def _fail() -> None:
    raise Refused("this job fails by its own error")


_MISBEHAVIOURS: dict[str, Callable[[], Awaitable[None]]] = {
    "fail": _fail,
    "sleep": _sleep,
    "deaf": _deaf,
    "stubborn": _stubborn,
    "c_sleep": _c_sleep,
    "c_hold": _c_hold,
    "memory": _memory,
}
