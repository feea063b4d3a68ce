"""Words for what tests of the mail ledger do: people who want mails, planned mails, claims and outcomes."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from tests.database.conftest import Scheduler

WEEK = "2026-W48"
DIGEST = "weekly-trending"
OPT_IN = {DIGEST: ["weekly_trending", True]}


class Ledger:
    """The ledger in the hands of one running job."""

    def __init__(self, scheduler: Scheduler, job: UUID, fence: int) -> None:
        self.scheduler = scheduler
        self.job = job
        self.fence = fence
        self.calls = 0

    @classmethod
    async def of_a_new_job(cls, scheduler: Scheduler) -> Ledger:
        job = await scheduler.accept(key=None, job_type="weekly_digest")
        taken = await scheduler.take(job)
        return cls(scheduler, job, taken["fence"])

    async def exchange(self, outcomes: list[dict[str, Any]] | None = None, **given: Any) -> dict[str, Any]:
        self.calls += 1
        wanted = {
            "job": self.job,
            "fence": self.fence,
            "job_type": "weekly_digest",
            "period": WEEK,
            "outcomes": outcomes or [],
            "after": 0,
            "limit": 100,
            "round": self.calls,
            "preferences": OPT_IN,
            **given,
        }
        answer: dict[str, Any] = await self.scheduler.call("exchange_deliveries", **wanted)
        return answer

    async def claim(self, limit: int = 100, **given: Any) -> list[dict[str, Any]]:
        claimed: list[dict[str, Any]] = (await self.exchange(limit=limit, **given))["claimed"]
        return claimed

    async def record(self, *outcomes: dict[str, Any]) -> None:
        await self.exchange(list(outcomes), limit=0)

    async def settle(self, **given: Any) -> dict[str, int]:
        wanted = {
            "job": self.job,
            "fence": self.fence,
            "job_type": "weekly_digest",
            "timeout_seconds": 30.0,
            "idempotent": False,
            "readable": True,
            "max_attempts": 3,
            "limit": 1000,
            **given,
        }
        answer: dict[str, int] = await self.scheduler.call("settle_deliveries", **wanted)
        return answer

    async def statuses(self) -> dict[str, int]:
        rows = await self.scheduler.connection.fetch("select status, count(*) from email_deliveries group by 1")
        return {row[0]: row[1] for row in rows}

    async def row(self, mail: int) -> dict[str, Any]:
        found = await self.scheduler.connection.fetchrow("select * from email_deliveries where id = $1", mail)
        assert found is not None
        return dict(found)

    async def age_claims(self, seconds: float) -> None:
        await self.scheduler.connection.execute(
            "update email_deliveries set claimed_at = claimed_at - make_interval(secs => $1),"
            " first_claimed_at = first_claimed_at - make_interval(secs => $1)",
            seconds,
        )

    async def queue(
        self, user: UUID, status: str = "pending", *, email_type: str = DIGEST, error: str | None = None
    ) -> UUID:
        """A row of the mail service's own queue, as its `POST /api/send` makes it."""
        found: UUID = await self.scheduler.connection.fetchval(
            "insert into email_queue (user_id, email_type, recipient_email, status, error_message)"
            " values ($1, $2, 'somebody@reader.example', $3, $4) returning id",
            user,
            email_type,
            status,
            error,
        )
        return found


async def make_user(
    scheduler: Scheduler,
    *,
    email: str | None = "somebody@reader.example",
    full_name: str | None = "Mia Reader",
    deleted: bool = False,
    preferences: dict[str, bool] | None = None,
) -> UUID:
    """A user; `preferences` None = never chose any."""
    user = uuid4()
    await scheduler.connection.execute(
        "insert into users (id, clerk_user_id, email, full_name, deleted_at)"
        " values ($1, $2, $3, $4, case when $5 then now() end)",
        user,
        f"user_{user.hex}",
        email,
        full_name,
        deleted,
    )
    if preferences is not None:
        await scheduler.connection.execute(
            "insert into email_preferences (user_id) values ($1)",
            user,
        )
        for column, chosen in preferences.items():
            await scheduler.connection.execute(
                f"update email_preferences set {column} = $2 where user_id = $1", user, chosen
            )
    return user


async def plan(
    scheduler: Scheduler, user: UUID, *, key: str | None = None, email_type: str = DIGEST, data: Any = None
) -> int:
    """A planned mail; its id in the ledger."""
    found: int = await scheduler.connection.fetchval(
        "insert into email_deliveries (dedupe_key, job_type, period, user_id, email_type, data)"
        " values ($1, 'weekly_digest', $2, $3, $4, $5) returning id",
        key or f"weekly_digest:{WEEK}:{user}",
        WEEK,
        user,
        email_type,
        data,
    )
    return found
