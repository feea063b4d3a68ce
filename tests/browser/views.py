"""Every page of the dashboard, with something on it: for axe, and for the pictures."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from playwright.async_api import expect

from tests.browser.person import Person
from tests.browser.seeding import newest


async def _nothing(person: Person) -> None:
    """Nothing has to be undone."""


@dataclass(frozen=True)
class View:
    """A page, and what to do there until there is something to see."""

    path: str
    prepare: Callable[[Person], Awaitable[None]]
    who: str | None = "Ada Admin"
    undo: Callable[[Person], Awaitable[None]] = _nothing
    # What the browser notes of answers that are errors.
    noise: tuple[str, ...] = ()


async def _settled(person: Person) -> None:
    """Nothing is asked for any more, and what was is there."""
    await expect(person.page.get_by_role("heading", level=1)).to_be_visible()
    await expect(person.page.locator(".sp-skeleton")).to_have_count(0)


async def _overview(person: Person) -> None:
    await _settled(person)
    await expect(person.page.get_by_role("status").filter(has_text="Live")).to_be_visible()
    health = person.page.get_by_role("region", name="Health")
    await expect(health.get_by_text("Asking")).to_have_count(0)


async def _filtered(person: Person) -> None:
    """On a phone the filters are put away."""
    await _settled(person)
    filters = person.page.get_by_role("button", name="Filters (in use)")
    if await filters.is_visible():
        await filters.click()
        await expect(person.page.get_by_role("group", name="Status")).to_be_visible()


async def _run_dialog(person: Person) -> None:
    await _settled(person)
    await person.page.get_by_role("button", name="Crawl Pending Content").click()
    await expect(person.page.get_by_role("dialog")).to_be_visible()


async def _schedule_dialog(person: Person) -> None:
    await _settled(person)
    await person.page.get_by_role("button", name="Edit schedule of").first.click()
    runs = person.page.get_by_role("dialog").get_by_role("list", name="Next runs")
    await expect(runs.get_by_role("listitem")).to_have_count(5)


async def _pause_dialog(person: Person) -> None:
    await _overview(person)
    await person.page.get_by_role("button", name="Pause all").click()
    await expect(person.page.get_by_role("dialog")).to_be_visible()


async def _sign_in(person: Person) -> None:
    await expect(person.page.get_by_role("button", name="Continue as Ada Admin")).to_be_visible()


def _access(title: str) -> Callable[[Person], Awaitable[None]]:
    async def prepare(person: Person) -> None:
        await expect(person.page.get_by_role("heading", name=title)).to_be_visible()

    return prepare


def _is_refused(url: str) -> bool:
    # How to sign in is asked without a token.
    return "/api/" in url and not url.endswith("/api/config")


async def _session_ended(person: Person) -> None:
    refusal = {"error": "The token has ended", "code": "TOKEN_REFUSED", "status": 401, "requestId": "none"}
    await person.page.route(_is_refused, lambda route: route.fulfill(status=401, json=refusal))
    await person.page.reload()
    await _access("Your session has ended")(person)


async def _session_goes_on(person: Person) -> None:
    await person.page.unroute(_is_refused)


async def _paused(person: Person) -> None:
    await person.pause("The database moves to a larger machine")
    await person.page.reload()
    await _overview(person)
    await expect(person.page.get_by_role("status", name="Paused")).to_be_visible()


async def _resumed(person: Person) -> None:
    await person.pause(None)


async def _confirmation(person: Person) -> None:
    await _settled(person)
    await person.page.get_by_role("button", name="Clean Up Old Data").click()
    await person.page.get_by_role("dialog").get_by_role("button", name="Continue").click()
    dialog = person.page.get_by_role("dialog", name="Clean Up Old Data?")
    await expect(dialog.get_by_role("region", name="Dry run")).to_contain_text("Completed", timeout=60_000)
    await expect(dialog.get_by_role("button", name="Run now")).to_be_enabled()


async def cancel_dialog(person: Person) -> None:
    await _settled(person)
    await person.page.get_by_role("button", name="Cancel").click()
    await expect(person.page.get_by_role("dialog", name="Cancel this job?")).to_be_visible()


async def _retry_dialog(person: Person) -> None:
    await _settled(person)
    await person.page.get_by_role("button", name="Retry").click()
    await expect(person.page.get_by_role("dialog", name="Retry this job?")).to_be_visible()


async def _job(person: Person) -> None:
    await _settled(person)
    await expect(person.page.get_by_role("log")).to_be_visible()


async def running_job(person: Person) -> None:
    await _job(person)
    await expect(person.page.get_by_role("progressbar", name="Progress")).to_be_visible()


VIEWS: dict[str, View] = {
    "sign-in": View("/admin", _sign_in, who=None),
    "not-admin": View(
        "/admin",
        _access("This page is for admins"),
        who="Peter Plain",
        noise=(r"Failed to load resource: .* 403 .*/api/",),
    ),
    "session-ended": View(
        "/admin",
        _session_ended,
        undo=_session_goes_on,
        noise=(r"Failed to load resource: .* 401 .*/api/",),
    ),
    "overview": View("/admin", _overview),
    "paused": View("/admin", _paused, undo=_resumed),
    "job-types": View("/admin/job-types", _settled),
    "run": View("/admin/job-types", _run_dialog),
    "confirm": View("/admin/job-types", _confirmation),
    "schedule": View("/admin/job-types", _schedule_dialog),
    "pause": View("/admin", _pause_dialog),
    "history": View("/admin/history", _settled),
    "history-filtered": View("/admin/history?status=failed&type=crawl_pending", _filtered),
    "job-completed": View(f"/admin/jobs/{newest('completed')}", _job),
    "job-failed": View(f"/admin/jobs/{newest('failed')}", _job),
    "retry": View(f"/admin/jobs/{newest('failed')}", _retry_dialog),
    "job-cancelled": View(f"/admin/jobs/{newest('cancelled')}", _job),
    "audit": View("/admin/audit", _settled),
    "no-such-page": View("/admin/nothing-here", _settled),
}
