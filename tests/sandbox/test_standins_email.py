"""The mail stand-in: what it queues and what it refuses."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx
import pytest

from sandbox import seed
from sandbox.standins.people import PLAIN_USER
from tests.sandbox import standin_mail, standins_database
from tests.sandbox.standin_mail import MAIL, send
from tests.sandbox.standin_process import running

site_database = standins_database.site_database
queue = standin_mail.queue

SENT = "select count(*) from email_queue where status = 'sent'"


@pytest.fixture(scope="module")
async def intake(site_database: str) -> AsyncIterator[str]:
    """A mail service that only queues."""
    with running("email", DATABASE_URL=site_database, EMAIL_DRAIN_PER_MINUTE="0") as email:
        yield email.url


async def test_an_accepted_mail_is_queued_not_sent(intake: str, queue: seed.Connection) -> None:
    answer = await send(intake, MAIL)
    assert answer.status_code == 201
    assert answer.json().keys() == {"success", "emailId", "message"}
    row = await queue.fetchrow("select * from email_queue where id = $1", UUID(answer.json()["emailId"]))
    assert row is not None
    assert (row["user_id"], row["email_type"], row["status"]) == (PLAIN_USER.user_id, MAIL["emailType"], "pending")
    assert row["recipient_email"] == MAIL["recipientEmail"]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"userId": "00000000-0000-0000-0000-000000000000"}, 400),  # version 0
        ({"userId": "6f1c9a34-52d7-4c1e-1b60-3d1f0a7be002"}, 400),  # not the RFC variant
        ({"userId": "{6f1c9a34-52d7-4c1e-9b60-3d1f0a7be002}"}, 400),
        ({"userId": "user_2abc"}, 400),
        ({"userId": "6f1c9a34-52d7-4c1e-9b60-3d1f0a7be0ff"}, 500),  # nobody's
        ({"emailType": 7}, 400),
        ({"emailType": "anything"}, 201),
        ({"recipientEmail": "peter@localhost"}, 400),
        ({"recipientEmail": "peter@reader.e"}, 400),
        ({"recipientEmail": "peter reader@a.example"}, 400),
        ({"recipientEmail": "peter+tag@mail.reader.example"}, 201),
        ({"templateData": None}, 400),
        ({"templateData": []}, 400),
        ({"templateData": {}}, 201),
        ({"scheduledAt": "2027-01-01T09:00:00Z"}, 201),
        ({"scheduledAt": "2027-01-01T09:00:00.000Z"}, 201),
        ({"scheduledAt": "2027-01-01T09:00:00+00:00"}, 400),
        ({"scheduledAt": "2027-13-01T09:00:00Z"}, 400),
        ({"scheduledAt": None}, 400),
    ],
)
async def test_refusals_are_those_of_the_service(
    intake: str, queue: seed.Connection, change: dict[str, Any], status: int
) -> None:
    answer = await send(intake, MAIL | change)
    assert answer.status_code == status
    if status == 400:
        assert answer.json() == {"success": False, "error": "Invalid request data"}
    assert answer.json()["success"] is (status == 201)


async def test_a_body_that_is_no_object_is_refused(intake: str) -> None:
    assert (await send(intake, ["mail"])).status_code == 400


@pytest.mark.parametrize(("honours", "rows"), [("0", 6), ("1", 1)])
async def test_idempotency_keys_count_only_where_they_are_honoured(
    site_database: str, queue: seed.Connection, honours: str, rows: int
) -> None:
    settings = {"DATABASE_URL": site_database, "EMAIL_DRAIN_PER_MINUTE": "0", "EMAIL_HONOURS_IDEMPOTENCY": honours}
    with running("email", **settings) as email:
        first = await send(email.url, MAIL, **{"idempotency-key": "a"})
        again = await asyncio.gather(*(send(email.url, MAIL, **{"idempotency-key": "a"}) for _ in range(5)))
    assert {answer.status_code for answer in (first, *again)} == {201}
    assert len({answer.json()["emailId"] for answer in (first, *again)}) == rows
    assert await queue.fetchval("select count(*) from email_queue") == rows


async def test_a_dropped_answer_has_queued_the_mail(intake: str, queue: seed.Connection) -> None:
    async with httpx.AsyncClient(base_url=intake, trust_env=False) as client:
        await client.put("/__faults", json={"fault": "drop", "times": 1})
        with pytest.raises(httpx.RemoteProtocolError):
            await client.post("/api/send", json=MAIL)
    assert await queue.fetchval("select count(*) from email_queue") == 1


async def test_the_queue_drains_at_its_rate(site_database: str, queue: seed.Connection) -> None:
    with running("email", DATABASE_URL=site_database, EMAIL_DRAIN_PER_MINUTE="600") as email:
        await asyncio.gather(*(send(email.url, MAIL) for _ in range(60)))
        before = await queue.fetchval(SENT)
        await asyncio.sleep(2)
        sent = await queue.fetchval(SENT) - before
    assert 10 <= sent <= 35  # 10 a second, and at most one second's worth saved up
