"""`python -m worker.cluster`: the cluster's worker. Prefect's Kubernetes worker, with JSON lines for a log.

An outage of Prefect is waited out in here: a process that gave up would be started again by the cluster after ever
longer pauses, and the first run after the outage would wait for up to five minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import logging
import os
import platform
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import kopf
from prefect.client.orchestration import get_client
from prefect.logging.configuration import ensure_logging_setup
from prefect.settings import PREFECT_WORKER_QUERY_SECONDS
from prefect.types._datetime import now
from prefect.workers.server import _run_healthcheck_server, _WorkerStartupHealthcheck

from flows.core.redaction import redact

logger = logging.getLogger("prefect.workers.cluster")

_PAUSE_SECONDS = 5.0


# Before Prefect's own, which may fail: handlers are called in the order of their registration, so that Prefect's
# module is imported after this line.
@kopf.on.startup()
def _configure_observer(settings: kopf.OperatorSettings, **_: Any) -> None:
    """The observer of pods asks Prefect again after 5 s instead of 60, and outlasts an hour without its API server.

    It posts no events: the worker's role may make none, and what it would tell stands in the log.
    """
    settings.execution.default_backoff = _PAUSE_SECONDS
    settings.networking.error_backoffs = [1, 2, 5, 10, *([30] * 120)]
    settings.posting.enabled = False


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m worker.cluster", description=__doc__)
    parser.add_argument("--pool", default=os.environ.get("WORK_POOL", "stumbleable"), help="work pool to serve")
    parser.add_argument("--queue", action="append", help="work queue to serve, repeatable; all of them by default")
    parser.add_argument("--limit", type=int, default=None, help="runs at once; as many as come by default")
    parser.add_argument("--name", default=platform.node(), help="name of the worker in Prefect")
    options = parser.parse_args()
    ensure_logging_setup()

    def make() -> Any:
        from prefect_kubernetes.worker import KubernetesWorker  # type: ignore[import-untyped]  # noqa: PLC0415

        return KubernetesWorker(
            work_pool_name=options.pool,
            work_queues=options.queue,
            limit=options.limit,
            name=options.name,
            # The pool and its template are `deployments apply`'s to make; one with Prefect's own would run anything.
            create_pool_if_not_found=False,
        )

    # The handlers of the log hold on to the real one.
    with contextlib.redirect_stdout(_Printed()):
        asyncio.run(serve(make))


async def serve(
    make: Callable[[], Any],
    ready: Callable[[], Awaitable[str | None]] | None = None,
    *,
    pause_seconds: float = _PAUSE_SECONDS,
) -> None:
    """Runs a worker until SIGTERM or SIGINT, and a new one whenever one has ended for any other reason.

    `ready` tells what is in the way of a start (default: whether Prefect answers).

    Runs go on meanwhile: they are pods of their own, and the next worker's observer finds them.
    """
    working = asyncio.create_task(_work(make, ready or _absence, pause_seconds))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, working.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await working
    logger.info("Told to end: nothing more is taken on")


async def _work(make: Callable[[], Any], ready: Callable[[], Awaitable[str | None]], pause_seconds: float) -> None:
    health = _WorkerStartupHealthcheck(query_interval_seconds=PREFECT_WORKER_QUERY_SECONDS.value())
    with _run_healthcheck_server(health):
        while True:
            # Prefect's worker waits for its observer without an end, and the observer for Prefect: nothing would move
            # in here meanwhile, not even the end that SIGTERM asks for.
            while absence := await ready():
                health.worker, health.started_at = None, now("UTC")  # to wait is no hang
                logger.warning("Nothing is taken on, and Prefect is asked again in %s s: %s", pause_seconds, absence)
                await asyncio.sleep(pause_seconds)
            # A new one counts as alive for as long as a poll may take: an outage of Prefect's makes nobody unhealthy.
            health.worker = worker = make()
            try:
                await worker.start()
            except Exception as error:  # noqa: BLE001  # Prefect is away, or says no: both pass, and are told
                logger.warning("The worker has ended, and starts again in %s s: %s", pause_seconds, _words(error))
            await asyncio.sleep(pause_seconds)


async def _absence() -> str | None:
    """Why Prefect cannot be asked; None where it answers."""
    try:
        async with get_client() as client:
            error = await client.api_healthcheck()
    except Exception as failure:  # noqa: BLE001  # a name that is not known yet, a refused connection: it is away
        error = failure
    return None if error is None else _words(error)


def _words(error: BaseException) -> str:
    """What went wrong inside the groups that task groups make of it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {redact(str(error))}"


class _Printed(io.TextIOBase):
    """What Prefect prints, tracebacks of an outage among it, as records of the log."""

    def write(self, text: str) -> int:
        for line in filter(str.strip, text.splitlines()):
            logger.info(line)
        return len(text)


if __name__ == "__main__":
    main()
