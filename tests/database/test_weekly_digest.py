"""The digest's SQL: who is planned, which candidates are kept, what a reader has seen; and its calls over PostgREST."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from flows import weekly_digest as digest
from flows.clients import database as client
from flows.core import lease as leases
from flows.core.deliveries import Claimed
from flows.core.lease import Lease, under_lease
from flows.core.mailing import Skip
from flows.core.settings import settings
from flows.weekly_digest import TRENDING, Parameters, candidates_from
from sandbox.stack import Stack
from tests.database.conftest import Scheduler

WEEK = "2026-W48"
NO_COUNTS = dict.fromkeys(
    ("planned", "already", "noAddress", "deleted", "inactive", "optedOut", "unsubscribed", "considered"), 0
)


class Digest:
    """Users and what they do, and the digest's functions under a running job's lease."""

    def __init__(self, scheduler: Scheduler, job: tuple[UUID, int]) -> None:
        self.scheduler, self.sql, self.job = scheduler, scheduler.connection, job

    async def user(self, **given: Any) -> UUID:
        """A user who gets the digest; `preferences` (None: never chose) and columns of users as given."""
        preferences = given.pop("preferences", {"weekly_trending": True})
        columns = {"id": uuid4(), "email": "reader@mail.example", "last_sign_in_at": datetime.now(UTC), **given}
        names = ", ".join(("clerk_user_id", *columns))
        places = ", ".join(f"${place}" for place in range(1, len(columns) + 2))
        await self.sql.execute(
            f"insert into public.users ({names}) values ({places})", f"user_{columns['id']}", *columns.values()
        )
        if preferences is not None:
            names = "".join(f", {name}" for name in preferences)
            places = "".join(f", ${place}" for place in range(2, len(preferences) + 2))
            await self.sql.execute(
                f"insert into public.email_preferences (user_id{names}) values ($1{places})",
                columns["id"],
                *preferences.values(),
            )
        user: UUID = columns["id"]
        return user

    async def users(self, count: int) -> list[UUID]:
        """As many who get it, by id."""
        rows = await self.sql.fetch(
            "with u as (insert into public.users (clerk_user_id, email, full_name)"
            "  select 'user_' || n, 'reader' || n || '@mail.example', 'Reader ' || n from generate_series(1, $1) n"
            "  returning id), p as (insert into public.email_preferences (user_id) select id from u)"
            " select id from u order by id",
            count,
        )
        return [row["id"] for row in rows]

    async def prefer(self, user: UUID, topics: list[str], blocked: list[str] | None = None) -> None:
        await self.sql.execute(
            "insert into public.user_preferences (user_id, preferred_topics, blocked_domains) values ($1, $2, $3)",
            user,
            topics,
            blocked or [],
        )

    async def discoveries(self, count: int) -> list[UUID]:
        rows = await self.sql.fetch(
            "insert into public.discoveries (url) select 'https://d.example/' || gen_random_uuid()"
            " from generate_series(1, $1) returning id",
            count,
        )
        return [row["id"] for row in rows]

    async def saw(self, user: UUID, discoveries: list[UUID], kind: str = "view") -> None:
        await self.sql.execute(
            "insert into public.user_interactions (user_id, discovery_id, type) select $1, unnest($2::uuid[]), $3",
            user,
            discoveries,
            kind,
        )

    async def plan(self, **given: Any) -> dict[str, Any]:
        wanted = {
            "job": self.job[0],
            "fence": self.job[1],
            "period": WEEK,
            "after": None,
            "limit": 100,
            "active_since": None,
            "email_type": "weekly-trending",
            "preference": "weekly_trending",
            **given,
        }
        answer: dict[str, Any] = await self.scheduler.call("plan_weekly_digest", **wanted)
        return answer

    async def planned(self, period: str = WEEK) -> list[UUID]:
        rows = await self.sql.fetch(
            "select user_id from public.email_deliveries where period = $1 and status = 'planned' order by user_id",
            period,
        )
        return [row["user_id"] for row in rows]

    async def store(self, period: str, candidates: dict[str, list[dict[str, Any]]], max_age: int = 3600) -> int:
        kept: int = await self.scheduler.call(
            "store_digest_candidates",
            job=self.job[0],
            fence=self.job[1],
            period=period,
            candidates=candidates,
            max_age_seconds=max_age,
        )
        return kept

    async def candidates(
        self, period: str = WEEK, max_age: int | None = None
    ) -> dict[str, list[dict[str, Any]]] | None:
        found: dict[str, list[dict[str, Any]]] | None = await self.scheduler.call(
            "digest_candidates_of", period=period, max_age_seconds=max_age
        )
        return found

    async def readers(self, *users: UUID, among: list[UUID] | None = None) -> dict[UUID, dict[str, Any]]:
        rows = await self.scheduler.call("digest_readers", period=WEEK, user_ids=list(users), candidates=among)
        return {UUID(row["userId"]): row for row in rows}


@pytest.fixture
async def week(scheduler: Scheduler) -> AsyncIterator[Digest]:
    await scheduler.connection.execute(
        "truncate public.users cascade; truncate public.digest_candidates, public.email_deliveries"
    )
    yield Digest(scheduler, await scheduler.running())
    await scheduler.connection.execute("truncate public.users cascade; truncate public.email_deliveries")


def item(discovery: UUID) -> dict[str, Any]:
    return {"id": str(discovery), "url": f"https://d.example/{discovery}", "title": "A", "domain": "d.example"}


# Who is planned


async def test_every_user_is_counted_under_what_decides(week: Digest) -> None:
    now = datetime.now(UTC)
    due = [await week.user(), await week.user(last_sign_in_at=None)]
    await week.user(deleted_at=now, email=None, preferences={"unsubscribed_all": True})  # deleted before all else
    await week.user(email=None)
    await week.user(email="  ")
    await week.user(preferences={"weekly_trending": False})
    await week.user(preferences=None)  # never chose: no weekly mail
    await week.user(preferences={"weekly_trending": True, "unsubscribed_all": True})
    counts = {"planned": 2, "deleted": 1, "noAddress": 2, "optedOut": 2, "unsubscribed": 1, "considered": 8}
    assert await week.plan() == {**NO_COUNTS, **counts, "next": None}
    assert await week.planned() == sorted(due)
    row = await week.sql.fetchrow("select * from public.email_deliveries where user_id = $1", due[0])
    assert row is not None
    assert row["dedupe_key"] == f"weekly_digest:{WEEK}:{due[0]}"
    assert (row["job_type"], row["period"], row["email_type"]) == ("weekly_digest", WEEK, "weekly-trending")


async def test_only_who_has_signed_in_lately_where_that_is_asked(week: Digest) -> None:
    now = datetime.now(UTC)
    lately = await week.user(last_sign_in_at=now - timedelta(days=29))
    await week.user(last_sign_in_at=now - timedelta(days=31))
    await week.user(last_sign_in_at=None)
    page = await week.plan(active_since=now - timedelta(days=30))
    assert (page["planned"], page["inactive"]) == (1, 2)
    assert await week.planned() == [lately]


async def test_nobody_is_planned_twice_for_a_week(week: Digest) -> None:
    users = await week.users(3)
    assert (await week.plan())["planned"] == 3
    again = await week.plan()
    assert (again["planned"], again["already"]) == (0, 3)
    await week.sql.execute("update public.email_deliveries set status = 'sent'")
    another = await week.user()
    assert (await week.plan())["planned"] == 1
    assert await week.planned() == [another]
    assert (await week.plan(period="2026-W49"))["planned"] == 4
    assert await week.planned("2026-W49") == sorted([*users, another])


async def test_the_preference_that_decides_is_a_setting(week: Digest) -> None:
    await week.user(preferences={"weekly_trending": True, "weekly_new": False})
    wanted = await week.user(preferences={"weekly_trending": False, "weekly_new": True})
    page = await week.plan(preference="weekly_new", email_type="weekly-new")
    assert (page["planned"], page["optedOut"]) == (1, 1)
    assert await week.planned() == [wanted]


@pytest.mark.parametrize("preference", ["weekly_everything", "user_id", "weekly_new or true", ""])
async def test_a_preference_that_is_no_column_is_an_error_and_plans_nobody(week: Digest, preference: str) -> None:
    await week.user()
    with pytest.raises(asyncpg.PostgresError) as refused:
        await week.plan(preference=preference)
    assert refused.value.sqlstate == "22023"
    assert await week.planned() == []


async def test_pages_go_by_id_and_end(week: Digest) -> None:
    users = await week.users(5)
    seen, after = [], None
    while True:
        page = await week.plan(after=after, limit=2)
        seen.append(page["planned"])
        after = UUID(page["next"]) if page["next"] else None
        if after is None:
            break
        assert after in users
    assert seen == [2, 2, 1]
    assert await week.planned() == users


@pytest.mark.parametrize("dry_run", [False, True])
async def test_a_page_without_users_ends_it(week: Digest, dry_run: bool) -> None:  # noqa: FBT001
    page = await week.plan(dry_run=dry_run)
    assert page == {**NO_COUNTS, "next": None, **({"userIds": []} if dry_run else {})}


async def test_a_dry_run_counts_the_same_and_inserts_nothing(week: Digest) -> None:
    users = await week.users(4)
    await week.user(preferences=None)
    await week.sql.execute(
        "insert into public.email_deliveries (dedupe_key, job_type, period, user_id, email_type, status)"
        " values ($1, 'weekly_digest', $2, $3, 'weekly-trending', 'sent')",
        f"weekly_digest:{WEEK}:{users[0]}",
        WEEK,
        users[0],
    )
    page = await week.plan(dry_run=True)
    assert await week.planned() == []
    assert page.pop("userIds") == [str(user) for user in users[1:]]
    assert page == await week.plan()
    assert (page["planned"], page["already"], page["optedOut"]) == (3, 1, 1)


async def test_nothing_is_planned_or_stored_without_the_lease(week: Digest) -> None:
    await week.user()
    week.job = (week.job[0], week.job[1] + 1)
    for call in (week.plan(), week.plan(dry_run=True), week.store(WEEK, {})):
        with pytest.raises(asyncpg.PostgresError) as refused:
            await call
        assert refused.value.sqlstate == "SJ001"


# What is kept of the candidates


async def test_candidates_come_back_as_they_were_stored(week: Digest) -> None:
    one, two, three = (item(uuid4()) for _ in range(3))
    stored = {"art": [one, two], TRENDING: [three, one]}
    assert await week.store(WEEK, {**stored, "empty": []}) == 4
    assert await week.candidates() == stored
    assert await week.candidates(max_age=60) == stored
    assert await week.candidates("2026-W47") is None


async def test_the_first_to_store_a_weeks_candidates_decides_while_they_are_fresh(week: Digest) -> None:
    first, second = {"art": [item(uuid4())]}, {"art": [item(uuid4()), item(uuid4())]}
    await week.store(WEEK, first)
    assert await week.store(WEEK, second) == 1
    assert await week.candidates() == first
    await week.sql.execute("update public.digest_candidates set fetched_at = now() - interval '2 hours'")
    assert await week.candidates(max_age=3600) is None
    assert await week.candidates() == first
    assert await week.store(WEEK, second) == 2
    assert await week.candidates() == second


async def test_other_weeks_candidates_go(week: Digest) -> None:
    await week.store("2026-W46", {"art": [item(uuid4())]})
    await week.sql.execute("update public.digest_candidates set fetched_at = now() - interval '3 days'")
    await week.store("2026-W47", {"art": [item(uuid4())]})
    await week.store(WEEK, {"art": [item(uuid4())]})
    assert await week.candidates("2026-W46") is None
    assert await week.candidates("2026-W47") is not None


async def test_topics_are_counted_by_reader(week: Digest) -> None:
    users = await week.users(3)
    await week.prefer(users[0], ["art", "science", "art"])
    await week.prefer(users[1], ["art", " ", "x" * 101])
    await week.prefer(users[2], [])
    call = week.scheduler.call
    assert await call("digest_topics", after=None, limit=10, top=5) == {
        "next": None,
        "topics": {"art": 2, "science": 1},
    }
    assert (await call("digest_topics", after=None, limit=10, top=1))["topics"] == {"art": 2}
    page = await call("digest_topics", after=None, limit=2, top=5)
    assert page["next"] == str(users[1])
    rest = await call("digest_topics", after=users[1], limit=2, top=5)
    assert rest == {"next": None, "topics": {}}


# What a reader has seen


async def test_seen_is_what_a_reader_had_to_do_with_of_the_candidates(week: Digest) -> None:
    reader, other, plain = await week.users(3)
    await week.prefer(reader, ["art", "science"], ["blocked.example"])
    among = await week.discoveries(6)
    others = await week.discoveries(3)
    await week.store(WEEK, {"art": [item(one) for one in among[:4]], TRENDING: [item(one) for one in among[3:]]})
    await week.saw(reader, [among[0], among[3], others[0]])
    await week.saw(reader, [among[0]], "like")  # twice the same
    await week.saw(reader, [among[5]], "skip")
    await week.saw(other, [among[1]], "share")
    expected = {
        reader: (["art", "science"], ["blocked.example"], {among[0], among[3], among[5]}),
        other: ([], [], {among[1]}),
        plain: ([], [], set()),
    }
    stored = await week.readers(reader, other, plain)
    given = await week.readers(reader, other, plain, among=among)
    for found in (stored, given):
        assert {
            user: (row["topics"], row["blockedDomains"], {UUID(one) for one in row["seen"]})
            for user, row in found.items()
        } == expected
        assert len(found[reader]["seen"]) == 3


async def test_somebody_who_is_not_there_has_seen_nothing(week: Digest) -> None:
    nobody = uuid4()
    expected = {nobody: {"userId": str(nobody), "topics": [], "blockedDomains": [], "seen": []}}
    assert await week.readers(nobody) == expected
    assert await week.readers(nobody, among=[uuid4()]) == expected
    assert await week.readers() == {}


async def test_a_long_history_costs_its_own_rows_and_nothing_of_the_size_of_the_site(week: Digest) -> None:
    users = await week.users(60)
    pages = await week.discoveries(10_000)
    readers, others = users[:20], users[20:]
    for user in users:
        await week.saw(user, pages if user == readers[0] else pages[:1000] if user in others else pages[:50])
    topics = {f"topic {topic}": [item(one) for one in pages[topic * 50 : topic * 50 + 50]] for topic in range(44)}
    await week.store(WEEK, topics)
    await week.sql.execute("vacuum analyze public.user_interactions")

    async def rows_read() -> tuple[int, int]:
        """Of user_interactions so far, by this connection: from end to end, and through an index."""
        row = await week.sql.fetchrow(
            "select pg_stat_get_xact_tuples_returned(i.indrelid) as whole,"
            " sum(pg_stat_get_xact_tuples_returned(i.indexrelid))::int as by_index"
            " from pg_index i where i.indrelid = 'public.user_interactions'::regclass group by i.indrelid"
        )
        assert row is not None
        return row["whole"], row["by_index"]

    for _ in range(8):  # after some calls the plan is the one for any users
        async with week.sql.transaction():
            before = await rows_read()
            found = await week.readers(*readers)
            after = await rows_read()
        assert (after[0] - before[0], after[1] - before[1]) == (0, 10_000 + 19 * 50)
    assert [len(found[reader]["seen"]) for reader in readers] == [2200, *[50] * 19]


# Over PostgREST, as a run makes the calls


@pytest.fixture
def over_http(database: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SUPABASE_URL", database.wiring.supabase_url)
    monkeypatch.setenv("SUPABASE_SERVICE_KEY", database.wiring.service_key)
    settings.cache_clear()
    yield
    settings.cache_clear()


@contextmanager
def holding(job: tuple[UUID, int]) -> Iterator[None]:
    token = leases._current.set(Lease(*job))
    try:
        yield
    finally:
        leases._current.reset(token)


@pytest.mark.usefixtures("over_http")
async def test_a_site_of_1100_users_is_planned_and_composed_whole(
    week: Digest, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = await week.users(1100)
    for reader in users[:3]:
        await week.prefer(reader, ["art"])
    pages = await week.discoveries(1100)
    stored = {TRENDING: [item(one) for one in pages]}
    monkeypatch.setattr(digest, "USERS_A_PAGE", 1050)
    with holding(week.job):
        counts, after = await digest.plan_users.fn(Parameters(week=WEEK), None, datetime.now(UTC))
        assert (counts["planned"], counts["considered"], after) == (1100, 1100, None)
        assert await digest.wanted_topics.fn() == ["art"]
        kept = await client.rpc(
            "store_digest_candidates",
            **under_lease(),
            period=WEEK,
            candidates=stored,
            max_age_seconds=60,
        )
        assert kept == 1100
        candidates, left_out = await digest.candidates_for(WEEK)
        assert (len(candidates.trending), left_out) == (1100, [])
        await week.saw(users[0], pages[:1095])  # five are left
        await week.saw(users[1], pages[:1096])  # four are left
        batch = [
            Claimed(number, f"weekly_digest:{WEEK}:{user}", user, "weekly-trending", "a@b.example", "Ada", {})
            for number, user in enumerate(users)
        ]
        mails = await digest.composer(WEEK, candidates)(batch)
    assert len(mails) == 1100
    assert mails[1] == Skip("nothing to recommend")
    assert isinstance(mails[0], dict)
    assert mails[0]["discoveries"] == [one.json for one in candidates.trending[1095:]]
    assert len([mail for mail in mails if not isinstance(mail, Skip)]) == 1099
    assert await week.planned() == users


@pytest.mark.usefixtures("over_http")
async def test_a_dry_run_tells_who_would_get_what_and_writes_nothing(week: Digest) -> None:
    users = await week.users(1100)
    await week.user(preferences=None)
    pages = await week.discoveries(12)
    candidates = candidates_from({TRENDING: [item(one) for one in pages]})
    await week.saw(users[0], pages[:8])
    await week.saw(users[1], pages[:5])
    with holding(week.job):
        counts, samples, after = await digest.previewed(
            Parameters(week=WEEK, dry_run=True), candidates, None, datetime.now(UTC)
        )
    assert after is None
    assert (counts["toSend"], counts["nothingToRecommend"], counts["optedOut"]) == (1099, 1, 1)
    assert [sample["userId"] for sample in samples] == [str(user) for user in users[1:6]]
    assert samples[0]["discoveries"] == [str(one) for one in pages[5:]]
    for table in ("email_deliveries", "digest_candidates"):
        assert await week.sql.fetchval(f"select count(*) from public.{table}") == 0


@pytest.mark.usefixtures("over_http")
async def test_the_topics_of_most_readers_are_asked_for_and_no_more_than_the_limit_allows(
    week: Digest, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = [["art", "maps"], ["maps"], ["science", "art"], ["maps"], ["music"]]
    for user, topics in zip(await week.users(5), wanted, strict=True):
        await week.prefer(user, topics)
    monkeypatch.setattr(digest, "PREFERENCES_A_PAGE", 2)
    assert await digest.wanted_topics.fn() == ["maps", "art", "music", "science"]
    monkeypatch.setattr(digest, "MOST_TOPICS", 2)
    assert await digest.wanted_topics.fn() == ["maps", "art"]


@pytest.mark.usefixtures("over_http")
async def test_readers_are_looked_up_some_claims_ahead_and_what_others_claim_is_passed_over(
    week: Digest, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = await week.users(400)
    pages = await week.discoveries(5)
    for place, user in enumerate(users):
        if place % 2:
            await week.saw(user, pages[:1])
    await week.plan(limit=1000)
    await week.store(WEEK, {TRENDING: [item(one) for one in pages]})
    rows = await week.sql.fetch("select id, user_id from public.email_deliveries order by id")
    mails = [Claimed(row["id"], "", row["user_id"], "weekly-trending", "a@b.example", None, {}) for row in rows]
    calls = 0

    async def counted(*given: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        return await client.rpc(*given, **more)

    compose = digest.composer(WEEK, candidates_from({TRENDING: [item(one) for one in pages]}))
    monkeypatch.setattr(client, "patient_rpc", counted)
    monkeypatch.setattr(digest, "READERS_AHEAD", 90)
    for start in range(0, 400, 20):  # every other ten belong to another run
        batch = mails[start : start + 10]
        skipped = [isinstance(mail, Skip) for mail in await compose(batch)]
        assert skipped == [users.index(mail.user_id) % 2 == 1 for mail in batch]
    assert calls == 4
    # One that was looked up and taken is looked up again when it comes back.
    (again,) = await compose(mails[:1])
    assert isinstance(again, dict)
    assert calls == 5
