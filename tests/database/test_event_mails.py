"""Mails about submissions and reports: each event once, from its look-back on, to whoever may be mailed about it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.database.conftest import Scheduler
from tests.database.mails import Ledger, make_user

TYPES = {"received": "submission-received", "approved": "submission-approved", "rejected": "submission-rejected"}


@pytest.fixture
async def ledger(scheduler: Scheduler) -> Ledger:
    await scheduler.connection.execute(
        "truncate public.email_deliveries, public.mail_jobs, moderation_queue, content_reports; truncate users cascade"
    )
    return await Ledger.of_a_new_job(scheduler)


def days_ago(days: float) -> datetime:
    return datetime.now(UTC) - timedelta(days=days)


async def submit(
    ledger: Ledger, user: UUID | None, *, made: float = 0, status: str = "pending", decided: float | None = None
) -> UUID:
    """A submission made and decided so many days ago."""
    found: UUID = await ledger.scheduler.connection.fetchval(
        "insert into moderation_queue (url, title, submitted_by, status, created_at, moderated_at, moderator_notes)"
        " values ('https://example.org/a', 'A page', $1, $2, $3, $4, 'too short') returning id",
        user,
        status,
        days_ago(made),
        days_ago(decided) if decided is not None else None,
    )
    return found


async def plan(ledger: Ledger, **given: Any) -> dict[str, int]:
    wanted = {
        "job": ledger.job,
        "fence": ledger.fence,
        "look_back_days": 30,
        "first_look_back_days": 7,
        "limit": 1000,
        "email_types": TYPES,
        "preference": "submission_updates",
        **given,
    }
    answer: dict[str, int] = await ledger.scheduler.call("plan_submission_mails", **wanted)
    return answer


async def keys(ledger: Ledger) -> list[str]:
    rows = await ledger.scheduler.connection.fetch("select dedupe_key from email_deliveries order by id")
    return [row[0] for row in rows]


async def test_each_event_of_a_submission_is_planned_once(ledger: Ledger) -> None:
    user = await make_user(ledger.scheduler)
    fresh = await submit(ledger, user, made=0.1)
    approved = await submit(ledger, user, made=3, status="approved", decided=1)
    rejected = await submit(ledger, user, made=2, status="rejected", decided=0.5)
    await submit(ledger, None)  # nobody to tell
    assert await plan(ledger) == {"planned": 5, "skipped": 0}
    # In the order in which things happened.
    assert await keys(ledger) == [
        f"submission_notifications:{approved}:received",
        f"submission_notifications:{rejected}:received",
        f"submission_notifications:{approved}:approved",
        f"submission_notifications:{rejected}:rejected",
        f"submission_notifications:{fresh}:received",
    ]
    assert await plan(ledger) == {"planned": 0, "skipped": 0}
    await ledger.scheduler.connection.execute(
        "update moderation_queue set status = 'approved', moderated_at = now() where id = $1", fresh
    )
    assert await plan(ledger) == {"planned": 1, "skipped": 0}


async def test_a_rejection_says_why_and_nothing_else_does(ledger: Ledger) -> None:
    user = await make_user(ledger.scheduler)
    await submit(ledger, user, made=1, status="rejected", decided=0.5)
    await plan(ledger)
    rows = await ledger.scheduler.connection.fetch("select email_type, data from email_deliveries order by id")
    assert [(row["email_type"], row["data"]) for row in rows] == [
        ("submission-received", {"submissionTitle": "A page", "submissionUrl": "https://example.org/a"}),
        (
            "submission-rejected",
            {"submissionTitle": "A page", "submissionUrl": "https://example.org/a", "reason": "too short"},
        ),
    ]


async def test_the_first_run_looks_back_a_week_and_later_ones_never_behind_it(ledger: Ledger) -> None:
    user = await make_user(ledger.scheduler)
    await submit(ledger, user, made=8)
    young = await submit(ledger, user, made=6.9)
    assert (await plan(ledger))["planned"] == 1
    # Not the one of 8 days ago either, though the look-back is 30 days from now on.
    assert (await plan(ledger))["planned"] == 0
    assert await keys(ledger) == [f"submission_notifications:{young}:received"]


async def test_with_a_history_the_look_back_is_thirty_days(ledger: Ledger) -> None:
    await ledger.scheduler.connection.execute(
        "insert into mail_jobs values ('submission_notifications', now() - interval '1 year')"
    )
    user = await make_user(ledger.scheduler)
    await submit(ledger, user, made=31)
    await submit(ledger, user, made=29)
    # Submitted long ago and decided today.
    await submit(ledger, user, made=200, status="approved", decided=0)
    assert (await plan(ledger))["planned"] == 2


@pytest.mark.parametrize(
    ("user", "reason"),
    [
        ({"preferences": {"submission_updates": False}}, "opted out"),
        ({"preferences": {"unsubscribed_all": True}}, "unsubscribed from all mail"),
        ({"deleted": True}, "the user is deleted"),
        ({"email": None}, "the user has no address"),
    ],
)
async def test_who_may_not_be_mailed_is_skipped_for_good(ledger: Ledger, user: dict[str, Any], reason: str) -> None:
    await submit(ledger, await make_user(ledger.scheduler, **user))
    assert await plan(ledger) == {"planned": 0, "skipped": 1}
    row = await ledger.scheduler.connection.fetchrow("select status, reason, data from email_deliveries")
    assert row is not None
    assert tuple(row) == ("skipped", reason, None)
    assert await plan(ledger) == {"planned": 0, "skipped": 0}


async def test_pages_go_on_where_the_last_one_ended(ledger: Ledger) -> None:
    user = await make_user(ledger.scheduler)
    await ledger.scheduler.connection.execute(
        "insert into moderation_queue (url, submitted_by) select 'https://example.org/' || n, $1"
        " from generate_series(1, 1100) n",
        user,
    )
    assert [(await plan(ledger, limit=1000))["planned"] for _ in range(3)] == [1000, 100, 0]


async def test_a_report_that_is_decided_is_told_to_whoever_made_it(ledger: Ledger) -> None:
    user = await make_user(ledger.scheduler)
    sql = ledger.scheduler.connection
    discovery = await sql.fetchval(
        "insert into discoveries (url, title) values ('https://example.org/b', 'B') returning id"
    )
    made = {}
    for status in ("pending", "resolved", "dismissed"):
        made[status] = await sql.fetchval(
            "insert into content_reports (discovery_id, reported_by, reason, status, resolved_at, resolution_notes)"
            " values ($1, $2, 'spam', $3, now(), 'thank you') returning id",
            discovery,
            user,
            status,
        )
    wanted = {
        "job": ledger.job,
        "fence": ledger.fence,
        "look_back_days": 30,
        "first_look_back_days": 7,
        "limit": 1000,
        "email_type": "moderation-update",
        "preference": "account_notifications",
    }
    assert await ledger.scheduler.call("plan_moderation_mails", **wanted) == {"planned": 2, "skipped": 0}
    assert await ledger.scheduler.call("plan_moderation_mails", **wanted) == {"planned": 0, "skipped": 0}
    rows = await sql.fetch("select dedupe_key, data from email_deliveries")
    assert {row["dedupe_key"]: row["data"] for row in rows} == {
        f"moderation_updates:{made[outcome]}:{outcome}": {
            "contentTitle": "B",
            "contentUrl": "https://example.org/b",
            "reportReason": "spam",
            "outcome": outcome,
            "notes": "thank you",
        }
        for outcome in ("resolved", "dismissed")
    }
