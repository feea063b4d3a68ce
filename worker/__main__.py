"""`python -m worker`: a worker for the pool WORK_POOL. Ends on SIGTERM, however it was started."""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import signal
import sys

import httpx
from prefect.settings import get_current_settings
from pydantic import ValidationError

from worker.forkworker import ForkWorker
from worker.refusals import explain, of_prefect, refusals, stranger
from worker.settings import Settings


def main() -> None:
    options = _options()
    settings_given = {} if options.health_port is None else {"health_port": options.health_port}
    try:
        settings = Settings(**settings_given)
    except ValidationError as error:
        sys.exit("\n".join(explain(error)))
    api_url = get_current_settings().api.url
    if refused := list(refusals(settings, api_url)):
        sys.exit("\n".join(refused))
    if api_url and (refused_by := stranger(api_url)):
        sys.exit(refused_by)
    worker = ForkWorker(
        work_pool_name=options.pool,
        work_queues=options.queue,
        limit=options.limit,
        name=options.name,
        create_pool_if_not_found=False,
        settings=settings,
    )
    # Until the worker listens itself, these end it; a shell's `&` and nohup would have had them ignored.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    try:
        asyncio.run(worker.start(), debug=False)
    except httpx.HTTPStatusError as error:
        # At its start alone: later every failure is waited out.
        sys.exit(of_prefect(error))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m worker", description=__doc__)
    parser.add_argument("--pool", default=os.environ.get("WORK_POOL", "stumbleable"), help="work pool to serve")
    parser.add_argument("--queue", action="append", help="work queue to serve, repeatable; all of them by default")
    parser.add_argument("--limit", type=int, default=None, help="runs at once; as many as come by default")
    parser.add_argument("--name", default=platform.node(), help="name of the worker in Prefect")
    parser.add_argument("--health-port", type=int, default=None, help="port that answers probes")
    return parser.parse_args()


if __name__ == "__main__":
    main()
