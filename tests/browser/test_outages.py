"""What breaks under an open page, and the page after it: everything is as it is again, and nobody has reloaded it."""

from __future__ import annotations

from playwright.async_api import expect

from tests.browser.chromium import Watch
from tests.browser.person import Person
from tests.e2e.harness import Admin

# The browser itself notes each connection that comes to nothing.
GONE = r"Failed to load resource: net::ERR_(CONNECTION_REFUSED|CONNECTION_RESET|EMPTY_RESPONSE|SOCKET_NOT_CONNECTED)"
CUT_OFF = r"net::ERR_(INCOMPLETE_CHUNKED_ENCODING|CONNECTION_RESET|ABORTED)"


async def test_a_page_recovers_by_itself_from_a_shim_that_was_killed(
    person: Person, admin: Admin, watch: Watch
) -> None:
    watch.expect(GONE)
    watch.may_hear(CUT_OFF)
    page = person.page
    live = page.get_by_role("status").filter(has_text="Live")
    await expect(live).to_be_visible()
    await admin.seed_pages()
    await admin.stack.kill("shim")
    await expect(page.get_by_role("status").filter(has_text="Offline")).to_be_visible(timeout=30_000)
    await expect(page.get_by_role("alert").filter(has_text="cannot be reached")).to_be_visible()
    await admin.stack.start("shim")
    await expect(live).to_be_visible(timeout=30_000)
    await expect(page.get_by_role("alert").filter(has_text="cannot be reached")).to_have_count(0)
    # And what happens from now on is shown.
    job = await admin.wait((await admin.trigger())["id"])
    ended = page.get_by_role("list", name="Jobs that ended lately")
    await expect(ended.locator(f"a[href$='/jobs/{job['id']}']")).to_be_visible(timeout=20_000)


async def test_a_page_that_is_opened_while_the_shim_is_down_shows_itself_when_it_is_back(
    person: Person, admin: Admin, watch: Watch
) -> None:
    watch.expect(GONE)
    watch.may_hear(CUT_OFF)
    page = person.page
    await expect(page.get_by_role("status").filter(has_text="Live")).to_be_visible()
    await admin.stack.kill("shim")
    await person.go_to("History")
    await expect(page.get_by_role("alert").filter(has_text="cannot be reached").first).to_be_visible(timeout=30_000)
    await admin.stack.start("shim")
    await expect(page.get_by_role("heading", name="History", level=1)).to_be_visible(timeout=30_000)
    await expect(page.get_by_role("alert")).to_have_count(0, timeout=30_000)


async def test_a_proxy_that_cuts_streams_leaves_the_page_polling(person: Person, admin: Admin, watch: Watch) -> None:
    watch.expect(r"Failed to load resource: net::ERR_FAILED .*/api/jobs/stream")
    page = person.page
    streams = "**/api/jobs/stream*"
    await page.route(streams, lambda route: route.abort())
    await page.reload()
    await expect(page.get_by_role("status").filter(has_text="Polling")).to_be_visible(timeout=30_000)
    job = await admin.wait((await admin.trigger())["id"])
    ended = page.get_by_role("list", name="Jobs that ended lately")
    await expect(ended.locator(f"a[href$='/jobs/{job['id']}']")).to_be_visible(timeout=20_000)
    await expect(page.get_by_role("status").filter(has_text="Polling")).to_be_visible()
    await expect(page.get_by_role("alert")).to_have_count(0)
    await page.unroute(streams)
    await expect(page.get_by_role("status").filter(has_text="Live")).to_be_visible(timeout=45_000)


async def test_a_sign_in_that_is_away_for_a_while_signs_nobody_out(person: Person, admin: Admin, watch: Watch) -> None:
    watch.may_hear(GONE)
    page = person.page
    await person.shorten_tokens(2)
    await page.reload()
    await expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    await admin.fault("clerk", "500")
    # An answer that is a fault lets no page read it.
    watch.expect(r"/sign-in/sessions/.* blocked by CORS policy", r"net::ERR_FAILED.*/sign-in/sessions/")
    await page.wait_for_timeout(2500)  # the token is over
    await person.go_to("Audit")
    await expect(page.get_by_role("status").filter(has_text="Offline")).to_be_visible()
    await expect(page.get_by_role("heading", name="You are signed out")).to_have_count(0)
    await expect(page.get_by_role("heading", name="Your session has ended")).to_have_count(0)
    await admin.fault("clerk", None)
    await person.shorten_tokens(None)
    await person.go_to("Job types")
    await expect(page.get_by_role("heading", name="Job types", level=1)).to_be_visible()
    await expect(page.get_by_role("status").filter(has_text="Live")).to_be_visible(timeout=30_000)


async def test_prefects_absence_is_told_as_such(person: Person, admin: Admin) -> None:
    health = person.page.get_by_role("region", name="Health")
    prefect = health.get_by_role("listitem").filter(has_text="Prefect").first
    await expect(prefect).to_contain_text("Well")
    await admin.stack.stop("prefect")
    await expect(prefect).to_contain_text("Down", timeout=40_000)
    await admin.stack.start("prefect")
    await expect(prefect).to_contain_text("Well", timeout=40_000)
