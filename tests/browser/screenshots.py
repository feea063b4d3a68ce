"""`make screenshots`: pictures of every page in both themes and on a phone, in docs/img, on a stack of their own."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path

from playwright.async_api import FloatRect, expect

from sandbox.errors import SandboxError
from sandbox.stack import Stack
from sandbox.state import REPOSITORY
from tests.browser.chromium import Watch, chromium
from tests.browser.looks import THEMES, wear
from tests.browser.past import give_a_past
from tests.browser.person import Person
from tests.browser.views import VIEWS, View, cancel_dialog

FOLDER = REPOSITORY / "docs" / "img"
_PHONE = 360
_TALLEST = 1500  # pixels; what is below looks like what is above


async def main() -> int:
    folder = Path(tempfile.mkdtemp(prefix="screenshots-"))
    watch = Watch()
    try:
        async with Stack(folder, ports="free", settings={"RATE_LIMIT_PER_MINUTE": "0"}) as stack, chromium() as browser:
            jobs = await give_a_past(stack)
            views = {**pages_of(jobs), **{n: v for n, v in VIEWS.items() if n.removeprefix("job-") not in jobs}}
            watch.may_hear(*(noise for view in views.values() for noise in view.noise))
            context = await browser.new_context(
                base_url=stack.wiring.origins[0], locale="en-GB", timezone_id="Europe/Berlin"
            )
            page = await context.new_page()
            watch.attach(page)
            await take_all(Person(page, stack), views)
    except SandboxError as error:
        print(f"screenshots: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for complaint in watch.complaints():
        print(f"screenshots: {complaint}", file=sys.stderr)
    return 1 if watch.complaints() else 0


def pages_of(jobs: dict[str, str]) -> dict[str, View]:
    """The pages of jobs that have really run, with their logs; what runs is not asked to stop, only nearly."""
    pages = {f"job-{how}": View(f"/admin/jobs/{job}", has_said_something) for how, job in jobs.items()}
    cancel = View(f"/admin/jobs/{jobs['running']}", cancel_dialog)
    return {"job-running": pages["job-running"], "cancel": cancel, **pages}


async def has_said_something(person: Person) -> None:
    await VIEWS["job-completed"].prepare(person)
    await expect(person.page.get_by_role("log").locator(".sp-log-line").nth(2)).to_be_visible()


async def take_all(person: Person, views: dict[str, View]) -> None:
    """The views that need nobody to be signed in come first."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    who = None
    for name, view in sorted(views.items(), key=lambda item: item[1].who or ""):
        if view.who and view.who != who:
            await person.open("/admin")
            await person.page.evaluate("() => sessionStorage.clear()")
            await person.open("/admin")
            await person.sign_in(view.who)
            who = view.who
        for theme in THEMES:
            await _take(person, name, view, theme, 1280)
        await _take(person, name, view, "light", _PHONE)


async def _take(person: Person, name: str, view: View, theme: str, width: int) -> None:
    await wear(person.page, "dark" if theme == "dark" else "light", width)
    await person.open(view.path)
    try:
        await view.prepare(person)
        await _picture(person, name, theme, width)
    finally:
        await view.undo(person)


async def _picture(person: Person, name: str, theme: str, width: int) -> None:
    await expect(person.page.locator("[aria-busy=true]")).to_have_count(0)
    path = FOLDER / f"{name}-{'phone' if width == _PHONE else theme}.png"
    height = await person.page.evaluate("() => document.documentElement.scrollHeight")
    if await person.page.get_by_role("dialog").count():
        await person.page.screenshot(path=path)
    else:
        clip = FloatRect(x=0, y=0, width=width, height=min(height, _TALLEST))
        await person.page.screenshot(path=path, full_page=True, clip=clip)
    print(path.relative_to(REPOSITORY))


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
