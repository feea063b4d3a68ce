"""Fetches discovered pages that nobody has looked at yet, so that they get a title, a description and an image.

When: every 15 minutes, and when an admin asks.
Reads: discoveries with crawl_status 'pending'. Writes: our crawl_claims; the crawler service writes the rows itself,
we write crawl_status only where the crawler has not settled a row in three attempts.

Safe to run twice, beside itself and to be killed: a row is claimed by one (job, fence) at a time, the claim ends with
the job's lease, and the row, not an answer, tells whether a page was crawled. Having a page crawled again is harmless.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum, auto
from typing import Any, Literal
from urllib.parse import urlsplit
from uuid import UUID

from prefect import get_run_logger, task
from prefect.runtime import task_run
from pydantic import BaseModel, ConfigDict, Field

from flows.clients import crawler, database
from flows.core.domain import JobResult, JobType
from flows.core.errors import (
    AnswerLost,
    EndpointAbsent,
    NotFound,
    NotSent,
    PermanentError,
    RateLimited,
    Refused,
    SchedulerError,
    TransientError,
    Unavailable,
)
from flows.core.job import job, job_id_of_run
from flows.core.lease import current_lease, report_progress
from flows.core.redaction import redact
from flows.core.retries import HTTP_SEND
from flows.core.settings import settings

LARGEST_BATCH = 100  # the crawler takes no more
SMALLEST_BATCH = 10
MAX_ATTEMPTS = 3
BREAKER_BATCHES = 5  # batches in a row without an answer, after which the crawler is left alone
RETRY_SECONDS = 5.0  # before a row that was not settled is sent again; doubled each time
POLL_SECONDS = 2.0
BLOCKS_A_LOOK = 50_000  # of 8 kB: how much of the table one search for forgotten rows reads


class Parameters(BaseModel):
    model_config = ConfigDict(extra="forbid")

    mode: Literal["pending"] = Field("pending", description="Which discoveries: those not crawled yet.")
    max_items: int = Field(1000, ge=1, le=10_000, description="How many discoveries to crawl at most.")


@dataclass(frozen=True)
class Page:
    """A claimed discovery."""

    id: UUID
    url: str


class Fate(Enum):
    """What became of a batch's request."""

    ANSWERED = auto()
    FAILED = auto()  # answered, and the answer is an error: nothing of it is under way any more
    REFUSED = auto()  # something in it is not to the crawler's taste: nothing was done
    LOST = auto()  # no answer: the rows tell later
    UNSENT = auto()  # the crawler did not take it on


def fate_of(error: Exception) -> Fate:
    """The fate of a batch whose call ended with `error`."""
    match error:
        case AnswerLost() | Unavailable(may_be_done=True):
            return Fate.LOST
        case Refused(for_its_content=True):
            return Fate.REFUSED
        case NotSent() | RateLimited() | Unavailable() | Refused() | NotFound() | EndpointAbsent():
            return Fate.UNSENT
        case _:
            return Fate.FAILED


def next_size(size: int, fate: Fate) -> int:
    """How large the next batch is: half after one that got no answer, not under 10; then growing back to 100."""
    if fate is Fate.ANSWERED:
        return min(LARGEST_BATCH, size * 2)
    return max(SMALLEST_BATCH, size // 2)


@dataclass
class Waiting:
    """A claimed page that is not settled: in doubt (its row is read again) or to be sent again at `ready_at`."""

    page: Page
    in_doubt: bool
    ready_at: float
    tries: int = 1


@dataclass
class Crawl:
    """The state of one run: what is claimed, what was settled and how. Times are monotonic seconds."""

    max_items: int
    total: int
    started_at: float
    size: int = LARGEST_BATCH
    claimed: int = 0
    succeeded: int = 0
    blamed_on_page: list[str] = field(default_factory=list)
    blamed_on_crawler: list[str] = field(default_factory=list)
    left_pending: int = 0
    failures_in_a_row: int = 0
    last_failure: str = ""
    stopped: bool = False
    waiting: dict[UUID, Waiting] = field(default_factory=dict)
    rounds: int = 0

    def next_round(self) -> int:
        """A number for one call of the database, so that its repetition is known for one."""
        self.rounds += 1
        return self.rounds

    @property
    def processed(self) -> int:
        return self.succeeded + len(self.blamed_on_page) + len(self.blamed_on_crawler)

    def room(self) -> int:
        """How many rows the next claim may take."""
        return 0 if self.stopped else min(self.size, self.max_items - self.claimed)

    def due_again(self, now: float) -> list[Page]:
        """Pages to send again now, at most a batch of them; none once the crawler is left alone."""
        if self.stopped:
            return []
        due = [w.page for w in self.waiting.values() if not w.in_doubt and w.ready_at <= now]
        return due[: self.size]

    def in_doubt(self) -> list[Page]:
        return [w.page for w in self.waiting.values() if w.in_doubt]

    def note_fate(self, fate: Fate, reason: str, *, settled: bool) -> None:
        """Adapts the batch size and opens the breaker. A batch whose rows are all settled was no failure to it."""
        self.size = next_size(self.size, fate)
        if fate is not Fate.ANSWERED:
            self.last_failure = reason
        if fate is Fate.ANSWERED or settled:
            self.failures_in_a_row = 0
            return
        self.failures_in_a_row += 1
        if fate is Fate.UNSENT or self.failures_in_a_row >= BREAKER_BATCHES:
            self.stopped = True

    def settle(self, page: Page, outcome: str, error: str | None, now: float) -> None:
        """Counts what settle_crawl_batch says of one page."""
        before = self.waiting.pop(page.id, None)
        tries = before.tries if before else 1
        if outcome == "completed":
            self.succeeded += 1
        elif outcome == "failed":
            self.blamed_on_page.append(describe(page, error or "the crawler could not read it"))
        elif outcome == "exhausted":
            self.blamed_on_crawler.append(describe(page, error or self.last_failure))
        elif outcome == "released":
            self.blamed_on_crawler.append(describe(page, "left to another run"))
            self.left_pending += 1
        elif outcome == "in_doubt":
            self.waiting[page.id] = Waiting(page, in_doubt=True, ready_at=now, tries=tries)
        else:
            ready_at = now + RETRY_SECONDS * 2.0 ** (tries - 1)
            self.waiting[page.id] = Waiting(page, in_doubt=False, ready_at=ready_at, tries=tries + 1)

    def leave(self, pages: list[Page]) -> None:
        """Counts pages that go back to pending because the crawler is not to be had."""
        for page in pages:
            self.waiting.pop(page.id, None)
            self.blamed_on_crawler.append(describe(page, f"left pending: {self.last_failure}"))
        self.left_pending += len(pages)

    def result(self, now: float) -> JobResult:
        """The job result. Failed when nothing succeeded and the crawler, not the pages, is to blame."""
        details: dict[str, Any] = {
            "successfulCrawls": self.succeeded,
            "failedCrawls": self.processed - self.succeeded,
            "duration": f"{now - self.started_at:.0f}s",
        }
        if self.left_pending:
            details["leftPending"] = self.left_pending
        error = None
        if self.succeeded == 0 and self.blamed_on_crawler:
            error = f"none of {self.processed} items succeeded: {self.last_failure or 'no page was settled'}"
        return JobResult(self.processed, [*self.blamed_on_crawler, *self.blamed_on_page], details, error)


def describe(page: Page, reason: str) -> str:
    """One entry of the result's errors: host and id, never a whole address, which may carry somebody's token."""
    return f"{host_of(page.url) or 'unknown host'} ({page.id}): {redact(reason, limit=200)}"


def host_of(url: str) -> str | None:
    """The host of a web address; None for what is none (discoveries.url is free text)."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return parts.hostname if parts.scheme in ("http", "https") else None


@task(**HTTP_SEND, task_run_name=lambda: f"crawl {len(task_run.parameters['pages'])} pages")
async def crawl_batch(pages: list[tuple[str, str]]) -> int:
    """Has the crawler fetch one batch, given as (id, URL); returns how many it says it did."""
    answer = await crawler.crawl_batch(job_id_of_run(), [(UUID(page), url) for page, url in pages])
    return answer.items_processed


async def send(pages: list[Page]) -> tuple[Fate, str]:
    """Sends a batch and tells its fate, with the reason where it was not answered well."""
    try:
        await crawl_batch([(str(page.id), page.url) for page in pages])
    except (TransientError, PermanentError) as error:
        get_run_logger().warning("A batch of %s: %s", len(pages), error)
        return fate_of(error), str(error)
    return Fate.ANSWERED, ""


def _under_lease() -> dict[str, Any]:
    lease = current_lease()
    if lease is None:
        raise RuntimeError("crawling needs a lease")
    return {"job": str(lease.job_id), "fence": lease.fence}


async def claim(crawl: Crawl) -> list[Page]:
    """Claims the next batch of pending discoveries for this job, oldest first."""
    if crawl.room() <= 0:
        return []
    rows = await database.patient_rpc(
        "claim_crawl_batch", **_under_lease(), limit=crawl.room(), round=crawl.next_round()
    )
    crawl.claimed += len(rows)
    return [Page(UUID(row["id"]), row["url"]) for row in rows]


async def settle(crawl: Crawl, pages: list[Page], *, answered: bool) -> None:
    """Reads off the rows what became of `pages` and counts it."""
    if not pages:
        return
    rows = await database.patient_rpc(
        "settle_crawl_batch",
        **_under_lease(),
        ids=[str(page.id) for page in pages],
        answered=answered,
        wait_seconds=settings().crawl_settle_seconds,
        max_attempts=MAX_ATTEMPTS,
        round=crawl.next_round(),
    )
    by_id = {page.id: page for page in pages}
    for row in rows:
        crawl.settle(by_id[UUID(row["id"])], row["outcome"], row["error"], time.monotonic())


async def leave(crawl: Crawl, pages: list[Page]) -> None:
    """Gives pages back to pending, without counting an attempt, because the crawler is not to be had."""
    if pages:
        await database.patient_rpc("release_crawl_batch", **_under_lease(), ids=[str(page.id) for page in pages])
        crawl.leave(pages)


async def give_up(crawl: Crawl, pages: list[Page], reason: str) -> None:
    """Marks pages failed that are bad in themselves: the crawler cannot be asked about them."""
    if not pages:
        return
    await database.patient_rpc(
        "settle_crawl_batch",
        **_under_lease(),
        ids=[str(page.id) for page in pages],
        answered=True,
        wait_seconds=0,
        max_attempts=1,
        round=crawl.next_round(),
        reason=redact(reason, limit=200),
    )
    for page in pages:
        crawl.settle(page, "failed", reason, time.monotonic())


async def send_and_settle(crawl: Crawl, batch: list[Page]) -> None:
    """Sends one batch and counts what became of its pages.

    One address the crawler does not take makes it refuse the whole batch: the halves are then sent apart, down to the
    single page. Where every page of several is refused, it is not the pages' fault and an attempt is counted.
    """
    await give_up(crawl, [page for page in batch if host_of(page.url) is None], "not a web address")
    batch = [page for page in batch if host_of(page.url) is not None]
    refused, reason = await send_apart(crawl, batch)
    if len(refused) == len(batch) > 1:
        await settle(crawl, refused, answered=True)
        crawl.note_fate(Fate.FAILED, reason, settled=False)
    else:
        await give_up(crawl, refused, reason)


async def send_apart(crawl: Crawl, batch: list[Page]) -> tuple[list[Page], str]:
    """Sends a batch, in halves where it is refused; settles what was taken, returns what was not and why."""
    if not batch or crawl.stopped:
        await leave(crawl, batch)
        return [], ""
    fate, reason = await send(batch)
    if fate is Fate.REFUSED and len(batch) == 1:
        return batch, reason
    if fate is Fate.REFUSED:
        middle = len(batch) // 2
        first, _ = await send_apart(crawl, batch[:middle])
        second, _ = await send_apart(crawl, batch[middle:])
        return first + second, reason
    if fate is not Fate.UNSENT:
        await settle(crawl, batch, answered=fate is not Fate.LOST)
    crawl.note_fate(fate, reason, settled=fate is not Fate.UNSENT and not any(p.id in crawl.waiting for p in batch))
    if fate is Fate.UNSENT:
        await leave(crawl, batch)
    return [], reason


async def step(crawl: Crawl) -> bool:
    """Sends one batch, or waits for rows in doubt. False when there is nothing left to do."""
    batch = crawl.due_again(time.monotonic())
    if not batch:
        batch = await claim(crawl)
    if batch:
        await send_and_settle(crawl, batch)
    elif crawl.waiting:
        await asyncio.sleep(POLL_SECONDS)
    await settle(crawl, [page for page in crawl.in_doubt() if page not in batch], answered=False)
    if crawl.stopped:
        await leave(crawl, [w.page for w in crawl.waiting.values() if not w.in_doubt])
    report_progress(crawl.processed, max(crawl.total, crawl.processed), "crawling" if batch else "settling")
    return bool(batch or crawl.waiting)


async def rescue_forgotten() -> None:
    """Returns rows to pending that were left `crawling` for 10 minutes. Its failure is only logged."""
    block: int | None = 0
    try:
        while block is not None:
            block = await database.rpc("rescue_crawling", **_under_lease(), from_block=block, blocks=BLOCKS_A_LOOK)
    except SchedulerError as error:
        get_run_logger().warning("Rows left crawling were not looked for: %s", error)


@job(JobType.CRAWL_PENDING, max_run_time=timedelta(minutes=30))
async def crawl_pending(parameters: Parameters) -> JobResult:
    """Crawl Pending Content.

    Fetches the title, description and image of pages that were discovered and not crawled yet.
    """
    started_at = time.monotonic()
    await rescue_forgotten()
    total = await database.patient_rpc("open_crawl", **_under_lease(), limit=parameters.max_items)
    get_run_logger().info("%s discoveries wait to be crawled", total)
    crawl = Crawl(parameters.max_items, total, started_at)
    report_progress(0, total, "crawling")
    while await step(crawl):
        pass
    return crawl.result(time.monotonic())
