"""Every page for everybody: with a screen reader, on a phone, in the dark, over a slow line."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from tests.browser.chromium import Watch
from tests.browser.looks import THEMES, WIDTHS, overhang, violations, wear
from tests.browser.person import Person
from tests.browser.seeding import seed_history
from tests.browser.views import VIEWS, View, cancel_dialog, running_job
from tests.e2e.harness import Admin

FIRST_LOAD_BYTES = 200_000


@pytest.mark.parametrize("name", VIEWS)
async def test_a_page_is_usable_by_everybody(visitor: Person, admin: Admin, watch: Watch, name: str) -> None:
    view = VIEWS[name]
    watch.may_hear(*view.noise)
    await seed_history(admin.stack, 400)
    await visitor.open("/admin")
    if view.who:
        await visitor.sign_in(view.who)
    assert await faults_of(visitor, view) == []


async def test_a_job_that_runs_is_usable_by_everybody(person: Person, admin: Admin) -> None:
    await admin.seed_bulk(1000)
    await admin.fault("crawler", "slow", seconds=22)
    job = await admin.wait((await admin.trigger())["id"], "running")
    path = f"/admin/jobs/{job['id']}"
    try:
        assert await faults_of(person, View(path, running_job)) == []
        assert await faults_of(person, View(path, cancel_dialog)) == []
    finally:
        await admin.fault("crawler", None)
        (await admin.http.post(f"/api/jobs/{job['id']}/cancel")).raise_for_status()
        await admin.wait(job["id"])


async def faults_of(person: Person, view: View) -> list[str]:
    """What is wrong with a view, in each theme and width."""
    found = []
    for theme in THEMES:
        for width in WIDTHS:
            await wear(person.page, theme, width)
            await person.open(view.path)
            try:
                await view.prepare(person)
                found += [f"{theme}, {width} px: {one}" for one in await violations(person.page)]
                if wider := await overhang(person.page):
                    found.append(f"{theme}, {width} px: {wider} px wider than the window")
            finally:
                await view.undo(person)
    return found


async def test_axe_would_find_something(visitor: Person) -> None:
    await visitor.open("/admin")
    await expect(visitor.page.get_by_role("heading")).to_be_visible()
    assert await violations(visitor.page) == []
    await visitor.page.evaluate("() => document.querySelector('main').append(document.createElement('button'))")
    assert any("button-name" in one for one in await violations(visitor.page))


async def test_the_first_load_is_small(person: Person, admin: Admin) -> None:
    await seed_history(admin.stack, 400)
    asked = await loaded(person.page)
    files = {url: size for url, size in asked.items() if "/admin" in url}
    assert files
    assert sum(files.values()) < FIRST_LOAD_BYTES, files
    # And what has a hash in its name is not asked for again.
    again = await loaded(person.page, cached=True)
    assert not [url for url in again if "/admin/assets/" in url], again


async def loaded(page: Page, *, cached: bool = False) -> dict[str, int]:
    """What the browser fetches to show the page, with the bytes that came over the line, headers and all."""
    addresses: dict[str, str] = {}
    sizes: dict[str, int] = {}
    session = await page.context.new_cdp_session(page)
    session.on("Network.requestWillBeSent", lambda told: addresses.update({told["requestId"]: told["request"]["url"]}))
    session.on("Network.loadingFinished", lambda told: sizes.update({told["requestId"]: told["encodedDataLength"]}))
    await session.send("Network.enable")
    await session.send("Network.setCacheDisabled", {"cacheDisabled": not cached})
    await page.reload()
    await expect(page.get_by_role("status").filter(has_text="Live")).to_be_visible()
    await expect(page.locator(".sp-skeleton")).to_have_count(0)
    await session.detach()
    return {addresses[one]: round(size) for one, size in sizes.items() if one in addresses and size > 0}
