"""A stand-in for the crawler service: it really fetches the pages and writes what they say on their rows.

Settings: DATABASE_URL; CRAWLER_NO_RESULTS=1 leaves `details.results` out of every answer, as the fault `no_results`
does for some. A batch goes on when its caller has hung up; one cut off by the end of the process leaves rows
`crawling`.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from sandbox.standins.pages import Page, PageError, page_client, read_page
from sandbox.standins.service import Environment, Pool, build_service, database_pool, json_body, required

BATCH_LIMIT = 100
PAGES_AT_ONCE = 10
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

_MARK_CRAWLING = "update discoveries set crawl_status = 'crawling' where id = $1::uuid returning id"
# A page that has lost its title keeps the one the row had.
_COMPLETE = """
update discoveries
set title = coalesce($2, title), description = coalesce($3, description), image_url = coalesce($4, image_url),
    crawl_status = 'completed', crawl_error = null, last_crawled_at = now()
where id = $1::uuid
"""
_FAIL = """
update discoveries set crawl_status = 'failed', crawl_error = $2, last_crawled_at = now() where id = $1::uuid
"""


@dataclass(frozen=True)
class Target:
    discovery_id: str
    url: str


@dataclass(frozen=True)
class Outcome:
    target: Target
    error: str | None


def build(env: Environment) -> ASGIApp:
    database_url = required(env, "DATABASE_URL")
    never_results = env.get("CRAWLER_NO_RESULTS") == "1"

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with database_pool(database_url) as pool, page_client() as client:
            app.state.pool, app.state.client = pool, client
            yield

    async def crawl_batch(request: Request) -> Response:
        body = await json_body(request)
        wrong = _what_is_wrong(body)
        if wrong:
            return JSONResponse({"success": False, "error": "Invalid request data", "details": wrong}, status_code=400)
        started = time.monotonic()
        targets = [Target(item["id"], item["url"]) for item in body["discoveries"]]
        outcomes = await _crawl(request.app.state.pool, request.app.state.client, targets)
        with_results = not never_results and request.scope["state"]["fault"] != "no_results"
        return JSONResponse(_summary(outcomes, time.monotonic() - started, with_results=with_results))

    return build_service(
        "crawler",
        [Route("/api/crawl/batch", crawl_batch, methods=["POST"])],
        lifespan=lifespan,
        own_faults=("no_results",),
        received=lambda body: [item["id"] for item in body["discoveries"]],
    )


def _what_is_wrong(body: Any) -> list[dict[str, str]]:
    """Every rule of the contract that the request breaks, none when it may be crawled."""
    if not isinstance(body, dict):
        return [{"path": "", "message": "Expected a JSON object"}]
    wrong = []
    if not _is_uuid(body.get("jobId")):
        wrong.append({"path": "jobId", "message": "Invalid UUID"})
    discoveries = body.get("discoveries")
    if not isinstance(discoveries, list) or not 1 <= len(discoveries) <= BATCH_LIMIT:
        return [*wrong, {"path": "discoveries", "message": f"Expected an array of 1 to {BATCH_LIMIT} items"}]
    for place, item in enumerate(discoveries):
        if not isinstance(item, dict) or not _is_uuid(item.get("id")):
            wrong.append({"path": f"discoveries.{place}.id", "message": "Invalid UUID"})
        elif not _is_web_address(item.get("url")):
            wrong.append({"path": f"discoveries.{place}.url", "message": "Invalid URL"})
    if not wrong and len({item["id"].lower() for item in discoveries}) != len(discoveries):
        wrong.append({"path": "discoveries", "message": "Ids must be unique"})
    return wrong


def _is_uuid(value: Any) -> bool:
    return isinstance(value, str) and _UUID.fullmatch(value) is not None


def _is_web_address(value: Any) -> bool:
    return isinstance(value, str) and value.lower().startswith(("http://", "https://"))


async def _crawl(pool: Pool, client: httpx.AsyncClient, targets: list[Target]) -> list[Outcome]:
    """What became of each page, in the order given; ten are fetched at a time."""
    places = asyncio.Semaphore(PAGES_AT_ONCE)

    async def crawl_in_turn(target: Target) -> Outcome:
        async with places:
            return await _crawl_one(pool, client, target)

    async with asyncio.TaskGroup() as group:
        crawling = [group.create_task(crawl_in_turn(target)) for target in targets]
    return [task.result() for task in crawling]


async def _crawl_one(pool: Pool, client: httpx.AsyncClient, target: Target) -> Outcome:
    if await pool.fetchval(_MARK_CRAWLING, target.discovery_id) is None:
        return Outcome(target, "Discovery not found")
    try:
        page = await read_page(client, target.url)
    except PageError as unreadable:
        await pool.execute(_FAIL, target.discovery_id, str(unreadable))
        return Outcome(target, str(unreadable))
    await _write(pool, target, page)
    return Outcome(target, None)


async def _write(pool: Pool, target: Target, page: Page) -> None:
    await pool.execute(_COMPLETE, target.discovery_id, page.title, page.description, page.image_url)


def _summary(outcomes: list[Outcome], seconds: float, *, with_results: bool) -> dict[str, Any]:
    failed = [outcome for outcome in outcomes if outcome.error]
    details: dict[str, Any] = {
        "successfulCrawls": len(outcomes) - len(failed),
        "failedCrawls": len(failed),
        "duration": f"{round(seconds)}s",
    }
    if with_results:
        details["results"] = [_result(outcome) for outcome in outcomes]
    return {
        "success": True,
        "itemsProcessed": len(outcomes),
        "errors": [f"{outcome.target.url}: {outcome.error}" for outcome in failed],
        "details": details,
    }


def _result(outcome: Outcome) -> dict[str, Any]:
    result: dict[str, Any] = {"id": outcome.target.discovery_id, "success": outcome.error is None}
    return result | ({"error": outcome.error} if outcome.error else {})
