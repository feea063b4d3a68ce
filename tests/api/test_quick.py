"""The quick way reads a query as FastAPI does, or not at all."""

from __future__ import annotations

from typing import Annotated, Any

import httpx
import pytest
from fastapi import FastAPI, Query
from starlette.datastructures import QueryParams

from api.queries import JobQuery
from api.quick import plain

LISTS = frozenset({"type", "status"})

GOOD = [
    "",
    "limit=50",
    "limit=200&page=50",
    "type=crawl_pending&status=completed&limit=50",
    "type=crawl_pending&type=weekly_digest&status=failed",
    "startedBy=user_2abc",
    "from=2026-11-23T14:05:00Z&to=2026-11-24T00:00:00%2B02:00",
    "parent=3f2504e0-4f89-41d3-9a0c-0305e82c3301",
    "archived=true",
    "archived=0",
    "cursor=abc",
]
BAD = [
    "limit=0",
    "limit=1_0",
    "limit=",
    "limit=abc",
    "page=1&cursor=x",
    "page=60&limit=200",  # over 10,000
    "type=",
    "type=crawl_everything",
    "status=done",
    "from=yesterday",
    "from=1700000000",
    "from_=2026-11-23T14:05:00Z",  # the field's name in Python
    "from=2026-11-24T00:00:00Z&to=2026-11-23T00:00:00Z",
    "parent=1",
    "archived=maybe",
    "started_by=user_2abc",
    "unknown=1",
]
CHOSEN = ["limit=5&limit=7", "archived=true&archived=false"]  # FastAPI takes one of them


async def as_fastapi_reads(query: str) -> dict[str, Any] | None:
    app = FastAPI()

    @app.get("/")
    async def read(query: Annotated[JobQuery, Query()]) -> dict[str, Any]:
        return query.model_dump(mode="json")

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        answer = await client.get(f"/?{query}")
    return answer.json() if answer.is_success else None


@pytest.mark.parametrize("query", GOOD)
async def test_a_good_query_is_read_alike(query: str) -> None:
    read = plain(JobQuery, QueryParams(query), LISTS)
    assert read is not None
    assert read.model_dump(mode="json") == await as_fastapi_reads(query)


@pytest.mark.parametrize("query", BAD)
async def test_what_fastapi_refuses_is_left_to_it(query: str) -> None:
    assert await as_fastapi_reads(query) is None
    assert plain(JobQuery, QueryParams(query), LISTS) is None


@pytest.mark.parametrize("query", CHOSEN)
async def test_what_is_given_twice_is_left_to_fastapi(query: str) -> None:
    assert await as_fastapi_reads(query) is not None
    assert plain(JobQuery, QueryParams(query), LISTS) is None
