"""What a browser loads before the dashboard's first page is there: small enough, and all of it from here."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

DIST = Path(__file__).resolve().parents[2] / "dashboard/dist"
FIRST_LOAD_BYTES = 200_000
_FILE = re.compile(r'(?:src|href)="/admin/(assets/[^"]+)"')


def gzipped(path: Path) -> int:
    return len(gzip.compress(path.read_bytes(), 9))


def reached(*names: str) -> set[str]:
    """These files of `assets`, and those that they import before they do anything."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        if name.endswith(".js"):
            text = (DIST / "assets" / name).read_text(encoding="utf-8")
            imports = re.findall(r"""import[^;()]*?["'`]\./([\w.-]+\.js)["'`]""", text)
            waiting += imports
    return found


def first_load() -> set[str]:
    page = [Path(name).name for name in _FILE.findall((DIST / "index.html").read_text(encoding="utf-8"))]
    overview = [path.name for path in (DIST / "assets").glob("Overview-*.js")]
    assert page
    assert len(overview) == 1
    return reached(*page, *overview)


def test_the_first_load_is_under_200_kb() -> None:
    sizes = {name: gzipped(DIST / "assets" / name) for name in sorted(first_load())}
    total = sum(sizes.values()) + gzipped(DIST / "index.html")
    assert total < FIRST_LOAD_BYTES, sizes
    assert total > FIRST_LOAD_BYTES / 10, f"not all of it was found: {sizes}"


def test_pages_that_are_not_looked_at_are_not_loaded() -> None:
    names = {path.name.partition("-")[0] for path in (DIST / "assets").glob("*.js")}
    assert {"JobTypes", "History", "JobPage", "Audit"} <= names
    assert not [name for name in first_load() if name.startswith(("JobTypes-", "History-", "JobPage-", "Audit-"))]


def test_every_file_has_its_contents_in_its_name_and_nothing_stands_in_the_page() -> None:
    page = (DIST / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|style=|<script(?![^>]*\bsrc=)|https?://", page)
    for path in (DIST / "assets").iterdir():
        assert re.fullmatch(r"[\w.-]+-[\w-]{8,}\.(js|css)", path.name), path.name
