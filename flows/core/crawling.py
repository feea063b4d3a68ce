"""The rules of crawling: what is sent next, what a failed answer means, what a run has done.

A page is one claimed discovery; a batch is what one call of the crawler takes. Nothing here calls anything.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from flows.core.domain import JobResult
from flows.core.errors import (
    AnswerLost,
    EndpointAbsent,
    NotFound,
    NotSent,
    RateLimited,
    Refused,
    Unavailable,
)
from flows.core.redaction import redact

LARGEST_BATCH = 100  # the crawler takes no more
SMALLEST_BATCH = 10
MAX_ATTEMPTS = 3
BREAKER_BATCHES = 5  # batches in a row without an answer, after which the crawler is left alone
RETRY_SECONDS = 5.0  # before a row that was not settled is sent again; doubled each time


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
class Walk:
    """The search for stale pages, once round the table; it begins (no `next_block`) where the last run stopped."""

    next_block: int | None = None
    walked: int = 0
    is_over: bool = False


@dataclass
class Crawl:
    """The state of one run: what is claimed, what was settled and how. Times are monotonic seconds.

    A run that crawls pages again claims them by their ids: those in `named`, which a `walk` finds.
    """

    max_items: int
    total: int
    started_at: float
    left_word: str = "pending"
    named: deque[UUID] = field(default_factory=deque)
    walk: Walk | None = None
    size: int = LARGEST_BATCH
    claimed: int = 0
    succeeded: int = 0
    blamed_on_page: list[str] = field(default_factory=list)
    blamed_on_crawler: list[str] = field(default_factory=list)
    left: int = 0
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

    @property
    def items_total(self) -> int | None:
        """How many pages there are to crawl; None while a walk has not found them all."""
        if self.walk is None:
            return max(self.total, self.processed)
        found = self.claimed + len(self.named)
        return found if self.walk.is_over or found >= self.max_items else None

    def room(self) -> int:
        """How many rows the next claim may take."""
        return 0 if self.stopped else min(self.size, self.max_items - self.claimed)

    def take_named(self) -> list[UUID]:
        """The next ids to claim, at most a batch."""
        return [self.named.popleft() for _ in range(min(self.room(), len(self.named)))]

    @property
    def goes_on(self) -> bool:
        """Whether something is left to do: claimed, named to be claimed, or to be looked for."""
        searching = self.walk is not None and not self.walk.is_over
        return bool(self.waiting or (self.room() > 0 and (self.named or searching)))

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
            self.left += 1
        elif outcome == "in_doubt":
            self.waiting[page.id] = Waiting(page, in_doubt=True, ready_at=now, tries=tries)
        else:
            ready_at = now + RETRY_SECONDS * 2.0 ** (tries - 1)
            self.waiting[page.id] = Waiting(page, in_doubt=False, ready_at=ready_at, tries=tries + 1)

    def miss(self, discovery_id: UUID) -> None:
        """Counts a named discovery that there is not."""
        self.claimed += 1
        self.blamed_on_page.append(f"{discovery_id}: there is no such discovery, or it is deleted")

    def leave(self, pages: list[Page]) -> None:
        """Counts pages that are given back because the crawler is not to be had."""
        for page in pages:
            self.waiting.pop(page.id, None)
            self.blamed_on_crawler.append(describe(page, f"left {self.left_word}: {self.last_failure}"))
        self.left += len(pages)

    def result(self, now: float) -> JobResult:
        """The job result. Failed when nothing succeeded and the crawler, not the pages, is to blame."""
        details: dict[str, Any] = {
            "successfulCrawls": self.succeeded,
            "failedCrawls": self.processed - self.succeeded,
            "duration": f"{now - self.started_at:.0f}s",
        }
        if left := self.left + len(self.named):
            details["leftPending" if self.left_word == "pending" else "leftAsTheyWere"] = left
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
