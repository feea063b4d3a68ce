"""Mails about something that happened: planned where the ledger has none yet, filled with what was planned."""

from __future__ import annotations

from typing import Any

from prefect import task

from flows.clients import database
from flows.core.deliveries import Claimed
from flows.core.lease import under_lease
from flows.core.mailing import Skip
from flows.core.retries import HTTP_READ

FIRST_LOOK_BACK_DAYS = 7  # a job type's first run does not mail about a month that nobody expects mails about
PAGE = 1000


@task(**HTTP_READ, name="plan mails")
async def plan(function: str, look_back_days: int, **given: Any) -> int:
    """Plans a mail for each new event with an SQL function of the ledger; how many were planned."""
    total = 0
    while True:
        made = await database.patient_rpc(
            function,
            **under_lease(),
            look_back_days=look_back_days,
            first_look_back_days=FIRST_LOOK_BACK_DAYS,
            limit=PAGE,
            **given,
        )
        total += int(made["planned"])
        if not made["planned"] and not made["skipped"]:
            return total


def template_data(mail: Claimed) -> dict[str, Any]:
    """What a mail says: what had happened when it was planned, and the reader's first name."""
    return {**mail.data, "firstName": mail.first_name} if mail.first_name else mail.data


async def compose(mails: list[Claimed]) -> list[dict[str, Any] | Skip]:
    """The template data of each mail."""
    return [template_data(mail) for mail in mails]
