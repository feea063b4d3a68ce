"""A job from its button to its end: run, watched, failed and retried, cancelled, asked for twice."""

from __future__ import annotations

import re

from playwright.async_api import Locator, Page, expect

from tests.browser.chromium import Watch
from tests.browser.person import Person
from tests.e2e.harness import Admin, until

REFUSED = r"Failed to load resource: .* 400 .*/api/jobs/trigger"
JOB = re.compile(r"/admin/jobs/([0-9a-f-]{36})$")


async def run(person: Person, label: str = "Crawl Pending Content") -> str:
    """Presses the type's button and the one in its dialog; the id of the job whose page is there then."""
    page = person.page
    await person.go_to("Job types")
    await page.get_by_role("button", name=label).click()
    await page.get_by_role("dialog", name=label).get_by_role("button", name="Run now").click()
    await expect(page).to_have_url(JOB)
    return id_of(page)


def id_of(page: Page) -> str:
    found = JOB.search(page.url)
    assert found is not None
    return found[1]


def status(page: Page, word: str) -> Locator:
    """The job's status at the head of its page: a drawing and a word."""
    return page.get_by_role("main").locator(".sp-job-status", has_text=word)


async def shows(page: Page, word: str, *, seconds: float = 60) -> None:
    await expect(status(page, word)).to_be_visible(timeout=seconds * 1000)
    await expect(status(page, word).locator("svg")).to_be_visible()


async def test_a_job_is_run_from_its_button_and_watched_to_its_end(person: Person, admin: Admin) -> None:
    page = person.page
    await admin.seed_bulk(30)
    await admin.fault("crawler", "slow", seconds=5, times=1)
    job = await run(person)
    await shows(page, "Running")
    log = page.get_by_role("log")
    await expect(log).to_contain_text("Beginning flow run")
    await expect(status(page, "Running")).to_be_visible()  # the line was there before the end
    await expect(page.get_by_role("progressbar", name="Progress")).to_be_visible()
    await shows(page, "Completed")
    await expect(page.get_by_role("region", name="Result")).to_contain_text("30")
    await expect(page.get_by_text(re.compile(r"^Complete, \d+ lines$"))).to_be_visible(timeout=30_000)
    for number in (await admin.job(job))["result"]["details"], (await admin.job(job))["progress"]:
        assert number
    assert (await admin.job(job))["startedBy"] is not None
    await person.go_to("Overview")
    ended = page.get_by_role("list", name="Jobs that ended lately")
    await expect(ended.get_by_role("listitem").first).to_contain_text("Completed")


async def test_a_failed_job_says_why_and_is_tried_again_as_a_new_one(person: Person, admin: Admin) -> None:
    page = person.page
    await admin.seed_bulk(4)
    await admin.fault("crawler", "500")
    first = await run(person)
    await shows(page, "Failed", seconds=150)
    why = page.get_by_role("region", name="Why it failed")
    await expect(why).to_contain_text("none of 4 items succeeded: crawler answered 500")
    await expect(page.get_by_role("region", name="Result")).to_contain_text("5 errors")
    await admin.fault("crawler", None)
    await page.get_by_role("button", name="Retry").click()
    await page.get_by_role("dialog", name="Retry this job?").get_by_role("button", name="Retry").click()
    await expect(page).not_to_have_url(re.compile(first))
    second = id_of(page)
    await shows(page, "Completed")
    assert (await admin.job(second))["retryOf"] == first
    facts = page.get_by_role("region", name="Facts")
    await facts.get_by_role("link", name=first[:8]).click()
    await shows(page, "Failed")


async def test_a_running_job_is_cancelled_and_shows_its_receipt(person: Person, admin: Admin) -> None:
    page = person.page
    await admin.seed_bulk(20)
    await admin.fault("crawler", "slow", seconds=40, times=1)
    job = await run(person)
    await shows(page, "Running")
    await page.get_by_role("button", name="Cancel").click()
    dialog = page.get_by_role("dialog", name="Cancel this job?")
    await expect(dialog).to_contain_text("What it has done by then stays done")
    await dialog.get_by_role("button", name="Cancel the job").click()
    await expect(dialog).to_have_count(0)
    receipt = page.get_by_role("region", name="Cancel", exact=True)
    await expect(receipt).to_contain_text("Asked for")
    await shows(page, "Cancelled", seconds=60)
    await expect(receipt).to_contain_text("repeats nothing that was done")
    assert (await admin.job(job))["cancel"]["stoppedAt"] is not None
    await expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
    await expect(page.get_by_role("button", name="Retry")).to_be_visible()


async def test_a_job_that_waits_says_why_and_what_runs_says_what_it_does(person: Person, admin: Admin) -> None:
    page = person.page
    await admin.seed_bulk(5)
    await admin.fault("crawler", "slow", seconds=12, times=1)
    await run(person)
    await shows(page, "Running")
    await expect(page.get_by_role("region", name="What it is doing")).to_be_visible()
    first = id_of(page)
    await person.go_to("Job types")
    await page.get_by_role("button", name="Crawl Pending Content").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text("One of this type runs or waits already")
    await dialog.get_by_role("button", name="Run now").click()
    await expect(page).not_to_have_url(re.compile(first))
    await shows(page, "Waiting")
    await expect(page.get_by_role("region", name="Why it waits")).to_contain_text(first[:8])
    await shows(page, "Completed")


async def test_a_job_that_deletes_is_asked_for_twice_with_what_a_dry_run_finds(person: Person, admin: Admin) -> None:
    page = person.page
    await person.go_to("Job types")
    await page.get_by_role("button", name="Clean Up Old Data").click()
    await page.get_by_role("dialog").get_by_role("button", name="Continue").click()
    dialog = page.get_by_role("dialog", name="Clean Up Old Data?")
    await expect(dialog).to_contain_text("What was deleted cannot be brought back")
    dry = dialog.get_by_role("region", name="Dry run")
    await expect(dry).to_contain_text("Completed", timeout=60_000)
    jobs = (await admin.http.get("/api/jobs?type=cleanup_old_data")).json()["jobs"]
    assert [one["parameters"]["dry_run"] for one in jobs] == [True]
    await dialog.get_by_role("button", name="Run now").click()
    await expect(page).to_have_url(JOB)
    await shows(page, "Completed")
    assert (await admin.job(id_of(page)))["parameters"]["dry_run"] is False


async def test_what_is_out_of_bounds_is_told_before_it_is_sent(person: Person, admin: Admin) -> None:
    page = person.page
    await person.go_to("Job types")
    await page.get_by_role("button", name="Crawl Pending Content").click()
    dialog = page.get_by_role("dialog")
    most = dialog.get_by_role("textbox", name="Max items")
    await expect(most).to_have_value("1000")
    for wrong in ("0", "10001", "many", ""):
        await most.fill(wrong)
        await dialog.get_by_role("button", name="Run now").click()
        await expect(most).to_have_attribute("aria-invalid", "true")
    assert (await admin.http.get("/api/jobs")).json()["total"] == 0
    await dialog.get_by_role("combobox", name="Mode").select_option(label="Stale")
    await dialog.get_by_role("textbox", name="Older than days").fill("90")
    await most.fill("50")
    await dialog.get_by_role("button", name="Run now").click()
    await expect(page).to_have_url(JOB)
    asked = (await admin.job(id_of(page)))["parameters"]
    assert (asked["mode"], asked["max_items"], asked["older_than_days"]) == ("stale", 50, 90)
    await shows(page, "Completed")


async def test_a_log_is_filtered_searched_and_held_still(person: Person, admin: Admin) -> None:
    page = person.page
    await admin.seed_bulk(4)
    await admin.fault("crawler", "500", times=1)
    await run(person)
    await shows(page, "Completed")
    await expect(page.get_by_text(re.compile(r"^Complete, \d+ lines$"))).to_be_visible(timeout=30_000)
    log = page.get_by_role("log")
    lines = log.locator(".sp-log-line")
    everything = await lines.count()
    await page.get_by_role("combobox", name="Level").select_option(label="Warning and up")
    await expect(lines).not_to_have_count(everything)
    for level in await log.locator(".sp-log-name").all_inner_texts():
        assert level in {"WARNING", "ERROR", "CRITICAL"}
    await page.get_by_role("combobox", name="Level").select_option(label="All")
    await page.get_by_role("searchbox", name="Search the log").fill("no line says this")
    await expect(log).to_contain_text("No line matches.")
    await page.get_by_role("searchbox", name="Search the log").fill("flow run")
    await expect(log.locator("mark").first).to_have_text(re.compile("flow run", re.IGNORECASE))
    await page.get_by_role("searchbox", name="Search the log").fill("")
    await expect(lines).to_have_count(everything)
    await page.get_by_role("button", name="Pause").click()
    await expect(page.get_by_role("button", name="Go on")).to_be_visible()


async def test_a_job_that_is_not_there_is_said_to_be_so(person: Person, watch: Watch) -> None:
    watch.expect(r"Failed to load resource: .* 404 .*/api/jobs/")
    await person.open("/admin/jobs/5f0c2b1e-0000-4000-8000-000000000001")
    await expect(person.page.get_by_text("There is no such job")).to_be_visible()


async def test_what_others_start_is_shown_as_it_happens(person: Person, admin: Admin) -> None:
    page = person.page
    await expect(page.get_by_role("status").filter(has_text="Live")).to_be_visible()
    await admin.seed_bulk(5)
    await admin.fault("crawler", "slow", seconds=6, times=1)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/api/jobs/stream" in request.url else None)
    job = await admin.trigger()
    running = page.get_by_role("list", name="Running and waiting jobs")
    await expect(running).to_contain_text("Running", timeout=30_000)
    ended = page.get_by_role("list", name="Jobs that ended lately")
    await expect(ended.locator(f"a[href$='{job['id']}']")).to_be_visible(timeout=60_000)
    assert asked == [], "it was one stream all the time"

    async def completed() -> bool:
        return bool((await admin.job(job["id"]))["status"] == "completed")

    await until(completed, seconds=5, what="the job has completed")
