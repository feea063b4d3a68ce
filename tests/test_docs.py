"""What README and docs/ name is there: files, headings, pictures, make targets."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from tests.browser.screenshots import pages_of
from tests.browser.views import VIEWS

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PICTURES = sorted(path for path in (ROOT / "docs/img").rglob("*") if path.is_file())
SCREENSHOTS = {
    f"{view}-{look}.png"
    for view in VIEWS.keys() | pages_of(dict.fromkeys(("running", "completed", "failed"), ""))
    for look in ("light", "dark", "phone")
}

_FENCED = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(
    r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)|^\[[\w-]+\]: (?!https?:)([^#\s]*)(?:#(\S+))?$", re.MULTILINE
)
_REFERENCE = re.compile(r"\]\[([\w-]+)\]")
_CODE = re.compile(r"`[^`\n]+`|^ {4,}\S.*$", re.MULTILINE)
_MADE = re.compile(r"\bmake ((?:[a-z]+)(?:-[a-z]+)*)")
# A block that names the file it is to be written to: an example's file is not there.
_WRITTEN = re.compile(r"^ *```\w+ (\w+/\S+)", re.MULTILINE)
# What `make` or npm puts there is no file of the repository.
_BUILT = re.compile(r"/(?:dist|node_modules)\b")


@cache
def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


@cache
def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    headings = re.findall(r"^#{1,6} +(.+?) *$", _FENCED.sub("", text(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> list[tuple[str, str]]:
    """Target and anchor of every link that stays in the repository."""
    found = _LINK.findall(_FENCED.sub("", text(page)))
    return [(inline or named, anchor or named_anchor) for inline, anchor, named, named_anchor in found]


def code(page: Path) -> str:
    """All that is set as code, a line each: spans, indented and fenced blocks."""
    fenced = _FENCED.findall(text(page))
    return "\n".join([*fenced, *_CODE.findall(_FENCED.sub("", text(page)))])


def paths(page: Path) -> list[str]:
    """Everything in code that begins with a folder of the repository; what is to be filled in becomes a pattern."""
    folders = "|".join(re.escape(path.name) for path in ROOT.iterdir() if path.is_dir())
    named = re.findall(rf"(?<![\w/.:@-])((?:{folders})/[\w./<>*-]*[\w>*])", code(page))
    return [re.sub(r"<[^>]*>", "*", path) for path in named if not _BUILT.search(path)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    lost = []
    for target, anchor in links(page):
        path = (page.parent / target).resolve() if target else page
        if not path.exists() or (anchor and anchor not in anchors(path)):
            lost.append(f"{target}#{anchor}")
    assert lost == []
    assert [name for name in _REFERENCE.findall(text(page)) if f"\n[{name}]: " not in text(page)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_exist(page: Path) -> None:
    written = set(_WRITTEN.findall(text(page)))
    assert [path for path in paths(page) if path not in written and not any(ROOT.glob(path))] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_has_made_can_be_made(page: Path) -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(_MADE.findall(code(page))) <= targets


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.name)
def test_every_picture_is_shown_or_taken_by_make_screenshots(picture: Path) -> None:
    shown = {(page.parent / target).resolve() for page in PAGES for target, _ in links(page)}
    assert picture in shown or (picture.parent.name == "img" and picture.name in SCREENSHOTS)


def test_every_page_can_be_found_from_the_start_page() -> None:
    start = ROOT / "docs/README.md"
    linked = {(start.parent / target).resolve() for target, _ in links(start)}
    assert [page.name for page in PAGES if page not in linked and page != start] == []
