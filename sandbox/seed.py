"""Seed data for the sandbox: people, and pages that wait to be crawled.

Every page seeded here carries the sandbox admin as its submitter: that is how a later seeding recognises what an
earlier one left behind, and why seeding never touches a row that somebody else put into the database.
"""

from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit
from uuid import UUID, uuid5

import asyncpg

from sandbox.standins.people import ADMIN, SIGNED_UP
from sandbox.standins.site_pages import ARTICLES, SEED_PAGES

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

_READERS = Path(__file__).with_name("readers.sql")
_NAMESPACE = UUID("6f1c9a34-52d7-4c1e-9b60-3d1f0a7be000")
_FIRST_NAMES = (
    *("Mia", "Noah", "Lena", "Omar", "Ines", "Yuki", "Jonas", "Sofia", "Liam", "Chiara"),
    *("Ravi", "Zofia", "Hugo", "Amara", "Felix", "Nora", "Tomas", "Leila", "Ivan", "Greta"),
)
# Which of them is the odd one, by place in the list.
_WITHOUT_ADDRESS, _DELETED, _UNSUBSCRIBED, _NO_DIGEST, _NO_SUBMISSION_MAIL = range(5)
_NEVER_CHOSE = (5, 6)
_TOPICS = sorted({topic for article in ARTICLES for topic in article.topics})

_UPSERT_USER = """
insert into users (id, clerk_user_id, email, username, full_name, role, deleted_at, last_sign_in_at)
values ($1, $2, $3, $4, $5, $6, case when $7 then now() end, now())
on conflict (id) do nothing
"""
_UPSERT_PREFERENCES = """
insert into user_preferences (user_id, wildness, preferred_topics, blocked_domains) values ($1, $2, $3, $4)
on conflict (user_id) do nothing
"""
_UPSERT_EMAIL_PREFERENCES = """
insert into email_preferences (user_id, weekly_trending, submission_updates, unsubscribed_all) values ($1, $2, $3, $4)
on conflict (user_id) do nothing
"""
_SET_ASIDE = """
update discoveries set crawl_status = 'failed', crawl_error = 'set aside by a later seeding'
where crawl_status in ('pending', 'crawling') and submitted_by = $1 and url <> all ($2::text[])
"""
_PEND = """
insert into discoveries (url, domain, topics, status, crawl_status, submitted_by)
select page.url, page.domain, string_to_array(page.topics, ','), 'approved', 'pending', $1
from unnest($2::text[], $3::text[], $4::text[]) as page (url, domain, topics)
on conflict (url) do update
set title = null, description = null, image_url = null, last_crawled_at = null, crawl_error = null,
    crawl_status = 'pending', submitted_by = excluded.submitted_by
"""


async def seed_people(conn: Connection) -> None:
    """Put in the two people who can sign in and twenty who cannot; rows that are there already stay as they are.

    Among the twenty are one without an address, one deleted, one unsubscribed from everything, one without the digest,
    one against submission mails, and two who never chose any e-mail preference.
    """
    for person in SIGNED_UP.values():
        row = (
            person.user_id,
            person.clerk_user_id,
            person.email,
            person.username,
            person.full_name,
            person.role,
            False,
        )
        await conn.execute(_UPSERT_USER, *row)
        await conn.execute(_UPSERT_PREFERENCES, person.user_id, 50, _TOPICS[:3], [])
        await conn.execute(_UPSERT_EMAIL_PREFERENCES, person.user_id, True, True, False)
    for number, name in enumerate(_FIRST_NAMES):
        await _seed_reader(conn, number, name)


async def _seed_reader(conn: Connection, number: int, name: str) -> None:
    user_id = uuid5(_NAMESPACE, f"reader {number}")
    email = None if number == _WITHOUT_ADDRESS else f"{name.lower()}.{number}@reader.example"
    clerk_user_id = f"user_2sandboxReader{number:09d}"
    await conn.execute(
        _UPSERT_USER, user_id, clerk_user_id, email, name.lower(), f"{name} Reader", "user", number == _DELETED
    )
    topics = [_TOPICS[(number + step) % len(_TOPICS)] for step in (0, 3, 7)]
    blocked = ["example.org"] if number % 5 == 0 else []
    await conn.execute(_UPSERT_PREFERENCES, user_id, number * 5, topics, blocked)
    if number not in _NEVER_CHOSE:
        chosen = (number != _NO_DIGEST, number != _NO_SUBMISSION_MAIL, number == _UNSUBSCRIBED)
        await conn.execute(_UPSERT_EMAIL_PREFERENCES, user_id, *chosen)


async def seed_readers(
    conn: Connection, last: int, *, first: int = 1, discoveries: int = 20_000, topics: int = 44
) -> None:
    """Put in generated readers of the digest, with the numbers `first` to `last`, and discoveries for them.

    Set-based: a million readers take some minutes. Numbers that an earlier call has had make it fail.
    """
    script = _READERS.read_text()
    for name, value in {"first": first, "last": last, "discoveries": discoveries, "topics": topics}.items():
        script = script.replace(f":{name}", str(value))
    async with conn.transaction():
        await conn.execute(script)
    await conn.execute("vacuum (analyze)")


async def seed_pages(conn: Connection, site_url: str) -> int:
    """How many pages of the page site now wait to be crawled, as if for the first time.

    Exactly these are pending afterwards: what an earlier seeding left pending or crawling is set aside (it becomes
    `failed`, with an error that says so). Rows that no seeding made are left alone.
    """
    topics = {article.path: ",".join(article.topics) for article in ARTICLES}
    return await _make_pending(conn, {site_url + page.path: topics.get(page.path, "") for page in SEED_PAGES})


async def seed_urls(conn: Connection, urls: list[str]) -> int:
    """How many of these URLs (the lines of a file) now wait to be crawled; sets others aside as `seed_pages` does.

    Blank lines and lines that begin with # are passed over, repeats count once. ValueError names the line that is
    no URL.
    """
    wanted = {}
    for number, line in enumerate(urls, start=1):
        url = line.strip()
        if url and not url.startswith("#"):
            wanted[_checked(url, number)] = ""
    if not wanted:
        raise ValueError("there is no URL to crawl")
    return await _make_pending(conn, wanted)


async def seed_bulk(conn: Connection, site_url: str, n: int) -> int:
    """How many generated pages (n) now wait to be crawled; sets others aside as `seed_pages` does."""
    return await _make_pending(conn, {f"{site_url}/bulk/{number}": "" for number in range(1, n + 1)})


async def _make_pending(conn: Connection, topics_by_url: dict[str, str]) -> int:
    urls = list(topics_by_url)
    domains = [urlsplit(url).hostname for url in urls]
    async with conn.transaction():
        # The submitter must exist whether or not the people have been seeded.
        admin = (ADMIN.user_id, ADMIN.clerk_user_id, ADMIN.email, ADMIN.username, ADMIN.full_name, ADMIN.role, False)
        await conn.execute(_UPSERT_USER, *admin)
        await conn.execute(_SET_ASIDE, ADMIN.user_id, urls)
        await conn.execute(_PEND, ADMIN.user_id, urls, domains, list(topics_by_url.values()))
    return len(urls)


def _checked(url: str, number: int) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or any(character.isspace() for character in url):
        raise ValueError(f"line {number}: {url!r} is not an http or https URL")
    return url
