"""What handlers need, as annotations: a handler's signature shows what it depends on."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Response, Security
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer

from api.auth import Actor
from api.errors import MachineKeyRefused, TooManyRequests, responses
from api.handlers import answered
from api.limits import OWN_TURN, READING, changes_something
from api.quick import quick_of
from api.runtime import Runtime
from flows.core.errors import OutOfTurns

_documented = HTTPBearer(
    scheme_name="ClerkSession",
    auto_error=False,
    description="Session token of a Clerk user who is an admin; or a script's key, which may trigger jobs and read",
)
_FOR_MACHINES = {("POST", "/api/jobs/trigger")}


def _runtime_of(request: Request) -> Runtime:
    runtime: Runtime = request.app.state.runtime
    return runtime


# Asynchronous, though they wait for nothing: FastAPI asks others in a thread of its pool, at ten times the cost.
async def _runtime(request: Request) -> Runtime:
    return _runtime_of(request)


RuntimeDep = Annotated[Runtime, Depends(_runtime)]


class AdminRoute(APIRoute):
    """A route for admins only: whoever calls is verified before the body is so much as parsed.

    Of a script it takes GET and trigger. A call that would change something costs its caller a turn, before anything
    is changed; and where it comes to nothing, the audit says so.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **more: Any) -> None:
        methods = set(more.get("methods") or ["GET"])
        more["responses"] = {**_common(path, methods), **(more.get("responses") or {})}
        super().__init__(path, endpoint, **more)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        quick = quick_of(self.endpoint)
        path = self.path

        async def verified(request: Request) -> Response:
            runtime = _runtime_of(request)
            admin = await runtime.authenticator.admin(request.headers.getlist("authorization"))
            request.state.admin = admin
            if not changes_something(request.method, path):
                _allow(admin, request.method, path)
                found = await quick(request, runtime) if quick else None
                return await handle(request) if found is None else found
            who = admin.clerk_user_id
            runtime.turns.check(who)
            try:
                if (request.method, path) not in OWN_TURN:
                    await runtime.turns.take(who)
                _allow(admin, request.method, path)
                return await handle(request)
            except OutOfTurns as error:
                raise runtime.turns.spent(who, error.seconds) from error
            except Exception as error:
                await runtime.refusals.note(request, path, admin, answered(error), error)
                raise

        return verified


def _allow(actor: Actor, method: str, path: str) -> None:
    if actor.is_machine and method not in READING and (method, path) not in _FOR_MACHINES:
        raise MachineKeyRefused


def _common(path: str, methods: set[str]) -> dict[int | str, dict[str, Any]]:
    """What every route of its kind can answer with, whatever it declares itself."""
    return responses(TooManyRequests) if any(changes_something(method, path) for method in methods) else {}


async def _admin(request: Request, _token: Annotated[Any, Security(_documented)]) -> Actor:
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
