"""What handlers need, as annotations: a handler's signature shows what it depends on."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Response, Security
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer

from api.auth import Actor
from api.runtime import Runtime

_documented = HTTPBearer(
    scheme_name="ClerkSession", auto_error=False, description="Session token of a Clerk user who is an admin"
)


def _runtime(request: Request) -> Runtime:
    runtime: Runtime = request.app.state.runtime
    return runtime


RuntimeDep = Annotated[Runtime, Depends(_runtime)]


class AdminRoute(APIRoute):
    """A route for admins only: whoever calls is verified before the body is so much as parsed."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def verified(request: Request) -> Response:
            authorization = request.headers.getlist("authorization")
            request.state.admin = await _runtime(request).authenticator.admin(authorization)
            return await handle(request)

        return verified


def _admin(request: Request, _token: Annotated[Any, Security(_documented)]) -> Actor:
    admin: Actor = request.state.admin
    return admin


AdminDep = Annotated[Actor, Depends(_admin)]

IdempotencyKeyHeader = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[\x21-\x7e]{1,255}$",
        description="1-255 visible characters. A repeat with the same key and payload gets the first answer again",
    ),
]
