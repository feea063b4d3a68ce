"""The crawler service: it fetches pages and writes what it found on the discoveries' rows itself."""

from __future__ import annotations

from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from flows.clients import http
from flows.core.settings import settings


class _Details(BaseModel):
    model_config = ConfigDict(extra="ignore")

    successful: int = Field(alias="successfulCrawls", ge=0)
    failed: int = Field(alias="failedCrawls", ge=0)


class CrawlAnswer(BaseModel):
    """What the crawler says of a batch. Single pages are not read here: the rows tell, and always do."""

    model_config = ConfigDict(extra="ignore")

    items_processed: int = Field(alias="itemsProcessed", ge=0)
    details: _Details


async def crawl_batch(job_id: UUID, pages: list[tuple[UUID, str]]) -> CrawlAnswer:
    """Has 1-100 pages, given as (discovery id, URL), crawled. Repeating a batch is harmless.

    Raises `AnswerLost` after the time-out or a dropped connection: the rows then tell what was done.
    """
    body = {"jobId": str(job_id), "discoveries": [{"id": str(page), "url": url} for page, url in pages]}
    return await http.post(
        "crawler",
        f"{settings().crawler_service_url}/api/crawl/batch",
        body,
        answer=CrawlAnswer,
        timeout_seconds=settings().crawler_timeout_seconds,
    )
