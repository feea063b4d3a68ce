"""/admin: the page and its files as they were built, for everybody, and what browsers are told about them."""

from __future__ import annotations

import gzip
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.api.conftest import MakeShim, Shim
from tests.api.fakes import PUBLISHABLE_KEY
from tests.api.routes import JOB

PAGE = '<!doctype html><script type="module" src="/admin/assets/index-a1b2.js"></script>'
SCRIPT = "console.log('what it does');\n" * 100
SECRET = "nobody is to see this"
OURS = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:;"
    " font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@pytest.fixture
def dist(tmp_path: Path) -> Path:
    """A dashboard as a build leaves it, beside what is none of anybody's business."""
    folder = tmp_path / "dist"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text(PAGE)
    (folder / "favicon.svg").write_text("<svg/>")
    (folder / "assets" / "index-a1b2.js").write_text(SCRIPT)
    (folder / "assets" / "small-c3d4.css").write_text("a{}")
    (folder / "assets" / "font-e5f6.woff2").write_bytes(b"wOF2" + b"\0" * 2000)
    (folder / ".ready").write_text(SECRET)
    (folder / ".vite").mkdir()
    (folder / ".vite" / "manifest.json").write_text(SECRET)
    (tmp_path / "secret.txt").write_text(SECRET)
    (folder / "assets" / "link.txt").symlink_to(tmp_path / "secret.txt")
    return folder


@pytest.fixture
async def shim(make_shim: MakeShim, dist: Path) -> AsyncIterator[Shim]:
    async with make_shim(dashboard_dir=dist, catalogue=False) as made:
        yield made


@pytest.mark.parametrize(
    "path",
    [
        "/admin",
        "/admin/",
        "/admin/index.html",
        "/admin/history",
        "/admin/history/",
        f"/admin/jobs/{JOB}",
        "/admin/types/crawl_pending?tab=schedule",
    ],
)
async def test_every_path_of_a_page_is_the_page(shim: Shim, path: str) -> None:
    answer = await shim.http.get(path)
    assert (answer.status_code, answer.text) == (200, PAGE)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["content-security-policy"] == OURS
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert (shim.clerk.requests, shim.prefect.asked) == ([], [])


@pytest.mark.parametrize(
    ("path", "media_type", "cached"),
    [
        ("/admin/assets/index-a1b2.js", "text/javascript; charset=utf-8", "public, max-age=31536000, immutable"),
        ("/admin/assets/small-c3d4.css", "text/css; charset=utf-8", "public, max-age=31536000, immutable"),
        ("/admin/assets/font-e5f6.woff2", "font/woff2", "public, max-age=31536000, immutable"),
        ("/admin/favicon.svg", "image/svg+xml", "no-cache"),
    ],
)
async def test_a_file_is_kept_for_as_long_as_its_name_says_what_is_in_it(
    shim: Shim, dist: Path, path: str, media_type: str, cached: str
) -> None:
    answer = await shim.http.get(path)
    assert answer.content == (dist / path.removeprefix("/admin/")).read_bytes()
    assert (answer.headers["content-type"], answer.headers["cache-control"]) == (media_type, cached)


class TestCompression:
    @pytest.mark.parametrize(
        ("accepted", "compressed"),
        [
            ("gzip, deflate, br, zstd", True),
            ("GZIP;q=0.5", True),
            ("*", True),
            ("", False),
            ("identity", False),
            ("gzip;q=0", False),
            ("gzip;q=0, *", False),
            ("br;q=1.2.3", False),
            ("gzip;q=1.2.3", False),
            ("not-gzip", False),
        ],
    )
    async def test_is_the_clients_choice(self, shim: Shim, accepted: str, compressed: bool) -> None:  # noqa: FBT001
        headers = {"Accept-Encoding": accepted}
        async with shim.http.stream("GET", "/admin/assets/index-a1b2.js", headers=headers) as answer:
            sent = b"".join([chunk async for chunk in answer.aiter_raw()])
        assert (answer.headers.get("content-encoding") == "gzip") is compressed
        assert int(answer.headers["content-length"]) == len(sent)
        assert "Accept-Encoding" in answer.headers["vary"]
        assert (gzip.decompress(sent) if compressed else sent).decode() == SCRIPT

    @pytest.mark.parametrize("path", ["/admin/assets/small-c3d4.css", "/admin/assets/font-e5f6.woff2"])
    async def test_of_what_gains_nothing_is_left_out(self, shim: Shim, path: str) -> None:
        assert "content-encoding" not in (await shim.http.get(path)).headers


class TestTags:
    @pytest.mark.parametrize("path", ["/admin", f"/admin/jobs/{JOB}", "/admin/assets/index-a1b2.js"])
    async def test_spare_what_the_browser_has(self, shim: Shim, path: str) -> None:
        tag = (await shim.http.get(path)).headers["etag"]
        again = await shim.http.get(path, headers={"If-None-Match": tag})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == tag
        assert "content-security-policy" in again.headers
        other = await shim.http.get(path, headers={"If-None-Match": '"other"'})
        assert other.status_code == 200

    async def test_and_files_are_those_of_the_last_build_without_a_restart(self, shim: Shim, dist: Path) -> None:
        first = (await shim.http.get("/admin")).headers["etag"]
        (dist / "assets" / "index-a1b2.js").unlink()
        (dist / "assets" / "index-new.js").write_text("new")
        (dist / "index.html").write_text(PAGE.replace("a1b2", "new"))
        os.utime(dist / "index.html", ns=(1, 1))
        answer = await shim.http.get("/admin", headers={"If-None-Match": first})
        assert (answer.status_code, answer.text) == (200, PAGE.replace("a1b2", "new"))
        assert (await shim.http.get("/admin/assets/index-new.js")).text == "new"
        assert (await shim.http.get("/admin/assets/index-a1b2.js")).status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/admin/assets/index-zzzz.js",
        "/admin/assets/",
        "/admin/assets/index",
        "/admin/nothing.js",
        "/admin/.ready",
        "/admin/.vite/manifest.json",
        "/admin/assets/link.txt",
        "/admin/../secret.txt",
        "/admin/..%2fsecret.txt",
        "/admin/%2e%2e/%2e%2e/secret.txt",
        "/admin/assets/..%2f..%2f..%2fsecret.txt",
        "/admin/assets/..%5c..%5csecret.txt",
        "/admin//secret.txt",
        "/admin/%2fetc%2fpasswd",
        "/admin/jobs%00",
        "/admin/jobs%0ahistory",
        f"/admin/{'x' * 600}",
        "/administrator",
        "/Admin",
    ],
)
async def test_there_is_nothing_else(shim: Shim, path: str) -> None:
    answer = await shim.http.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "NO_SUCH_ROUTE")
    assert SECRET not in answer.text
    assert answer.headers["cache-control"] == "no-store"


async def test_head_tells_the_same_and_others_are_refused(shim: Shim) -> None:
    for path in ("/admin", "/admin/history", "/admin/assets/index-a1b2.js"):
        whole, head = await shim.http.get(path), await shim.http.head(path)
        told = [{n: v for n, v in one.headers.items() if n != "x-request-id"} for one in (whole, head)]
        assert (head.status_code, told[0]) == (200, told[1])
        refused = await shim.http.post(path)
        assert (refused.status_code, set(refused.headers["allow"].split(", "))) == (405, {"GET", "HEAD"})


async def test_the_page_may_speak_to_where_its_people_sign_in(make_shim: MakeShim, dist: Path) -> None:
    async with AsyncExitStack() as opened:
        clerk = await opened.enter_async_context(make_shim(dashboard_dir=dist, clerk_publishable_key=PUBLISHABLE_KEY))
        policy = (await clerk.http.get("/admin")).headers["content-security-policy"].split("; ")
        assert "script-src 'self' https://clerk.stumbleable.test" in policy
        assert "connect-src 'self' https://clerk.stumbleable.test" in policy
        assert "worker-src 'self' blob:" in policy
    async with make_shim(dashboard_dir=dist, dashboard_sign_in_url="http://127.0.0.1:7010/sign-in") as sandbox:
        policy = (await sandbox.http.get("/admin")).headers["content-security-policy"].split("; ")
        assert "script-src 'self'" in policy
        assert "connect-src 'self' http://127.0.0.1:7010" in policy
    assert not [one for one in policy if "unsafe" in one or "*" in one]


async def test_a_dashboard_that_was_not_built_says_how_to(make_shim: MakeShim, tmp_path: Path) -> None:
    async with make_shim(dashboard_dir=tmp_path / "dist", catalogue=False) as shim:
        answer = await shim.http.get("/admin")
        assert answer.status_code == 404
        assert "make dashboard/dist/.ready" in answer.text
        assert (await shim.http.get("/health")).status_code == 200
        (tmp_path / "dist").mkdir()
        (tmp_path / "dist" / "index.html").write_text(PAGE)
        assert (await shim.http.get("/admin")).text == PAGE
