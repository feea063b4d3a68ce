"""A stand-in for Clerk: signing keys, two users whose `public_metadata` says who is an admin, and their sign-in.

Settings: SANDBOX_STATE_DIR, CLERK_SECRET_KEY (the bearer key its API demands), CLERK_ISSUER and SIGN_IN_ORIGINS (for
the sign-in). Controls of the sandbox's own: `POST /__rotate` (`{"keep_previous": true}` leaves the old keys published),
`PUT /__users/{id}` with the new `public_metadata`, and those of the sessions in `sign_in.py`.
"""

import hmac
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from sandbox.standins import sign_in, tokens
from sandbox.standins.people import SIGNED_UP, Person
from sandbox.standins.service import Environment, build_service, json_body, required

Handler = Callable[[Request], Awaitable[Response]]
_JOINED_AT_MS = 1_759_276_800_000


def build(env: Environment) -> ASGIApp:
    state_dir, secret_key = Path(required(env, "SANDBOX_STATE_DIR")), required(env, "CLERK_SECRET_KEY")
    public_metadata: dict[str, dict[str, Any]] = {
        clerk_user_id: {"role": person.role} if person.role != "user" else {}
        for clerk_user_id, person in SIGNED_UP.items()
    }
    tokens.signing_key(state_dir)

    async def keys(_request: Request) -> Response:
        return JSONResponse(tokens.jwks(state_dir))

    async def user(request: Request) -> Response:
        clerk_user_id = request.path_params["clerk_user_id"]
        if clerk_user_id not in SIGNED_UP:
            return _no_such_user(clerk_user_id)
        return JSONResponse(_user(SIGNED_UP[clerk_user_id], public_metadata[clerk_user_id]))

    async def change_user(request: Request) -> Response:
        clerk_user_id, wanted = request.path_params["clerk_user_id"], await json_body(request)
        if clerk_user_id not in SIGNED_UP:
            return _no_such_user(clerk_user_id)
        if not isinstance(wanted, dict) or not isinstance(wanted.get("public_metadata"), dict):
            return _error(422, "form_param_format_invalid", "public_metadata must be an object")
        public_metadata[clerk_user_id] = wanted["public_metadata"]
        return JSONResponse(_user(SIGNED_UP[clerk_user_id], public_metadata[clerk_user_id]))

    async def rotate(request: Request) -> Response:
        wanted = await json_body(request)
        keep_previous = isinstance(wanted, dict) and wanted.get("keep_previous") is True
        return JSONResponse({"kid": tokens.rotate(state_dir, keep_previous=keep_previous)})

    return build_service(
        "clerk",
        [
            Route("/v1/jwks", _with_secret_key(secret_key, keys)),
            Route("/.well-known/jwks.json", keys),
            Route("/v1/users/{clerk_user_id}", _with_secret_key(secret_key, user)),
            Route("/__users/{clerk_user_id}", change_user, methods=["PUT"]),
            Route("/__rotate", rotate, methods=["POST"]),
            *sign_in.routes(env, public_metadata),
        ],
    )


def _with_secret_key(secret_key: str, handler: Handler) -> Handler:
    async def guarded(request: Request) -> Response:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return _error(401, "authorization_header_format_invalid", "Invalid Authorization header format")
        if not hmac.compare_digest(given.strip().encode(), secret_key.encode()):
            return _error(401, "clerk_key_invalid", "The provided Clerk Secret Key is invalid")
        return await handler(request)

    return guarded


def _user(person: Person, public_metadata: dict[str, Any]) -> dict[str, Any]:
    first_name, _, last_name = person.full_name.partition(" ")
    return {
        "id": person.clerk_user_id,
        "object": "user",
        "username": person.username,
        "first_name": first_name,
        "last_name": last_name,
        "primary_email_address_id": f"idn_{person.username}",
        "email_addresses": [{"id": f"idn_{person.username}", "object": "email_address", "email_address": person.email}],
        "public_metadata": public_metadata,
        "private_metadata": {},
        "unsafe_metadata": {},
        "banned": False,
        "locked": False,
        "created_at": _JOINED_AT_MS,
        "updated_at": _JOINED_AT_MS,
    }


def _no_such_user(clerk_user_id: str) -> Response:
    return _error(404, "resource_not_found", "not found", f"No user was found with id {clerk_user_id}.")


def _error(status: int, code: str, message: str, long_message: str | None = None) -> Response:
    error = {"code": code, "message": message, "long_message": long_message or message}
    return JSONResponse({"errors": [error]}, status_code=status)
