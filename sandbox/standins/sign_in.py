"""The sandbox's sign-in: what Clerk is to the dashboard in production, for the sandbox's people and without passwords.

Settings: SANDBOX_STATE_DIR, CLERK_ISSUER, SIGN_IN_ORIGINS (the origins, with commas, whose pages may use it).

`GET /sign-in/people` tells who there is; `POST /sign-in/sessions` with `{"person": "ada"}` begins a session,
`POST /sign-in/sessions/{id}/token` gives its next token, `DELETE /sign-in/sessions/{id}` ends it. As with Clerk a token
lives for a minute, names the page's origin as `azp` and carries the `public_metadata` of the moment it was issued.

Controls: `DELETE /__sessions` ends every session, `PUT /__sessions` with `{"tokenSeconds": 3}` shortens the life of the
tokens to come (null: a minute again).
"""

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from sandbox.standins import tokens
from sandbox.standins.people import SIGNED_UP, Person
from sandbox.standins.service import Environment, iso, json_body, required

_LONGEST_SECONDS = 3600
_BY_NAME = {person.username: person for person in SIGNED_UP.values()}


class Sessions:
    """Who is signed in, and the tokens they get."""

    def __init__(self, state_dir: Path, issuer: str, metadata: Mapping[str, Mapping[str, Any]]) -> None:
        self._state_dir = state_dir
        self._issuer = issuer
        self._metadata = metadata
        self._open: dict[str, Person] = {}
        self.token_seconds = tokens.SESSION_SECONDS

    def begin(self, person: Person) -> str:
        session = f"sess_{secrets.token_hex(12)}"
        self._open[session] = person
        return session

    def end(self, session: str) -> None:
        self._open.pop(session, None)

    def end_all(self) -> None:
        self._open.clear()

    def token(self, session: str, origin: str | None) -> dict[str, Any] | None:
        """The session's next token with the time it ends and whose it is; None where the session has ended."""
        person = self._open.get(session)
        if person is None:
            return None
        metadata = self._metadata[person.clerk_user_id]
        claims = tokens.session_claims(
            issuer=self._issuer,
            clerk_user_id=person.clerk_user_id,
            lifetime_seconds=self.token_seconds,
            azp=origin,
            metadata=metadata,
        )
        return {
            "token": tokens.sign(claims | {"sid": session}, tokens.signing_key(self._state_dir)),
            "expiresAt": iso(datetime.fromtimestamp(claims["exp"], UTC)),
            "person": _shown(person, metadata),
        }


def routes(env: Environment, metadata: Mapping[str, Mapping[str, Any]]) -> list[BaseRoute]:
    """The sign-in and its controls; none where no page may use it."""
    origins = [origin for origin in env.get("SIGN_IN_ORIGINS", "").split(",") if origin]
    if not origins:
        return []
    sessions = Sessions(Path(required(env, "SANDBOX_STATE_DIR")), required(env, "CLERK_ISSUER"), metadata)

    async def people(_request: Request) -> Response:
        return JSONResponse([_shown(person, metadata[person.clerk_user_id]) for person in _BY_NAME.values()])

    async def begin(request: Request) -> Response:
        wanted = await json_body(request)
        name = wanted.get("person") if isinstance(wanted, dict) else None
        if not isinstance(name, str) or name not in _BY_NAME:
            return JSONResponse({"error": f"person must be one of {', '.join(_BY_NAME)}"}, 400)
        session = sessions.begin(_BY_NAME[name])
        first = sessions.token(session, request.headers.get("origin"))
        return JSONResponse({"session": session} | (first or {}), 201, {"Cache-Control": "no-store"})

    async def token(request: Request) -> Response:
        given = sessions.token(request.path_params["session"], request.headers.get("origin"))
        if given is None:
            return JSONResponse({"error": "The session has ended"}, 401)
        return JSONResponse(given, headers={"Cache-Control": "no-store"})

    async def end(request: Request) -> Response:
        sessions.end(request.path_params["session"])
        return Response(status_code=204)

    cors = Middleware(
        CORSMiddleware, allow_origins=origins, allow_methods=["GET", "POST", "DELETE"], allow_headers=["Content-Type"]
    )
    of_the_page = [
        Route("/people", people),
        Route("/sessions", begin, methods=["POST"]),
        Route("/sessions/{session}", end, methods=["DELETE"]),
        Route("/sessions/{session}/token", token, methods=["POST"]),
    ]
    return [
        Mount("/sign-in", routes=of_the_page, middleware=[cors]),
        *_controls(sessions),
    ]


def _controls(sessions: Sessions) -> list[BaseRoute]:
    async def end_all(_request: Request) -> Response:
        sessions.end_all()
        return Response(status_code=204)

    async def change(request: Request) -> Response:
        wanted = await json_body(request)
        seconds = wanted.get("tokenSeconds") if isinstance(wanted, dict) else 0
        if seconds is not None and (not isinstance(seconds, int) or not 0 < seconds <= _LONGEST_SECONDS):
            return JSONResponse({"error": f"tokenSeconds must be a whole number from 1 to {_LONGEST_SECONDS}"}, 400)
        sessions.token_seconds = seconds or tokens.SESSION_SECONDS
        return JSONResponse({"tokenSeconds": sessions.token_seconds})

    return [
        Route("/__sessions", end_all, methods=["DELETE"]),
        Route("/__sessions", change, methods=["PUT"]),
    ]


def _shown(person: Person, metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": person.username, "name": person.full_name, "role": metadata.get("role", "user")}
