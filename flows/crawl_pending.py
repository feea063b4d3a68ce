"""Fetches discovered pages that nobody has looked at yet, so that they get a title, a description and an image.

When: every 15 minutes, and when an admin asks: for pages not crawled yet (mode pending), for those whose last crawl is
old (stale), or for pages named by their ids (refresh).
Reads: discoveries. Writes: our crawl_claims and stale_walk; the crawler service writes the rows itself, we write
crawl_status only where the crawler has not settled a pending row in three attempts, or has left one `crawling`.

Safe to run twice, beside itself in any mode and to be killed: a row is claimed by one (job, fence) at a time, the claim
ends with the job's lease, and the row, not an answer, tells whether a page was crawled. Having a page crawled again is
harmless; until the crawler has written it, a row that is crawled again keeps what it has.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from datetime import timedelta
from typing import Annotated, Literal, Self
from uuid import UUID

from prefect import get_run_logger, task
from prefect.runtime import task_run
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from flows.clients import crawler, database
from flows.core.crawling import LARGEST_BATCH, MAX_ATTEMPTS, Crawl, Fate, Page, Walk, fate_of, host_of
from flows.core.domain import JobResult, JobType
from flows.core.errors import PermanentError, SchedulerError, TransientError
from flows.core.job import job, job_id_of_run
from flows.core.lease import report_progress, under_lease
from flows.core.redaction import redact
from flows.core.retries import HTTP_SEND
from flows.core.settings import settings

POLL_SECONDS = 2.0
BLOCKS_A_LOOK = 50_000  # of 8 kB: how much of the table one search for stale or forgotten rows reads


# `onlyWith` is for the shim: a trigger whose parameters do not fit its mode is refused before it is a job.
Days = Annotated[int, Field(ge=1, le=3650, json_schema_extra={"onlyWith": {"mode": "stale"}})]
Ids = Annotated[list[UUID], Field(min_length=1, max_length=1000, json_schema_extra={"onlyWith": {"mode": "refresh"}})]


class Parameters(BaseModel):
    model_config = ConfigDict(extra="forbid")

    mode: Literal["pending", "stale", "refresh"] = Field(
        "pending", description="Which discoveries: those not crawled yet, those crawled long ago, or those in ids."
    )
    max_items: int = Field(
        1000, ge=1, le=10_000, description="How many discoveries to crawl at most; a refresh crawls all it is given."
    )
    older_than_days: Days | None = Field(
        None, description="Mode stale: crawl again what was last crawled more than so many days ago."
    )
    ids: Ids | None = Field(
        None, description="Mode refresh: ids of the discoveries to crawl again, whether they were crawled or not."
    )

    @field_validator("ids")
    @classmethod
    def _each_once(cls, ids: list[UUID] | None) -> list[UUID] | None:
        return ids and list(dict.fromkeys(ids))

    @model_validator(mode="after")
    def _fit_the_mode(self) -> Self:
        for name, value, owner in (("older_than_days", self.older_than_days, "stale"), ("ids", self.ids, "refresh")):
            if self.mode == owner and value is None:
                raise ValueError(f"mode {owner!r} needs {name}")
            if self.mode != owner and value is not None:
                raise ValueError(f"{name} is for mode {owner!r} only, and mode is {self.mode!r}")
        return self


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


async def claim(crawl: Crawl, parameters: Parameters) -> list[Page]:
    """Claims the next batch of discoveries for this job."""
    if crawl.room() <= 0:
        return []
    if parameters.mode != "pending":
        return await claim_again(crawl, parameters)
    rows = await database.patient_rpc(
        "claim_crawl_batch", **under_lease(), limit=crawl.room(), round=crawl.next_round()
    )
    crawl.claimed += len(rows)
    return [Page(UUID(row["id"]), row["url"]) for row in rows]


async def claim_again(crawl: Crawl, parameters: Parameters) -> list[Page]:
    """Claims the next batch of those that are to be crawled again: found by the walk, or named in the parameters.

    What another run has in its hands it is crawling now: a walk passes over it, a refresh asks for it again later.
    """
    await find_stale(crawl, parameters)
    ids = crawl.take_named()
    if not ids:
        return []
    rows = await database.patient_rpc(
        "claim_recrawl_batch",
        **under_lease(),
        ids=[str(one) for one in ids],
        round=crawl.next_round(),
        older_than_days=parameters.older_than_days,
    )
    claimed = [Page(UUID(row["id"]), row["url"]) for row in rows if row["outcome"] == "claimed"]
    crawl.claimed += len(claimed)
    if crawl.walk is None:
        crawl.named.extend(UUID(row["id"]) for row in rows if row["outcome"] == "held")
        for row in rows:
            if row["outcome"] == "gone":
                crawl.miss(UUID(row["id"]))
    return claimed


async def find_stale(crawl: Crawl, parameters: Parameters) -> None:
    """Goes on with the walk until it has named something to claim, or has come round."""
    walk = crawl.walk
    while walk is not None and not walk.is_over and not crawl.named:
        found = await database.patient_rpc(
            "find_stale",
            **under_lease(),
            older_than_days=parameters.older_than_days,
            limit=crawl.max_items - crawl.claimed,
            blocks=BLOCKS_A_LOOK,
            from_block=walk.next_block,
            walked=walk.walked,
        )
        crawl.named.extend(UUID(one) for one in found["ids"])
        walk.next_block, walk.walked, walk.is_over = found["next"], found["walked"], found["over"]


async def settle(crawl: Crawl, pages: list[Page], *, answered: bool) -> None:
    """Reads off the rows what became of `pages` and counts it."""
    # A slice at a time: of a longer answer PostgREST would keep to itself what is beyond 1,000 rows.
    for start in range(0, len(pages), LARGEST_BATCH):
        by_id = {page.id: page for page in pages[start : start + LARGEST_BATCH]}
        rows = await database.patient_rpc(
            "settle_crawl_batch",
            **under_lease(),
            ids=[str(one) for one in by_id],
            answered=answered,
            wait_seconds=settings().crawl_settle_seconds,
            max_attempts=MAX_ATTEMPTS,
            round=crawl.next_round(),
        )
        for row in rows:
            crawl.settle(by_id[UUID(row["id"])], row["outcome"], row["error"], time.monotonic())


async def leave(crawl: Crawl, pages: list[Page]) -> None:
    """Gives pages back, without counting an attempt, because the crawler is not to be had."""
    if pages:
        await database.patient_rpc("release_crawl_batch", **under_lease(), ids=[str(page.id) for page in pages])
        crawl.leave(pages)


async def give_up(crawl: Crawl, pages: list[Page], reason: str) -> None:
    """Gives pages up that are bad in themselves: the crawler cannot be asked about them. Pending ones are failed."""
    if not pages:
        return
    await database.patient_rpc(
        "settle_crawl_batch",
        **under_lease(),
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


async def step(crawl: Crawl, parameters: Parameters) -> bool:
    """Sends one batch, or waits for rows in doubt. False when there is nothing left to do."""
    batch = crawl.due_again(time.monotonic())
    if not batch:
        batch = await claim(crawl, parameters)
    if batch:
        await send_and_settle(crawl, batch)
    elif crawl.goes_on:
        await asyncio.sleep(POLL_SECONDS)
    await settle(crawl, [page for page in crawl.in_doubt() if page not in batch], answered=False)
    if crawl.stopped:
        await leave(crawl, [w.page for w in crawl.waiting.values() if not w.in_doubt])
    report_progress(crawl.processed, crawl.items_total, "crawling" if batch else "settling")
    return bool(batch or crawl.goes_on)


async def rescue_forgotten() -> None:
    """Returns rows to pending that were left `crawling` for 10 minutes. Its failure is only logged."""
    block: int | None = 0
    try:
        while block is not None:
            block = await database.rpc("rescue_crawling", **under_lease(), from_block=block, blocks=BLOCKS_A_LOOK)
    except SchedulerError as error:
        get_run_logger().warning("Rows left crawling were not looked for: %s", error)


async def begin(parameters: Parameters, started_at: float) -> Crawl:
    """Puts right what dead runs left and says what this run is to do."""
    if parameters.mode == "pending":
        await rescue_forgotten()
        total = await database.patient_rpc("open_crawl", **under_lease(), limit=parameters.max_items)
        get_run_logger().info("%s discoveries wait to be crawled", total)
        return Crawl(parameters.max_items, total, started_at)
    await database.patient_rpc("open_crawl", **under_lease(), limit=0)
    if parameters.ids is None:
        return Crawl(parameters.max_items, 0, started_at, left_word="as it was", walk=Walk())
    return Crawl(
        len(parameters.ids), len(parameters.ids), started_at, left_word="as it was", named=deque(parameters.ids)
    )


async def crawl_all(parameters: Parameters) -> JobResult:
    """Crawls until nothing is left to do, or the crawler is not to be had."""
    crawl = await begin(parameters, time.monotonic())
    report_progress(0, crawl.items_total, "crawling")
    while await step(crawl, parameters):
        pass
    return crawl.result(time.monotonic())


@job(JobType.CRAWL_PENDING, max_run_time=timedelta(minutes=30))
async def crawl_pending(parameters: Parameters) -> JobResult:
    """Crawl Pending Content.

    Fetches the title, description and image of pages that were discovered and not crawled yet, that were crawled long
    ago, or that are named.
    """
    return await crawl_all(parameters)
