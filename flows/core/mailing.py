"""The one way mails are sent: from the ledger, many at a time, each once.

A mail is claimed before it is handed over and recorded after, so that at any instant the ledger knows what may be under
way: never more than the send concurrency. Whatever is claimed and has no answer is in doubt, and settled before the job
ends. What is not sent stays planned, for the next run.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from prefect import get_run_logger, task

from flows.clients import mailer
from flows.core import deliveries, lease
from flows.core.deliveries import Claimed, Counts, Outcome, Recorded
from flows.core.domain import JobResult, JobType
from flows.core.errors import (
    AnswerLost,
    EndpointAbsent,
    LeaseLost,
    NeighbourFailed,
    NotFound,
    PermanentError,
    RateLimited,
    Refused,
    SchedulerError,
    TransientError,
    Unavailable,
)
from flows.core.lease import report_progress
from flows.core.redaction import redact
from flows.core.retries import MAIL_SEND
from flows.core.settings import settings

EVENTS = "event"  # the period of mails about something that happened
SLICE = 5000  # mails a task sends at most: a million are two hundred tasks
SLICE_SECONDS = 60.0
BREAKER_CALLS = 100  # the error rate is that of so many last calls, once there are
BREAKER_LEAST_CALLS = 20
BREAKER_RATE = 0.5
FRUITLESS_PAUSES_SECONDS = (2.0, 5.0, 15.0)  # between tries of a few mails none of which can be handed over
POLL_SECONDS = 2.0
LAST_WORDS_SECONDS = 3.0


@dataclass(frozen=True)
class Skip:
    """Instead of template data: there is nothing to mail, and why."""

    reason: str


Compose = Callable[[list[Claimed]], Awaitable[list[dict[str, Any] | Skip]]]
"""Template data, or why there is none, for each of some claimed mails, in their order."""


@dataclass(frozen=True)
class Mailing:
    """Which planned mails are sent, and whose word decides whether a user wants them.

    `preferences` names for each e-mail type the column of email_preferences and whether it must be true.
    """

    job_type: JobType
    period: str
    preferences: Mapping[str, tuple[str, bool]]


def recorded(claimed: Claimed, error: SchedulerError, *, can_settle: bool) -> Recorded:
    """What is to be written of a mail whose call ended with `error`.

    A service that failed in the middle (500, 502, 504) may have queued the mail all the same; where nobody could tell
    afterwards (`can_settle` false), its word is taken.
    """
    reason = redact(str(error), limit=200)
    match error:
        case AnswerLost() | Unavailable(may_be_done=True):
            return Recorded(claimed.id, Outcome.LOST, reason)
        case NeighbourFailed():
            return Recorded(claimed.id, Outcome.LOST if can_settle else Outcome.FAILED, f"no answer: {reason}")
        case NotFound() | Refused(for_its_content=True):
            return Recorded(claimed.id, Outcome.FAILED, reason)
        case _:
            return Recorded(claimed.id, Outcome.UNSENT)


def is_the_services_fault(error: SchedulerError) -> bool:
    """True for an error that says something about the service, not about this mail."""
    return not isinstance(error, NotFound | RateLimited) and not (isinstance(error, Refused) and error.for_its_content)


@dataclass
class Breaker:
    """Opens when half of the last calls were the service's fault, and at once where it is not the service at all."""

    calls: deque[bool] = field(default_factory=lambda: deque(maxlen=BREAKER_CALLS))
    last_fault: str = ""
    misconfigured: SchedulerError | None = None

    def note(self, error: SchedulerError | None) -> None:
        """Counts a call that has ended, well (None) or not."""
        fault = error is not None and is_the_services_fault(error)
        self.calls.append(fault)
        if fault:
            self.last_fault = str(error)
        if isinstance(error, EndpointAbsent) or (isinstance(error, Refused) and not error.for_its_content):
            self.misconfigured = error

    @property
    def is_open(self) -> bool:
        enough = len(self.calls) >= BREAKER_LEAST_CALLS
        return self.misconfigured is not None or (enough and sum(self.calls) >= BREAKER_RATE * len(self.calls))

    def raise_if_open(self) -> None:
        """Raises the error that says why, and closes: whoever tries again begins anew."""
        if not self.is_open:
            return
        failed, of = sum(self.calls), len(self.calls)
        misconfigured, self.misconfigured = self.misconfigured, None
        self.calls.clear()
        if misconfigured is not None:
            raise misconfigured
        raise Unavailable(f"{failed} of the last {of} mails could not be handed over: {self.last_fault}", "email")


class Sender:
    """Sends the planned mails of one mailing for one job. Nothing else in the process sends for that job."""

    def __init__(self, mailing: Mailing, compose: Compose, *, expected: int | None = None) -> None:
        """`expected` is how many mails there are, for the progress."""
        self._mailing = mailing
        self._compose = compose
        self._expected = expected
        self._concurrency = settings().email_send_concurrency
        self._chunk = max(1, self._concurrency // 4)
        self._can_settle = settings().email_honours_idempotency or settings().email_queue_readable
        self._under_way: set[asyncio.Task[None]] = set()
        self._mistake: BaseException | None = None
        self._ended: list[Recorded] = []
        self._enough_ended = asyncio.Event()
        self._breaker = Breaker()
        self._after = 0
        self._quiet_until = 0.0
        self._handed_over = 0
        self._fruitless = 0
        self._processed = 0

    async def run(self) -> None:
        """Returns when nothing is planned and nothing of this job's, or of dead jobs', is in doubt.

        Raises Unavailable, or what shows that the address is wrong, when the service is not to be had; the rest is
        left planned then.
        """
        while True:
            await self._be_quiet()
            settled = await self._settle()
            if await self._slice() or settled.planned or self._quiet_until > time.monotonic():
                continue
            settled = await self._settle()
            if settled.waiting:
                self._report("settling")
                await asyncio.sleep(POLL_SECONDS)
            elif not settled.planned:
                return

    async def _settle(self) -> deliveries.Settled:
        set_up = settings()
        settled = await deliveries.settle(
            self._mailing.job_type,
            timeout_seconds=set_up.email_timeout_seconds,
            is_idempotent=set_up.email_honours_idempotency,
            is_readable=set_up.email_queue_readable,
        )
        self._processed += settled.sent + settled.failed + settled.unknown
        if settled.unknown:
            get_run_logger().error("%s mails are unknown: nobody can tell whether they were queued", settled.unknown)
        if settled.planned:
            self._after = 0
        return settled

    async def _slice(self) -> bool:
        """Sends some thousand mails as one task; false when it found none to send."""

        @task(name="send mails", **MAIL_SEND)
        async def send_mails(at_most: int) -> int:
            """Hands planned mails over to the mail service; how many planned mails it found."""
            return await self._send(at_most)

        found: int = await send_mails(SLICE)
        return found > 0

    async def _send(self, at_most: int) -> int:
        deadline = time.monotonic() + SLICE_SECONDS
        found = 0
        try:
            while True:
                if self._mistake is not None:
                    raise self._mistake
                now = time.monotonic()
                going_on = found < at_most and self._quiet_until <= now < deadline and not self._breaker.is_open
                room = self._concurrency - len(self._under_way)
                looked_at = await self._exchange(min(room, at_most - found) if going_on else 0)
                found += looked_at
                self._report("sending")
                if going_on and looked_at == 0 and not self._under_way:
                    if self._after == 0:
                        break
                    await self._begin_again()
                elif self._under_way:
                    await self._some_end(all_of_them=looked_at == 0)
                elif not going_on and not self._ended:
                    break
        finally:
            await self._stop()
        self._breaker.raise_if_open()
        return found

    async def _exchange(self, limit: int) -> int:
        """Records what has ended, claims at most `limit` mails and starts them; how many planned ones were found."""
        ended, self._ended = self._ended, []
        if not ended and limit <= 0:
            return 0
        asked_at = lease.now()
        try:
            answer = await deliveries.exchange(
                self._mailing.job_type,
                self._mailing.period,
                ended,
                after=self._after,
                limit=limit,
                preferences=self._mailing.preferences,
            )
        except BaseException:
            self._ended = ended + self._ended
            raise
        self._processed += sum(one.outcome not in (Outcome.UNSENT, Outcome.LOST) for one in ended) + answer.refused
        if limit > 0:
            # Past the end the count begins anew: mails that were given back have lower ids.
            self._after = answer.last if answer.looked_at else self._after
        if answer.claimed:
            await self._start(answer.claimed, asked_at)
        return answer.looked_at

    async def _start(self, claimed: list[Claimed], asked_at: float) -> None:
        try:
            composed = await self._compose(claimed)
        except BaseException:
            self._ended += [Recorded(mail.id, Outcome.UNSENT) for mail in claimed]
            raise
        for mail, content in zip(claimed, composed, strict=True):
            if isinstance(content, Skip):
                self._end(Recorded(mail.id, Outcome.SKIPPED, content.reason))
            else:
                sending = asyncio.create_task(self._send_one(mail, content, asked_at))
                self._under_way.add(sending)
                sending.add_done_callback(self._left)

    async def _send_one(self, claimed: Claimed, template_data: dict[str, Any], asked_at: float) -> None:
        """Hands one mail over, unless that has become too late: twice the time-out after the claim it is in doubt.

        A process that was frozen, or waited for the database, may get here long after its claim.
        """
        mail = mailer.Mail(claimed.user_id, claimed.email_type, claimed.recipient, template_data)
        try:
            await self._may_act()
            if lease.now() - asked_at > settings().email_timeout_seconds:
                self._end(Recorded(claimed.id, Outcome.UNSENT))
                return
            email_id: UUID = await mailer.send(mail, idempotency_key=claimed.dedupe_key)
        except LeaseLost:
            return  # nothing more may be recorded; the next run settles what is claimed
        except RateLimited as error:
            self._quiet_until = time.monotonic() + error.retry_after_seconds
            self._end(Recorded(claimed.id, Outcome.UNSENT))
        except SchedulerError as error:
            self._breaker.note(error)
            self._end(recorded(claimed, error, can_settle=self._can_settle))
        else:
            self._breaker.note(None)
            self._handed_over += 1
            self._end(Recorded(claimed.id, Outcome.SENT, email_id=email_id))

    def _end(self, outcome: Recorded) -> None:
        self._ended.append(outcome)
        if len(self._ended) >= self._chunk:
            self._enough_ended.set()

    def _left(self, sending: asyncio.Task[None]) -> None:
        self._under_way.discard(sending)
        if not self._under_way:
            self._enough_ended.set()
        if not sending.cancelled() and sending.exception() is not None:
            # A mistake of ours, and each mail that is claimed may meet it: nothing more is.
            self._mistake = self._mistake or sending.exception()

    async def _some_end(self, *, all_of_them: bool) -> None:
        """Returns when enough calls have ended to be recorded, or all, or after a second at the latest."""
        if all_of_them:
            await asyncio.wait(self._under_way, timeout=1.0)
            return
        if len(self._ended) < self._chunk:
            self._enough_ended.clear()
            try:
                await asyncio.wait_for(self._enough_ended.wait(), 1.0)
            except TimeoutError:
                return

    async def _begin_again(self) -> None:
        """Goes back to what was given back; waits where nothing at all could be handed over since the last time."""
        self._after = 0
        if self._handed_over:
            self._handed_over = self._fruitless = 0
            return
        if not self._breaker.last_fault:
            return
        if self._fruitless >= len(FRUITLESS_PAUSES_SECONDS):
            self._fruitless = 0
            raise Unavailable(f"no mail could be handed over: {self._breaker.last_fault}", "email")
        await asyncio.sleep(FRUITLESS_PAUSES_SECONDS[self._fruitless])
        self._fruitless += 1

    async def _be_quiet(self) -> None:
        """Waits as long as the mail service has asked for."""
        while (seconds := self._quiet_until - time.monotonic()) > 0:
            await self._may_act()
            self._report("waiting for the mail service")
            await asyncio.sleep(min(seconds, POLL_SECONDS))

    async def _may_act(self) -> None:
        if (held := lease.current_lease()) is not None:
            await held.before_acting()

    async def _stop(self) -> None:
        """Ends what is still under way: after an error, or told to stop. What has no answer then is in doubt."""
        for sending in self._under_way:
            sending.cancel()
        if self._under_way:
            await asyncio.wait(self._under_way)
        with suppress(SchedulerError, TimeoutError):
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                await self._exchange(0)

    def _report(self, phase: str) -> None:
        report_progress(self._processed, self._expected and max(self._expected, self._processed), phase)


async def send_all(mailing: Mailing, compose: Compose, *, expected: int | None = None) -> SchedulerError | None:
    """Sends everything planned of a mailing and settles what is in doubt.

    Returns what stopped it where the mail service was not to be had; the rest is left planned then.
    """
    try:
        await Sender(mailing, compose, expected=expected).run()
    except (TransientError, PermanentError) as error:
        get_run_logger().error("Stopped, the rest is left planned: %s", error)
        return error
    return None


def result(counts: Counts, stopped: SchedulerError | None = None, **details: Any) -> JobResult:
    """The job result of how a job's mails stand.

    Failed when the sending was stopped, and when no mail was queued and the service is to blame.
    """
    failed = counts.failed + counts.unknown
    items = counts.queued + failed
    shown = {name: getattr(counts, name) for name in ("queued", "delivered", "failed", "skipped", "unknown")}
    if counts.planned:
        shown["leftPlanned"] = counts.planned
    if failed > len(counts.errors):
        shown["errorsTruncated"] = failed - len(counts.errors)
    error = None
    if stopped is not None:
        error = f"stopped, the rest is left planned for the next run: {stopped}"
    elif counts.queued == 0 and counts.unanswered:
        error = f"none of {items} items succeeded: the mail service gave no answer"
    return JobResult(items, list(counts.errors), {**shown, **details}, error)
