"""The only words for the mail ledger `email_deliveries`: each function here is one call of one SQL function.

All but the counts are made under the current job's lease. Errors: `Unavailable` while the database cannot answer,
`LeaseLost` where this job may not act any more.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter

from flows.clients import database
from flows.core.domain import JobType
from flows.core.lease import under_lease

MAX_ATTEMPTS = 3  # each takes twice the call's time-out to be settled
MAX_REPEATS = 5  # where the mail service knows its keys, and another try costs nothing
PAGE = 5000  # queued mails whose delivery is looked up in one call
SETTLED_AT_ONCE = 5000


class Outcome(StrEnum):
    """What became of a mail that was to be sent."""

    SENT = "sent"  # the mail service has queued it
    FAILED = "failed"  # the mail service refused it
    SKIPPED = "skipped"  # there was nothing to mail
    UNSENT = "unsent"  # never handed over: still planned
    LOST = "lost"  # handed over, and nobody knows


@dataclass(frozen=True)
class Claimed:
    """A mail in this job's hands. `data` is what its planning stored: an event's template data, nothing of a digest."""

    id: int
    dedupe_key: str
    user_id: UUID
    email_type: str
    recipient: str
    first_name: str | None
    data: dict[str, Any]


@dataclass(frozen=True)
class Recorded:
    """An outcome to be written; `email_id` is the mail's id with the mail service."""

    id: int
    outcome: Outcome
    reason: str | None = None
    email_id: UUID | None = None


@dataclass(frozen=True)
class Exchanged:
    """The answer of `exchange`: what was claimed, out of how many planned mails that were found up to the id `last`.

    `refused` of them nobody may be sent any more.
    """

    claimed: list[Claimed]
    looked_at: int
    last: int
    refused: int


@dataclass(frozen=True)
class Settled:
    """How many mails in doubt were settled how, and how many are too young to be."""

    sent: int
    planned: int
    failed: int
    unknown: int
    waiting: int


@dataclass(frozen=True)
class Counts:
    """How some mails stand: `queued` are with the mail service, `delivered` the part of them that it has sent.

    `errors` has a line for each of the first 50 that failed or are unknown; `unanswered` counts the service's failures.
    """

    planned: int
    sending: int
    queued: int
    delivered: int
    failed: int
    skipped: int
    unknown: int
    unanswered: int
    errors: list[str]


# Tells the calls of this process apart, so that one may be made again after its answer was lost and get the same mails.
_rounds = itertools.count(1)
_settled = TypeAdapter(Settled)
_counts = TypeAdapter(Counts)


async def exchange(
    job_type: JobType,
    period: str,
    outcomes: Sequence[Recorded],
    *,
    after: int,
    limit: int,
    preferences: Mapping[str, tuple[str, bool]],
) -> Exchanged:
    """Records outcomes and claims at most `limit` planned mails with an id over `after`, in one transaction.

    `preferences` names for each e-mail type the column of email_preferences that decides, and whether it must be true.
    """
    answer = await database.patient_rpc(
        "exchange_deliveries",
        **under_lease(),
        job_type=job_type.value,
        period=period,
        outcomes=[
            {
                "id": recorded.id,
                "outcome": recorded.outcome.value,
                "reason": recorded.reason,
                "emailId": str(recorded.email_id) if recorded.email_id else None,
            }
            for recorded in outcomes
        ],
        after=after,
        limit=limit,
        round=next(_rounds),
        preferences=dict(preferences),
    )
    claimed = [
        Claimed(
            id=row["id"],
            dedupe_key=row["dedupeKey"],
            user_id=UUID(row["userId"]),
            email_type=row["emailType"],
            recipient=row["recipient"],
            first_name=row["firstName"],
            data=row["data"],
        )
        for row in answer["claimed"]
    ]
    return Exchanged(claimed, answer["looked_at"], answer["last"], answer["refused"])


async def settle(job_type: JobType, *, timeout_seconds: float, is_idempotent: bool, is_readable: bool) -> Settled:
    """Settles what is in doubt. Nothing of this job's may be under way meanwhile."""
    answer = await database.patient_rpc(
        "settle_deliveries",
        **under_lease(),
        job_type=job_type.value,
        timeout_seconds=timeout_seconds,
        idempotent=is_idempotent,
        readable=is_readable,
        max_attempts=MAX_REPEATS if is_idempotent else MAX_ATTEMPTS,
        limit=SETTLED_AT_ONCE,
    )
    return _settled.validate_python(answer)


async def follow(job_type: JobType | None) -> None:
    """Notes which queued mails have been delivered since, and which failed; None: of every job type."""
    after: int | None = 0
    while after is not None:
        answer = await database.patient_rpc(
            "follow_deliveries",
            **under_lease(),
            job_type=job_type.value if job_type else None,
            after=after,
            limit=PAGE,
        )
        after = answer["next"]


async def counts(*, key_prefix: str | None = None, jobs: Sequence[UUID] | None = None) -> Counts:
    """How the mails of a period (by the beginning of their keys) or of some jobs stand."""
    answer = await database.patient_rpc(
        "delivery_counts", key_prefix=key_prefix, jobs=[str(job) for job in jobs] if jobs is not None else None
    )
    return _counts.validate_python(answer)
