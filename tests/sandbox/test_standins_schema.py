"""The site's tables as the sandbox makes them, and the seed data in them."""

from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest

from sandbox import seed
from sandbox.standins.people import ADMIN, PLAIN_USER
from sandbox.standins.site_pages import SEED_PAGES
from tests.sandbox import standins_database

site_database = standins_database.site_database

TABLES = {
    *("users", "user_preferences", "email_preferences", "discoveries", "user_interactions", "content_metrics"),
    *("trending_content", "moderation_queue", "content_reports", "email_queue"),
}


@pytest.fixture
async def site(site_database: str) -> AsyncIterator[seed.Connection]:
    connection = await asyncpg.connect(site_database)
    await connection.execute("truncate discoveries, users, content_metrics, trending_content cascade")
    yield connection
    await connection.close()


async def pending(site: seed.Connection) -> set[str]:
    rows = await site.fetch("select url from discoveries where crawl_status in ('pending', 'crawling')")
    return {row["url"] for row in rows}


async def test_schema_applies_twice_and_holds_every_neighbour_table(site: seed.Connection) -> None:
    await site.execute(standins_database.SITE_SCHEMA.read_text())
    rows = await site.fetch("select tablename, rowsecurity from pg_tables where schemaname = 'public'")
    assert {row["tablename"] for row in rows} == TABLES
    assert all(row["rowsecurity"] for row in rows)


@pytest.mark.parametrize(
    ("role", "sees"),
    [
        ("anon", {"discoveries"}),  # approved ones only; nobody's account
        ("authenticated", {"discoveries"}),
        ("service_role", {"discoveries", "users", "email_preferences"}),
    ],
)
async def test_row_level_security_lets_only_the_service_role_see_accounts(
    site: seed.Connection, role: str, sees: set[str]
) -> None:
    await seed.seed_people(site)
    await seed.seed_bulk(site, "http://site.example", 2)
    async with site.transaction():
        await site.execute(f"set local role {role}")
        seen = {
            table
            for table in ("discoveries", "users", "email_preferences")
            if await site.fetchval(f"select count(*) from {table}")
        }
    assert seen == sees


@pytest.mark.parametrize(
    "statement",
    [
        "insert into discoveries (url, crawl_status) values ('http://a.example', 'started')",
        "insert into users (clerk_user_id, role) values ('user_x', 'owner')",
        "insert into user_preferences (user_id, wildness) select id, 101 from users",
        "insert into email_queue (user_id, email_type, recipient_email) values (gen_random_uuid(), 'x', 'a@b.example')",
        "insert into trending_content (discovery_id, time_window) values (gen_random_uuid(), '30d')",
    ],
)
async def test_schema_refuses_what_the_site_refuses(site: seed.Connection, statement: str) -> None:
    await site.execute("insert into users (clerk_user_id) values ('user_a')")
    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        await site.execute(statement)


async def test_update_moves_updated_at(site: seed.Connection) -> None:
    await site.execute("insert into discoveries (url, updated_at) values ('http://a.example', '2020-01-01')")
    await site.execute("update discoveries set title = 'A'")
    assert await site.fetchval("select updated_at > now() - interval '1 minute' from discoveries")


async def test_people_can_be_seeded_twice(site: seed.Connection) -> None:
    await seed.seed_people(site)
    await seed.seed_people(site)
    assert await site.fetchval("select count(*) from users") == 22
    for person in (ADMIN, PLAIN_USER):
        row = await site.fetchrow("select * from users where clerk_user_id = $1", person.clerk_user_id)
        assert row is not None
        assert (row["id"], row["role"]) == (person.user_id, person.role)
    # The digest goes to whoever has an address, is not deleted, has chosen it and is not unsubscribed.
    due = """select count(*) from users u join email_preferences p on p.user_id = u.id
             where u.email is not null and u.deleted_at is null and p.weekly_trending and not p.unsubscribed_all"""
    assert await site.fetchval(due) == 22 - 6


async def test_seeding_pages_again_returns_them_to_pending(site: seed.Connection) -> None:
    assert await seed.seed_pages(site, "http://site.example") == len(SEED_PAGES)
    ids = await site.fetch("select id from discoveries order by url")
    await site.execute("update discoveries set crawl_status = 'failed', crawl_error = 'HTTP 404', title = 'old'")
    assert await seed.seed_pages(site, "http://site.example") == len(SEED_PAGES)
    assert await site.fetch("select id from discoveries order by url") == ids
    waiting = """select count(*) from discoveries where crawl_status = 'pending' and crawl_error is null
                 and title is null and last_crawled_at is null"""
    assert await site.fetchval(waiting) == len(SEED_PAGES)


async def test_another_seeding_sets_the_earlier_one_aside_but_nobody_elses_rows(site: seed.Connection) -> None:
    await site.execute("insert into discoveries (id, url) values ($1, 'http://own.example/')", uuid4())
    await seed.seed_pages(site, "http://site.example")
    await site.execute("update discoveries set crawl_status = 'crawling' where url like '%/loop'")
    assert await seed.seed_bulk(site, "http://site.example", 3) == 3
    bulk = {f"http://site.example/bulk/{n}" for n in (1, 2, 3)}
    assert await pending(site) == {"http://own.example/", *bulk}
    set_aside = "select count(*) from discoveries where crawl_error = 'set aside by a later seeding'"
    assert await site.fetchval(set_aside) == len(SEED_PAGES)


async def test_given_urls_count_once_and_lose_comments_and_blanks(site: seed.Connection) -> None:
    lines = ["# mine", "", " https://a.example/x ", "http://b.example:8080/", "https://a.example/x"]
    assert await seed.seed_urls(site, lines) == 2
    rows = await site.fetch("select url, domain from discoveries order by domain")
    assert [tuple(row) for row in rows] == [
        ("https://a.example/x", "a.example"),
        ("http://b.example:8080/", "b.example"),
    ]


@pytest.mark.parametrize(
    "wrong",
    ["ftp://a.example/", "a.example", "http://", "http://a b.example/", "http://a.example:port/", "http://[::1"],
)
async def test_a_line_that_is_no_url_is_named(site: seed.Connection, wrong: str) -> None:
    with pytest.raises(ValueError, match="line 2: ") as refused:
        await seed.seed_urls(site, ["https://a.example/", wrong])
    assert repr(wrong) in str(refused.value)
    assert await pending(site) == set()


async def test_an_empty_list_of_urls_is_refused(site: seed.Connection) -> None:
    with pytest.raises(ValueError, match="there is no URL"):
        await seed.seed_urls(site, ["", "# nothing"])
