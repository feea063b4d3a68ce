"""A stand-in for the user service: who is this Clerk user?

Settings: DATABASE_URL, SANDBOX_STATE_DIR (Clerk's keys), CLERK_ISSUER (checked when set). It answers as the deployed
one does, `{"user": {"id": <Clerk id>, ...}}`; USER_ANSWERS_UUID=1 gives the specified shape, with the internal UUID
as a top-level `id`.
"""

from pathlib import Path

import asyncpg
import jwt
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from sandbox.standins import tokens
from sandbox.standins.limits import RateLimit, RateLimitMiddleware
from sandbox.standins.service import Environment, build_service, iso, pooled, required

_USER = "select * from users where clerk_user_id = $1 and deleted_at is null"


def build(env: Environment) -> ASGIApp:
    database_url, state_dir = required(env, "DATABASE_URL"), Path(required(env, "SANDBOX_STATE_DIR"))
    issuer, answers_uuid = env.get("CLERK_ISSUER") or None, env.get("USER_ANSWERS_UUID") == "1"

    async def user(request: Request) -> Response:
        caller = _caller(request, state_dir, issuer)
        if caller is None:
            return _error(401, "Unauthorized", "A valid session token is required")
        if caller != request.path_params["clerk_user_id"]:
            return _error(403, "Forbidden", "You may only read your own profile")
        row = await request.app.state.pool.fetchrow(_USER, caller)
        if row is None:
            return _error(404, "Not found", "User not found")
        return JSONResponse(_specified(row) if answers_uuid else {"user": _deployed(row)})

    return build_service(
        "user",
        [Route("/api/users/{clerk_user_id}", user)],
        lifespan=pooled(database_url),
        middleware=[Middleware(RateLimitMiddleware, limit=RateLimit())],
    )


def _caller(request: Request, state_dir: Path, issuer: str | None) -> str | None:
    """The Clerk id of whoever's session token came with the request, None without a valid one."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        return None
    try:
        return str(tokens.verify(token.strip(), state_dir, issuer)["sub"])
    except jwt.InvalidTokenError:
        return None


def _deployed(row: asyncpg.Record) -> dict[str, str | None]:
    return {
        "id": row["clerk_user_id"],
        "email": row["email"],
        "username": row["username"],
        "fullName": row["full_name"],
        "role": row["role"],
        "createdAt": iso(row["created_at"]),
    }


def _specified(row: asyncpg.Record) -> dict[str, str | None]:
    return _deployed(row) | {"id": str(row["id"]), "clerkUserId": row["clerk_user_id"]}


def _error(status: int, error: str, message: str) -> Response:
    return JSONResponse({"error": error, "message": message}, status_code=status)
