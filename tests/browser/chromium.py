"""Debian's Chromium, driven by Playwright, and an ear for everything that it complains of."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from playwright.async_api import Browser, ConsoleMessage, Error, Page, async_playwright

from sandbox.debian import program

# Whatever a browser does beside showing pages costs the machine, and may want the network.
_ARGUMENTS = (
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    # The page and the sandbox's sign-in are on this machine, whatever proxy leads out of it.
    "--no-proxy-server",
)
_COMPLAINTS = ("error", "warning", "assert")


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A running browser. Raises SandboxError, saying what to install, where there is none."""
    path = program("chromium", "chromium", "fonts-dejavu-core")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=[*_ARGUMENTS])
        yield browser
        await browser.close()


@dataclass
class Watch:
    """What pages complain of: errors and warnings of the console, exceptions, violations of the policy, crashes.

    The browser itself notes every answer that is an error and every connection that is refused. A test that brings one
    about says so by `expect`, and fails also where it does not come.
    """

    heard: list[str] = field(default_factory=list)
    expected: list[re.Pattern[str]] = field(default_factory=list)
    possible: list[re.Pattern[str]] = field(default_factory=list)

    def attach(self, page: Page) -> None:
        page.on("console", self._note)
        page.on("pageerror", self._note_exception)
        page.on("crash", lambda _page: self.heard.append("the page crashed"))

    def expect(self, *patterns: str) -> None:
        self.expected += [re.compile(pattern) for pattern in patterns]

    def may_hear(self, *patterns: str) -> None:
        """For what depends on the moment: whether a request was under way when its server died."""
        self.possible += [re.compile(pattern) for pattern in patterns]

    def complaints(self) -> list[str]:
        """What was heard and is not expected, and what is expected and was not heard."""
        known = [*self.expected, *self.possible]
        unexpected = [one for one in self.heard if not any(pattern.search(one) for pattern in known)]
        missing = [one.pattern for one in self.expected if not any(one.search(line) for line in self.heard)]
        return unexpected + [f"never said: {pattern}" for pattern in missing]

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in _COMPLAINTS:
            self.heard.append(f"{message.type}: {message.text} ({message.location.get('url', '')})")

    def _note_exception(self, error: Error) -> None:
        self.heard.append(f"exception: {error.message}\n{error.stack}")
