"""A stand-in for the discovery service: what is trending, and what there is on a topic.

Settings: DATABASE_URL. Trending has the real one's quirk: it reads `trending_content` without regard to the window, so
an item comes up to three times and `timeWindow` changes nothing.
"""

from typing import Any

import asyncpg
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from sandbox.standins.limits import RateLimit, RateLimitMiddleware
from sandbox.standins.service import Environment, build_service, iso, pooled, required

_ITEM = """
d.id, d.url, d.title, d.description, d.image_url, d.domain, d.topics, d.created_at, d.trending_score,
num_nonnulls(d.title, d.description, d.image_url) / 3::float8 as quality,
m.views_count, m.likes_count, m.saves_count, m.shares_count, m.skip_count, m.engagement_rate::float8
"""
_VISIBLE = "d.is_active and d.deleted_at is null and d.status = 'approved'"
_TRENDING = f"""
select {_ITEM} from trending_content t join discoveries d on d.id = t.discovery_id
left join content_metrics m on m.discovery_id = d.id
where {_VISIBLE} order by t.trending_score desc, d.id limit $1
"""
_EXPLORE = f"""
select {_ITEM}, count(*) over () as total from discoveries d left join content_metrics m on m.discovery_id = d.id
where {_VISIBLE} and ($1::text is null or $1 = any (d.topics)) order by %s, d.id limit $2 offset $3
"""
_ORDERS = {
    "recent": "d.created_at desc",
    "popular": "d.like_count + d.save_count + d.share_count desc",
    "quality": "quality desc",
}
_TIME_WINDOWS = ("hour", "day", "week")


class InvalidQueryError(Exception):
    """A query parameter is not one the service takes."""


def build(env: Environment) -> ASGIApp:
    return build_service(
        "discovery",
        [Route("/api/trending", _trending), Route("/api/explore", _explore)],
        lifespan=pooled(required(env, "DATABASE_URL")),
        middleware=[Middleware(RateLimitMiddleware, limit=RateLimit())],
    )


async def _trending(request: Request) -> Response:
    try:
        _choice(request, "timeWindow", _TIME_WINDOWS, "day")
        limit = _number(request, "limit", 20, 1, 50)
    except InvalidQueryError as wrong:
        return _refusal(wrong)
    rows = await request.app.state.pool.fetch(_TRENDING, limit)
    return JSONResponse({"discoveries": [_discovery(row) for row in rows], "count": len(rows)})


async def _explore(request: Request) -> Response:
    try:
        limit, offset = _number(request, "limit", 20, 1, 100), _number(request, "offset", 0, 0, 1_000_000)
        sort_by = _choice(request, "sortBy", tuple(_ORDERS), "recent")
    except InvalidQueryError as wrong:
        return _refusal(wrong)
    topic = request.query_params.get("topic") or None
    rows = await request.app.state.pool.fetch(_EXPLORE % _ORDERS[sort_by], topic, limit, offset)
    total = rows[0]["total"] if rows else 0
    page = {"limit": limit, "offset": offset, "total": total, "hasMore": offset + len(rows) < total}
    filters = {"topic": topic, "sortBy": sort_by}
    return JSONResponse({"discoveries": [_discovery(row) for row in rows], "pagination": page, "filters": filters})


def _discovery(row: asyncpg.Record) -> dict[str, Any]:
    words = len((row["description"] or "").split())
    found: dict[str, Any] = {
        "id": str(row["id"]),
        "url": row["url"],
        "title": row["title"],
        "description": row["description"],
        "image": row["image_url"],
        "domain": row["domain"],
        "topics": row["topics"],
        "readingTime": 1 + words // 40,
        "createdAt": iso(row["created_at"]),
        "quality": row["quality"],
        "trendingScore": row["trending_score"],
    }
    if row["views_count"] is not None:
        names = ("views_count", "likes_count", "saves_count", "shares_count", "skip_count", "engagement_rate")
        found["metrics"] = {name: row[name] for name in names}
    return found


def _choice(request: Request, name: str, allowed: tuple[str, ...], default: str) -> str:
    value = request.query_params.get(name, default)
    if value not in allowed:
        raise InvalidQueryError(f"{name} must be one of {', '.join(allowed)}")
    return value


def _number(request: Request, name: str, default: int, least: int, most: int) -> int:
    value = request.query_params.get(name, str(default))
    if not value.isdecimal() or not least <= int(value) <= most:
        raise InvalidQueryError(f"{name} must be a whole number from {least} to {most}")
    return int(value)


def _refusal(wrong: InvalidQueryError) -> Response:
    return JSONResponse({"error": "Invalid query parameters", "details": str(wrong)}, status_code=400)
