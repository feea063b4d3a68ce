"""Tells people who reported content what was decided about it: resolved or dismissed.

When: every hour. Reads: content_reports, discoveries, users, email_preferences. Writes: our mail ledger; the mail
service queues the mails.

Safe to run twice, beside itself and to be killed: an event is planned once by its key in the ledger, and a planned mail
is sent once (flows/core/mailing.py).
"""

from __future__ import annotations

from datetime import timedelta

from prefect import get_run_logger
from pydantic import BaseModel, ConfigDict, Field

from flows.core import deliveries, events, mailing
from flows.core.domain import JobResult, JobType
from flows.core.job import job, job_id_of_run
from flows.core.settings import settings

PREFERENCE = "account_notifications"


class Parameters(BaseModel):
    model_config = ConfigDict(extra="forbid")

    look_back_days: int = Field(30, ge=1, le=90, description="How many days back decisions are looked for.")


@job(JobType.MODERATION_UPDATES, max_run_time=timedelta(minutes=10))
async def moderation_updates(parameters: Parameters) -> JobResult:
    """Send Moderation Updates.

    Mails whoever reported content that has been resolved or dismissed since the last run.
    """
    email_type = settings().moderation_email_type
    await deliveries.follow(JobType.MODERATION_UPDATES)
    planned = await events.plan(
        "plan_moderation_mails", parameters.look_back_days, email_type=email_type, preference=PREFERENCE
    )
    get_run_logger().info("%s mails planned about reports", planned)
    which = mailing.Mailing(JobType.MODERATION_UPDATES, mailing.EVENTS, {email_type: (PREFERENCE, False)})
    stopped = await mailing.send_all(which, events.compose, expected=planned)
    return mailing.result(await deliveries.counts(jobs=[job_id_of_run()]), stopped)
