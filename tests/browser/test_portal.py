"""The panel in an app of somebody else's: another origin, its own tokens, its own theme, its own styles."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.async_api import BrowserContext, Page, expect

from sandbox.stack import Stack
from tests.browser import portal
from tests.browser.chromium import Watch
from tests.browser.person import Person
from tests.e2e.harness import Admin


@pytest.fixture(scope="session")
async def built_portal(built: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("portal")
    await portal.build(folder)
    return folder


@pytest.fixture
async def asked() -> list[bool]:
    """For each token that the panel has asked its host for, whether it wanted another one than before."""
    return []


@pytest.fixture
async def host(admin: Admin, context: BrowserContext, watch: Watch, built_portal: Path, asked: list[bool]) -> Page:
    await portal.serve(context, built_portal)
    page = await context.new_page()
    watch.attach(page)

    async def token(skip_cache: bool) -> str:  # noqa: FBT001
        asked.append(skip_cache)
        return admin.stack.token(expires_seconds=60)

    await page.expose_function("portalToken", token)
    await page.goto(address_of(admin.stack))
    return page


def address_of(stack: Stack) -> str:
    return f"{portal.ORIGIN}/?scheduler={quote(stack.wiring.url('shim'))}"


async def test_the_panel_works_with_the_hosts_tokens(host: Page, admin: Admin, asked: list[bool]) -> None:
    await expect(host.get_by_role("heading", name="Portal")).to_be_visible()
    await expect(host.get_by_role("heading", name="Overview")).to_be_visible()
    await expect(host.get_by_role("status").filter(has_text="Live")).to_be_visible()
    assert asked
    assert True not in asked, "the first token was refused"
    job = await admin.wait((await admin.trigger())["id"])
    await Person(host, admin.stack).go_to("History")
    await expect(host.get_by_role("link", name="Crawl pending").first).to_be_visible()
    assert job["status"] == "completed"


async def test_the_panel_leaves_the_hosts_address_alone(host: Page, admin: Admin) -> None:
    await Person(host, admin.stack).go_to("History")
    await expect(host.get_by_role("heading", name="History")).to_be_visible()
    assert host.url == address_of(admin.stack)


async def test_the_panel_follows_the_hosts_theme_and_has_no_switch_of_its_own(host: Page) -> None:
    background = "() => getComputedStyle(document.querySelector('.sp-panel')).backgroundColor"
    light = await host.evaluate(background)
    await expect(host.get_by_role("button", name="Dark colours")).to_have_count(0)
    await host.get_by_role("button", name="Change the portal's theme").click()
    await expect(host.locator(".sp-panel")).to_have_attribute("data-theme", "dark")
    assert await host.evaluate(background) != light


async def test_the_panel_styles_nothing_but_itself(host: Page) -> None:
    of_the_host = (
        "() => [...document.querySelectorAll('h1, button')].filter((one) => !one.closest('.sp-panel')).map((one) => {"
        " const { fontFamily, fontSize, color, backgroundColor, padding, margin } = getComputedStyle(one);"
        " return [fontFamily, fontSize, color, backgroundColor, padding, margin]; })"
    )
    await expect(host.get_by_role("heading", name="Overview")).to_be_visible()
    with_the_panel = await host.evaluate(of_the_host)
    bare = await host.context.new_page()
    await bare.route("**/*.css", lambda route: route.fulfill(body="", content_type="text/css"))
    await bare.expose_function("portalToken", lambda _skip_cache: None)
    await bare.goto(host.url)
    await expect(bare.get_by_role("heading", name="You are signed out")).to_be_visible()
    assert await bare.evaluate(of_the_host) == with_the_panel


async def test_nothing_goes_on_once_the_panel_is_gone(host: Page) -> None:
    await expect(host.get_by_role("status").filter(has_text="Live")).to_be_visible()
    await host.get_by_role("button", name="Put the panel away").click()
    await expect(host.locator(".sp-panel")).to_have_count(0)
    asked: list[str] = []
    host.on("request", lambda request: asked.append(request.url))
    await host.wait_for_timeout(6000)
    assert asked == []
    await host.get_by_role("button", name="Bring the panel back").click()
    await expect(host.get_by_role("status").filter(has_text="Live")).to_be_visible()
