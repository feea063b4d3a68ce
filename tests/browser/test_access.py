"""Who may see the dashboard, and what everybody else sees: pages that say why, and what to do."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import expect

from tests.browser.chromium import Watch
from tests.browser.person import Person

# The browser itself notes every answer that is an error.
REFUSED_TOKEN = r"Failed to load resource: .* 401 .*/sign-in/sessions/"
REFUSED_CALL = r"Failed to load resource: .* 401 .*/api/"
FORBIDDEN = r"Failed to load resource: .* 403 .*/api/"
LEEWAY_SECONDS = 5


@pytest.fixture
async def person(person: Person) -> AsyncIterator[Person]:
    yield person
    await person.set_role("admin")
    await person.shorten_tokens(None)


async def test_who_is_signed_out_is_asked_to_sign_in(visitor: Person) -> None:
    for path in ("/admin", "/admin/history", "/admin/jobs/5f0c2b1e-0000-4000-8000-000000000001"):
        await visitor.open(path)
        await expect(visitor.page.get_by_role("heading", name="Sign in")).to_be_visible()


async def test_who_signs_in_is_where_the_address_says_and_stays_it_after_a_reload(visitor: Person) -> None:
    await visitor.open("/admin/audit")
    await visitor.sign_in()
    for _ in range(2):
        await expect(visitor.page.get_by_role("link", name="Audit")).to_have_attribute("aria-current", "page")
        await expect(visitor.page.get_by_text("Ada Admin", exact=True)).to_be_visible()
        await visitor.page.reload()


async def test_who_signs_out_is_out(person: Person) -> None:
    await person.page.get_by_role("button", name="Sign out").click()
    await expect(person.page.get_by_role("heading", name="Sign in")).to_be_visible()
    await person.page.reload()
    await expect(person.page.get_by_role("heading", name="Sign in")).to_be_visible()


async def test_who_is_no_admin_is_told_so_and_can_be_somebody_else(visitor: Person, watch: Watch) -> None:
    watch.expect(FORBIDDEN)
    await visitor.open("/admin")
    await visitor.sign_in("Peter Plain")
    await expect(visitor.page.get_by_role("heading", name="This page is for admins")).to_be_visible()
    await expect(visitor.page.get_by_role("alert")).to_have_count(0)
    await visitor.page.get_by_role("button", name="Use another account").click()
    await visitor.sign_in()
    await expect(visitor.page.get_by_role("heading", name="Overview")).to_be_visible()


async def test_tokens_that_expire_in_mid_session_are_renewed_without_a_word(person: Person) -> None:
    await person.shorten_tokens(2)
    await person.page.reload()
    asked: list[str] = []
    person.page.on("request", lambda request: asked.append(request.url) if request.url.endswith("/token") else None)
    await person.page.wait_for_timeout((LEEWAY_SECONDS + 2) * 1000)
    await person.go_to("Job types")
    await expect(person.page.get_by_role("heading", name="Job types", level=1)).to_be_visible()
    await person.go_to("History")
    await expect(person.page.get_by_role("heading", name="History", level=1)).to_be_visible()
    assert asked, "no token was renewed"
    await expect(person.page.get_by_role("status").filter(has_text="Live")).to_be_visible()


async def test_a_session_that_ends_says_so_and_signing_in_again_leads_back(person: Person, watch: Watch) -> None:
    watch.expect(REFUSED_TOKEN)
    await person.go_to("History")
    await person.shorten_tokens(2)
    await person.page.reload()
    await expect(person.page.get_by_role("heading", name="History", level=1)).to_be_visible()
    await person.end_sessions()
    await person.page.wait_for_timeout((2 + LEEWAY_SECONDS) * 1000)
    await person.go_to("Audit")
    ended = person.page.get_by_role("heading", name="Your session has ended")
    await expect(ended).to_be_visible()
    await person.shorten_tokens(None)
    await person.page.get_by_role("button", name="Sign in again").click()
    await person.sign_in()
    await expect(person.page.get_by_role("heading", name="Audit", level=1)).to_be_visible()


async def test_an_admin_whose_role_was_taken_away_sees_that_it_was(person: Person, watch: Watch) -> None:
    watch.expect(FORBIDDEN)
    await person.shorten_tokens(2)
    await person.page.reload()
    await expect(person.page.get_by_role("heading", name="Overview", level=1)).to_be_visible()
    await person.set_role(None)
    await person.page.wait_for_timeout(2000)
    await person.go_to("History")
    lost = person.page.get_by_role("heading", name="This page is for admins")
    await expect(lost).to_be_visible()
    await person.set_role("admin")
    await person.page.wait_for_timeout(2000)
    await person.page.get_by_role("button", name="Try again").click()
    await expect(person.page.get_by_role("heading", name="History", level=1)).to_be_visible()


async def test_what_the_policy_forbids_would_be_noticed(visitor: Person, watch: Watch) -> None:
    watch.expect("Content Security Policy")
    await visitor.open("/admin")
    await visitor.page.evaluate(
        "() => { const one = document.createElement('script'); one.textContent = 'window.ran = true';"
        " document.body.append(one); }"
    )
    assert await visitor.page.evaluate("() => window.ran") is None
