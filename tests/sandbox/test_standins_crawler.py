"""The crawler's stand-in on the page site: what it answers, and what it writes on the rows."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest

from sandbox import seed
from sandbox.standins.pages import MAX_BODY_BYTES, parse_page
from sandbox.standins.site_pages import ARTICLES, SEED_PAGES
from tests.sandbox import standins_database
from tests.sandbox.standin_process import running

site_database = standins_database.site_database
JOB_ID = "3f2b8c1e-0d4a-4b7e-9a51-5c8d7e6f0a11"


@pytest.fixture(scope="module")
def site_url() -> Iterator[str]:
    with running("site") as site:
        yield site.url


@pytest.fixture(scope="module")
def crawler_url(site_database: str) -> Iterator[str]:
    with running("crawler", DATABASE_URL=site_database) as crawler:
        yield crawler.url


@pytest.fixture
async def crawler(crawler_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=crawler_url, timeout=60, trust_env=False) as client:
        await client.delete("/__calls")
        yield client
        await client.put("/__faults", json={"fault": None})


@pytest.fixture
async def rows(site_database: str) -> AsyncIterator[seed.Connection]:
    connection = await asyncpg.connect(site_database)
    await connection.execute("truncate discoveries cascade")
    yield connection
    await connection.close()


async def batch(rows: seed.Connection) -> dict[str, Any]:
    found = await rows.fetch("select id, url from discoveries where crawl_status = 'pending' order by url limit 100")
    return {"jobId": JOB_ID, "discoveries": [{"id": str(row["id"]), "url": row["url"]} for row in found]}


async def statuses(rows: seed.Connection) -> dict[str, int]:
    counted = await rows.fetch("select crawl_status, count(*) from discoveries group by 1")
    return {row["crawl_status"]: row["count"] for row in counted}


async def test_every_seed_page_becomes_what_its_list_says(
    crawler: httpx.AsyncClient, rows: seed.Connection, site_url: str
) -> None:
    await seed.seed_pages(rows, site_url)
    started = time.monotonic()
    answer = (await crawler.post("/api/crawl/batch", json=await batch(rows))).json()
    assert time.monotonic() - started < 20  # two pages take their full 10 s, side by side

    for page in SEED_PAGES:
        row = await rows.fetchrow("select * from discoveries where url = $1", site_url + page.path)
        assert row is not None
        assert (page.path, row["crawl_status"], row["title"]) == (page.path, page.crawl_status, page.title)
        assert (row["crawl_error"] or "").startswith(page.crawl_error or "")
        assert (row["crawl_error"] is None) == (page.crawl_error is None)
        assert row["last_crawled_at"] is not None
    failed = sum(page.crawl_status == "failed" for page in SEED_PAGES)
    assert answer["success"] is True
    assert answer["itemsProcessed"] == len(SEED_PAGES)
    assert len(answer["errors"]) == failed
    details = answer["details"]
    assert (details["successfulCrawls"], details["failedCrawls"]) == (len(SEED_PAGES) - failed, failed)
    assert details["duration"].endswith("s")
    assert {result["success"] for result in details["results"]} == {True, False}


async def test_description_and_image_are_written_too(
    crawler: httpx.AsyncClient, rows: seed.Connection, site_url: str
) -> None:
    article = ARTICLES[4]
    await seed.seed_urls(rows, [site_url + article.path])
    await crawler.post("/api/crawl/batch", json=await batch(rows))
    row = await rows.fetchrow("select * from discoveries")
    assert row is not None
    assert (row["title"], row["description"]) == (article.title, article.description)
    assert row["image_url"] == f"{site_url}/images/{article.slug}.svg"
    image = await crawler.get(row["image_url"])
    assert (image.status_code, image.headers["content-type"].partition(";")[0]) == (200, "image/svg+xml")


async def test_unreachable_and_unknown_rows_fail_alone(
    crawler: httpx.AsyncClient, rows: seed.Connection, site_url: str
) -> None:
    await seed.seed_urls(rows, [f"{site_url}/bulk/1", "http://127.0.0.1:9/", "http://a..example/"])
    wanted = await batch(rows)
    unknown = str(uuid4())
    wanted["discoveries"].append({"id": unknown, "url": f"{site_url}/bulk/2"})
    answer = (await crawler.post("/api/crawl/batch", json=wanted)).json()
    assert await statuses(rows) == {"completed": 1, "failed": 2}
    assert answer["details"]["results"][-1] == {"id": unknown, "success": False, "error": "Discovery not found"}
    assert await rows.fetchval("select title from discoveries where crawl_status = 'completed'") == "Bulk page 1"


async def test_row_is_crawling_while_its_page_is_fetched(
    crawler: httpx.AsyncClient, rows: seed.Connection, site_url: str
) -> None:
    await seed.seed_urls(rows, [f"{site_url}/slow"])
    call = asyncio.create_task(crawler.post("/api/crawl/batch", json=await batch(rows)))
    await asyncio.sleep(1)
    assert await statuses(rows) == {"crawling": 1}
    await call
    assert await statuses(rows) == {"completed": 1}


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"jobId": "7"}, "jobId"),
        ({"jobId": None}, "jobId"),
        ({"discoveries": []}, "discoveries"),
        ({"discoveries": "all"}, "discoveries"),
        ({"discoveries": [{"id": "7", "url": "http://a.example"}]}, "discoveries.0.id"),
        ({"discoveries": [{"id": JOB_ID, "url": "ftp://a.example"}]}, "discoveries.0.url"),
        ({"discoveries": [{"id": JOB_ID, "url": "http://a.example"}] * 2}, "discoveries"),  # an id twice
        ({"discoveries": [{"id": str(uuid4()), "url": "http://a.example"} for _ in range(101)]}, "discoveries"),
    ],
)
async def test_what_breaks_the_contract_is_refused(
    crawler: httpx.AsyncClient, change: dict[str, Any], path: str
) -> None:
    request = {"jobId": JOB_ID, "discoveries": [{"id": JOB_ID, "url": "http://a.example"}]} | change
    answer = await crawler.post("/api/crawl/batch", json=request)
    assert answer.status_code == 400
    assert (answer.json()["success"], answer.json()["error"]) == (False, "Invalid request data")
    assert [wrong["path"] for wrong in answer.json()["details"]] == [path]


async def test_malformed_json_is_refused(crawler: httpx.AsyncClient) -> None:
    assert (await crawler.post("/api/crawl/batch", content="{")).status_code == 400


async def test_dropped_answer_leaves_the_work_done(
    crawler: httpx.AsyncClient, rows: seed.Connection, site_url: str
) -> None:
    await seed.seed_bulk(rows, site_url, 20)
    await crawler.put("/__faults", json={"fault": "drop"})
    with pytest.raises(httpx.RemoteProtocolError):
        await crawler.post("/api/crawl/batch", json=await batch(rows))
    assert await statuses(rows) == {"completed": 20}


async def test_batch_goes_on_when_the_caller_hangs_up(
    crawler: httpx.AsyncClient, rows: seed.Connection, site_url: str
) -> None:
    await seed.seed_urls(rows, [f"{site_url}/slow"])
    with pytest.raises(httpx.ReadTimeout):
        await crawler.post("/api/crawl/batch", json=await batch(rows), timeout=1)
    await asyncio.sleep(3)
    assert await statuses(rows) == {"completed": 1}


async def test_results_can_be_left_out(crawler: httpx.AsyncClient, rows: seed.Connection, site_url: str) -> None:
    await seed.seed_bulk(rows, site_url, 1)
    wanted = await batch(rows)
    await crawler.put("/__faults", json={"fault": "no_results", "times": 1})
    details = [(await crawler.post("/api/crawl/batch", json=wanted)).json()["details"] for _ in range(2)]
    assert ["results" in each for each in details] == [False, True]


async def test_ten_batches_at_once_receive_and_crawl_every_row_once(
    crawler: httpx.AsyncClient, rows: seed.Connection, site_url: str
) -> None:
    await seed.seed_bulk(rows, site_url, 500)
    found = [str(row["id"]) for row in await rows.fetch("select id from discoveries order by url")]
    urls = [row["url"] for row in await rows.fetch("select url from discoveries order by url")]
    items = [{"id": key, "url": url} for key, url in zip(found, urls, strict=True)]
    batches = [{"jobId": JOB_ID, "discoveries": items[start : start + 50]} for start in range(0, 500, 50)]
    answers = await asyncio.gather(*(crawler.post("/api/crawl/batch", json=each) for each in batches))
    assert {answer.status_code for answer in answers} == {200}
    assert await statuses(rows) == {"completed": 500}
    calls = (await crawler.get("/__calls")).json()
    assert calls["count"] == 10
    assert sorted(calls["received"]) == sorted(found)
    titles = "select count(*) from discoveries where title = 'Bulk page ' || substring(url from '[0-9]+$')"
    assert await rows.fetchval(titles) == 500


@pytest.mark.parametrize(
    ("body", "charset", "title"),
    [
        (b"<title>a &amp; b</title>", None, "a & b"),
        (b"<title>\n  two\n lines </title>", None, "two lines"),
        (b"<title></title><meta property=og:title content='From Open Graph'>", None, "From Open Graph"),
        ("<meta charset=iso-8859-1><title>Grüße</title>".encode("iso-8859-1"), None, "Grüße"),
        ("<title>Grüße</title>".encode(), "no-such-charset", "Grüße"),  # the header is wrong, the bytes are not
        (b"<title>nul\x00</title>", None, "nul"),  # PostgreSQL would refuse the row
        (b"<title>" + b"x" * 600 + b"</title>", None, "x" * 500),
        (b"", None, None),
        (b"<svg><rect></svg>", None, None),
    ],
)
def test_titles_of_odd_documents(body: bytes, charset: str | None, title: str | None) -> None:
    assert parse_page(body, charset, "http://a.example/").title == title


@pytest.mark.parametrize(
    ("reference", "image_url"),
    [
        ("/i.png", "http://a.example/i.png"),
        ("//cdn.example/i.png", "http://cdn.example/i.png"),
        ("https://b.example/i.png", "https://b.example/i.png"),
        ("data:image/png;base64,AAAA", None),
        ("http://[::1", None),
    ],
)
def test_images_become_absolute(reference: str, image_url: str | None) -> None:
    page = parse_page(f"<meta property='og:image' content='{reference}'>".encode(), "utf-8", "http://a.example/x/y")
    assert page.image_url == image_url


def test_description_comes_from_the_meta_element_before_open_graph() -> None:
    both = b"<meta property='og:description' content='second'><meta name=description content='first'>"
    assert parse_page(both, None, "http://a.example/").description == "first"
    assert parse_page(both.partition(b"<meta name")[0], None, "http://a.example/").description == "second"


def test_a_page_cut_in_the_middle_of_a_character_keeps_its_encoding() -> None:
    whole = ("<title>Прогулки</title>" + "<p>я" * MAX_BODY_BYTES).encode()
    cut = whole[: MAX_BODY_BYTES // 100 + 1]
    assert parse_page(cut[: cut.rfind(b">") + 1], "utf-8", "http://a.example/").title == "Прогулки"


async def test_a_crawler_that_is_stopped_leaves_rows_crawling_and_no_answer(
    site_database: str, rows: seed.Connection, site_url: str
) -> None:
    await seed.seed_urls(rows, [f"{site_url}/too-slow"])
    with running("crawler", DATABASE_URL=site_database) as stopped:
        async with httpx.AsyncClient(base_url=stopped.url, timeout=20, trust_env=False) as client:
            call = asyncio.create_task(client.post("/api/crawl/batch", json=await batch(rows)))
            await asyncio.sleep(0.5)
            stopped.process.terminate()
            with pytest.raises(httpx.RemoteProtocolError):
                await call
        assert await asyncio.to_thread(stopped.process.wait, 5) == 0
    assert await statuses(rows) == {"crawling": 1}
