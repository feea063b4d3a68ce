"""What a crawl makes of a crawler that refuses, fails, hangs or loses its answer."""

from __future__ import annotations

from tests.e2e.harness import Admin


async def test_rows_tell_when_the_answer_was_lost_after_the_work(admin: Admin) -> None:
    await admin.seed_bulk(5)
    await admin.fault("crawler", "drop", times=1)
    job = await admin.wait((await admin.trigger())["id"])
    assert job["status"] == "completed"
    assert job["result"]["details"]["successfulCrawls"] == 5
    assert await admin.crawl_statuses() == {"completed": 5}
    assert len(await admin.received("crawler")) == 5, "nothing was sent twice"


async def test_a_crawler_that_fails_three_times_fails_the_rows_and_the_job(admin: Admin) -> None:
    await admin.seed_bulk(4)
    await admin.fault("crawler", "500")
    job = await admin.wait((await admin.trigger())["id"], seconds=90)
    assert job["status"] == "failed"
    assert job["error"].startswith("none of 4 items succeeded: crawler answered 500")
    assert job["result"]["success"] is False
    assert len(job["result"]["errors"]) == 5, "the fatal message and one entry a row"
    assert await admin.crawl_statuses() == {"failed": 4}


async def test_a_crawler_that_fails_once_is_asked_again(admin: Admin) -> None:
    await admin.seed_bulk(4)
    await admin.fault("crawler", "500", times=1)
    job = await admin.wait((await admin.trigger())["id"])
    assert job["status"] == "completed"
    assert await admin.crawl_statuses() == {"completed": 4}


async def test_a_crawler_that_is_busy_for_a_moment_costs_no_attempt(admin: Admin) -> None:
    await admin.seed_bulk(4)
    await admin.fault("crawler", "503", times=1)
    job = await admin.wait((await admin.trigger())["id"])
    assert job["status"] == "completed"
    assert await admin.crawl_statuses() == {"completed": 4}


async def test_a_crawler_that_hangs_does_not_hang_the_job(admin: Admin) -> None:
    await admin.seed_bulk(4)
    await admin.fault("crawler", "hang")
    job = await admin.wait((await admin.trigger())["id"], seconds=150)
    assert job["status"] == "failed"
    assert "no answer within" in job["error"]
    assert await admin.crawl_statuses() == {"failed": 4}


async def test_a_crawler_that_is_gone_leaves_the_rows_pending(admin: Admin) -> None:
    await admin.seed_bulk(4)
    await admin.stack.stop("crawler")
    job = await admin.wait((await admin.trigger())["id"], seconds=120)
    assert job["status"] == "failed"
    assert job["error"].startswith("none of 4 items succeeded: crawler cannot be reached")
    assert job["result"]["details"]["leftPending"] == 4
    assert await admin.crawl_statuses() == {"pending": 4}
    await admin.stack.start("crawler")
    assert (await admin.wait((await admin.trigger())["id"]))["status"] == "completed"
    assert await admin.crawl_statuses() == {"completed": 4}


async def test_an_answer_without_results_is_read_off_the_rows(admin: Admin) -> None:
    await admin.seed_bulk(3)
    await admin.fault("crawler", "no_results")
    job = await admin.wait((await admin.trigger())["id"])
    assert job["result"]["details"]["successfulCrawls"] == 3


async def test_addresses_nobody_can_crawl_fail_alone(admin: Admin) -> None:
    await admin.seed_bulk(12)
    odd = ["ftp://example.org/a", "http://[bad/x", " http://example.org/led-by-a-space"]
    await admin.sql.execute("insert into public.discoveries (url) select unnest($1::text[])", odd)
    job = await admin.wait((await admin.trigger())["id"])
    assert job["status"] == "completed", job
    assert job["result"]["details"]["successfulCrawls"] == 12
    assert job["result"]["details"]["failedCrawls"] == 3
    rows = await admin.sql.fetch("select url, crawl_error from public.discoveries where crawl_status = 'failed'")
    told = {row["url"]: row["crawl_error"] for row in rows}
    assert told.keys() == set(odd)
    assert told["ftp://example.org/a"] == told["http://[bad/x"] == "not a web address"
    assert told[" http://example.org/led-by-a-space"].startswith("crawler answered 400")
