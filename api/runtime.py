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
from api.feeds import Feed
from api.job_stream import BUSY_SECONDS, INTERVAL_SECONDS, JobEvents
from api.limits import Turns
from api.log_stream import LogFeeds
from api.metrics import Figures
from api.neighbours import Neighbours
from api.orchestrator import Orchestrator
from api.pages import Pages
from api.readiness import Readiness, check_database
from api.reconciler import Reconciler
from api.refusals import Refusals
from api.retention import Retention
from api.schedules import ScheduleKeeper
from api.settings import ShimSettings
from api.sse import Streams
from api.users import Users
from flows.clients import database
from flows.core import prefect_yaml, schedules

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
    schedules: ScheduleKeeper
    readiness: Readiness
    authenticator: Authenticator
    users: Users
    cursors: Cursors
    errands: Errands
    metrics: Figures
    turns: Turns
    refusals: Refusals
    retention: Retention
    streams: Streams
    job_feed: Feed[int]
    log_feeds: LogFeeds
    pages: Pages

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """Holds the clients open. They connect when they are used: a neighbour that is down does not matter here."""
        async with self.orchestrator.opened(), self.neighbours.opened():
            try:
                yield
            finally:
                await asyncio.gather(
                    self.errands.settled(LAST_ERRANDS_SECONDS), self.refusals.settled(LAST_ERRANDS_SECONDS)
                )
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
            asyncio.create_task(self.schedules.run(), name="schedules"),
            asyncio.create_task(self.retention.run(), name="retention"),
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
    stanzas = prefect_yaml.stanzas()
    files = schedules.of_file(stanzas, paused=settings.schedules_paused)
    catalogue = Catalogue({stanza.name: stanza for stanza in stanzas})
    authenticator = build_authenticator(settings, asked)
    token = settings.service_token
    turns = Turns(settings.rate_limit_per_minute, settings.rate_limit_burst)
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
        schedules=ScheduleKeeper(orchestrator, files),
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
        metrics=Figures(orchestrator, settings.work_pool, files),
        turns=turns,
        refusals=Refusals(turns),
        retention=Retention(),
        streams=Streams(settings.most_streams),
        job_feed=Feed("changes of jobs", JobEvents(), interval_seconds=INTERVAL_SECONDS, busy_seconds=BUSY_SECONDS),
        log_feeds=LogFeeds(orchestrator),
        pages=Pages(settings),
    )
