"""Mails about submissions and reports, through the whole stack: each once, whatever happens on the way."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

from tests.e2e.harness import Admin, Job, until


async def submit(admin: Admin, count: int) -> None:
    """So many fresh submissions, each by a reader of their own."""
    await admin.sql.execute(
        "with made as (insert into users (clerk_user_id, email, full_name)"
        "  select 'user_' || n, 'reader' || n || '@reader.example', 'Reader ' || n from generate_series(1, $1) n"
        "  returning id, clerk_user_id)"
        " insert into moderation_queue (url, title, submitted_by)"
        " select 'https://example.org/' || clerk_user_id, 'Page', id from made",
        count,
    )


async def run(admin: Admin, job_type: str = "submission_notifications", seconds: float = 60) -> Job:
    accepted = await admin.http.post("/api/jobs/trigger", json={"jobType": job_type})
    return await admin.wait(accepted.raise_for_status().json()["id"], seconds=seconds)


async def queued(admin: Admin) -> dict[str, int]:
    """How many mails of each type the mail service has."""
    rows = await admin.sql.fetch("select email_type, count(*) from email_queue group by 1")
    return {row[0]: row[1] for row in rows}


async def most_for_one(admin: Admin) -> int:
    found: int = await admin.sql.fetchval(
        "select coalesce(max(n), 0) from (select count(*) as n from email_queue group by user_id, email_type) q"
    )
    return found


async def test_each_event_is_mailed_once(admin: Admin) -> None:
    await submit(admin, 30)
    await admin.sql.execute("update moderation_queue set status = 'approved', moderated_at = now()")
    first = await run(admin)
    assert first["status"] == "completed", first
    assert first["result"]["itemsProcessed"] == 60
    assert {name: first["result"]["details"][name] for name in ("queued", "failed", "skipped", "unknown")} == {
        "queued": 60,
        "failed": 0,
        "skipped": 0,
        "unknown": 0,
    }
    second = await run(admin)
    assert (second["status"], second["result"]["itemsProcessed"]) == ("completed", 0)
    assert await queued(admin) == {"submission-received": 30, "submission-approved": 30}
    assert await most_for_one(admin) == 1
    sent = await admin.sql.fetchrow(
        "select m.template_data::text as data, q.recipient_email from mail_standin.mails m"
        " join email_queue q on q.id = m.email_id where q.email_type = 'submission-approved' limit 1"
    )
    assert sent is not None
    assert '"submissionTitle": "Page"' in sent["data"]
    assert '"firstName": "Reader"' in sent["data"]
    # Nobody's address is kept or shown anywhere.
    rows = await admin.sql.fetch(
        "select row_to_json(j)::text from scheduled_jobs j union all"
        " select row_to_json(e)::text from email_deliveries e"
    )
    assert not any("@reader.example" in row[0] for row in rows)


async def test_a_decided_report_is_told_to_whoever_made_it(admin: Admin) -> None:
    await submit(admin, 3)
    await admin.sql.execute(
        "with page as (insert into discoveries (url, title) values ('https://example.org/b', 'B') returning id)"
        " insert into content_reports (discovery_id, reported_by, reason, status, resolved_at)"
        " select page.id, u.id, 'spam', 'dismissed', now() from page, users u"
    )
    job = await run(admin, "moderation_updates")
    assert (job["status"], job["result"]["details"]["queued"]) == ("completed", 3)
    assert await queued(admin) == {"moderation-update": 3}


async def test_answers_that_are_lost_after_the_mail_was_queued_make_no_second_one(admin: Admin) -> None:
    await submit(admin, 60)
    await admin.fault("email", "drop", times=9)
    job = await run(admin)
    assert (job["status"], job["result"]["details"]["queued"]) == ("completed", 60)
    assert await queued(admin) == {"submission-received": 60}
    assert await most_for_one(admin) == 1


async def test_calls_that_are_never_answered_are_made_again(admin: Admin) -> None:
    await submit(admin, 60)
    await admin.fault("email", "hang", times=9)
    job = await run(admin)
    assert (job["status"], job["result"]["details"]["queued"]) == ("completed", 60)
    assert await queued(admin) == {"submission-received": 60}
    assert await most_for_one(admin) == 1


async def test_a_killed_run_leaves_nothing_out_and_nothing_twice(admin: Admin) -> None:
    await submit(admin, 500)
    await admin.fault("email", "slow", seconds=1)
    accepted = (await admin.http.post("/api/jobs/trigger", json={"jobType": "submission_notifications"})).json()

    async def under_way() -> Any:
        return await admin.sql.fetchval("select count(*) > 0 from email_deliveries where status = 'sending'")

    await until(under_way, seconds=30, what="mails are being sent")
    await asyncio.sleep(0.7)
    worker = (await admin.row(accepted["id"]))["locked_by"]
    os.kill(int(worker.rsplit("/", 1)[1]), signal.SIGKILL)
    assert (await admin.wait(accepted["id"]))["status"] == "failed"
    await admin.fault("email", None)
    job = await run(admin)
    assert job["status"] == "completed", job
    assert await queued(admin) == {"submission-received": 500}
    assert await most_for_one(admin) == 1
    assert await admin.sql.fetchval("select count(*) from email_deliveries where status <> 'sent'") == 0


async def test_a_mail_service_that_is_down_leaves_the_mails_planned(admin: Admin) -> None:
    await submit(admin, 30)
    await admin.fault("email", "503")
    job = await run(admin, seconds=120)
    assert job["status"] == "failed"
    assert job["error"].startswith("stopped, the rest is left planned for the next run: "), job["error"]
    assert job["result"]["details"]["leftPlanned"] == 30
    await admin.fault("email", None)
    assert (await run(admin))["result"]["details"]["queued"] == 30
    assert await most_for_one(admin) == 1


async def test_a_service_that_asks_for_quiet_gets_it(admin: Admin) -> None:
    await submit(admin, 30)
    await admin.fault("email", "429", times=3, seconds=2)
    job = await run(admin)
    assert (job["status"], job["result"]["details"]["queued"]) == ("completed", 30)
    assert await queued(admin) == {"submission-received": 30}


async def test_a_mail_the_service_cannot_deliver_shows_as_failed_later(admin: Admin) -> None:
    await submit(admin, 2)
    # The stand-in's drain delivers within a second; this one finds the reader gone.
    await admin.sql.execute("alter table email_queue add constraint for_this_test check (status <> 'sent') not valid")
    try:
        assert (await run(admin))["result"]["details"]["queued"] == 2
        await admin.sql.execute("update email_queue set status = 'failed', error_message = 'no such mailbox'")
    finally:
        await admin.sql.execute("alter table email_queue drop constraint for_this_test")
    await run(admin)
    rows = await admin.sql.fetch("select status, reason from email_deliveries")
    assert [tuple(row) for row in rows] == [("failed", "not delivered: no such mailbox")] * 2
