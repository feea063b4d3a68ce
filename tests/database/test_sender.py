"""The sender and its ledger, without Prefect: what it does where we have made a mistake."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from flows.core import lease as leases
from flows.core.deliveries import Claimed
from flows.core.domain import JobType
from flows.core.lease import Lease
from flows.core.mailing import Mailing, Sender, Skip
from flows.core.settings import settings
from sandbox.stack import Stack
from tests.database.conftest import Scheduler
from tests.database.mails import DIGEST, WEEK, Ledger, make_user, plan

CONCURRENCY = 8


@pytest.fixture
def _settings(database: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SUPABASE_URL", database.wiring.supabase_url)
    monkeypatch.setenv("SUPABASE_SERVICE_KEY", database.wiring.service_key)
    monkeypatch.setenv("EMAIL_SEND_CONCURRENCY", str(CONCURRENCY))
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.mark.usefixtures("clean_database", "_settings")
async def test_a_mistake_of_ours_ends_the_sending_and_leaves_the_rest_planned(scheduler: Scheduler) -> None:
    ledger = await Ledger.of_a_new_job(scheduler)
    for _ in range(50):
        await plan(scheduler, await make_user(scheduler, preferences={}))

    async def compose(claimed: list[Claimed]) -> list[dict[str, Any] | Skip]:
        return [{"discoveries": {"a set is no JSON"}} for _ in claimed]

    mailing = Mailing(JobType.WEEKLY_DIGEST, WEEK, {DIGEST: ("weekly_trending", True)})
    token = leases._current.set(Lease(ledger.job, ledger.fence))
    try:
        with pytest.raises(TypeError):
            await Sender(mailing, compose)._send(1000)
    finally:
        leases._current.reset(token)
    statuses = await ledger.statuses()
    assert statuses["sending"] <= CONCURRENCY, statuses  # in doubt, for the next job to settle
    assert statuses["sending"] + statuses["planned"] == 50
