"""How a page looks to those who do not look at it as its authors do: a screen reader, a phone, a dark room."""

from __future__ import annotations

from functools import cache
from typing import Literal

from playwright.async_api import Page

from sandbox.state import REPOSITORY

THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
WIDTHS = (1280, 360)
_FAR_RIGHT = """() => document.documentElement.scrollWidth - document.documentElement.clientWidth"""
_RUN_AXE = """async () => {
  const { violations } = await axe.run(document, { resultTypes: ['violations'] });
  return violations.flatMap(({ id, help, nodes }) =>
    nodes.map((node) => `${id}: ${help}: ${node.target.join(' ')}: ${node.failureSummary}`));
}"""


@cache
def _axe() -> str:
    return (REPOSITORY / "dashboard" / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


async def violations(page: Page) -> list[str]:
    """What axe finds wrong with the page as it is now, a line an element."""
    # Evaluated, not added as a script: the page's policy would refuse that.
    await page.evaluate(_axe())
    found: list[str] = await page.evaluate(_RUN_AXE)
    return found


async def overhang(page: Page) -> int:
    """By how many pixels the page is wider than its window."""
    found: int = await page.evaluate(_FAR_RIGHT)
    return found


async def wear(page: Page, theme: Literal["light", "dark"], width: int = WIDTHS[0]) -> None:
    """Shows the page in a theme and a width."""
    await page.set_viewport_size({"width": width, "height": 900})
    await page.emulate_media(color_scheme=theme, reduced_motion="reduce")
