"""The built dashboard on the whole stack, in a browser, with an admin signed in; every complaint of it is a failure."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, BrowserContext, expect

from sandbox.errors import SandboxError
from sandbox.stack import Stack
from sandbox.state import REPOSITORY
from tests.browser.chromium import Watch, chromium
from tests.browser.person import Person
from tests.e2e.conftest import admin
from tests.e2e.harness import Admin

__all__ = ["admin"]  # the operator's side of the same stack

_ZONE = "Europe/Berlin"
_PATIENCE_MS = 15_000
expect.set_options(timeout=_PATIENCE_MS)


@pytest.fixture(scope="session")
def built() -> None:
    """The dashboard is built, as `make test` does it first."""
    folder = os.environ.get("DASHBOARD_DIR") or REPOSITORY / "dashboard" / "dist"
    if not Path(folder, "index.html").exists():
        pytest.fail("The dashboard was not built: make dashboard/dist/.ready", pytrace=False)


@pytest.fixture(scope="session")
async def browser(built: None) -> AsyncIterator[Browser]:
    try:
        async with chromium() as started:
            yield started
    except SandboxError as error:
        pytest.fail(f"The dashboard cannot be tested without a browser: {error}", pytrace=False)


@pytest.fixture
async def context(browser: Browser, stack: Stack) -> AsyncIterator[BrowserContext]:
    """A browser nobody has used, of somebody in Berlin."""
    context = await browser.new_context(
        base_url=stack.wiring.origins[0], locale="en-GB", timezone_id=_ZONE, viewport={"width": 1280, "height": 900}
    )
    context.set_default_timeout(_PATIENCE_MS)
    yield context
    await context.close()


@pytest.fixture
async def watch() -> AsyncIterator[Watch]:
    watch = Watch()
    yield watch
    assert watch.complaints() == []


@pytest.fixture
async def visitor(admin: Admin, context: BrowserContext, watch: Watch) -> Person:
    """Somebody in front of the page who has not signed in."""
    page = await context.new_page()
    watch.attach(page)
    return Person(page, admin.stack)


@pytest.fixture
async def person(visitor: Person) -> Person:
    """An admin in front of the page, signed in."""
    await visitor.open("/admin")
    await visitor.sign_in()
    return visitor
