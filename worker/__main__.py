"""`python -m worker`: a worker for the pool WORK_POOL. Ends on SIGTERM, however it was started."""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import signal
import sys

from worker.forkworker import ForkWorker
from worker.reach import STANDARD_LIBRARY, out_of_reach
from worker.settings import Settings


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m worker", description=__doc__)
    parser.add_argument("--pool", default=os.environ.get("WORK_POOL", "stumbleable"), help="work pool to serve")
    parser.add_argument("--queue", action="append", help="work queue to serve, repeatable; all of them by default")
    parser.add_argument("--limit", type=int, default=None, help="runs at once; as many as come by default")
    parser.add_argument("--name", default=platform.node(), help="name of the worker in Prefect")
    parser.add_argument("--health-port", type=int, default=None, help="port that answers probes")
    options = parser.parse_args()
    settings_given = {} if options.health_port is None else {"health_port": options.health_port}
    settings = Settings(**settings_given)
    if settings.run_as is not None:
        _check_user(settings.run_as)
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
    asyncio.run(worker.start(), debug=False)


def _check_user(user: str) -> None:
    """Ends with a sentence where every run would crash for want of its code."""
    try:
        folder = out_of_reach(user)
    except KeyError:
        sys.exit(f"WORKER_RUN_AS is {user!r}, and there is no such user.")
    if folder is not None:
        sys.exit(f"WORKER_RUN_AS is {user!r}, who may not enter {folder}: its runs could not read their code.")
    if (folder := out_of_reach(user, STANDARD_LIBRARY)) is not None:
        # Runs are forked with nearly all of it imported.
        sys.stderr.write(
            f"WORKER_RUN_AS is {user!r}, who may not enter {folder}: parts of the standard library that a run imports"
            " late will be missing.\n"
        )


if __name__ == "__main__":
    main()
