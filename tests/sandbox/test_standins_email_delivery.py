"""The mail stand-in's queue: what becomes of an accepted mail."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest

from sandbox import seed
from tests.sandbox import standin_mail, standins_database
from tests.sandbox.standin_mail import MAIL, send
from tests.sandbox.standin_process import running

site_database = standins_database.site_database
queue = standin_mail.queue


async def ended(queue: seed.Connection, email_id: str) -> tuple[str, str | None]:
    """A mail's last status and its error, once it is no longer pending."""
    for _ in range(100):
        row = await queue.fetchrow("select * from email_queue where id = $1", UUID(email_id))
        assert row is not None
        if row["status"] != "pending":
            assert row["attempts"] == 1
            assert (row["sent_at"] is not None) == (row["status"] == "sent")
            return row["status"], row["error_message"]
        await asyncio.sleep(0.1)
    raise AssertionError("the mail stayed pending")


@pytest.fixture(scope="module")
async def draining(site_database: str) -> AsyncIterator[str]:
    with running("email", DATABASE_URL=site_database, EMAIL_DRAIN_PER_MINUTE="6000") as email:
        yield email.url


DIGEST = MAIL | {"emailType": "weekly-trending", "templateData": {"discoveries": []}}


@pytest.mark.parametrize(
    ("mail", "preferences", "expected"),
    [
        (MAIL, {}, ("sent", None)),
        (MAIL, None, ("sent", None)),  # never chose: submission mails are allowed
        (MAIL, {"submission_updates": False}, ("failed", "User opted out")),
        (MAIL, {"unsubscribed_all": True}, ("failed", "User opted out")),
        (MAIL | {"emailType": "moderation-update"}, {"account_notifications": False}, ("failed", "User opted out")),
        (MAIL | {"emailType": "moderation-update"}, {"submission_updates": False}, ("sent", None)),
        (DIGEST, {}, ("sent", None)),
        (DIGEST, None, ("failed", "User opted out")),  # never chose: no weekly mail
        (DIGEST, {"weekly_trending": False}, ("failed", "User opted out")),
        (DIGEST | {"templateData": {}}, {}, ("failed", "Template rendering failed")),
        (MAIL | {"emailType": "birthday"}, {}, ("failed", "No template for this email type")),
    ],
)
async def test_preferences_decide_again_at_delivery(
    draining: str,
    queue: seed.Connection,
    mail: dict[str, Any],
    preferences: dict[str, bool] | None,
    expected: tuple[str, str | None],
) -> None:
    mine = "where user_id = '6f1c9a34-52d7-4c1e-9b60-3d1f0a7be002'"
    if preferences is None:
        await queue.execute(f"delete from email_preferences {mine}")
    for name, value in (preferences or {}).items():
        await queue.execute(f"update email_preferences set {name} = {value} {mine}")
    answer = await send(draining, mail)
    assert await ended(queue, answer.json()["emailId"]) == expected


async def test_a_mail_for_later_waits(draining: str, queue: seed.Connection) -> None:
    later = (await send(draining, MAIL | {"scheduledAt": "2999-01-01T00:00:00Z"})).json()["emailId"]
    now = (await send(draining, MAIL)).json()["emailId"]
    assert await ended(queue, now) == ("sent", None)
    assert await queue.fetchval("select status from email_queue where id = $1", UUID(later)) == "pending"
