"""The history: filtered and paged through, also where it is long, with all of it in the address."""

from __future__ import annotations

import re

from playwright.async_api import Locator, Page, expect

from sandbox.standins.people import ADMIN
from tests.browser.person import Person
from tests.browser.seeding import seed_history
from tests.e2e.harness import Admin

MANY = 100_000
A_PAGE = 50


def rows(page: Page) -> Locator:
    return page.get_by_role("table", name="Jobs, newest first").get_by_role("row").filter(has_not=header(page))


def header(page: Page) -> Locator:
    return page.get_by_role("columnheader")


async def titles(page: Page) -> list[str]:
    """What stands first in each row: the type and the beginning of the id."""
    await expect(page.locator("[aria-busy=true]")).to_have_count(0)
    return await rows(page).get_by_role("rowheader").all_inner_texts()


async def choose(page: Page, group: str, name: str) -> None:
    await page.get_by_role("group", name=group).get_by_text(name, exact=True).click()


async def told(page: Page, words: str | re.Pattern[str]) -> None:
    await expect(page.get_by_role("navigation", name="Pages of jobs").get_by_role("status")).to_have_text(words)


async def test_a_hundred_thousand_jobs_are_filtered_and_paged_through(person: Person, admin: Admin) -> None:
    page = person.page
    await seed_history(admin.stack, MANY)
    await person.go_to("History")
    await expect(rows(page)).to_have_count(A_PAGE)
    await told(page, re.compile(r"^About [\d,]+ jobs, page 1$"))
    await choose(page, "Status", "Failed")
    await choose(page, "Job type", "Crawl pending")
    expected = await admin.sql.fetch(
        "select id::text from scheduled_jobs where status = 'failed' and job_type = 'crawl_pending'"
        " order by created_at desc, id desc"
    )
    await told(page, f"{len(expected)} jobs, page 1")
    seen: list[str] = []
    number = 1
    pages: list[list[str]] = []
    while True:
        await told(page, f"{len(expected)} jobs, page {number}")
        pages.append(await titles(page))
        seen += [one.split()[-1] for one in pages[-1]]
        older = page.get_by_role("button", name="Older")
        if await older.is_disabled():
            break
        await older.click()
        number += 1
    assert seen == [row["id"][:8] for row in expected]
    assert number == -(-len(expected) // A_PAGE)
    for text in await rows(page).all_inner_texts():
        assert "Failed" in text
        assert "Crawl pending" in text
    await page.get_by_role("button", name="Newer").click()
    await told(page, f"{len(expected)} jobs, page {number - 1}")
    assert await titles(page) == pages[-2]
    await page.get_by_role("button", name="Newest").click()
    await told(page, f"{len(expected)} jobs, page 1")
    assert await titles(page) == pages[0]


async def test_all_of_a_page_is_in_its_address(person: Person, admin: Admin) -> None:
    page = person.page
    await seed_history(admin.stack, 2_000)
    await person.go_to("History")
    await choose(page, "Status", "Completed")
    await page.get_by_role("button", name="Older").click()
    await told(page, re.compile("page 2$"))
    before = await titles(page)
    address = page.url
    await page.reload()
    await told(page, re.compile("page 2$"))
    assert await titles(page) == before
    await rows(page).get_by_role("link").first.click()
    await expect(page.get_by_role("region", name="Facts")).to_be_visible()
    await page.go_back()
    await told(page, re.compile("page 2$"))
    assert page.url == address
    # Neither the reload nor the look at a job has lost the way.
    await page.get_by_role("button", name="Newer").click()
    await told(page, re.compile("page 1$"))
    await page.go_back()
    await told(page, re.compile("page 2$"))
    await page.go_back()
    await told(page, re.compile("page 1$"))
    await page.get_by_role("button", name="Clear all filters").click()
    await expect(page).to_have_url(re.compile(r"/admin/history$"))
    await expect(page.get_by_role("group", name="Status").get_by_role("checkbox", checked=True)).to_have_count(0)


async def test_jobs_of_a_person_and_of_a_day_are_found(person: Person, admin: Admin) -> None:
    page = person.page
    await seed_history(admin.stack, 2_000)
    await person.go_to("History")
    await page.get_by_role("textbox", name="Started by").fill(str(ADMIN.user_id))
    count = "select count(*) from scheduled_jobs where started_by = $1"
    await told(page, f"{await admin.sql.fetchval(count, str(ADMIN.user_id))} jobs, page 1")
    day = await admin.sql.fetchval("select (now() at time zone 'Europe/Berlin' - interval '3 days')::date::text")
    await page.get_by_label("From", exact=True).fill(f"{day}T00:00")
    await page.get_by_label("To", exact=True).fill(f"{day}T12:00")
    of_the_day = await admin.sql.fetchval(
        f"{count} and created_at at time zone 'Europe/Berlin' between $2::text::timestamp and $3::text::timestamp",
        str(ADMIN.user_id),
        f"{day} 00:00",
        f"{day} 12:00",
    )
    await told(page, re.compile(rf"^{of_the_day} jobs?, page 1$"))
    assert of_the_day


async def test_times_are_the_viewers_and_utc_is_beside_them(person: Person, admin: Admin) -> None:
    page = person.page
    await seed_history(admin.stack, 100)
    await person.go_to("History")
    newest = await admin.sql.fetchrow(
        "select to_char(created_at at time zone 'Europe/Berlin', 'HH24:MI:SS') as local,"
        " to_char(created_at at time zone 'UTC', 'HH24:MI:SS') as utc"
        " from scheduled_jobs order by created_at desc, id desc limit 1"
    )
    assert newest is not None
    assert newest["local"] != newest["utc"]
    shown = rows(page).first.get_by_role("time").first
    await expect(shown).to_contain_text(newest["local"])
    await expect(shown.locator(".sp-tip")).to_be_hidden()
    await shown.hover()
    await expect(shown.locator(".sp-tip")).to_be_visible()
    await expect(shown.locator(".sp-tip")).to_contain_text(f"{newest['utc']} UTC")


async def test_the_keyboard_alone_gets_from_the_address_to_a_job(person: Person, admin: Admin) -> None:
    page = person.page
    await seed_history(admin.stack, 100)
    await person.open("/admin/history")
    await expect(rows(page)).to_have_count(A_PAGE)
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    await page.keyboard.press("Enter")
    first = rows(page).get_by_role("link").first
    for _ in range(60):
        await page.keyboard.press("Tab")
        if await first.evaluate("(one) => one === document.activeElement"):
            break
    await expect(first).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("region", name="Facts")).to_be_visible()
    await expect(page.get_by_role("heading", level=1)).to_be_focused()
