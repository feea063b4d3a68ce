"""Tells people what has become of the pages they submitted: received, approved or rejected.

When: every 10 minutes. Reads: moderation_queue, users, email_preferences. Writes: our mail ledger; the mail service
queues the mails.

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

PREFERENCE = "submission_updates"


class Parameters(BaseModel):
    model_config = ConfigDict(extra="forbid")

    look_back_days: int = Field(30, ge=1, le=90, description="How many days back events are looked for.")


def email_types() -> dict[str, str]:
    """The mail type of each event."""
    return {
        "received": settings().submission_received_email_type,
        "approved": settings().submission_approved_email_type,
        "rejected": settings().submission_rejected_email_type,
    }


@job(JobType.SUBMISSION_NOTIFICATIONS, max_run_time=timedelta(minutes=10))
async def submission_notifications(parameters: Parameters) -> JobResult:
    """Send Submission Notifications.

    Mails submitters whose page was received, approved or rejected since the last run.
    """
    await deliveries.follow(JobType.SUBMISSION_NOTIFICATIONS)
    planned = await events.plan(
        "plan_submission_mails", parameters.look_back_days, email_types=email_types(), preference=PREFERENCE
    )
    get_run_logger().info("%s mails planned about submissions", planned)
    preferences = dict.fromkeys(email_types().values(), (PREFERENCE, False))
    which = mailing.Mailing(JobType.SUBMISSION_NOTIFICATIONS, mailing.EVENTS, preferences)
    stopped = await mailing.send_all(which, events.compose, expected=planned)
    return mailing.result(await deliveries.counts(jobs=[job_id_of_run()]), stopped)
