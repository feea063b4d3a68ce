"""What every answer tells a browser, and how large a request may be before its body."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from tests.api.conftest import MakeShim, Shim
from tests.api.fakes import ORIGIN
from tests.api.routes import JOB
from tests.api.test_process import running

ALWAYS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}


class TestSecurityHeaders:
    async def test_every_answer_has_them(self, shim: Shim) -> None:
        preflight = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
        answers = [
            await shim.http.get("/health"),
            await shim.http.get("/nope"),
            await shim.http.get("/api/jobs"),
            await shim.get("/api/jobs"),
            await shim.get(f"/api/jobs/{JOB}"),
            await shim.trigger(),
            await shim.trigger({}),
            await shim.http.put("/health"),
            await shim.http.post("/api/jobs/trigger", content=b"x" * 70_000),
            await shim.http.options("/api/jobs/trigger", headers=preflight),
            await shim.http.options("/api/jobs/trigger", headers=preflight | {"Origin": "https://evil.test"}),
            await shim.http.get(f"/health?{'x' * 9000}"),
        ]
        assert {answer.status_code for answer in answers} == {200, 202, 400, 401, 404, 405, 413, 414}
        for answer in answers:
            assert ALWAYS.items() <= dict(answer.headers).items(), answer.request.url
            assert answer.headers["cache-control"] in ("no-store", "private, no-cache")
            assert "server" not in answer.headers
            assert "strict-transport-security" not in answer.headers

    async def test_hsts_is_sent_where_it_is_set(self, make_shim: MakeShim) -> None:
        async with make_shim(hsts_seconds=600) as shim:
            assert (await shim.http.get("/nope")).headers["strict-transport-security"] == "max-age=600"

    async def test_the_docs_page_may_run_its_own_scripts_only(self, shim: Shim) -> None:
        policy = (await shim.http.get("/docs")).headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "http" not in policy


class TestLimits:
    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            ([("X-Padding", "x" * 10_000)] * 3, 200),
            ([("X-Padding", "x" * 33_000)], 431),
            ([("X-Padding", "x" * 10_000)] * 4, 431),
            ([(f"X-{number}", "x") for number in range(90)], 200),
            ([(f"X-{number}", "x") for number in range(101)], 431),
        ],
    )
    async def test_of_headers(self, shim: Shim, headers: list[tuple[str, str]], status: int) -> None:
        answer = await shim.http.get("/health", headers=headers)
        assert answer.status_code == status
        if status == 431:
            assert answer.json()["code"] == "HEADERS_TOO_LARGE"
            assert answer.headers["connection"] == "close"

    @pytest.mark.parametrize("target", [f"/{'x' * 9000}", f"/api/jobs?{'x' * 9000}", f"/{'x' * 5000}?{'x' * 5000}"])
    async def test_of_the_target(self, shim: Shim, target: str) -> None:
        answer = await shim.get(target)
        assert (answer.status_code, answer.json()["code"]) == (414, "TARGET_TOO_LONG")
        assert shim.clerk.requests == []

    async def test_a_long_target_within_the_limit_is_read(self, shim: Shim) -> None:
        assert (await shim.get(f"/api/jobs?{'type=crawl_pending&' * 40}limit=5")).status_code == 200


async def _raw(url: str, request: bytes, *, pause: bool = False) -> bytes:
    host, port = httpx.URL(url).host, httpx.URL(url).port
    reader, writer = await asyncio.open_connection(host, port)
    try:
        async with asyncio.timeout(5):
            for start in range(0, len(request), 8192):
                writer.write(request[start : start + 8192])
                await writer.drain()
                await asyncio.sleep(0.01 if pause else 0)
            return await reader.read()
    except ConnectionError:
        return b"closed"
    finally:
        writer.close()


async def test_the_process_bounds_what_comes_over_the_wire() -> None:
    async with running() as (_, url), httpx.AsyncClient(trust_env=False) as http:
        begin = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        at_once = await _raw(url, begin + b"X-A: " + b"a" * 40_000 + b"\r\n\r\n")
        assert at_once.startswith((b"HTTP/1.1 431", b"HTTP/1.1 400", b"closed"))
        endless = await _raw(url, begin + b"X-A: a\r\n" * 100_000, pause=True)
        assert endless.startswith((b"HTTP/1.1 431", b"closed"))
        # After the last chunk come headers again, which the parser keeps.
        chunked = b"POST /api/jobs/trigger HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
        trailing = await _raw(url, chunked + b"X-A: " + b"a" * 3_000_000)
        assert trailing.startswith((b"HTTP/1.1 431", b"closed"))
        both = b"POST /api/jobs/trigger HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
        smuggled = await _raw(url, both + b"0\r\n\r\nGET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert smuggled.count(b"HTTP/1.1 200") == 0
        upgrade = {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": "x",
            "Sec-WebSocket-Version": "13",
        }
        assert (await http.get(f"{url}/api/jobs", headers=upgrade)).status_code == 401
        assert (await http.get(f"{url}/health")).status_code == 200


class TestCors:
    @pytest.mark.parametrize(
        "origin",
        [
            "null",
            "",
            "*",
            ORIGIN.upper(),
            f"{ORIGIN}/",
            f"{ORIGIN}:443",
            f"{ORIGIN}.evil.test",
            f"https://evil-{ORIGIN.removeprefix('https://')}",
            f"https://evil.test#{ORIGIN}",
            f"{ORIGIN}, https://evil.test",
            f"{ORIGIN}@evil.test",
            f"{ORIGIN}%60.evil.test",
        ],
    )
    async def test_an_origin_that_is_nearly_ours_may_not_read(self, shim: Shim, origin: str) -> None:
        asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        answers = [
            await shim.http.get("/api/jobs", headers={"Origin": origin} | shim.tokens.admin_headers()),
            await shim.http.options("/api/jobs/trigger", headers=asked),
        ]
        for answer in answers:
            assert "access-control-allow-origin" not in answer.headers
        assert answers[1].status_code == 400

    async def test_no_answer_lets_cookies_in(self, shim: Shim) -> None:
        asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
        for answer in (
            await shim.http.get("/api/jobs", headers={"Origin": ORIGIN}),
            await shim.http.options("/api/jobs/trigger", headers=asked),
        ):
            assert answer.headers["access-control-allow-origin"] == ORIGIN
            assert "access-control-allow-credentials" not in answer.headers
            assert "Origin" in answer.headers["vary"]

    async def test_a_method_or_a_header_that_is_not_ours_is_refused(self, shim: Shim) -> None:
        asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
        assert (
            await shim.http.options("/api/jobs", headers=asked | {"Access-Control-Request-Method": "TRACE"})
        ).status_code == 400
        assert (
            await shim.http.options("/api/jobs", headers=asked | {"Access-Control-Request-Headers": "cookie"})
        ).status_code == 400
