"""What the tests of the mail stand-in share: a mail it takes, a database with people, a call."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import pytest

from sandbox import seed
from sandbox.standins.people import PLAIN_USER

MAIL = {
    "userId": str(PLAIN_USER.user_id),
    "emailType": "submission-received",
    "recipientEmail": "peter@reader.example",
    "templateData": {"submissionTitle": "T", "submissionUrl": "https://a.example"},
}


@pytest.fixture
async def queue(site_database: str) -> AsyncIterator[seed.Connection]:
    connection = await asyncpg.connect(site_database)
    await connection.execute("truncate users cascade")
    await seed.seed_people(connection)
    yield connection
    await connection.close()


async def send(url: str, mail: Any, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.post(f"{url}/api/send", json=mail, headers=headers)
