"""The mail ledger: what is claimed is mailed once, and what is in doubt is settled by what the mail service has."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from tests.database.conftest import Scheduler
from tests.database.mails import DIGEST, WEEK, Ledger, make_user, plan

WANTS: dict[str, bool] = {}


@pytest.fixture
async def ledger(scheduler: Scheduler) -> Ledger:
    await scheduler.connection.execute("truncate public.email_deliveries, public.mail_jobs; truncate users cascade")
    return await Ledger.of_a_new_job(scheduler)


async def planned(ledger: Ledger, count: int = 1) -> list[int]:
    return [await plan(ledger.scheduler, await make_user(ledger.scheduler, preferences=WANTS)) for _ in range(count)]


def sent(mail: int) -> dict[str, Any]:
    return {"id": mail, "outcome": "sent", "emailId": str(uuid4())}


async def test_a_claim_tells_whom_to_mail_and_marks_the_mail_before_it_is_handed_over(ledger: Ledger) -> None:
    (mail,) = await planned(ledger)
    (claimed,) = await ledger.claim()
    assert claimed["id"] == mail
    assert (claimed["recipient"], claimed["firstName"], claimed["emailType"]) == (
        "somebody@reader.example",
        "Mia",
        DIGEST,
    )
    row = await ledger.row(mail)
    assert (row["status"], row["job_id"], row["fence"], row["attempts"]) == ("sending", ledger.job, ledger.fence, 1)
    assert await ledger.claim() == []


async def test_the_same_call_again_gets_the_same_mails(ledger: Ledger) -> None:
    await planned(ledger, 3)
    first = await ledger.claim(2, round=77)
    assert await ledger.claim(2, round=77) == first
    assert (await ledger.statuses()) == {"sending": 2, "planned": 1}


@pytest.mark.parametrize(
    ("user", "reason"),
    [
        ({"preferences": None}, "not opted in"),  # no row: never chose
        ({"preferences": {"weekly_trending": False}}, "not opted in"),
        ({"preferences": {"unsubscribed_all": True}}, "unsubscribed from all mail"),
        ({"preferences": WANTS, "deleted": True}, "the user is deleted"),
        ({"preferences": WANTS, "email": None}, "the user has no address"),
        ({"preferences": WANTS, "email": "  "}, "the user has no address"),
    ],
)
async def test_consent_is_checked_again_in_the_claim(ledger: Ledger, user: dict[str, Any], reason: str) -> None:
    mail = await plan(ledger.scheduler, await make_user(ledger.scheduler, **user), data={"submissionTitle": "x"})
    answer = await ledger.exchange()
    assert (answer["claimed"], answer["looked_at"], answer["refused"]) == ([], 1, 1)
    row = await ledger.row(mail)
    assert (row["status"], row["reason"], row["attempts"], row["data"]) == ("skipped", reason, 0, None)


@pytest.mark.parametrize(
    ("preferences", "status"), [(None, "sending"), ({}, "sending"), ({"submission_updates": False}, "skipped")]
)
async def test_where_no_choice_is_a_yes_only_a_no_counts(
    ledger: Ledger, preferences: dict[str, bool] | None, status: str
) -> None:
    user = await make_user(ledger.scheduler, preferences=preferences)
    mail = await plan(ledger.scheduler, user, email_type="submission-approved")
    await ledger.exchange(preferences={"submission-approved": ["submission_updates", False]})
    assert (await ledger.row(mail))["status"] == status


async def test_two_runs_at_once_never_claim_the_same_mail(ledger: Ledger, another: Scheduler) -> None:
    await planned(ledger, 60)
    other = await Ledger.of_a_new_job(another)

    async def drain(one: Ledger) -> list[int]:
        found: list[int] = []
        while claimed := await one.claim(7):
            found += [mail["id"] for mail in claimed]
        return found

    mine, theirs = await asyncio.gather(drain(ledger), drain(other))
    assert len(mine) + len(theirs) == len(set(mine + theirs)) == 60


async def test_a_user_has_one_mail_of_a_type_under_way_at_a_time(ledger: Ledger, another: Scheduler) -> None:
    """Otherwise a row in email_queue could be either's."""
    user = await make_user(ledger.scheduler, preferences=WANTS)
    first, second = await plan(ledger.scheduler, user, key="a"), await plan(ledger.scheduler, user, key="b")
    assert [mail["id"] for mail in await ledger.claim()] == [first]
    other = await Ledger.of_a_new_job(another)
    assert await other.claim() == []
    await ledger.record(sent(first))
    assert [mail["id"] for mail in await other.claim()] == [second]


async def test_outcomes_are_written_once_and_only_by_whoever_has_the_mail(ledger: Ledger, another: Scheduler) -> None:
    mail, refused, nothing, given_back = await planned(ledger, 4)
    await ledger.claim()
    other = await Ledger.of_a_new_job(another)
    await other.record({"id": mail, "outcome": "failed", "reason": "not mine"})
    outcomes = [
        sent(mail),
        {"id": refused, "outcome": "failed", "reason": "email answered 400"},
        {"id": nothing, "outcome": "skipped", "reason": "nothing to recommend"},
        {"id": given_back, "outcome": "unsent"},
    ]
    await ledger.record(*outcomes)
    await ledger.record({**outcomes[0], "emailId": str(uuid4())}, *outcomes[1:])
    assert await ledger.statuses() == {"sent": 1, "failed": 1, "skipped": 1, "planned": 1}
    assert (await ledger.row(mail))["email_id"] == UUID(outcomes[0]["emailId"])
    assert [(await ledger.row(one))["attempts"] for one in (mail, refused, nothing, given_back)] == [1, 1, 0, 0]


async def test_what_was_given_back_is_found_from_the_beginning_again(ledger: Ledger) -> None:
    first, second = await planned(ledger, 2)
    answer = await ledger.exchange(limit=1)
    assert (answer["last"], answer["looked_at"]) == (first, 1)
    answer = await ledger.exchange([{"id": first, "outcome": "unsent"}], after=first, limit=1)
    assert [mail["id"] for mail in answer["claimed"]] == [second]
    answer = await ledger.exchange(after=second, limit=1)
    assert (answer["last"], answer["looked_at"]) == (second, 0)
    assert [mail["id"] for mail in await ledger.claim(after=0)] == [first]


async def test_without_the_lease_nothing_is_claimed_or_recorded(ledger: Ledger) -> None:
    (mail,) = await planned(ledger)
    await ledger.claim()
    await ledger.scheduler.age_lease(ledger.job, 91)
    for call in (ledger.record(sent(mail)), ledger.claim(), ledger.settle()):
        with pytest.raises(asyncpg.PostgresError) as refusal:
            await call
        assert refusal.value.sqlstate == "SJ001"
    assert (await ledger.row(mail))["status"] == "sending"


async def died(ledger: Ledger, another: Scheduler) -> Ledger:
    """The job of `ledger` is over; the ledger in the hands of the next one."""
    await ledger.scheduler.call(
        "bury_job", flow_run_id=ledger.job, worker="another worker", reason="killed", by_itself=False, cancelled=False
    )
    return await Ledger.of_a_new_job(another)


async def test_in_doubt_and_queued_means_sent(ledger: Ledger, another: Scheduler) -> None:
    (mail,) = await planned(ledger)
    (claimed,) = await ledger.claim()
    email = await ledger.queue(UUID(claimed["userId"]))
    heir = await died(ledger, another)
    await ledger.age_claims(60)
    # The queue's row is as old as the call was.
    await ledger.scheduler.connection.execute("update email_queue set created_at = created_at - interval '59 seconds'")
    assert await heir.settle() == {"sent": 1, "planned": 0, "failed": 0, "unknown": 0, "waiting": 0}
    row = await ledger.row(mail)
    assert (row["status"], row["email_id"]) == ("sent", email)


async def test_in_doubt_and_not_queued_means_planned_again(ledger: Ledger, another: Scheduler) -> None:
    (mail,) = await planned(ledger)
    (claimed,) = await ledger.claim()
    await ledger.queue(UUID(claimed["userId"]), email_type="welcome")  # another type is no proof
    heir = await died(ledger, another)
    assert await heir.settle() == {"sent": 0, "planned": 0, "failed": 0, "unknown": 0, "waiting": 1}
    await ledger.age_claims(59)
    assert (await heir.settle())["waiting"] == 1  # not before twice the call's time-out
    await ledger.age_claims(1.5)
    assert (await heir.settle())["planned"] == 1
    assert (await ledger.row(mail))["attempts"] == 0  # a death is no attempt
    assert [one["id"] for one in await heir.claim()] == [mail]


async def test_a_queue_row_proves_one_mail_only(ledger: Ledger, another: Scheduler) -> None:
    user = await make_user(ledger.scheduler, preferences=WANTS)
    first = await plan(ledger.scheduler, user, key="a")
    await ledger.claim()
    email = await ledger.queue(user)
    await ledger.record({"id": first, "outcome": "sent", "emailId": str(email)})
    second = await plan(ledger.scheduler, user, key="b")
    await ledger.claim()
    heir = await died(ledger, another)
    await ledger.age_claims(61)
    assert (await heir.settle())["planned"] == 1
    assert (await ledger.row(second))["status"] == "planned"


async def test_with_an_idempotent_service_it_is_sent_again_at_once(ledger: Ledger, another: Scheduler) -> None:
    await planned(ledger)
    (first,) = await ledger.claim()
    heir = await died(ledger, another)
    assert (await heir.settle(idempotent=True))["planned"] == 1
    (again,) = await heir.claim()
    assert again["dedupeKey"] == first["dedupeKey"]


@pytest.mark.parametrize("how", ["by setting", "no such table", "no such column"])
async def test_where_the_queue_cannot_be_read_it_is_unknown_and_never_sent_again(
    ledger: Ledger, another: Scheduler, how: str
) -> None:
    (mail,) = await planned(ledger)
    await ledger.claim()
    heir = await died(ledger, another)
    await ledger.age_claims(61)
    hide, show = {
        "by setting": ("select 1", "select 1"),
        "no such table": ("alter table email_queue rename to hidden", "alter table hidden rename to email_queue"),
        "no such column": (
            "alter table email_queue rename created_at to made_at",
            "alter table email_queue rename made_at to created_at",
        ),
    }[how]
    await ledger.scheduler.connection.execute(hide)
    try:
        assert (await heir.settle(readable=how != "by setting"))["unknown"] == 1
    finally:
        await ledger.scheduler.connection.execute(show)
    assert (await ledger.row(mail))["status"] == "unknown"
    assert await heir.claim() == []
    counts = await ledger.scheduler.call("delivery_counts", key_prefix=f"weekly_digest:{WEEK}:")
    assert (counts["unknown"], counts["unanswered"]) == (1, 1)
    assert counts["errors"] == [f"mail {mail} unknown: no answer came, and email_queue cannot be read"]


async def test_what_a_living_job_has_is_left_to_it(ledger: Ledger, another: Scheduler) -> None:
    (mail,) = await planned(ledger)
    await ledger.claim()
    await ledger.record({"id": mail, "outcome": "lost", "reason": "no answer"})
    await ledger.age_claims(61)
    other = await Ledger.of_a_new_job(another)
    assert await other.settle() == {"sent": 0, "planned": 0, "failed": 0, "unknown": 0, "waiting": 0}
    assert (await ledger.settle())["planned"] == 1


async def test_after_three_lost_answers_and_no_mail_it_has_failed(ledger: Ledger) -> None:
    (mail,) = await planned(ledger)
    for attempt in (1, 2, 3):
        assert [one["id"] for one in await ledger.claim()] == [mail]
        await ledger.record({"id": mail, "outcome": "lost", "reason": "no answer"})
        await ledger.age_claims(61)
        assert (await ledger.settle())["failed" if attempt == 3 else "planned"] == 1
    row = await ledger.row(mail)
    assert (row["status"], row["reason"]) == ("failed", "no answer in 3 attempts")


async def test_delivery_is_followed_to_its_end(ledger: Ledger) -> None:
    mails = await planned(ledger, 3)
    for claimed, status in zip(await ledger.claim(), ("sent", "failed", "pending"), strict=True):
        error = "550 <somebody@reader.example> unknown" if status == "failed" else None
        email = await ledger.queue(UUID(claimed["userId"]), status, error=error)
        await ledger.record({"id": claimed["id"], "outcome": "sent", "emailId": str(email)})
    followed = {"job": ledger.job, "fence": ledger.fence, "job_type": "weekly_digest", "after": 0, "limit": 2}
    first = await ledger.scheduler.call("follow_deliveries", **followed)
    assert first == {"next": mails[1], "delivered": 1, "failed": 1}
    assert (await ledger.scheduler.call("follow_deliveries", **{**followed, "after": mails[1]}))["next"] is None
    delivered, failed, queued = [await ledger.row(mail) for mail in mails]
    assert (delivered["status"], delivered["delivered_at"] is not None) == ("sent", True)
    assert (failed["status"], failed["reason"]) == ("failed", "not delivered: 550 <[address]> unknown")
    assert (queued["status"], queued["delivered_at"]) == ("sent", None)
    counts = await ledger.scheduler.call("delivery_counts", key_prefix=None, jobs=[ledger.job])
    assert {name: counts[name] for name in ("queued", "delivered", "failed", "unanswered")} == {
        "queued": 2,
        "delivered": 1,
        "failed": 1,
        "unanswered": 0,
    }


async def test_counts_are_of_one_week_and_not_of_the_next(ledger: Ledger) -> None:
    user = await make_user(ledger.scheduler, preferences=WANTS)
    for week in ("2026-W47", "2026-W48", "2026-W49", "2026-W4"):
        await plan(ledger.scheduler, user, key=f"weekly_digest:{week}:{user}")
    counts = await ledger.scheduler.call("delivery_counts", key_prefix="weekly_digest:2026-W48:")
    assert counts["planned"] == 1


async def test_a_preference_that_is_no_column_is_refused(ledger: Ledger) -> None:
    with pytest.raises(asyncpg.PostgresError, match="no boolean column wekly_trending"):
        await ledger.scheduler.connection.execute("select public.check_preference('wekly_trending')")
    await ledger.scheduler.connection.execute("select public.check_preference('weekly_trending')")
