"""The discovery service: what there is on a topic, and what is trending. Its limit is 100 requests a minute."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flows.clients import http
from flows.core.settings import settings

MOST_EXPLORED = 100  # what one request may ask for
MOST_TRENDING = 50
_TIMEOUT_SECONDS = 30.0


class Metrics(BaseModel):
    model_config = ConfigDict(extra="ignore")

    likes_count: int | None = None
    saves_count: int | None = None
    shares_count: int | None = None


class Discovery(BaseModel):
    """A discovery as the service tells it; all but its id and address may be missing or null."""

    model_config = ConfigDict(extra="ignore")

    id: UUID
    url: str
    title: str | None = None
    description: str | None = None
    image: str | None = None
    domain: str | None = None
    topics: list[str] | None = None
    metrics: Metrics | None = None
    trending_score: float | None = Field(None, alias="trendingScore")


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore")

    discoveries: list[Any] | None


async def explore(topic: str, limit: int = MOST_EXPLORED) -> list[Discovery]:
    """The newest discoveries on a topic, each once."""
    return await _ask("explore", {"topic": topic, "limit": limit, "sortBy": "recent"})


async def trending(limit: int = MOST_TRENDING) -> list[Discovery]:
    """What is trending, best first, each once; the service repeats items, so that fewer than `limit` may come."""
    return await _ask("trending", {"timeWindow": "week", "limit": limit})


async def _ask(what: str, params: dict[str, Any]) -> list[Discovery]:
    url = f"{settings().discovery_service_url}/api/{what}"
    answer = await http.get("discovery", url, answer=_Answer, timeout_seconds=_TIMEOUT_SECONDS, params=params)
    return _readable(answer.discoveries or [])


def _readable(items: list[Any]) -> list[Discovery]:
    """Each discovery once, in order. One that is not in the promised shape must not cost the others of its page."""
    found: dict[UUID, Discovery] = {}
    for item in items:
        try:
            discovery = Discovery.model_validate(item)
        except ValidationError:
            continue
        found.setdefault(discovery.id, discovery)
    return list(found.values())
