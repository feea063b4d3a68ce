"""ETag and If-None-Match on what is read under /api."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from starlette.responses import JSONResponse, StreamingResponse

from api.etags import ETags
from tests.api.conftest import Shim
from tests.api.fakes import ORIGIN
from tests.api.routes import JOB


async def get(shim: Shim, path: str, *if_none_match: str, **headers: str) -> httpx.Response:
    sent = [*shim.tokens.admin_headers().items(), *headers.items(), *(("If-None-Match", one) for one in if_none_match)]
    return await shim.http.get(path, headers=sent)


async def test_a_read_has_a_weak_tag_that_moves_with_its_body(shim: Shim) -> None:
    first = await get(shim, "/api/jobs")
    assert first.headers["etag"].startswith('W/"')
    assert first.headers["cache-control"] == "private, no-cache"
    assert (await get(shim, "/api/jobs")).headers["etag"] == first.headers["etag"]
    await shim.trigger()
    assert (await get(shim, "/api/jobs", first.headers["etag"])).status_code == 200


async def test_who_has_it_already_gets_304_without_a_body(shim: Shim) -> None:
    tag = (await get(shim, "/api/jobs")).headers["etag"]
    answer = await get(shim, "/api/jobs", tag, Origin=ORIGIN)
    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["etag"] == tag
    assert answer.headers["cache-control"] == "private, no-cache"
    assert answer.headers["x-request-id"]
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert not {"content-length", "content-type"} & set(answer.headers)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ("*", 304),
        ("{tag}", 304),
        ("{strong}", 304),  # compared weakly
        ('"a", {tag}', 304),
        ('W/"a,b",{strong} , "c"', 304),
        ('"a"', 200),
        ("{bare}", 200),
        ('"*"', 200),
        ('"', 200),
        ("", 200),
        ('W/"' * 2000, 200),
    ],
)
async def test_what_the_client_has(shim: Shim, sent: str, status: int) -> None:
    tag = (await get(shim, "/api/jobs")).headers["etag"]
    strong = tag.removeprefix("W/")
    given = sent.replace("{tag}", tag).replace("{strong}", strong).replace("{bare}", strong.strip('"'))
    assert (await get(shim, "/api/jobs", given)).status_code == status


async def test_the_header_may_come_in_lines(shim: Shim) -> None:
    tag = (await get(shim, "/api/jobs")).headers["etag"]
    assert (await get(shim, "/api/jobs", '"a"', tag)).status_code == 304


async def test_errors_and_answers_to_changes_have_none(shim: Shim) -> None:
    answers = [
        await get(shim, f"/api/jobs/{JOB}", "*"),
        await get(shim, "/api/jobs?limit=0", "*"),
        await shim.http.get("/api/jobs", headers={"If-None-Match": "*"}),
        await shim.trigger(If_None_Match="*"),
        await shim.http.get("/health", headers={"If-None-Match": "*"}),
    ]
    assert [answer.status_code for answer in answers] == [404, 400, 401, 202, 200]
    for answer in answers:
        assert "etag" not in answer.headers
        assert answer.headers["cache-control"] == "no-store"


async def through(app: Any, **headers: str) -> tuple[dict[str, str], list[Any]]:
    """Headers and messages of an answer of `app` as they leave the middleware."""
    told: list[Any] = []

    async def send(message: Any) -> None:
        told.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "GET", "path": "/api/x", "headers": raw, "asgi": {"spec_version": "2.4"}}
    await ETags(app)(scope, receive, send)
    return {name.decode(): value.decode() for name, value in told[0]["headers"]}, told


async def test_a_tag_of_the_handlers_own_stays() -> None:
    headers, told = await through(JSONResponse({}, headers={"ETag": '"7"'}), if_none_match="*")
    assert (told[0]["status"], headers["etag"], headers["cache-control"]) == (200, '"7"', "private, no-cache")


async def test_what_must_not_be_stored_has_no_tag() -> None:
    headers, told = await through(JSONResponse({}, headers={"Cache-Control": "no-store"}), if_none_match="*")
    assert (told[0]["status"], "etag" in headers) == (200, False)


@pytest.mark.parametrize("media_type", ["text/event-stream", "application/x-ndjson"])
async def test_a_stream_passes_as_it_comes(media_type: str) -> None:
    async def chunks() -> Any:
        yield b"a"
        yield b"b"

    headers, told = await through(StreamingResponse(chunks(), media_type=media_type), if_none_match="*")
    assert told[0]["status"] == 200
    assert "etag" not in headers
    assert [message["body"] for message in told[1:]] == [b"a", b"b", b""]
