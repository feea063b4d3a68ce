"""The discovery stand-in: what it answers from the database, with the real one's quirks."""

from collections.abc import Iterator
from typing import Any

import asyncpg
import httpx
import pytest

from sandbox import seed
from tests.sandbox import standins_database
from tests.sandbox.standin_process import running

site_database = standins_database.site_database


@pytest.fixture(scope="module")
async def filled(site_database: str) -> str:
    """Seven visible discoveries, three that are not, and the first two trending in every window."""
    connection = await asyncpg.connect(site_database)
    await seed.seed_bulk(connection, "http://site.example", 10)
    number = "substring(url from '[0-9]+$')::int"
    await connection.execute(f"""
        update discoveries set title = 'T' || {number}, like_count = {number},
          topics = case when {number} % 2 = 0 then array['maps', 'art'] else array['art'] end,
          created_at = now() - {number} * interval '1 hour';
        update discoveries set is_active = false where {number} = 8;
        update discoveries set deleted_at = now() where {number} = 9;
        update discoveries set status = 'rejected' where {number} = 10;
        insert into content_metrics (discovery_id, views_count, likes_count, engagement_rate)
          select id, 4, 1, 0.25 from discoveries where {number} = 1;
        insert into trending_content (discovery_id, time_window, trending_score)
          select id, w, 1.0 / {number} from discoveries, unnest(array['1h', '24h', '7d']) w where {number} in (1, 2, 8);
    """)
    await connection.close()
    return site_database


@pytest.fixture(scope="module")
def service(filled: str) -> Iterator[httpx.Client]:
    with (
        running("discovery", DATABASE_URL=filled) as discovery,
        httpx.Client(base_url=discovery.url, trust_env=False) as client,
    ):
        yield client


def titles(answer: httpx.Response) -> list[str]:
    return [discovery["title"] for discovery in answer.json()["discoveries"]]


@pytest.mark.parametrize("window", ["hour", "day", "week"])
def test_trending_repeats_items_and_ignores_the_window(service: httpx.Client, window: str) -> None:
    answer = service.get("/api/trending", params={"timeWindow": window, "limit": 50})
    assert titles(answer) == ["T1", "T1", "T1", "T2", "T2", "T2"]
    assert answer.json()["count"] == 6


def test_a_discovery_has_the_published_fields(service: httpx.Client) -> None:
    first, *_, last = service.get("/api/trending").json()["discoveries"]
    always = {"id", "url", "title", "description", "image", "domain", "topics", "readingTime", "createdAt", "quality"}
    assert first.keys() == always | {"trendingScore", "metrics"}
    assert last.keys() == always | {"trendingScore"}  # no metrics row, no metrics
    assert first["metrics"]["engagement_rate"] == 0.25
    assert first["createdAt"].endswith("Z")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, ["T1", "T2", "T3", "T4", "T5", "T6", "T7"]),
        ({"sortBy": "popular", "limit": "2"}, ["T7", "T6"]),
        ({"topic": "maps"}, ["T2", "T4", "T6"]),
        ({"topic": "maps", "limit": "1", "offset": "1"}, ["T4"]),
        ({"topic": "nothing"}, []),
    ],
)
def test_explore_pages_through_what_is_visible(
    service: httpx.Client, query: dict[str, str], expected: list[str]
) -> None:
    answer = service.get("/api/explore", params=query)
    assert titles(answer) == expected
    assert answer.json()["pagination"].keys() == {"limit", "offset", "total", "hasMore"}
    assert answer.json()["filters"]["topic"] == query.get("topic")


def test_explore_says_whether_there_is_more(service: httpx.Client) -> None:
    def page(**query: Any) -> dict[str, Any]:
        found: dict[str, Any] = service.get("/api/explore", params=query).json()["pagination"]
        return found

    assert page(limit=5) == {"limit": 5, "offset": 0, "total": 7, "hasMore": True}
    assert page(limit=5, offset=5)["hasMore"] is False


@pytest.mark.parametrize(
    "path",
    [
        "/api/trending?limit=51",
        "/api/trending?limit=0",
        "/api/trending?timeWindow=month",
        "/api/explore?limit=101",
        "/api/explore?offset=-1",
        "/api/explore?sortBy=random",
    ],
)
def test_bad_queries_are_refused(service: httpx.Client, path: str) -> None:
    answer = service.get(path)
    assert answer.status_code == 400
    assert answer.json().keys() == {"error", "details"}


def test_it_starts_before_its_database_and_says_500_until_then() -> None:
    with running("discovery", DATABASE_URL="postgresql://postgres@127.0.0.1:9/site") as discovery:
        answer = httpx.get(f"{discovery.url}/api/trending", trust_env=False)
        assert (answer.status_code, answer.json()["success"]) == (500, False)
