"""What lives as long as the process: made once by the app, reached by handlers through `api.deps`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx

from api.auth import Authenticator, build_authenticator
from api.background import Errands
from api.catalogue import Catalogue
from api.cursors import Cursors
from api.dispatcher import Dispatcher
from api.neighbours import Neighbours
from api.orchestrator import Orchestrator
from api.readiness import Readiness, check_database
from api.reconciler import Reconciler
from api.settings import ShimSettings
from api.users import Users
from flows.clients import database

# With the dispatcher's last wait and the server's grace this stays under the ten seconds of a stop.
LAST_ERRANDS_SECONDS = 1.0


@dataclass(frozen=True)
class Runtime:
    settings: ShimSettings
    neighbours: Neighbours
    orchestrator: Orchestrator
    catalogue: Catalogue
    dispatcher: Dispatcher
    reconciler: Reconciler
    readiness: Readiness
    authenticator: Authenticator
    users: Users
    cursors: Cursors
    errands: Errands

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """Holds the clients open. They connect when they are used: a neighbour that is down does not matter here."""
        async with self.orchestrator.opened(), self.neighbours.opened():
            try:
                yield
            finally:
                await self.errands.settled(LAST_ERRANDS_SECONDS)
                await database.close()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """All that goes on while the app is up; nothing here waits for a neighbour."""
        async with self.connected(), self.running_loops():
            yield

    @asynccontextmanager
    async def running_loops(self) -> AsyncIterator[None]:
        """Runs the loops beside the requests."""
        loops = [
            asyncio.create_task(self.dispatcher.run(), name="dispatcher"),
            asyncio.create_task(self.reconciler.run(), name="reconciler"),
        ]
        try:
            yield
        finally:
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)


def build_runtime(
    settings: ShimSettings,
    *,
    prefect: httpx.AsyncBaseTransport | None = None,
    neighbours: httpx.AsyncBaseTransport | None = None,
) -> Runtime:
    """Everything of the process, wired together and not yet running. Other transports are for tests."""
    asked = Neighbours(neighbours)
    auth = settings.prefect_api_auth_string
    orchestrator = Orchestrator(settings.prefect_api_url, auth.get_secret_value() if auth else None, prefect)
    catalogue = Catalogue()
    authenticator = build_authenticator(settings, asked)
    token = settings.service_token
    dispatcher = Dispatcher(orchestrator, settings.sweep_seconds, settings.worker_wake_socket)
    return Runtime(
        settings=settings,
        neighbours=asked,
        orchestrator=orchestrator,
        catalogue=catalogue,
        dispatcher=dispatcher,
        reconciler=Reconciler(
            orchestrator,
            catalogue,
            settings.sweep_seconds,
            accepted=dispatcher.kick,
            not_recovered=settings.recovery_off,
        ),
        readiness=Readiness(
            {"supabase": check_database, "prefect": orchestrator.check, "jwks": authenticator.keys.check}
        ),
        authenticator=authenticator,
        users=Users(
            asked,
            settings.user_service_url,
            settings.user_service_timeout_seconds,
            token.get_secret_value() if token else None,
        ),
        cursors=Cursors(settings.cursor_key),
        errands=Errands(),
    )
