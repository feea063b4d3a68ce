"""Pausing everything, and what waits meanwhile."""

from __future__ import annotations

from playwright.async_api import expect

from tests.browser.person import Person
from tests.e2e.harness import Admin


async def test_everything_is_paused_and_goes_on(person: Person, admin: Admin) -> None:
    page = person.page
    await page.get_by_role("button", name="Pause all").click()
    dialog = page.get_by_role("dialog", name="Pause all")
    await dialog.get_by_role("textbox", name="Why").fill("The database moves")
    await dialog.get_by_role("button", name="Pause", exact=True).click()
    banner = page.get_by_role("status", name="Paused")
    await expect(banner).to_contain_text("The database moves")
    assert (await admin.http.get("/api/maintenance")).json()["paused"] is True

    await admin.seed_pages()
    job = await admin.trigger()
    waiting = page.get_by_role("list", name="Running and waiting jobs")
    await expect(waiting).to_contain_text("Waiting")
    for name in ("Job types", "History", "Audit"):
        await person.go_to(name)
        await expect(page.get_by_role("heading", name=name, level=1)).to_be_visible()
        await expect(banner).to_be_visible()

    await banner.get_by_role("button", name="Resume").click()
    dialog = page.get_by_role("dialog", name="Resume all")
    await dialog.get_by_role("button", name="Resume", exact=True).click()
    await expect(banner).to_have_count(0)
    await person.go_to("Overview")
    ended = page.get_by_role("list", name="Jobs that ended lately")
    await expect(ended).to_contain_text("Completed", timeout=60_000)
    assert (await admin.job(job["id"]))["status"] == "completed"


async def test_a_pause_that_somebody_else_sets_and_ends_is_seen(person: Person, admin: Admin) -> None:
    banner = person.page.get_by_role("status", name="Paused")
    await expect(person.page.get_by_role("heading", name="Overview")).to_be_visible()
    (await admin.http.put("/api/maintenance", json={"paused": True, "reason": "by a colleague"})).raise_for_status()
    await expect(banner).to_contain_text("by a colleague", timeout=30_000)
    (await admin.http.put("/api/maintenance", json={"paused": False})).raise_for_status()
    await expect(banner).to_have_count(0, timeout=30_000)
