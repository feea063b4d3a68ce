"""What Prometheus scrapes, of three kinds.

* What the database knows (jobs, schedules, mails) is the same on every replica: an expression takes the `max` of the
  replicas, never their sum.
* What this process has seen of its neighbours (database and Prefect up, workers) is each one's view.
* What this process has done (HTTP, dispatch, uptime) is its own: an expression takes the `sum`.

A scrape costs one question to the database and one to Prefect, neither of which reads the history.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import crons, job_figures
from api.orchestrator import Orchestrator, WorkerSign
from api.prefect_checks import MISSED_HEARTBEATS
from flows.core import history
from flows.core.domain import JobType
from flows.core.errors import SchedulerError
from flows.core.history import Totals
from flows.core.schedules import Schedule

# Scrapers and people who look at once cost one question together.
KEPT_SECONDS = 5.0
# What hangs must not make a scrape time out, which tells less.
PATIENCE_SECONDS = 3.0

DISPATCH_FAILURES = ("no answer", "not deployed", "refused")

logger = logging.getLogger(__name__)

# When each of a thousand series was made, as a series of its own, tells nobody anything.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the one function they left without types


class ProcessFigures:
    """What this process has done. One for the process, as the counts of Prometheus are."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "scheduler_http_requests", "Requests answered", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "scheduler_http_request_duration_seconds",
            "From a request's arrival to the beginning of its answer",
            ["method", "route"],
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
            registry=self.registry,
        )
        self.dispatch_failures = Counter(
            "scheduler_dispatch_failures",
            "Attempts to give a job its flow run that Prefect did not answer, refused, or has no deployment for",
            ["reason"],
            registry=self.registry,
        )
        for reason in DISPATCH_FAILURES:
            self.dispatch_failures.labels(reason)
        began = time.monotonic()
        uptime = Gauge("scheduler_uptime_seconds", "Since this process came up", registry=self.registry)
        uptime.set_function(lambda: time.monotonic() - began)


PROCESS = ProcessFigures()
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Measured:
    """Counts and times each request under its route's template: paths have ids in them, and anybody can make more."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 500  # unless an answer begins
        seconds: float | None = None

        async def noticing(message: Message) -> None:
            nonlocal status, seconds
            if message["type"] == "http.response.start":
                status, seconds = message["status"], time.perf_counter() - began
            await send(message)

        try:
            await self._app(scope, receive, noticing)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            method = scope["method"] if scope["method"] in _METHODS else "other"
            PROCESS.requests.labels(method, route, status).inc()
            PROCESS.seconds.labels(method, route).observe(time.perf_counter() - began if seconds is None else seconds)


class Figures(Collector):
    """What database and Prefect told last; of one that tells nothing, only that: `scheduler_database_up 0`."""

    def __init__(self, orchestrator: Orchestrator, pool: str, files: Mapping[str, Schedule]) -> None:
        """`files` is what prefect.yaml says of each type's schedule."""
        self.registry = CollectorRegistry()
        self.registry.register(self)
        self._orchestrator = orchestrator
        self._pool = pool
        self._files = files
        self._totals: Totals | None = None
        self._periods: dict[str, timedelta] = {}
        self._prefect_up = False
        self._worker: WorkerSign | None = None
        self._asked_at = float("-inf")
        self._asking = asyncio.Lock()

    async def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        async with self._asking:
            if time.monotonic() - self._asked_at >= KEPT_SECONDS:
                await asyncio.gather(self._ask_database(), self._ask_prefect())
                self._asked_at = time.monotonic()
        return generate_latest(self.registry) + generate_latest(PROCESS.registry)

    async def _ask_database(self) -> None:
        try:
            totals = await asyncio.wait_for(history.totals(), PATIENCE_SECONDS)
        except (SchedulerError, TimeoutError) as error:
            logger.warning("No numbers about jobs for /metrics: %s", error or type(error).__name__)
            self._totals = None
            return
        today = datetime.now(UTC).date()
        self._periods = {}
        for job_type, schedule in job_figures.schedules_on(totals, self._files).items():
            try:
                self._periods[job_type] = await crons.period(schedule.cron or "", schedule.timezone, today)
            except ValueError as error:
                logger.warning("The schedule of %s %s", job_type, error)
        self._totals = totals

    async def _ask_prefect(self) -> None:
        try:
            _, self._worker = await asyncio.wait_for(self._orchestrator.quietest_pool(self._pool), PATIENCE_SECONDS)
        except (SchedulerError, TimeoutError) as error:
            logger.warning("No numbers about workers for /metrics: %s", error or type(error).__name__)
            self._prefect_up = False
        else:
            self._prefect_up = True

    def collect(self) -> Iterable[Metric]:
        """The figures of this moment, as prometheus-client asks for them."""
        yield GaugeMetricFamily(
            "scheduler_database_up", "Whether the database told about jobs", value=self._totals is not None
        )
        yield GaugeMetricFamily("scheduler_prefect_up", "Whether Prefect told about workers", value=self._prefect_up)
        if self._prefect_up:
            yield from _workers(self._worker)
        if self._totals is not None:
            yield from job_figures.families(self._totals, self._files, self._periods)


def _workers(sign: WorkerSign | None) -> Iterable[Metric]:
    """Of a pool that never had a worker the last sign of life is 1970."""
    heard = sign.heard_at.timestamp() if sign else 0
    lives = sign is not None and time.time() - heard <= MISSED_HEARTBEATS * sign.interval_seconds
    yield GaugeMetricFamily(
        "scheduler_worker_up", "Whether every pool has a worker that was heard of within three heartbeats", value=lives
    )
    yield GaugeMetricFamily(
        "scheduler_worker_last_seen_timestamp_seconds",
        "When a worker was heard of last, of the pool that has been silent longest",
        value=heard,
    )


_SUFFIXES = {"counter": ("_total",), "summary": ("_sum", "_count"), "histogram": ("_bucket", "_sum", "_count")}


def sample_names() -> frozenset[str]:
    """The name of every series there can be, for whoever checks what asks for them."""
    nothing = Totals(
        ended=[], open=[], running=[], events=[], overrides=[], paused=None, resumed_at=None, deployed_at={}
    )
    files = {JobType.CRAWL_PENDING.value: Schedule("0 0 * * *", "UTC", enabled=True)}
    up = GaugeMetricFamily("scheduler_database_up", ""), GaugeMetricFamily("scheduler_prefect_up", "")
    told = [*up, *_workers(None), *job_figures.families(nothing, files, {}), *PROCESS.registry.collect()]
    return frozenset(one.name + suffix for one in told for suffix in _SUFFIXES.get(one.type, ("",)))
